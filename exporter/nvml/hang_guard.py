# SPDX-License-Identifier: Apache-2.0
"""Reading one GPU after the other without waiting for ever for one of them.

A call that hangs in the driver cannot be cancelled. So GPUs are read in a thread that can be left
behind in its call: the next GPU is read in another one.
"""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeVar

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


class Patience:
    """Belongs to the thread that owns the NVML session."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._reader: _ReaderThread | None = None
        self._left: dict[int, _ReaderThread] = {}

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

    def read(self, index: int, work: Callable[[], T]) -> T:
        """Return what `work` returns about the GPU at this index, which is read elsewhere.

        Raises HangsError while a call about it hangs, and whatever `work` raises.
        """
        left = self._left.get(index)
        if left is not None:
            if left.is_alive():
                raise HangsError(self._calls.running_in(left))
            del self._left[index]
        if self._reader is None:
            self._reader = _ReaderThread()
        reader = self._reader
        reader.jobs.put(work)
        try:
            value, error = reader.answers.get(timeout=HANGING_CALL_SECONDS)
        except Empty:
            call = self._calls.running_in(reader)
            self._calls.leave(reader)
            # Its last call may have returned just now: then it waits for work.
            reader.jobs.put(None)
            self._left[index] = reader
            self._reader = None
            raise HangsError(call) from None
        if error is not None:
            raise error
        return value  # type: ignore[no-any-return]  # of this very work

    def close(self) -> None:
        """End the thread, unless it hangs."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.jobs.put(None)
            reader.join()


class _ReaderThread(threading.Thread):
    def __init__(self) -> None:
        # A daemon: a call that never returns must not keep the process from ending.
        super().__init__(name="nvml-gpus", daemon=True)
        self.jobs: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self.answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self.start()

    def run(self) -> None:
        while (work := self.jobs.get()) is not None:
            try:
                answer: tuple[Any, BaseException | None] = (work(), None)
            except LeftBehind:
                return
            except BaseException as error:  # noqa: BLE001  the one who waits raises it
                answer = (None, error)
            self.answers.put(answer)
