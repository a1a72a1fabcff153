# SPDX-License-Identifier: Apache-2.0
"""An NVML session through the real binding over simulated GPUs, with a clock set by hand."""

from __future__ import annotations

import inspect
from collections import Counter
from typing import TYPE_CHECKING, Any

from exporter.nvml import Nvml
from simulator.driver import SimulatedDriver
from simulator.nvml.binding import bind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.model import Collector, DeviceReading, Readings
    from exporter.processes.process_owner import ProcessOwners
    from simulator.gpus import GpuSpec


class Clock:
    """The driver's clock, set by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Node:
    """A simulated driver under an NVML session; use it as a context manager if it has threads."""

    def __init__(
        self,
        *gpus: str | GpuSpec,
        window_seconds: float = 10.0,
        collectors: Iterable[Collector] = (),
        owners: ProcessOwners | None = None,
    ) -> None:
        self.clock = Clock()
        self.driver = SimulatedDriver(gpus, clock=self.clock)
        self.binding: Any = bind(self.driver)
        self.errors: list[tuple[str, str]] = []
        self.calls: Counter[str] = Counter()
        self.nvml = Nvml(
            self.binding,
            window_seconds=window_seconds,
            collectors=frozenset(collectors),
            owners=owners,
            on_error=lambda error: self.errors.append((error.function, error.code)),
        )

    def __enter__(self) -> Node:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.driver.close()
        self.nvml.close()

    def open(self) -> Node:
        self.nvml.open()
        return self

    def count_calls(self) -> None:
        """Count all calls of NVML functions by name from now on."""

        def counted(name, function):
            def call(*arguments):
                self.calls[name] += 1
                return function(*arguments)

            return call

        for name, function in list(vars(self.binding).items()):
            if name.startswith("nvml") and inspect.isfunction(function):
                setattr(self.binding, name, counted(name, function))

    def readings(self) -> Readings:
        return self.nvml.run(self.nvml.read)

    def read(self) -> dict[str, DeviceReading]:
        return {reading.device.uuid: reading for reading in self.readings().devices}

    def read_first(self) -> DeviceReading:
        return self.read()[self.driver.gpus[0].uuid]

    def after(self, seconds: float) -> DeviceReading:
        self.clock.now += seconds
        return self.read_first()

    def samples(self, *, of: str = "") -> dict[tuple[str, ...], float]:
        """Read, and return the first GPU's extended samples by name and own labels.

        Names are without `nvidia_gpu_`; `of` limits them to those that start with it.
        """
        return {
            (name, *sample.labels): sample.value
            for sample in self.read_first().extended
            if (name := sample.family.name.removeprefix("nvidia_gpu_")).startswith(of)
        }
