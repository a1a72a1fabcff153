# SPDX-License-Identifier: Apache-2.0
"""What each process has of a device: memory, and its part of the multiprocessors' time."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from exporter.model import ProcessUse
from exporter.nvml.calls import ABSENT, STAMPS_MICROSECONDS, NvmlError, raise_if_gone
from exporter.nvml.process_lists import PIDS, are_hidden, impossible_entry
from exporter.nvml.window import MAX_SAMPLE_SPAN_SECONDS, DutyCycleWindow
from exporter.processes.process_owner import OwnerUnknownError
from toolkit.log_once import OutageLog

if TYPE_CHECKING:
    from collections.abc import Collection

    from exporter.model import Device
    from exporter.nvml.calls import Calls
    from exporter.nvml.gpu import Gpu
    from exporter.nvml.process_lists import DeviceMemory
    from exporter.processes.process_owner import ProcessOwners

log = logging.getLogger(__name__)

# nvidia-ml-py raises SUCCESS where the driver has room for no process.
_NO_SAMPLES: Final = frozenset({"NOT_FOUND", "SUCCESS"})
# By their versions: without, nvidia-ml-py raises what is no NVMLError where the driver is older.
_COMPUTING: Final = "nvmlDeviceGetComputeRunningProcesses_v3"
_DRAWING: Final = "nvmlDeviceGetGraphicsRunningProcesses_v3"
_CLIENTS_OF_MPS: Final = "nvmlDeviceGetMPSComputeRunningProcesses_v3"


class ProcessUses:
    """Reads the processes of devices; shares of time are averaged over a window in seconds."""

    def __init__(self, calls: Calls, owners: ProcessOwners, window_seconds: float) -> None:
        self._calls = calls
        self._owners = owners
        self._window_seconds = window_seconds
        self._times: dict[str, dict[int, _Time]] = {}
        self._cursors_microseconds: dict[str, int] = {}
        self._outage = OutageLog(
            log,
            "Memory and duty cycle per container are unknown",
            "Memory and duty cycle per container are known again",
        )

    def keep(self, uuids: Collection[str]) -> None:
        """Forget the history of all other devices."""
        self._outage.keep(uuids)
        self._times = {uuid: kept for uuid, kept in self._times.items() if uuid in uuids}
        self._cursors_microseconds = {
            uuid: kept for uuid, kept in self._cursors_microseconds.items() if uuid in uuids
        }

    def read(
        self, gpu: Gpu, device: Device, handle: Any, memory: DeviceMemory
    ) -> tuple[ProcessUse, ...] | None:
        """Return the uses of all processes of pods, None unless all of them are known.

        The device, whose handle it is, is the GPU or one of its MIG instances.

        Raises NvmlError if the device or the session is gone.
        """
        uses = None
        try:
            problem = self._owners.problem()
            if problem is None:
                uses = self._uses(_AskedDevice(gpu, device, handle), memory)
        except NvmlError:
            raise
        except OwnerUnknownError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001  (it is logged)
            # Whatever the node's files hold, the device itself is read all the same.
            problem = f"{type(error).__name__}: {error}"
        if problem is None:
            self._outage.worked(party=device.uuid)
        else:
            self._outage.failed(problem, party=device.uuid)
        return uses

    def _uses(
        self, asked: _AskedDevice, device_memory: DeviceMemory
    ) -> tuple[ProcessUse, ...] | None:
        memory_total_bytes, memory_used_bytes = device_memory
        for is_last in (False, False, True):
            listed = self._lists(asked, memory_total_bytes)
            if listed is None:
                return None
            memory, clients_of_mps = listed
            if are_hidden(memory, memory_used_bytes):
                msg = f"NVML lists no process, and {memory_used_bytes} bytes of memory are in use"
                raise OwnerUnknownError(msg)
            owners = {pid: self._owners.owner_of(pid) for pid in memory}
            nobodys = [pid for pid, owner in owners.items() if owner is None]
            missing = next((pid for pid in nobodys if not self._owners.is_running(pid)), None)
            # One that has just ended is not listed any more when the driver is asked again.
            if missing is None:
                break
            if is_last:
                msg = f"NVML lists process {missing}, and there is no such process"
                raise OwnerUnknownError(msg)
        # The driver reports no process times for MIG instances.
        percents = None
        if not asked.device.is_mig_instance:
            percents = self._percents(asked, memory, clients_of_mps=clients_of_mps)
        return tuple(
            ProcessUse(
                owner=owner,
                memory_used_bytes=memory[pid],
                duty_cycle_percent=None if percents is None else percents[pid],
            )
            for pid, owner in owners.items()
            if owner is not None
        )

    def _lists(
        self, asked: _AskedDevice, memory_total_bytes: int | None
    ) -> tuple[dict[int, int | None], Collection[int]] | None:
        """The bytes by PID, and the PIDs of MPS' clients; None where they are unknown.

        Raises OwnerUnknownError if they cannot be true.
        """
        lists = []
        for function in (_COMPUTING, _DRAWING, _CLIENTS_OF_MPS):
            entries = self._list(asked, function)
            if entries is None:
                return None
            if why := impossible_entry(entries, memory_total_bytes):
                msg = f"the answer of {function} cannot be true: {why}"
                raise OwnerUnknownError(msg)
            lists.append(dict(entries))
        # A process that computes and draws is listed twice with the same memory.
        memory = {pid: used_bytes for one in lists for pid, used_bytes in one.items()}
        return memory, lists[-1]

    def _list(self, asked: _AskedDevice, function: str) -> list[tuple[int, int | None]] | None:
        """The PIDs and bytes of one kind of processes; None where they are unknown."""
        found = self._ask(asked, function)
        if found is None:
            # Every driver knows those that compute; a board or driver may lack the other kinds.
            is_absent = asked.lacks(function) and function != _COMPUTING
            return [] if is_absent else None
        return [(process.pid, process.usedGpuMemory) for process in found]

    def _percents(
        self, asked: _AskedDevice, pids: Collection[int], *, clients_of_mps: Collection[int]
    ) -> dict[int, float | None] | None:
        # The samples' clock is the host's, and that may have been set back.
        uuid = asked.device.uuid
        cursor = min(self._cursors_microseconds.get(uuid, 0), time.time_ns() // 1000)
        samples = self._ask(asked, "nvmlDeviceGetProcessUtilization", cursor, nothing=_NO_SAMPLES)
        if samples is None:
            return None
        newest: dict[int, tuple[int, int]] = {}
        garbled: set[int] = set()
        for sample in samples:
            if sample.timeStamp <= cursor:
                continue
            # The buffer has leftovers of ended processes and of none (0).
            if sample.pid and sample.pid not in PIDS:
                return None
            if sample.smUtil <= 100 and sample.timeStamp in STAMPS_MICROSECONDS:
                at_and_percent = (sample.timeStamp, sample.smUtil)
                newest[sample.pid] = max(newest.get(sample.pid, (0, 0)), at_and_percent)
            else:
                garbled.add(sample.pid)
        # A process with a valid sample beside the garbled one has a value.
        garbled -= newest.keys()
        self._cursors_microseconds[uuid] = max((at for at, _ in newest.values()), default=cursor)
        now = time.monotonic()
        before = self._times.get(uuid, {})
        # The driver leaves out idle processes. An MPS client counts as idle only after a sample of
        # its own: until then its time may be under the MPS server.
        listed = [
            pid for pid in pids if pid not in clients_of_mps or pid in before or pid in newest
        ]
        times = {pid: before.get(pid) or _Time(self._window_seconds) for pid in listed}
        self._times[uuid] = times
        for pid, one in times.items():
            if pid not in garbled:
                one.add(now, newest[pid][1] if pid in newest else None)
        known = times.keys() - garbled
        return {pid: times[pid].window.mean_percent() if pid in known else None for pid in pids}

    def _ask(
        self,
        asked: _AskedDevice,
        function: str,
        *arguments: Any,
        nothing: frozenset[str] = frozenset(),
    ) -> Any:
        if asked.lacks(function):
            return None
        try:
            return self._calls.call(function, asked.handle, *arguments, expected=nothing)
        except NvmlError as error:
            raise_if_gone(error)
            if error.code in nothing:
                return ()
            if error.code in ABSENT:
                asked.note_lack(function)
            return None


@dataclass(frozen=True, slots=True)
class _AskedDevice:
    """The device that is asked; all MIG instances of a GPU lack the same."""

    gpu: Gpu
    device: Device
    handle: Any

    def lacks(self, function: str) -> bool:
        return self.gpu.lacks(function, self.device.is_mig_instance)

    def note_lack(self, function: str) -> None:
        self.gpu.note_lack(function, self.device.is_mig_instance)


class _Time:
    """One process's part of the time."""

    def __init__(self, window_seconds: float) -> None:
        self.window = DutyCycleWindow(window_seconds)
        self._reported_seconds = float("-inf")

    def add(self, now: float, percent: int | None) -> None:
        """Add what the driver reported since the last call, None if nothing.

        That means 0 only when the last sample is older than a sample's period: cycles may be
        shorter than it.
        """
        if percent is not None:
            self._reported_seconds = now
        elif now - self._reported_seconds <= MAX_SAMPLE_SPAN_SECONDS:
            return
        self.window.add([(round(now * 1e6), percent or 0)])
