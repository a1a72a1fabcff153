# SPDX-License-Identifier: Apache-2.0
"""The simulated GPUs of a node with their MIG instances, memory, processes and load."""

from __future__ import annotations

import re
import uuid
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

from simulator.boards import BOARDS, Board

MIB: Final = 1024 * 1024
_HISTORY_SECONDS: Final = 60.0
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
