# SPDX-License-Identifier: Apache-2.0
"""An event loop in which waiting takes no time: hours of timers run in moments, always alike."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class _PassingTime(selectors.SelectSelector):
    """Lets the time pass instead of waiting for it; nothing is ever ready but timers."""

    now_seconds = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            msg = "every task waits for something that cannot happen"
            raise RuntimeError(msg)
        self.now_seconds += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Starts at 0 seconds; only for code without sockets and processes.

    What is given to a thread runs at once instead: no time passes for it.
    """

    def __init__(self) -> None:
        self._passing = _PassingTime()
        super().__init__(self._passing)

    def time(self) -> float:
        return self._passing.now_seconds

    def run_in_executor(
        self, _: object, func: Callable[..., T], *args: object
    ) -> asyncio.Future[T]:
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  (whoever waits for it gets it)
            done.set_exception(error)
        return done

    def freeze(self, seconds: float) -> None:
        """Let time pass in which nothing runs, as for a process that is not scheduled."""
        self._passing.now_seconds += seconds

    def pass_time(self, seconds: float) -> None:
        """Run what is due in the next `seconds`."""
        self.run_until_complete(asyncio.sleep(seconds))

    def end(self) -> None:
        """Cancel every task and close."""
        tasks = asyncio.all_tasks(self)
        for task in tasks:
            task.cancel()
        self.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.close()
