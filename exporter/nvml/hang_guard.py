# SPDX-License-Identifier: Apache-2.0
"""Reading one GPU after the other without waiting for ever for one of them.

A call that hangs in the driver cannot be cancelled. So GPUs are read in a thread that can be left
behind in its call: the GPUs that follow are read in another one. All that are well share one thread
and one change of threads per cycle, since a change takes longer than most calls.
"""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeVar

from exporter.nvml.calls import LeftBehind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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

    def read(
        self, work: Mapping[int, Callable[[], T]], *, ends: Callable[[Exception], bool]
    ) -> dict[int, T | Exception]:
        """Return what the work about the GPU of each index returned or raised.

        HangsError stands for a GPU whose reading does not end. What follows an error that `ends`
        the cycle is not done.
        """
        outcomes: dict[int, T | Exception] = {}
        todo: list[tuple[int, Callable[[], T]]] = []
        for index, one in work.items():
            left = self._left.get(index)
            if left is not None and left.is_alive():
                outcomes[index] = HangsError(self._calls.running_in(left))
            else:
                self._left.pop(index, None)
                todo.append((index, one))
        while todo:
            batch = _Batch([one for _, one in todo], ends)
            is_done = self._do(batch)
            outcomes |= zip((index for index, _ in todo), batch.outcomes, strict=False)
            if is_done or len(batch.outcomes) == len(todo):
                break
            index, _ = todo[len(batch.outcomes)]
            outcomes[index] = self._leave_behind(index)
            todo = todo[len(batch.outcomes) + 1 :]
        return {index: outcomes[index] for index in work if index in outcomes}

    def _do(self, batch: _Batch) -> bool:
        if self._reader is None:
            self._reader = _ReaderThread()
        self._reader.jobs.put(batch)
        return batch.wait()

    def _leave_behind(self, index: int) -> HangsError:
        reader = self._reader
        assert reader is not None
        call = self._calls.running_in(reader)
        self._calls.leave(reader)
        # Its last call may have returned just now: then it waits for work.
        reader.jobs.put(None)
        self._left[index] = reader
        self._reader = None
        return HangsError(call)

    def close(self) -> None:
        """End the thread, unless it hangs."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.jobs.put(None)
            reader.join()


class _Batch:
    """Work about GPUs that one thread does in its order and another one waits for.

    `outcomes` are those of the work that is done; they stay as they are once `wait` has returned.
    """

    def __init__(
        self, work: Sequence[Callable[[], Any]], ends: Callable[[Exception], bool]
    ) -> None:
        self._work = work
        self._ends = ends
        self._lock = threading.Lock()
        self._progress_seconds = time.monotonic()
        self._is_left = False
        self._finished: SimpleQueue[BaseException | None] = SimpleQueue()
        self.outcomes: list[Any] = []

    def run(self) -> None:
        """Do the work, until it is done or the one who waits has left."""
        for work in self._work:
            try:
                outcome = work()
            except LeftBehind:
                raise
            except Exception as error:  # noqa: BLE001  the one who waits is told
                outcome = error
            except BaseException as error:  # noqa: BLE001  and raises this
                self._finished.put(error)
                return
            if not self._took(outcome):
                return
            if isinstance(outcome, Exception) and self._ends(outcome):
                break
        self._finished.put(None)

    def _took(self, outcome: Any) -> bool:
        with self._lock:
            if self._is_left:
                return False
            self.outcomes.append(outcome)
            self._progress_seconds = time.monotonic()
            return True

    def wait(self) -> bool:
        """Return True when the work is done, False if the next of it takes too long."""
        timeout = HANGING_CALL_SECONDS
        while True:
            try:
                error = self._finished.get(timeout=timeout)
            except Empty:
                pass
            else:
                if error is not None:
                    raise error
                return True
            with self._lock:
                timeout = self._progress_seconds + HANGING_CALL_SECONDS - time.monotonic()
                if timeout <= 0:
                    self._is_left = True
                    return False


class _ReaderThread(threading.Thread):
    def __init__(self) -> None:
        # A daemon: a call that never returns must not keep the process from ending.
        super().__init__(name="nvml-gpus", daemon=True)
        self.jobs: SimpleQueue[_Batch | None] = SimpleQueue()
        self.start()

    def run(self) -> None:
        while (batch := self.jobs.get()) is not None:
            try:
                batch.run()
            except LeftBehind:
                return
