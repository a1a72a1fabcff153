"""An NVML session: opened, read once per cycle, closed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from exporter.model import DeviceReading, Readings
from exporter.nvml.base import BaseReadings
from exporter.nvml.calls import SESSION_GONE, Calls, NvmlError
from exporter.nvml.gpu import Gpu

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from exporter.nvml.calls import RunningCall


class Nvml:
    """An NVML session over the pynvml module (or a private instance of it).

    One thread owns it; only `running_call` and `driver_version` are read by others.
    """

    def __init__(
        self,
        binding: ModuleType,
        *,
        window_seconds: float,
        on_error: Callable[[NvmlError], None],
    ) -> None:
        self._calls = Calls(binding, on_error)
        self._base = BaseReadings(self._calls, window_seconds)
        self._device_count = 0
        self._gpus: dict[int, Gpu] = {}
        self.driver_version: str | None = None

    @property
    def running_call(self) -> RunningCall | None:
        """The NVML call that has not returned yet."""
        return self._calls.running

    def open(self) -> None:
        """Initialise NVML; raises NvmlError (LIBRARY_NOT_FOUND, DRIVER_NOT_LOADED, ...)."""
        self._gpus.clear()
        self._base.begin_session()
        self._calls.call("nvmlInit")
        self.driver_version = self._calls.optional("nvmlSystemGetDriverVersion")

    def close(self) -> None:
        """Let NVML go; an error says only that there was nothing left to let go."""
        self._gpus.clear()
        try:
            self._calls.call("nvmlShutdown", expected=SESSION_GONE)
        except NvmlError:
            return

    def read(self) -> Readings:
        """Read all devices once.

        One failing reading is None, one failing device is left out; raises NvmlError where the
        whole session cannot go on.
        """
        started = time.monotonic()
        count = self._calls.call("nvmlDeviceGetCount")
        if count != self._device_count:
            self._device_count = count
            self._gpus.clear()
        readings: list[DeviceReading] = []
        unreadable = 0
        for index in range(count):
            try:
                readings.extend(self._read_gpu(index))
            except NvmlError as error:
                if error.code in SESSION_GONE:
                    raise
                self._gpus.pop(index, None)
                unreadable += 1
        self._base.keep({reading.device.uuid for reading in readings})
        return Readings(
            taken_at_seconds=started,
            device_count=count,
            unreadable_count=unreadable,
            devices=tuple(readings),
        )

    def _read_gpu(self, index: int) -> list[DeviceReading]:
        gpu = self._gpus.get(index) or Gpu.open(self._calls, index)
        self._gpus[index] = gpu
        return self._base.read(gpu)
