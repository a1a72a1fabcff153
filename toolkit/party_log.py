# SPDX-License-Identifier: Apache-2.0
"""Rate limits log lines that outside parties can cause, in bytes per minute and party."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping

MINUTE_SECONDS: Final = 60.0
LINE_BYTES: Final = 100
"""Time, level and logger of a line."""


@dataclass(slots=True)
class _Minute:
    begun_seconds: float
    logged_bytes: int = 0
    left_out: int = 0


class PartyLog:
    """Logs lines about parties, which are namespaces; each has its own budget.

    A minute begins with a party's first line, which is always logged. Lines beyond the budget are
    counted, and one line reports their number when the minute ends.
    """

    def __init__(
        self,
        logger: logging.Logger,
        *,
        most_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._most_bytes = most_bytes
        self._clock = clock
        # The one that began first comes first.
        self._minutes: dict[str, _Minute] = {}

    def log(
        self,
        level: int,
        party: str,
        message: str,
        fields: Mapping[str, object],
        error: Exception | None = None,
    ) -> None:
        """Log a line about `party`, with the traceback of `error`, or count it."""
        if not self._logger.isEnabledFor(level):
            return
        self.log_omitted()
        minute = self._minutes.setdefault(party, _Minute(self._clock()))
        size = _size_bytes(message, fields, error)
        if minute.logged_bytes and minute.logged_bytes + size > self._most_bytes:
            minute.left_out += 1
            return
        minute.logged_bytes += size
        self._logger.log(level, message, extra=dict(fields), exc_info=error)

    def log_omitted(self) -> None:
        """Log the number of omitted lines for each minute that has ended; call it regularly."""
        now = self._clock()
        # Every line comes by here: look at the minutes that have ended and at one more.
        ended = takewhile(
            lambda one: now - one[1].begun_seconds >= MINUTE_SECONDS, self._minutes.items()
        )
        for party, minute in list(ended):
            del self._minutes[party]
            if minute.left_out:
                self._logger.warning(
                    "Further lines were left out of the log; status and events have all of them",
                    extra={"namespace": party, "left_out": minute.left_out},
                )


def _size_bytes(message: str, fields: Mapping[str, object], error: Exception | None) -> int:
    """Return the approximate length of the line."""
    texts = [message, *(f" {name}={value}" for name, value in fields.items() if value is not None)]
    if error is not None:
        texts += traceback.format_exception(error)
    return LINE_BYTES + sum(len(text.encode(errors="replace")) for text in texts)
