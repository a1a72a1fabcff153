# SPDX-License-Identifier: Apache-2.0
"""The loop's clock, which tells the scaling histories about time in which nobody looked."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from scaler.controller.history import ScalingHistories

LOOK_SECONDS = 5.0
"""How often a waiting loop looks at the clock: much more often than what counts as a gap."""


def suspended_seconds() -> float:
    """Return how long the machine has been suspended: the monotonic clock does not count it."""
    # Only Linux has this clock; elsewhere a suspension looks like a long loop.
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return 0.0 if boot is None else time.clock_gettime(boot) - time.monotonic()


class LoopClock:
    """A monotonic clock for loops that start every `interval_seconds`."""

    def __init__(
        self,
        histories: ScalingHistories,
        *,
        clock: Callable[[], float],
        suspended: Callable[[], float],
    ) -> None:
        self._histories = histories
        self._clock = clock
        self._suspended = suspended
        self._interval_seconds = 0.0
        self._is_watched = False

    def now(self) -> float:
        """Read the clock; where it jumped, the histories move along."""
        now = self._clock()
        self._histories.look(
            now, interval_seconds=self._interval_seconds, suspended_seconds=self._suspended()
        )
        return now

    def after_wait(self) -> float:
        """Read the clock after a wait of our own, which is no gap."""
        now = self._clock()
        if not self._is_watched:
            self._histories.waited(now)
        return now

    @asynccontextmanager
    async def watched(self, interval_seconds: float) -> AsyncIterator[None]:
        """Look at the clock while a loop waits for answers, so that its wait is no gap.

        A stopped process does not look either, which then is a gap.
        """
        self._interval_seconds = interval_seconds
        looking = asyncio.create_task(self._keep_looking())
        self._is_watched = True
        try:
            yield
        finally:
            self._is_watched = False
            looking.cancel()

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.now()
