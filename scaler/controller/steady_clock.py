# SPDX-License-Identifier: Apache-2.0
"""The API server's clock for schedules, of which a jump counts only once it has lasted.

An API server that has just booted may answer with a wrong date until its clock is set, and one of
several may always do. A schedule changes replica counts at once, without any window.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

JUMP_SECONDS: Final = 30.0
"""More than dates of whole seconds, slow answers and drift between two readings make."""
LASTS_SECONDS: Final = 120.0
"""How long a jump must last, without an answer by the clock of before."""


class SteadyClock:
    """Reads `wall`, in Unix seconds; `clock` is monotonic."""

    def __init__(
        self, wall: Callable[[], float], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall = wall
        self._clock = clock
        self._ahead_seconds: float | None = None
        self._jump: tuple[float, float] | None = None
        """How far ahead the clock is since a jump, and since when."""
        self._told_seconds = float("-inf")

    def seconds(self) -> float:
        """Return the time; the first reading is taken as it is."""
        now = self._clock()
        ahead = self._wall() - now
        if self._ahead_seconds is None or abs(ahead - self._ahead_seconds) <= JUMP_SECONDS:
            self._ahead_seconds, self._jump = ahead, None
            return now + ahead
        if self._jump is None or abs(ahead - self._jump[0]) > JUMP_SECONDS:
            self._jump = ahead, now
            self._tell(now, ahead - self._ahead_seconds)
        elif now - self._jump[1] >= LASTS_SECONDS:
            self._ahead_seconds, self._jump = ahead, None
        return now + self._ahead_seconds

    def _tell(self, now: float, jump_seconds: float) -> None:
        if now - self._told_seconds < LASTS_SECONDS:
            return
        self._told_seconds = now
        log.warning(
            "The API server's clock has jumped; schedules follow it once that has lasted",
            extra={"jump_seconds": round(jump_seconds), "after_seconds": LASTS_SECONDS},
        )
