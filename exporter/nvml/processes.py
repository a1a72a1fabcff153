"""What each process has of a device: memory, and its part of the multiprocessors' time."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from exporter.model import ProcessUse
from exporter.nvml.calls import ABSENT, NvmlError, raise_if_gone
from exporter.processes.owners import OwnerUnknownError
from exporter.window import DutyCycleWindow

if TYPE_CHECKING:
    from collections.abc import Collection

    from exporter.nvml.calls import Calls
    from exporter.processes.owners import ProcessOwners

log = logging.getLogger(__name__)

# nvidia-ml-py raises SUCCESS where the driver has room for no process.
_NO_SAMPLES: Final = frozenset({"NOT_FOUND", "SUCCESS"})
# By their versions: without, nvidia-ml-py raises what is no NVMLError where the driver is older.
_LISTS: Final = (
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetGraphicsRunningProcesses_v3",
)


class ProcessUses:
    """Reads the processes of devices; shares of time are averaged over a window in seconds."""

    def __init__(self, calls: Calls, owners: ProcessOwners, window_seconds: float) -> None:
        self._calls = calls
        self._owners = owners
        self._window_seconds = window_seconds
        self._windows: dict[str, dict[int, DutyCycleWindow]] = {}
        self._cursors_microseconds: dict[str, int] = {}
        self._without: set[tuple[str, str]] = set()
        self._untold: set[str] = set()

    def begin_session(self) -> None:
        """Ask a newly opened NVML anew for what the last one did not have."""
        self._without.clear()

    def keep(self, uuids: Collection[str]) -> None:
        """Forget the history of all other devices."""
        self._untold.intersection_update(uuids)
        self._windows = {uuid: kept for uuid, kept in self._windows.items() if uuid in uuids}
        self._cursors_microseconds = {
            uuid: kept for uuid, kept in self._cursors_microseconds.items() if uuid in uuids
        }

    def read(
        self, uuid: str, handle: Any, *, is_mig_instance: bool
    ) -> tuple[ProcessUse, ...] | None:
        """Return the uses of all processes of pods, None unless all of them are known.

        Raises NvmlError if the device or the session is gone.
        """
        memory = self._memory(uuid, handle)
        if memory is None:
            return None
        # Of an instance the driver tells no times.
        percents = None if is_mig_instance else self._percents(uuid, handle, memory)
        problem = self._owners.problem()
        uses = []
        try:
            for pid, used_bytes in memory.items() if problem is None else ():
                owner = self._owners.owner_of(pid)
                if owner is not None:
                    percent = None if percents is None else percents[pid]
                    uses.append(
                        ProcessUse(
                            owner=owner, memory_used_bytes=used_bytes, duty_cycle_percent=percent
                        )
                    )
        except OwnerUnknownError as error:
            problem = str(error)
        self._report(uuid, problem)
        return None if problem is not None else tuple(uses)

    def _memory(self, uuid: str, handle: Any) -> dict[int, int | None] | None:
        """The bytes by PID; a process that computes and draws is listed twice with the same."""
        memory: dict[int, int | None] = {}
        for function in _LISTS:
            found = self._ask(uuid, function, handle)
            if found is None and function == _LISTS[0]:
                return None
            for process in found or ():
                memory[process.pid] = process.usedGpuMemory
        return memory

    def _percents(
        self, uuid: str, handle: Any, pids: Collection[int]
    ) -> dict[int, float | None] | None:
        cursor = self._cursors_microseconds.get(uuid, 0)
        samples = self._ask(
            uuid, "nvmlDeviceGetProcessUtilization", handle, cursor, nothing=_NO_SAMPLES
        )
        if samples is None:
            return None
        newest: dict[int, tuple[int, int]] = {}
        for sample in samples:
            # The buffer has leftovers of ended processes and of none (0).
            if sample.timeStamp > cursor and sample.smUtil <= 100:
                at_and_percent = (sample.timeStamp, sample.smUtil)
                newest[sample.pid] = max(newest.get(sample.pid, (0, 0)), at_and_percent)
        self._cursors_microseconds[uuid] = max((at for at, _ in newest.values()), default=cursor)
        now = time.monotonic()
        before = self._windows.get(uuid, {})
        windows = {pid: before.get(pid) or DutyCycleWindow(self._window_seconds) for pid in pids}
        self._windows[uuid] = windows
        for pid, window in windows.items():
            # The driver leaves out those that did nothing.
            window.add([(now, float(newest[pid][1] if pid in newest else 0))])
        return {pid: window.mean_percent() for pid, window in windows.items()}

    def _ask(
        self, uuid: str, function: str, *arguments: Any, nothing: frozenset[str] = frozenset()
    ) -> Any:
        if (uuid, function) in self._without:
            return None
        try:
            return self._calls.call(function, *arguments, expected=nothing)
        except NvmlError as error:
            raise_if_gone(error)
            if error.code in nothing:
                return ()
            if error.code in ABSENT:
                self._without.add((uuid, function))
            return None

    def _report(self, uuid: str, problem: str | None) -> None:
        """Say once why processes cannot be told apart, and when they can again on all devices."""
        if problem is not None:
            if not self._untold:
                log.warning("containers' own parts of the GPUs are unknown", extra={"why": problem})
            self._untold.add(uuid)
        elif uuid in self._untold:
            self._untold.discard(uuid)
            if not self._untold:
                log.info("containers' own parts of the GPUs are known again")
