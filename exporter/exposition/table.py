# SPDX-License-Identifier: Apache-2.0
"""Pure: the one table of the GPU families, in the order of docs/metrics.md.

A family is added here and beside its kind in one of the modules of families.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter.exposition import base_families, board_families, families, link_families

if TYPE_CHECKING:
    from exporter.model import Family

LABELS: Final = (
    "minor_number",
    "uuid",
    "name",
    "node_name",
    "namespace_name",
    "pod_name",
    "container_name",
    "allocate_mode",
)
"""The labels of each GPU's series, in their order, which readers of `nvidia_gpu_*` are used to."""

BASE_FAMILIES: Final[tuple[Family, ...]] = (
    base_families.NUM_DEVICES,
    base_families.DUTY_CYCLE,
    base_families.MEMORY_TOTAL,
    base_families.MEMORY_USED,
    base_families.POWER_USAGE,
    base_families.TEMPERATURE,
    base_families.FAN_SPEED,
)
"""Always on."""

EXTENDED_FAMILIES: Final[tuple[Family, ...]] = (
    families.GPU_INFO,
    families.MIG_INFO,
    families.DRIVER_INFO,
    families.READABLE,
    families.RECOVERY_ACTION,
    families.CLOCK,
    families.CLOCK_MAX,
    families.THROTTLE_ACTIVE,
    families.THROTTLE_SECONDS,
    board_families.VIOLATION_SECONDS,
    families.POWER_LIMIT,
    families.POWER_MANAGEMENT_LIMIT,
    families.POWER_DEFAULT_LIMIT,
    families.POWER_LOWEST_LIMIT,
    families.POWER_HIGHEST_LIMIT,
    families.ENERGY,
    board_families.POWER_AVERAGE,
    board_families.POWER_INSTANT,
    board_families.MEMORY_TEMPERATURE,
    board_families.TEMPERATURE_MARGIN,
    board_families.MEMORY_RESERVED,
    families.PERFORMANCE_STATE,
    board_families.PERSISTENCE_MODE,
    board_families.COMPUTE_MODE,
    families.MEMORY_BANDWIDTH,
    families.ENCODER,
    families.DECODER,
    board_families.JPEG,
    board_families.OFA,
    link_families.PCIE_TRANSMIT,
    link_families.PCIE_RECEIVE,
    link_families.PCIE_REPLAYS,
    link_families.PCIE_GENERATION,
    link_families.PCIE_MAX_GENERATION,
    link_families.PCIE_WIDTH,
    link_families.PCIE_MAX_WIDTH,
    link_families.NVLINK_UP,
    link_families.NVLINK_TRANSMIT,
    link_families.NVLINK_RECEIVE,
    link_families.NVLINK_ERRORS,
    link_families.NVLINK_RECOVERIES,
    link_families.NVLINK_SYMBOL_ERRORS,
    link_families.NVLINK_EFFECTIVE_ERRORS,
    link_families.NVLINK_BIT_ERRORS,
    link_families.FABRIC_STATE,
    link_families.FABRIC_INFO,
    families.ECC_ENABLED,
    board_families.ECC_PENDING,
    families.ECC_VOLATILE,
    families.ECC_AGGREGATE,
    families.RETIRED_PAGES,
    families.RETIREMENT_PENDING,
    families.REMAPPED_ROWS,
    families.REMAPPING_PENDING,
    families.REMAPPING_FAILED,
    board_families.SRAM_VOLATILE,
    board_families.SRAM_AGGREGATE,
    board_families.SRAM_SOURCES,
    board_families.SRAM_THRESHOLD,
    families.XID_ERRORS,
    families.XID_LAST,
    families.GRAPHICS_ACTIVE,
    families.SM_ACTIVE,
    families.SM_OCCUPANCY,
    families.TENSOR_ACTIVE,
    families.DRAM_ACTIVE,
    families.FP64_ACTIVE,
    families.FP32_ACTIVE,
    families.FP16_ACTIVE,
    families.CONTAINER_DUTY_CYCLE,
    families.CONTAINER_MEMORY_USED,
    board_families.PROCESSES,
    board_families.PROCESS_MEMORY_USED,
)
"""Those of the collectors."""

FAMILIES: Final = BASE_FAMILIES + EXTENDED_FAMILIES
