# SPDX-License-Identifier: Apache-2.0
"""What a board measures beyond the base set, and how it is set: temperature, memory, modes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from exporter.exposition import board_families as families
from exporter.nvml.base import NO_MEMORY_V2
from exporter.nvml.board import named, states
from exporter.nvml.bounds import BOUNDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.model import Sample
    from exporter.nvml.gpu import Gpu

# What the driver reserves changes with the number of contexts at most, and the base set has asked
# for the rest of this answer already.
_SELDOM_SECONDS: Final = 10.0
COMPUTE_MODES: Final = ("default", "exclusive_thread", "prohibited", "exclusive_process")
"""nvmlComputeMode_t, by its values from 0 on."""


def temperature(gpu: Gpu) -> Iterator[Sample]:
    """Yield the temperature of the memory, and how far the GPU is from slowing down."""
    field = (gpu.binding.NVML_FI_DEV_MEMORY_TEMP, 0)
    yield from families.MEMORY_TEMPERATURE.known(gpu.ask_fields([field]).get(field))
    yield from families.TEMPERATURE_MARGIN.known(gpu.ask("nvmlDeviceGetMarginTemperature"))


def memory(gpu: Gpu) -> Iterator[Sample]:
    """Yield what is reserved of the memory."""
    reserved = gpu.seldom(_SELDOM_SECONDS, "reserved memory", partial(_reserved, gpu))
    yield from families.MEMORY_RESERVED.known(reserved)


def _reserved(gpu: Gpu) -> int | None:
    answer = gpu.ask("nvmlDeviceGetMemoryInfo", gpu.binding.nvmlMemory_v2, expected=NO_MEMORY_V2)
    # Where the total cannot be real, or it is more than that, the driver did not fill it in.
    if answer is None or not BOUNDS["nvidia_gpu_memory_total_bytes"].hold(answer.total):
        return None
    if answer.reserved > answer.total:
        return None
    return int(answer.reserved)


def modes(gpu: Gpu) -> Iterator[Sample]:
    """Yield the persistence mode and the compute mode."""
    yield from families.PERSISTENCE_MODE.known(gpu.ask("nvmlDeviceGetPersistenceMode"))
    mode = named(COMPUTE_MODES, gpu.ask("nvmlDeviceGetComputeMode"))
    yield from states(families.COMPUTE_MODE, COMPUTE_MODES, mode)
