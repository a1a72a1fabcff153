# SPDX-License-Identifier: Apache-2.0
"""Logs a lasting condition twice only: when it begins and when it ends."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import logging
    from collections.abc import Collection, Hashable

AGAIN_SECONDS: Final = 60.0
"""A condition that comes and goes gets its two lines at most this often."""


class LogOnce:
    """Remembers which conditions were logged; at most `limit` at a time."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._active: set[Hashable] = set()
        self._logged_seconds: dict[Hashable, float] = {}

    @property
    def has_active(self) -> bool:
        """Whether any logged condition has not ended."""
        return bool(self._active)

    def begins(self, condition: Hashable) -> bool:
        """Return whether to log that the condition began; ask again for as long as it lasts."""
        if condition in self._active or len(self._active) >= self._limit:
            return False
        now = monotonic()
        recent = {one: at for one, at in self._logged_seconds.items() if now - at < AGAIN_SECONDS}
        self._logged_seconds = recent
        if condition in recent:
            return False
        recent[condition] = now
        self._active.add(condition)
        return True

    def ends(self, condition: Hashable) -> bool:
        """Return whether to log that the condition ended, because its beginning was logged."""
        if condition not in self._active:
            return False
        self._active.remove(condition)
        return True

    def end_all(self) -> None:
        """Note that all conditions have ended."""
        self._active.clear()


class OutageLog:
    """Logs when attempts begin to fail, and when none of the parties to it fails any more."""

    def __init__(self, log: logging.Logger, failure: str, recovery: str | None = None) -> None:
        """Without `recovery`, the end of an outage is not logged."""
        self._log = log
        self._failure = failure
        self._recovery = recovery
        self._failing: set[Hashable] = set()
        self._logged = LogOnce(limit=1)

    def failed(
        self,
        error: object,
        *,
        party: Hashable = "",
        caught: Exception | None = None,
        **details: object,
    ) -> None:
        """Note a failure; `caught` is one that nobody expected, whose traceback is logged."""
        self._failing.add(party)
        if self._logged.begins(""):
            extra = {**details, "error": str(error)}
            self._log.warning(self._failure, extra=extra, exc_info=caught)

    def worked(self, *, party: Hashable = "") -> None:
        """Note a success."""
        self._failing.discard(party)
        if not self._failing and self._logged.ends("") and self._recovery is not None:
            self._log.info(self._recovery)

    def keep(self, parties: Collection[Hashable]) -> None:
        """Forget all other parties."""
        self._failing.intersection_update(parties)
