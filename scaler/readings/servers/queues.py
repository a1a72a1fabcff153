"""Reads queues' pages on a schedule of its own, and answers the loop from memory."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING

from scaler.model import Metric, MetricReading, PodValue
from scaler.readings.exposition import stale_after_seconds
from scaler.readings.servers.lanes import Lane
from scaler.readings.servers.queue_pages import PageMemory, QueuePage, QueuePageReader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scaler.kube.service_endpoints import ServiceEndpoints
    from scaler.model import ObjectRef, Queue
    from scaler.readings.servers.client import ServerClient
    from scaler.readings.servers.queue_pages import Terms
    from scaler.readings.source import ReadingRequest

MAX_QUEUES = 64
"""Different queues of one namespace: pages, and sums of one page."""
PLACES = 16
QUICK_SECONDS = 0.25
LEAD_FACTOR = 1.25
LEAD_SECONDS = 0.05
"""How much longer than the last reading the next one may take."""
NOT_READ_YET = "the queue was not read yet"


class PageQueues:
    """Reads each wanted page once per interval while `run` runs; never twice at the same time.

    Pages that were read quickly are read just before the next `totals`, so that it sees fresh
    values. Those that failed, were slow or are new have places of their own.
    """

    def __init__(
        self,
        client: ServerClient,
        services: ServiceEndpoints,
        *,
        interval_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`interval_seconds` is how often `totals` is called."""
        self._services = services
        self._reader = QueuePageReader(client, services, clock)
        self._interval_seconds = interval_seconds
        self._stale_seconds = stale_after_seconds(interval_seconds)
        self._clock = clock
        self._wanted: Mapping[QueuePage, frozenset[Terms]] = {}
        self._memories: dict[QueuePage, PageMemory] = {}
        self._lanes = {True: Lane(PLACES), False: Lane(PLACES)}
        self._pages: dict[str, QueuePage] = {}
        self._quick: set[QueuePage] = set()
        self._in_flight: set[QueuePage] = set()
        self._changed = asyncio.Event()
        self._answered = asyncio.Event()
        self._poll_at_seconds = math.inf
        self._took_seconds = QUICK_SECONDS
        self._polling_seconds = 0.0

    def totals(self, requests: Sequence[ReadingRequest]) -> Mapping[ObjectRef, MetricReading]:
        """Return the reading of each Deployment with a queue, from memory.

        The queues of these requests are read from now on, and all others are forgotten.
        """
        refused = self._want(requests)
        now = self._clock()
        return {
            one.deployment: self._reading(one, now, refused.get(one.deployment))
            for one in requests
            if one.queue is not None
        }

    async def wait_for_all(self) -> None:
        """Wait until each wanted queue has been read; `run` must be running."""
        while any(
            page not in self._memories or not terms <= self._memories[page].totals.keys()
            for page, terms in self._wanted.items()
        ):
            self._answered.clear()
            await self._answered.wait()

    async def run(self) -> None:
        """Read queues until cancelled; owns the requests."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                now = self._clock()
                if now >= self._poll_at_seconds:
                    self._begin_poll()
                self._start(group)
                wait = self._poll_at_seconds - now
                with suppress(TimeoutError):
                    async with asyncio.timeout(None if math.isinf(wait) else wait):
                        await self._changed.wait()

    def _want(self, requests: Sequence[ReadingRequest]) -> Mapping[ObjectRef, str]:
        """Name what is read from now on; return why some Deployments' queues are not."""
        wanted: defaultdict[QueuePage, set[Terms]] = defaultdict(set)
        counts: Counter[str] = Counter()
        refused: dict[ObjectRef, str] = {}
        for request in requests:
            if request.queue is None:
                continue
            page = _page(request.deployment.namespace, request.queue)
            if request.queue.terms in wanted.get(page, ()):
                continue
            if counts[page.namespace] >= MAX_QUEUES:
                refused[request.deployment] = (
                    f"namespace {page.namespace} has more than {MAX_QUEUES} different queues, and"
                    " this one is not read"
                )
                continue
            counts[page.namespace] += 1
            wanted[page].add(request.queue.terms)
        self._wanted = {page: frozenset(terms) for page, terms in wanted.items()}
        self._pages = {"/".join(page): page for page in self._wanted}
        self._services.keep_only({(page.namespace, page.service) for page in self._wanted})
        for page in self._memories.keys() - self._wanted.keys():
            del self._memories[page]
        self._quick &= self._wanted.keys()
        for lane in self._lanes.values():
            lane.keep_only(self._pages)
        if self._poll_at_seconds < math.inf:
            # This call came before the poll for it.
            self._begin_poll()
        self._put(self._wanted.keys() - self._quick, is_quick=False)
        lead = min(self._interval_seconds, LEAD_FACTOR * self._took_seconds + LEAD_SECONDS)
        self._poll_at_seconds = self._clock() + self._interval_seconds - lead
        self._changed.set()
        return refused

    def _begin_poll(self) -> None:
        self._poll_at_seconds = math.inf
        self._took_seconds = self._polling_seconds or QUICK_SECONDS
        self._polling_seconds = 0.0
        self._put(self._quick)

    def _put(self, pages: set[QueuePage], *, is_quick: bool = True) -> None:
        for page in pages - self._in_flight:
            self._lanes[is_quick].put(page.namespace, "/".join(page))

    def _start(self, group: asyncio.TaskGroup) -> None:
        for is_quick, lane in self._lanes.items():
            while (next_one := lane.take()) is not None:
                namespace, name = next_one
                page = self._pages[name]
                if page in self._in_flight:
                    lane.leave(namespace)
                    continue
                self._in_flight.add(page)
                group.create_task(self._read(page, lane, is_quick=is_quick))

    async def _read(self, page: QueuePage, lane: Lane, *, is_quick: bool) -> None:
        began, memory = self._clock(), PageMemory()
        try:
            wanted = self._wanted.get(page)
            if wanted is not None:
                memory = self._memories.setdefault(page, memory)
                await self._reader.read(page, wanted, memory)
        finally:
            lane.leave(page.namespace)
            self._in_flight.discard(page)
            self._changed.set()
            self._answered.set()
        took = self._clock() - began
        is_good = took <= QUICK_SECONDS and not any(one.problem for one in memory.totals.values())
        if not is_good:
            self._quick.discard(page)
        elif page in self._wanted:
            self._quick.add(page)
            if is_quick:
                self._polling_seconds = max(self._polling_seconds, took)

    def _reading(self, request: ReadingRequest, now: float, refused: str | None) -> MetricReading:
        assert request.queue is not None
        memory = self._memories.get(_page(request.deployment.namespace, request.queue))
        total = None if memory is None else memory.totals.get(request.queue.terms)
        values: dict[ObjectRef, PodValue] = {}
        if refused is not None:
            problem: str | None = refused
        elif total is None:
            problem = NOT_READ_YET
        elif now - total.sampled_seconds > self._stale_seconds:
            problem = f"the queue was last read {now - total.sampled_seconds:.0f} s ago, too long"
        else:
            problem = total.problem
            if total.value_milli is not None:
                values[request.deployment] = PodValue(
                    value_milli=total.value_milli, sampled_seconds=total.sampled_seconds
                )
        return MetricReading(metric=Metric.QUEUE, values=values, problem=problem)


def _page(namespace: str, queue: Queue) -> QueuePage:
    return QueuePage(namespace, queue.service, queue.port, queue.path)
