# SPDX-License-Identifier: Apache-2.0
"""The wall clock of the API server, which the timestamps in its objects use.

The clock of this machine may be wrong by a day. A new pod would then seem to have served for a day,
and a generated certificate could become valid only tomorrow.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

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


class ServerClock:
    """The server's clock, by the dates of its responses; before the first, the local clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # A date has whole seconds, so this can be 1 s late: pods look younger, never older.
        self._ahead_seconds: float | None = None

    def note(self, date: str | None) -> None:
        """Use the `Date` header of a response that has just arrived."""
        unix_seconds = http_date(date or "")
        if unix_seconds is not None:
            self._ahead_seconds = unix_seconds - self._clock()

    def seconds(self) -> float:
        """Return the server's time now, in Unix seconds."""
        if self._ahead_seconds is None:
            return time.time()
        return self._clock() + self._ahead_seconds

    def now(self) -> datetime:
        """Return the server's time now, in UTC."""
        return datetime.fromtimestamp(self.seconds(), UTC)
