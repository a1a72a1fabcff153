# SPDX-License-Identifier: Apache-2.0
"""The state behind a simulated NVML library: GPUs, their load, their faults.

Nothing here knows C; `simulator.nvml` puts the C interface over it. Every method may be called from
any thread. Time comes from the clock that the driver was given and is in seconds of the Unix epoch,
as the driver's own sample buffer counts it.
"""

from __future__ import annotations

import re
import threading
import time
import uuid
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulator.boards import BOARDS, Board
from simulator.events import Events
from simulator.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MIB: Final = 1024 * 1024
SAMPLE_SECONDS: Final = 1 / 6
SAMPLE_BUFFER_LENGTH: Final = 120
_HISTORY_SECONDS: Final = 60.0
_TEMPERATURE_SECONDS: Final = 20.0
_POWER_SECONDS: Final = 1.0
_MIG_COMPUTE_SLICES: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuModel:
    """A board as its driver describes it; `nominal_memory_gb` is the number in its sales name."""

    name: str
    memory_total_bytes: int
    nominal_memory_gb: int
    power_limit_milliwatts: int
    power_idle_milliwatts: int
    multiprocessors: int
    has_fan: bool = False
    has_mig: bool = False
    has_gpm: bool = False


def _model(
    name: str, mib: int, nominal_gb: int, limit_w: int, idle_w: int, sms: int, **kind: bool
) -> GpuModel:
    return GpuModel(
        name=name,
        memory_total_bytes=mib * MIB,
        nominal_memory_gb=nominal_gb,
        power_limit_milliwatts=limit_w * 1000,
        power_idle_milliwatts=idle_w * 1000,
        multiprocessors=sms,
        **kind,
    )


MODELS: Final[dict[str, GpuModel]] = {
    "T4": _model("Tesla T4", 15360, 16, 70, 9, 40),
    "A10": _model("NVIDIA A10", 23028, 24, 150, 20, 72),
    "A100-80GB": _model("NVIDIA A100-SXM4-80GB", 81920, 80, 400, 55, 108, has_mig=True),
    "L4": _model("NVIDIA L4", 23034, 24, 72, 12, 58),
    "H100": _model("NVIDIA H100 80GB HBM3", 81559, 80, 700, 70, 132, has_mig=True, has_gpm=True),
    "H200": _model("NVIDIA H200", 143771, 141, 700, 75, 132, has_mig=True, has_gpm=True),
    "B200": _model("NVIDIA B200", 183359, 180, 1000, 140, 148, has_mig=True, has_gpm=True),
    "RTX-A6000": _model("NVIDIA RTX A6000", 49140, 48, 300, 22, 84, has_fan=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedProcess:
    """A process on a GPU; memory None is NVML's "not available"."""

    pid: int
    memory_used_bytes: int | None
    sm_percent: int = 0
    is_mps_client: bool = False
    program: str = "/usr/bin/python3"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSpec:
    """What to put into a node: a key of MODELS and, for MIG, a profile per slot.

    A slot that is None is a gap: NVML numbers MIG devices with holes. No profiles means that MIG is
    off; an empty tuple means that MIG is on and holds nothing.
    """

    model: str = "T4"
    mig_profiles: tuple[str | None, ...] | None = None
    minor_number: int | None = None
    uuid: str | None = None


class LoadHistory:
    """A piecewise constant percentage over time; zero before the first value."""

    def __init__(self) -> None:
        self._times: list[float] = [float("-inf")]
        self._values: list[float] = [0.0]

    def set(self, percent: float, at: float) -> None:
        """Hold `percent` from `at` on; instants must not run backwards."""
        if percent == self._values[-1]:
            return
        if at <= self._times[-1]:
            self._values[-1] = percent
            return
        self._times.append(at)
        self._values.append(percent)
        stale = bisect_right(self._times, at - _HISTORY_SECONDS) - 1
        if stale > 0:
            del self._times[:stale], self._values[:stale]

    def average(self, begin: float, end: float) -> float:
        """Return the mean over [begin, end), or the value at `end` when that is empty."""
        if end <= begin:
            return self._values[max(bisect_right(self._times, end) - 1, 0)]
        first = max(bisect_right(self._times, begin) - 1, 0)
        total = 0.0
        for position in range(first, len(self._times)):
            start = max(self._times[position], begin)
            if start >= end:
                break
            following = self._times[position + 1] if position + 1 < len(self._times) else end
            total += self._values[position] * (min(following, end) - start)
        return total / (end - begin)


class SimulatedDevice:
    """A GPU or a MIG instance: what both have."""

    def __init__(self, device_uuid: str, memory_total_bytes: int) -> None:
        self.uuid = device_uuid
        self.memory_total_bytes = memory_total_bytes
        self.load = LoadHistory()
        self.memory_set_bytes: int | None = 0
        self.processes: tuple[SimulatedProcess, ...] = ()

    def memory_used_bytes(self) -> int | None:
        """Return what was set, or what the processes hold where that is more."""
        if self.memory_set_bytes is None:
            return None
        held = sum(process.memory_used_bytes or 0 for process in self.processes)
        return max(self.memory_set_bytes, held)


class SimulatedMigDevice(SimulatedDevice):
    """One MIG instance of a GPU; `slot` is NVML's MIG device index."""

    def __init__(self, gpu: SimulatedGpu, slot: int, profile: str, device_uuid: str) -> None:
        match = re.fullmatch(r"(\d)g\.(\d+)gb(\+\w+)?", profile)
        if match is None:
            msg = f"MIG profile {profile!r} is not of the form 1g.10gb or 1g.10gb+me"
            raise ValueError(msg)
        share = int(match[2]) / gpu.model.nominal_memory_gb
        # A profile yields a little less than its name says: 9728 MiB for 10gb of an A100.
        mib = int(gpu.model.memory_total_bytes * min(share, 1) * 0.95) // MIB
        super().__init__(device_uuid, mib * MIB)
        self.gpu = gpu
        self.slot = slot
        self.profile = profile
        self.compute_slices = int(match[1])
        self.gpu_instance_id = slot + 7
        self.compute_instance_id = 0
        self.multiprocessors = gpu.model.multiprocessors // 8 * self.compute_slices

    @property
    def name(self) -> str:
        """NVML's name of a MIG handle: the board's and the profile."""
        return f"{self.gpu.model.name} MIG {self.profile}"


class SimulatedGpu(SimulatedDevice):
    """One board."""

    def __init__(self, spec: GpuSpec, index: int, seed: str) -> None:
        try:
            self.model = MODELS[spec.model]
        except KeyError:
            msg = f"GPU model {spec.model!r} is not known: use one of {', '.join(MODELS)}"
            raise ValueError(msg) from None
        if spec.mig_profiles is not None and not self.model.has_mig:
            msg = f"GPU model {spec.model!r} has no MIG: leave mig_profiles out"
            raise ValueError(msg)
        super().__init__(
            spec.uuid or f"GPU-{_uuid(seed, index)}",
            self.model.memory_total_bytes,
        )
        self.index = index
        self.board = Board(BOARDS[spec.model])
        self.minor_number = index if spec.minor_number is None else spec.minor_number
        self._seed = seed
        self._generation = 0
        self.divide(spec.mig_profiles)

    def divide(self, mig_profiles: tuple[str | None, ...] | None) -> None:
        """Make these MIG instances in place of all there are; None switches MIG off."""
        parts: tuple[object, ...] = (self._seed, self.index)
        if self._generation:
            parts = (*parts, "generation", self._generation)
        self._generation += 1
        devices = tuple(
            None
            if profile is None
            else SimulatedMigDevice(self, slot, profile, f"MIG-{_uuid(*parts, slot)}")
            for slot, profile in enumerate(mig_profiles or ())
        )
        self.mig_devices, self.mig_enabled = devices, mig_profiles is not None

    @property
    def name(self) -> str:
        """The product name."""
        return self.model.name

    def busy_percent(self, begin: float, end: float) -> float:
        """Average load; of a MIG GPU that of its instances, weighed by their compute slices."""
        if not self.mig_enabled:
            return self.load.average(begin, end)
        parts = [device for device in self.mig_devices if device is not None]
        busy = sum(device.load.average(begin, end) * device.compute_slices for device in parts)
        return busy / _MIG_COMPUTE_SLICES


def _uuid(*parts: object) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, "/".join(str(part) for part in parts))


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
        driver_version: str = "580.65.06",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.driver_version = driver_version
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
