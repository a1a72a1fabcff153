# SPDX-License-Identifier: Apache-2.0
"""Which function reads a collector's families of a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter.model import Collector
from exporter.nvml.board import clocks, health, info, performance_state, power, throttle, video
from exporter.nvml.ecc import ecc
from exporter.nvml.fabric import fabric
from exporter.nvml.links import nvlink, pcie
from exporter.nvml.process_memory import processes
from exporter.nvml.sensors import memory, modes, temperature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from exporter.model import Sample
    from exporter.nvml.gpu import Gpu

    Reader = Callable[[Gpu], Iterable[Sample]]

READERS: Final[dict[Collector, Reader]] = {
    Collector.INFO: info,
    Collector.HEALTH: health,
    Collector.CLOCKS: clocks,
    Collector.THROTTLE: throttle,
    Collector.POWER: power,
    Collector.TEMPERATURE: temperature,
    Collector.MEMORY: memory,
    Collector.PERFORMANCE_STATE: performance_state,
    Collector.MODES: modes,
    Collector.VIDEO: video,
    Collector.PCIE: pcie,
    Collector.NVLINK: nvlink,
    Collector.FABRIC: fabric,
    Collector.ECC: ecc,
    Collector.PROCESSES: processes,
}
