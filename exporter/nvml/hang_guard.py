# SPDX-License-Identifier: Apache-2.0
"""Reading one GPU after the other without waiting for ever for one of them.

A call that hangs in the driver cannot be cancelled. So GPUs are read in a thread that can be left
behind in its call: another one begins the cycle again without the GPU that hangs. One thread reads
them all, cycle after cycle, and the one that watches it sleeps meanwhile, since a change of threads
takes longer than most calls.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, TypeVar

from exporter.nvml.calls import LeftBehind

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.nvml.calls import Calls, RunningCall

T = TypeVar("T")

HANGING_CALL_SECONDS: Final = 5.0
"""A healthy call takes microseconds, the slowest (a GPU waking up) a few seconds."""


class HangsError(Exception):
    """A GPU was not read, because a call about it does not return."""

    def __init__(self, call: RunningCall | None) -> None:
        super().__init__("a call does not return" if call is None else call.duration())
        self.function = "" if call is None else call.function


class HangGuard:
    """Bounds how long one GPU is read; one thread at a time runs work under it."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._left: dict[int, threading.Thread] = {}
        # Those that were given up in this cycle, whose calls may have returned since.
        self._given_up: dict[int, HangsError] = {}
        self._lock = threading.Lock()
        # The thread that may read, which GPU it reads and since when.
        self._reader: threading.Thread | None = None
        self._gpu: tuple[int, float] | None = None

    @property
    def hangs(self) -> bool:
        """Whether any thread is still in a call that does not return; for any thread."""
        return any(reader.is_alive() for reader in tuple(self._left.values()))

    @property
    def hanging_call(self) -> RunningCall | None:
        """The call that takes longer than a healthy one, or whose GPU is given up; for any thread.

        It may have begun long after the GPU's reading.
        """
        call = self._calls.running
        if call is None:
            return None
        is_long = time.monotonic() - call.started_seconds >= HANGING_CALL_SECONDS
        return call if is_long or self.hangs else None

    def run(self, work: Callable[[], T]) -> T:
        """Return or raise what the work does, which reads GPUs, once or cycle after cycle.

        It is done in another thread, and begun again in a new one whenever a GPU takes too long.
        """
        self._given_up.clear()
        while True:
            outcome: Future[T] = Future()
            # A daemon: a call that never returns must not keep the process from ending.
            reader = threading.Thread(
                target=_do, args=(work, outcome), name="nvml-gpus", daemon=True
            )
            self._reader, self._gpu = reader, None
            reader.start()
            seconds = HANGING_CALL_SECONDS
            while seconds > 0:
                reader.join(seconds)
                if not reader.is_alive():
                    return outcome.result()
                seconds = self._remaining_seconds()

    def begin(self, index: int) -> None:
        """Note that the work goes on to this GPU; raises HangsError if that is not to be read."""
        if error := self._given_up.get(index):
            raise error
        if left := self._left.get(index):
            if left.is_alive():
                raise HangsError(self._calls.running_in(left))
            del self._left[index]
        self._go_on((index, time.monotonic()))

    def end_cycle(self) -> None:
        """Note that the work has done with all GPUs for now."""
        self._go_on(None)
        self._given_up.clear()

    def _go_on(self, gpu: tuple[int, float] | None) -> None:
        with self._lock:
            if self._reader is not threading.current_thread():
                raise LeftBehind
            self._gpu = gpu

    def _remaining_seconds(self) -> float:
        """Return how long to leave the thread alone; leaves it behind where that is over."""
        with self._lock:
            if self._gpu is None or self._reader is None:
                return HANGING_CALL_SECONDS
            index, began_seconds = self._gpu
            seconds = began_seconds + HANGING_CALL_SECONDS - time.monotonic()
            if seconds <= 0:
                self._given_up[index] = HangsError(self._calls.running_in(self._reader))
                self._left[index] = self._reader
                self._calls.leave(self._reader)
                self._reader = None
            return seconds


def _do(work: Callable[[], T], outcome: Future[T]) -> None:
    try:
        outcome.set_result(work())
    except LeftBehind:
        pass
    except BaseException as error:  # noqa: BLE001  the one who waits raises it
        outcome.set_exception(error)
