# SPDX-License-Identifier: Apache-2.0
"""Xid errors: a thread that waits for NVML's events and counts them.

Waiting blocks, so it happens in a thread of its own that neither the sampling nor the end of the
process waits for. An event set that fails (a GPU fell off the bus, the driver went away) is
recreated from the GPUs that still answer.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from exporter.exposition import families
from exporter.nvml.calls import ABSENT, Calls, NvmlError
from exporter.nvml.failing_calls import MAX_LOGGED
from toolkit.log_once import LogOnce

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType

    from exporter.model import Sample
    from exporter.nvml.failing_calls import FailingCalls
    from exporter.nvml.gpu import Gpu

log = logging.getLogger(__name__)

# How long one call waits for an event, and so how long closing takes at most.
WAIT_MILLISECONDS: Final = 250
# A storm is taken from the driver's queue at this pace at most, so that it leaves CPU to the rest.
_PAUSE_SECONDS: Final = 0.001
_RETRY_SECONDS: Final = 1.0
_REGISTER_AGAIN_SECONDS: Final = 60.0
# How long the first readings wait for the counters' zeros; registering takes well under 1 ms a GPU.
_FIRST_WAIT_SECONDS: Final = 0.25
_LOG_EVERY_SECONDS: Final = 60.0

# Those that NVIDIA's Xid catalogue answers with more than "look at the application's log". They are
# published from 0 on, so that increase() sees the first one.
ZERO_XIDS: Final = (48, 62, 63, 64, 74, 79, 92, 94, 95, 119, 120, 140)
# NVIDIA's catalogue has none near the end; a driver may fill in what is none.
_XIDS: Final = range(1, 10_000)
MAX_KINDS: Final = 32
OTHER: Final = "other"


class _Tally:
    """The Xids of one GPU."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {str(xid): 0 for xid in ZERO_XIDS}
        self.last_unix_seconds: float | None = None
        self.logged_seconds: dict[str, float] = {}

    def add(self, xid: int) -> str:
        kind = str(xid) if xid in _XIDS else OTHER
        if kind not in self.counts and len(self.counts) >= MAX_KINDS:
            kind = OTHER
        # A new dict entry while another thread copies the dict would be an error there.
        self.counts = self.counts | {kind: self.counts.get(kind, 0) + 1}
        self.last_unix_seconds = time.time()
        return kind


class XidErrors:
    """Counts Xid errors by GPU, over all NVML sessions of this process.

    `watch`, `samples` and `close` belong to the thread that owns the session.
    """

    def __init__(
        self,
        binding: ModuleType,
        on_error: Callable[[NvmlError], None],
        failing: FailingCalls,
    ) -> None:
        self._binding = binding
        self._on_error = on_error
        self._failing = failing
        self._unwatched = LogOnce(limit=MAX_LOGGED)
        self._tallies: dict[str, _Tally] = {}
        self._watcher: _Watcher | None = None
        self._hanging: list[_Watcher] = []

    def watch(self, gpus: Mapping[str, Gpu]) -> None:
        """Take events of these GPUs (by UUID) from now on."""
        if self._watcher is None:
            calls = Calls(self._binding, self._on_error)
            self._watcher = _Watcher(calls, self._count, self._failing, self._unwatched)
        self._watcher.watch({uuid: gpu.handle for uuid, gpu in gpus.items()})

    def samples(self, uuid: str) -> Iterator[Sample]:
        """Yield what was counted; nothing for a GPU that reports no Xids."""
        tally = self._tallies.get(uuid)
        if tally is None:
            if self._watcher is None or uuid not in self._watcher.registered:
                return
            tally = self._tallies.setdefault(uuid, _Tally())
        for kind, count in tally.counts.items():
            yield families.XID_ERRORS.sample(count, kind)
        if tally.last_unix_seconds is not None:
            yield families.XID_LAST.sample(tally.last_unix_seconds)

    def close(self) -> bool:
        """End the thread; False while any hangs in a call, so that NVML must not be shut down."""
        watcher, self._watcher = self._watcher, None
        ending = [*self._hanging, watcher] if watcher else self._hanging
        self._hanging = [one for one in ending if not one.end()]
        return not self._hanging

    def _count(self, uuid: str, xid: int) -> None:
        tally = self._tallies.setdefault(uuid, _Tally())
        kind = tally.add(xid)
        now = time.monotonic()
        if now - tally.logged_seconds.get(kind, float("-inf")) >= _LOG_EVERY_SECONDS:
            tally.logged_seconds[kind] = now
            log.warning(
                "The driver reported an Xid error",
                extra={"uuid": uuid, "xid": xid, "since_start": tally.counts[kind]},
            )


class _Watcher:
    """The thread of one NVML session."""

    def __init__(
        self,
        calls: Calls,
        count: Callable[[str, int], None],
        failing: FailingCalls,
        unwatched: LogOnce,
    ) -> None:
        self._calls = calls
        self._count = count
        self._failing = failing
        self._stop = threading.Event()
        # A daemon: a call that never returns must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="xid", daemon=True)
        self._unsupported: set[str] = set()
        self._unwatched = unwatched
        self._gpus: dict[str, Any] = {}
        self._has_tried = threading.Event()
        self.registered: frozenset[str] = frozenset()

    def watch(self, gpus: dict[str, Any]) -> None:
        """Take events of these handles (by UUID) from now on."""
        if gpus != self._gpus:
            self._gpus = gpus
        if not self._thread.ident:
            self._thread.start()
            self._has_tried.wait(_FIRST_WAIT_SECONDS)

    def end(self) -> bool:
        """Ask the thread to end and wait for one call; returns whether it has ended."""
        self._stop.set()
        if self._thread.ident:
            self._thread.join(2 * WAIT_MILLISECONDS / 1000)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            event_set = self._calls_or_none("nvmlEventSetCreate")
            if event_set is not None:
                try:
                    self._wait(event_set)
                except NvmlError as error:
                    if error.code in ABSENT:
                        return  # this driver has no events at all
                except Exception:
                    log.exception("Waiting for Xid errors failed unexpectedly; trying again")
                finally:
                    self._calls_or_none("nvmlEventSetFree", event_set)
            self._stop.wait(_RETRY_SECONDS)

    def _wait(self, event_set: Any) -> None:
        """Take events until the end; raises NvmlError when the set has to be recreated."""
        uuids: dict[int | None, str] = {}
        known: dict[str, Any] = {}
        registered: dict[str, Any] = {}
        due_seconds = time.monotonic()
        while not self._stop.is_set():
            gpus = self._gpus
            if gpus is not known or time.monotonic() >= due_seconds:
                for uuid, handle in gpus.items():
                    if registered.get(uuid) is handle:
                        continue
                    if self._register(uuid, handle, event_set):
                        registered[uuid] = handle
                        uuids[_address(handle)] = uuid
                known = gpus
                due_seconds = time.monotonic() + _REGISTER_AGAIN_SECONDS
                self.registered = self.registered | frozenset(uuids.values())
                self._has_tried.set()
            if not uuids:
                self._stop.wait(_RETRY_SECONDS)
                continue
            try:
                event = self._calls.call(
                    "nvmlEventSetWait_v2",
                    event_set,
                    WAIT_MILLISECONDS,
                    expected=frozenset({"TIMEOUT"}),
                )
            except NvmlError as error:
                if error.code == "TIMEOUT":
                    self._failing.note("", error.function, None)
                    continue
                self._failing.note("", error.function, error)
                raise
            self._failing.note("", "nvmlEventSetWait_v2", None)
            source = uuids.get(_address(event.device))
            if source and event.eventType == self._calls.binding.nvmlEventTypeXidCriticalError:
                self._count(source, event.eventData)
            self._stop.wait(_PAUSE_SECONDS)

    def _register(self, uuid: str, handle: Any, event_set: Any) -> bool:
        if uuid in self._unsupported:
            return False
        kind = self._calls.binding.nvmlEventTypeXidCriticalError
        try:
            self._calls.call("nvmlDeviceRegisterEvents", handle, kind, event_set)
        except NvmlError as error:
            if error.code in ABSENT:
                self._unsupported.add(uuid)
            elif self._unwatched.begins(uuid):
                log.warning(
                    "Cannot watch a GPU for Xid errors",
                    extra={"uuid": uuid, "error": str(error)},
                )
            return False
        if self._unwatched.ends(uuid):
            log.info("Watching a GPU for Xid errors again", extra={"uuid": uuid})
        return True

    def _calls_or_none(self, function: str, *arguments: Any) -> Any:
        try:
            answer = self._calls.call(function, *arguments)
        except NvmlError as error:
            self._failing.note("", function, None if error.code in ABSENT else error)
            return None
        self._failing.note("", function, None)
        return answer


def _address(handle: Any) -> int | None:
    """Return what a handle points to: two pointers to one device are two Python objects."""
    return ctypes.cast(handle, ctypes.c_void_p).value
