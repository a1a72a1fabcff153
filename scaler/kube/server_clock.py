# SPDX-License-Identifier: Apache-2.0
"""The wall clock of the API server, which the timestamps in its objects use.

The clock of this machine may be wrong by a day. A new pod would then seem to have served for a day,
and a generated certificate could become valid only tomorrow.
"""

from __future__ import annotations

import time
from collections import deque
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from statistics import median_low
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable


def http_date(text: str) -> float | None:
    """Return the Unix seconds of a date in an HTTP header, None if it is invalid.

    Source: https://www.rfc-editor.org/rfc/rfc9110#name-date-time-formats
    """
    try:
        when = parsedate_to_datetime(text)
        return when.replace(tzinfo=when.tzinfo or UTC).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


RECENT: Final = 9
"""A leader gets as many responses within 20 s, and a start within its first lists."""


class ServerClock:
    """The server's clock, by the dates of its responses; before the first, the local clock.

    Of the last few responses the median counts: one of several API servers, or a proxy, may have a
    wrong clock, and a single wrong date would make pods seem old and change a schedule's range.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._recent: deque[float] = deque(maxlen=RECENT)
        # A date has whole seconds, so this can be 1 s late: pods look younger, never older.
        self._ahead_seconds: float | None = None

    def note(self, date: str | None) -> None:
        """Use the `Date` header of a response that has just arrived."""
        unix_seconds = http_date(date or "")
        if unix_seconds is not None:
            self._recent.append(unix_seconds - self._clock())
            self._ahead_seconds = median_low(self._recent)

    def seconds(self) -> float:
        """Return the server's time now, in Unix seconds."""
        if self._ahead_seconds is None:
            return time.time()
        return self._clock() + self._ahead_seconds

    def now(self) -> datetime:
        """Return the server's time now, in UTC."""
        return datetime.fromtimestamp(self.seconds(), UTC)
