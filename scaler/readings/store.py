# SPDX-License-Identifier: Apache-2.0
"""The last readings in memory, shared by all consumers.

Consumers state what they need, and one read fetches all of it. The consumer with the shortest
interval leads: it reads a node (or a query) each time, and the others use its result from memory.
Each consumer has its own limit of concurrent reads, so that none waits for another's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MAX_CONCURRENT_READS = 256
LATE_INTERVALS = 3
"""A page in memory is used for this many intervals of the leading consumer."""


class Page(Protocol):
    """The result of one read: a page of an exporter or a server, or the answer to a query."""

    @property
    def families(self) -> tuple[str, ...]:
        """The requested families, sorted."""

    @property
    def asked_seconds(self) -> float:
        """When the request was sent (monotonic)."""


PageT = TypeVar("PageT", bound=Page)


class Reader(Protocol[PageT]):
    """Reads one outside system."""

    async def fetch(self, key: str, families: tuple[str, ...], before: PageT | None) -> PageT:
        """Return the page of `key`; `before` is its previous page. Never raises."""


@dataclass(slots=True, eq=False)
class _Asking(Generic[PageT]):
    families: tuple[str, ...]
    waiting: list[asyncio.Future[PageT | None]] = field(default_factory=list)


class ReadingStore(Generic[PageT]):
    """The last page of each node or query that a consumer needs."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._demands: list[Demand[PageT]] = []
        self._pages: dict[str, PageT] = {}
        self._asking: dict[str, _Asking[PageT]] = {}

    def demand(self, reader: Reader[PageT], *, every_seconds: float) -> Demand[PageT]:
        """Return the demand of a new consumer, which needs nothing yet.

        The consumer reads through `reader`, which has its own connections.
        """
        demand = Demand(self, reader, every_seconds=every_seconds)
        self._demands.append(demand)
        # Among equal intervals, the first consumer leads.
        self._demands.sort(key=lambda one: one.every_seconds)
        return demand

    def _families(self, key: str) -> tuple[str, ...]:
        found = [one.wanted[key] for one in self._demands if key in one.wanted]
        return found[0] if len(found) == 1 else _joined(*found)

    async def ask(self, key: str, reader: Reader[PageT]) -> PageT:
        """Read now, for all who need it, whatever is in memory or in progress."""
        asking = self._asking[key] = _Asking[PageT](self._families(key))
        page = None
        try:
            page = await reader.fetch(key, asking.families, self._pages.get(key))
            before = self._pages.get(key)
            is_newer = before is None or before.asked_seconds <= page.asked_seconds
            if is_newer and self._leader(key) is not None:
                self._pages[key] = page
        finally:
            if self._asking.get(key) is asking:
                del self._asking[key]
            for one in asking.waiting:
                if not one.done():
                    one.set_result(page)
        return page

    async def page(self, key: str, demand: Demand[PageT]) -> PageT:
        """Return the page for `demand`: from memory if another consumer leads, else read now."""
        wanted, leader = demand.wanted.get(key, ()), self._leader(key)
        page = self._pages.get(key)
        if page is not None and leader is not None and leader is not demand:
            latest = page.asked_seconds + LATE_INTERVALS * leader.every_seconds
            if self._clock() <= latest and _covers(page.families, wanted):
                return page
        asking = self._asking.get(key)
        if asking is not None and _covers(asking.families, wanted):
            answered: asyncio.Future[PageT | None] = asyncio.get_running_loop().create_future()
            asking.waiting.append(answered)
            page = await answered
            # None if that read was cancelled.
            if page is not None:
                return page
        return await self.ask(key, demand.reader)

    def latest(self, key: str) -> PageT | None:
        """Return the last page, None if there is none; never waits."""
        return self._pages.get(key)

    def pages(self) -> Sequence[tuple[str, PageT]]:
        """Return the last page of each node or query."""
        return tuple(self._pages.items())

    def forget_unwanted(self) -> None:
        """Drop the pages that nobody needs any more."""
        wanted = {key for one in self._demands for key in one.wanted}
        for key in self._pages.keys() - wanted:
            del self._pages[key]

    def _leader(self, key: str) -> Demand[PageT] | None:
        return next((one for one in self._demands if key in one.wanted), None)


class Demand(Generic[PageT]):
    """What one consumer needs: families by node, or by query."""

    def __init__(
        self, store: ReadingStore[PageT], reader: Reader[PageT], *, every_seconds: float
    ) -> None:
        """Use `ReadingStore.demand`."""
        self._store = store
        self.reader = reader
        self.every_seconds = every_seconds
        self.places = asyncio.Semaphore(MAX_CONCURRENT_READS)
        self.wanted: Mapping[str, tuple[str, ...]] = {}

    def state(self, wanted: Mapping[str, tuple[str, ...]]) -> None:
        """Replace the demand with these sorted families."""
        self.wanted = wanted
        self._store.forget_unwanted()

    def add(self, wanted: Mapping[str, tuple[str, ...]]) -> None:
        """Add these to the demand."""
        self.wanted = {**self.wanted} | {
            key: _joined(self.wanted.get(key, ()), families) for key, families in wanted.items()
        }

    async def ask(self, key: str) -> PageT:
        """Read now, for all who need it, whatever is in memory or in progress."""
        return await self._store.ask(key, self.reader)

    def latest(self, key: str) -> PageT | None:
        """Return the last page, None if there is none; never waits."""
        return self._store.latest(key)

    async def page(self, key: str) -> PageT:
        """Return the page of `key`: from memory if another consumer reads it, else read now."""
        async with self.places:
            return await self._store.page(key, self)


@lru_cache(maxsize=1024)
def _joined(*some: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({family for families in some for family in families}))


@lru_cache(maxsize=1024)
def _covers(families: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    return set(families) >= set(wanted)
