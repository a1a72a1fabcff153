# SPDX-License-Identifier: Apache-2.0
"""Memory errors: ECC counters, retired pages, remapped rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter.exposition import board_families, families

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.model import Sample
    from exporter.nvml.gpu import Gpu

_ERROR_TYPES: Final = {
    "corrected": "NVML_MEMORY_ERROR_TYPE_CORRECTED",
    "uncorrected": "NVML_MEMORY_ERROR_TYPE_UNCORRECTED",
}
_LOCATIONS: Final = {
    "l1_cache": "NVML_MEMORY_LOCATION_L1_CACHE",
    "l2_cache": "NVML_MEMORY_LOCATION_L2_CACHE",
    "dram": "NVML_MEMORY_LOCATION_DRAM",
    "register_file": "NVML_MEMORY_LOCATION_REGISTER_FILE",
    "texture_memory": "NVML_MEMORY_LOCATION_TEXTURE_MEMORY",
    "texture_shm": "NVML_MEMORY_LOCATION_TEXTURE_SHM",
    "cbu": "NVML_MEMORY_LOCATION_CBU",
    "sram": "NVML_MEMORY_LOCATION_SRAM",
}
# Members of nvmlEccSramErrorStatus_v1_t, without the period that they are counted in.
_SRAM_ERRORS: Final = {
    "corrected": "Cor",
    "uncorrected_parity": "UncParity",
    "uncorrected_secded": "UncSecDed",
}
_SRAM_SOURCES: Final = {
    "l2": "aggregateUncBucketL2",
    "sm": "aggregateUncBucketSm",
    "microcontroller": "aggregateUncBucketMcu",
    "pcie": "aggregateUncBucketPcie",
    "other": "aggregateUncBucketOther",
}
_PERIODS: Final = (
    (families.ECC_VOLATILE, "NVML_VOLATILE_ECC"),
    (families.ECC_AGGREGATE, "NVML_AGGREGATE_ECC"),
)


def ecc(gpu: Gpu) -> Iterator[Sample]:
    """Yield the counters of those places that the board counts, and what became of bad memory."""
    mode = gpu.ask("nvmlDeviceGetEccMode")
    if mode is not None:
        yield families.ECC_ENABLED.sample(mode[0])
        yield board_families.ECC_PENDING.sample(mode[1])
        if mode[0] != gpu.binding.NVML_FEATURE_DISABLED:
            yield from _counters(gpu)
            yield from _sram(gpu)
    yield from _retired_pages(gpu)
    remapped = gpu.ask("nvmlDeviceGetRemappedRows")
    if remapped is not None:
        corrected, uncorrected, pending, failed = remapped
        yield families.REMAPPED_ROWS.sample(corrected, "corrected")
        yield families.REMAPPED_ROWS.sample(uncorrected, "uncorrected")
        yield families.REMAPPING_PENDING.sample(pending)
        yield families.REMAPPING_FAILED.sample(failed)


def _counters(gpu: Gpu) -> Iterator[Sample]:
    for family, period in _PERIODS:
        for error, error_type in _ERROR_TYPES.items():
            for location, place in _LOCATIONS.items():
                count = gpu.ask(
                    "nvmlDeviceGetMemoryErrorCounter",
                    getattr(gpu.binding, error_type),
                    getattr(gpu.binding, period),
                    getattr(gpu.binding, place),
                )
                yield from family.known(count, error, location)


def _sram(gpu: Gpu) -> Iterator[Sample]:
    """Yield the errors of the SRAM by kind and by source, and whether there are too many."""
    status = gpu.fill_in(
        "nvmlDeviceGetSramEccErrorStatus", gpu.binding.c_nvmlEccSramErrorStatus_v1_t()
    )
    if status is None:
        return
    for family, period in (
        (board_families.SRAM_VOLATILE, "volatile"),
        (board_families.SRAM_AGGREGATE, "aggregate"),
    ):
        for error, member in _SRAM_ERRORS.items():
            yield family.sample(getattr(status, period + member), error)
    for source, member in _SRAM_SOURCES.items():
        yield board_families.SRAM_SOURCES.sample(getattr(status, member), source)
    yield board_families.SRAM_THRESHOLD.sample(status.bThresholdExceeded)


def _retired_pages(gpu: Gpu) -> Iterator[Sample]:
    single = (gpu.binding.NVML_FI_DEV_RETIRED_SBE, 0)
    double = (gpu.binding.NVML_FI_DEV_RETIRED_DBE, 0)
    pending = (gpu.binding.NVML_FI_DEV_RETIRED_PENDING, 0)
    values = gpu.ask_fields((single, double, pending))
    for cause, field in (("single_bit", single), ("double_bit", double)):
        yield from families.RETIRED_PAGES.known(values.get(field), cause)
    yield from families.RETIREMENT_PENDING.known(values.get(pending))
