# SPDX-License-Identifier: Apache-2.0
"""The bounded history of changes of one resource: what a watch is served from."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from simulator.apiserver.status import expired

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One write; `previous` is None for ADDED, `thing` the last state for DELETED."""

    revision: int
    type: str
    thing: Object
    previous: Object | None


class ChangeLog:
    """Changes in order of revision; forgets the older half when it grows past its limit."""

    def __init__(self, *, limit: int, start_revision: int) -> None:
        self._limit = limit
        self._changes: list[Change] = []
        self._forgotten_revision = start_revision
        self._waiting: set[asyncio.Event] = set()

    def append(self, change: Change) -> None:
        """Add the newest change and wake everybody who waits for one."""
        self._changes.append(change)
        if len(self._changes) > self._limit:
            self._forget(len(self._changes) // 2)
        for event in self._waiting:
            event.set()

    def since(self, revision: int) -> list[Change]:
        """Return the changes after `revision`; raises the 410 StatusError if some are forgotten."""
        if revision < self._forgotten_revision:
            raise expired(f"too old resource version: {revision} ({self._forgotten_revision})")
        return self._changes[bisect_right(self._changes, revision, key=attrgetter("revision")) :]

    def compact(self, revision: int) -> None:
        """Forget everything: a watch from a revision before `revision` is too old from now on."""
        self._changes.clear()
        self._forgotten_revision = revision

    def subscribe(self) -> asyncio.Event:
        """Return an event that each change sets; give it back with `unsubscribe`."""
        event = asyncio.Event()
        self._waiting.add(event)
        return event

    def unsubscribe(self, event: asyncio.Event) -> None:
        """Stop setting the event."""
        self._waiting.discard(event)

    def _forget(self, count: int) -> None:
        self._forgotten_revision = self._changes[count - 1].revision
        del self._changes[:count]
