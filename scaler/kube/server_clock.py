"""The wall clock of the API server, by which the instants in its objects are written.

The clock of this machine may be wrong by a day. A pod that has just begun would then look as if it
had served for a day, and a certificate that is made here might be valid from tomorrow on.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def http_date(text: str) -> float | None:
    """Return the Unix seconds of a date in an HTTP header, None where it is none.

    Source: https://www.rfc-editor.org/rfc/rfc9110#name-date-time-formats
    """
    try:
        when = parsedate_to_datetime(text)
        return when.replace(tzinfo=when.tzinfo or UTC).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


class ServerClock:
    """Unix seconds as the server's answers date them; this machine's before the first answer."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # A date has whole seconds, so this is late by up to one: pods look younger, never older.
        self._ahead_seconds: float | None = None

    def note(self, date: str | None) -> None:
        """Take over the `Date` of an answer that has just come."""
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
