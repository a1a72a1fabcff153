# SPDX-License-Identifier: Apache-2.0
"""Reads queues' pages on a schedule of its own, and answers the loop from memory."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from scaler.budgets import QUEUES
from scaler.model import Metric, MetricReading, PodValue
from scaler.readings.exposition import stale_after_seconds
from scaler.readings.servers.queue_pages import PageMemory, QueuePage, QueuePageReader
from scaler.readings.servers.schedule import Polls

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scaler.kube.service_endpoints import ServiceEndpoints
    from scaler.model import ObjectRef, Queue
    from scaler.readings.servers.client import ServerClient
    from scaler.readings.servers.queue_pages import Terms
    from scaler.readings.source import ReadingRequest

PLACES = 16
NOT_READ_YET = "the queue was not read yet"


class PageQueues:
    """Reads each wanted page once per interval, just before `totals`, while `run` runs."""

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
        self._stale_seconds = stale_after_seconds(interval_seconds)
        self._clock = clock
        self._wanted: Mapping[QueuePage, frozenset[Terms]] = {}
        self._memories: dict[QueuePage, PageMemory] = {}
        self._pages: Mapping[str, QueuePage] = {}
        self._polls = Polls(
            self._ask,
            interval_seconds=interval_seconds,
            quick_places=PLACES,
            slow_places=PLACES,
            clock=clock,
        )

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
        await self._polls.wait_for_all()

    async def run(self) -> None:
        """Read queues until cancelled; owns the requests."""
        await self._polls.run()

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
            if counts[page.namespace] >= QUEUES:
                refused[request.deployment] = (
                    f"namespace {page.namespace} has more than {QUEUES} different queues, and"
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
        self._polls.want({name: page.namespace for name, page in self._pages.items()})
        return refused

    async def _ask(self, name: str) -> bool:
        page = self._pages.get(name)
        if page is None:
            return False
        memory = self._memories.setdefault(page, PageMemory())
        await self._reader.read(page, self._wanted[page], memory)
        return all(one.value_milli is not None for one in memory.totals.values())

    def _reading(self, request: ReadingRequest, now: float, refused: str | None) -> MetricReading:
        assert request.queue is not None
        memory = self._memories.get(_page(request.deployment.namespace, request.queue))
        total = None if memory is None else memory.totals.get(request.queue.terms)
        values: dict[ObjectRef, PodValue] = {}
        missing: dict[ObjectRef, str] = {}
        if refused is not None:
            problem: str | None = refused
        elif total is None:
            problem = NOT_READ_YET
        elif now - total.sampled_seconds > self._stale_seconds:
            problem = f"the queue was last read {now - total.sampled_seconds:.0f} s ago, too long"
        else:
            problem = total.problem
            if total.value_milli is not None:
                if problem is not None:
                    missing[request.deployment], problem = problem, None
                values[request.deployment] = PodValue(
                    value_milli=total.value_milli, sampled_seconds=total.sampled_seconds
                )
        return MetricReading(metric=Metric.QUEUE, values=values, missing=missing, problem=problem)


def _page(namespace: str, queue: Queue) -> QueuePage:
    return QueuePage(namespace, queue.service, queue.port, queue.path)
