# SPDX-License-Identifier: Apache-2.0
"""The state behind a simulated NVML library: GPUs, their load, their faults.

Nothing here knows C; `simulator.nvml` puts the C interface over it. Every method may be called from
any thread. Time comes from the clock that the driver was given and is in seconds of the Unix epoch,
as the driver's own sample buffer counts it.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from simulator.events import Events
from simulator.faults import Faults
from simulator.gpus import GpuSpec, SimulatedGpu, SimulatedMigDevice, SimulatedProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SAMPLE_SECONDS: Final = 1 / 6
SAMPLE_BUFFER_LENGTH: Final = 120
_TEMPERATURE_SECONDS: Final = 20.0
_POWER_SECONDS: Final = 1.0


class SimulatedDriver:
    """The GPUs of one node; the same seed gives the same UUIDs.

    A device is named by its index or its UUID; the UUID may be that of a MIG instance. Faults are
    set on `faults`. Close it (or use it as a context manager) so that hung calls come back.
    """

    def __init__(
        self,
        gpus: Sequence[str | GpuSpec],
        *,
        seed: str = "node",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.driver_version = "580.65.06"
        self.clock = clock
        self.faults = Faults()
        self.events = Events()
        specs = [GpuSpec(model=gpu) if isinstance(gpu, str) else gpu for gpu in gpus]
        self.gpus = tuple(SimulatedGpu(spec, index, seed) for index, spec in enumerate(specs))
        self._by_uuid: dict[str, SimulatedGpu | SimulatedMigDevice] = {}
        self._index_devices()
        # The libraries that have a session open: any of them keeps a GPU from being reset.
        self.sessions: set[int] = set()
        # The samples that are allocated: of which device and when, None while not taken.
        self.gpm_samples: dict[int, tuple[SimulatedGpu | SimulatedMigDevice, float] | None] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> SimulatedDriver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let every hung call return."""
        self.faults.release()

    @property
    def uuids(self) -> tuple[str, ...]:
        """The UUIDs of all GPUs and MIG instances."""
        return tuple(self._by_uuid)

    def device(self, key: int | str) -> SimulatedGpu | SimulatedMigDevice:
        """Return the device of this index or UUID; raise KeyError where there is none."""
        if isinstance(key, int):
            if not 0 <= key < len(self.gpus):
                raise KeyError(key)
            return self.gpus[key]
        return self._by_uuid[key]

    def _index_devices(self) -> None:
        devices: dict[str, SimulatedGpu | SimulatedMigDevice] = {}
        for gpu in self.gpus:
            devices[gpu.uuid] = gpu
            devices.update({mig.uuid: mig for mig in gpu.mig_devices if mig is not None})
        self._by_uuid = devices

    def divide(self, index: int, mig_profiles: tuple[str | None, ...] | None) -> None:
        """Make new MIG instances on a GPU while it runs; None switches MIG off."""
        self.gpus[index].divide(mig_profiles)
        self._index_devices()

    def replace_driver(self, version: str) -> None:
        """Load another driver in place of this one, as an upgrade does.

        A library that was loaded before does not fit it: its init says LIB_RM_VERSION_MISMATCH.
        """
        self.faults.unload_driver()
        self.driver_version = version
        self.faults.load_driver()

    def set_load(self, key: int | str, percent: float) -> None:
        """Hold the device at this percentage from now on."""
        if not 0 <= percent <= 100:
            msg = f"load {percent!r} of device {key!r} is not a percentage from 0 to 100"
            raise ValueError(msg)
        with self._lock:
            self.device(key).load.set(percent, self.clock())

    def set_memory_used(self, key: int | str, used_bytes: int | None) -> None:
        """Set the memory in use; None makes NVML answer its "not available"."""
        with self._lock:
            self.device(key).memory_set_bytes = used_bytes

    def set_processes(self, key: int | str, processes: Sequence[SimulatedProcess]) -> None:
        """Set the compute processes of the device."""
        with self._lock:
            self.device(key).processes = tuple(processes)

    def samples(self, key: int | str, last_seen_microseconds: int = 0) -> list[tuple[int, int]]:
        """Return the buffer's (microseconds, percent) that are newer than `last_seen`."""
        device = self.device(key)
        with self._lock:
            newest = int(self.clock() / SAMPLE_SECONDS)
            return [
                (stamp, round(device.load.average((k - 1) * SAMPLE_SECONDS, k * SAMPLE_SECONDS)))
                for k in range(newest - SAMPLE_BUFFER_LENGTH + 1, newest + 1)
                if (stamp := round(k * SAMPLE_SECONDS * 1e6)) > last_seen_microseconds
            ]

    def utilization_percent(self, key: int | str) -> int:
        """Return the newest full sample of the device."""
        return self.samples(key)[-1][1]

    def power_milliwatts(self, gpu: SimulatedGpu) -> int:
        """Board power: idle plus what the load of the last second adds."""
        model = gpu.model
        span = (model.power_limit_milliwatts - model.power_idle_milliwatts) * 0.9
        return round(model.power_idle_milliwatts + span * self._busy(gpu, _POWER_SECONDS) / 100)

    def temperature_celsius(self, gpu: SimulatedGpu) -> int:
        """GPU temperature: it follows the load of the last seconds."""
        return round(33 + 0.42 * self._busy(gpu, _TEMPERATURE_SECONDS))

    def fan_percent(self, gpu: SimulatedGpu) -> int | None:
        """Fan speed, None on a board without a fan."""
        if not gpu.model.has_fan:
            return None
        return round(30 + 0.5 * self._busy(gpu, _TEMPERATURE_SECONDS))

    def is_busy(self, gpu: SimulatedGpu) -> bool:
        """Whether the GPU has worked at all in the last second."""
        return self._busy(gpu, _POWER_SECONDS) > 0

    def busy_seconds(self, gpu: SimulatedGpu) -> tuple[float, float]:
        """Return for how long the GPU has been there, and how much of that at full load."""
        now = self.clock()
        with self._lock:
            return gpu.board.busy.until(now, gpu.busy_percent)

    def report_xid(self, key: int | str, xid: int, *, times: int = 1) -> None:
        """Report an Xid error of this GPU to those who registered for its events."""
        uuid_of_gpu = self.device(key).uuid
        for _ in range(times):
            self.events.report(uuid_of_gpu, xid)

    def _busy(self, gpu: SimulatedGpu, seconds: float) -> float:
        now = self.clock()
        with self._lock:
            return gpu.busy_percent(now - seconds, now)
