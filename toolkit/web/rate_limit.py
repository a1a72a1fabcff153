# SPDX-License-Identifier: Apache-2.0
"""Pure: a rate limit for requests, as a token bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toolkit.web.model import RateLimit


class TokenBucket:
    """Holds at most `burst` tokens and gains one per interval; it starts full."""

    def __init__(self, limit: RateLimit) -> None:
        self.limit = limit
        self._tokens = float(limit.burst)
        self._filled_seconds: float | None = None

    def take(self, now_seconds: float) -> bool:
        """Take a token for a request at `now_seconds` (monotonic); return whether there was one."""
        if self._filled_seconds is not None:
            gained = (now_seconds - self._filled_seconds) / self.limit.interval_seconds
            self._tokens = min(self._tokens + gained, float(self.limit.burst))
        self._filled_seconds = now_seconds
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
