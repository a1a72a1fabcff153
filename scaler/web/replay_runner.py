# SPDX-License-Identifier: Apache-2.0
"""Runs replays for viewers, one at a time and beside the event loop."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

BUDGET_SECONDS = 5.0

_T = TypeVar("_T")


class ReplayBusyError(Exception):
    """Another viewer's replay is running."""


class ReplayRunner:
    """One thread at a time, because it takes the interpreter from the loop; others are refused."""

    def __init__(self, budget_seconds: float = BUDGET_SECONDS) -> None:
        self._budget_seconds = budget_seconds
        self._running: asyncio.Future[Any] | None = None

    async def run(self, work: Callable[[Callable[[], bool]], _T]) -> _T:
        """Return what `work` returns; it is given a function that says whether to stop.

        Raises:
            ReplayBusyError: another one is running.
            TimeoutError: it took longer than the budget.
        """
        if self._running is not None and not self._running.done():
            raise ReplayBusyError
        deadline = time.monotonic() + self._budget_seconds
        running = asyncio.ensure_future(
            asyncio.to_thread(work, lambda: time.monotonic() > deadline)
        )
        self._running = running
        # A caller that goes away does not end the thread.
        return await asyncio.shield(running)
