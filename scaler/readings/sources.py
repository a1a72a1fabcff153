# SPDX-License-Identifier: Apache-2.0
"""The sources of values as set on the command line, with one store for all consumers."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from scaler.readings.devices import DUTY_CYCLE
from scaler.readings.exporters.gpus import ExporterGpus
from scaler.readings.exporters.reader import Scraper
from scaler.readings.exporters.source import ExporterSource
from scaler.readings.gpus import node_gpus, samples_by_node
from scaler.readings.gpus_and_queries import GpusAndQueries
from scaler.readings.loop_source import LoopSource
from scaler.readings.prometheus.gpus import FamilyPage, PrometheusGpus
from scaler.readings.prometheus.node_gpus import PrometheusNodeGpus
from scaler.readings.prometheus.source import PrometheusSource
from scaler.readings.servers.client import ServerClient
from scaler.readings.servers.pod_pages import PodPages
from scaler.readings.servers.reader import ServerPage, ServerReader
from scaler.readings.servers.source import ServersSource
from scaler.readings.settings import ServersSettings
from scaler.readings.store import ReadingStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AsyncExitStack

    from scaler.model import ExporterEndpoint
    from scaler.readings.exposition import NodePage
    from scaler.readings.gpus import GpuSample
    from scaler.readings.servers.queues import PageQueues
    from scaler.readings.settings import ExportersSettings, PrometheusSettings
    from scaler.readings.source import Source

QUERIES_PATIENCE_SECONDS = 0.5
"""How long decisions on exporters' GPU values wait for answers to queries."""


class Sources:
    """Creates a view of the store for each consumer, with its own connections."""

    def __init__(
        self,
        *,
        exporters: ExportersSettings,
        scrape_timeout_seconds: float,
        prometheus: PrometheusSettings | None,
        gpus_from_prometheus: bool,
        servers: ServersSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`prometheus`, if given, always answers queries.

        `server_reads` counts the reads of model servers by result.
        """
        self._exporters = exporters
        self._scrape_timeout_seconds = scrape_timeout_seconds
        self._prometheus = prometheus
        self._gpus_from = prometheus if gpus_from_prometheus else None
        self._servers = servers or ServersSettings()
        self._clock = clock
        self._nodes: ReadingStore[NodePage] = ReadingStore(clock)
        self._families: ReadingStore[FamilyPage] = ReadingStore(clock)
        self._pods: ReadingStore[ServerPage] = ReadingStore(clock)
        self.server_reads = Counter[str]()

    @property
    def by_node(self) -> bool:
        """Whether GPU values are read node by node."""
        return self._gpus_from is None

    async def for_loop(
        self,
        stack: AsyncExitStack,
        *,
        interval_seconds: float,
        once: bool,
        queues: Callable[[ServerClient], PageQueues] | None = None,
    ) -> LoopSource:
        """Return the source that the loop reads every `interval_seconds`; the stack closes it.

        `queues` makes the reader of queues, which reads through the same connections.
        """
        client = ServerClient(self._servers, clock=self._clock)
        servers = ServersSource(
            self._pod_pages(client, interval_seconds),
            interval_seconds=interval_seconds,
            queues=None if queues is None else queues(client),
            # With `once`, no later loop could use the answers.
            wait_seconds=self._servers.timeout_seconds + 1 if once else None,
            clock=self._clock,
        )
        others = await self._gpus_and_queries(stack, interval_seconds, once=once)
        return LoopSource(others, await stack.enter_async_context(servers))

    async def _gpus_and_queries(
        self, stack: AsyncExitStack, interval_seconds: float, *, once: bool
    ) -> Source:
        queries = None
        if self._prometheus is not None:
            queries = await stack.enter_async_context(PrometheusSource(self._prometheus))
            if self._gpus_from is not None:
                return queries
        exporters = await stack.enter_async_context(
            ExporterSource(
                store=self._nodes,
                settings=self._exporters,
                timeout_seconds=self._scrape_timeout_seconds,
                interval_seconds=interval_seconds,
                clock=self._clock,
            )
        )
        if self._prometheus is None or queries is None:
            return exporters
        # With `once`, no later loop could use the answers.
        patience = self._prometheus.timeout_seconds + 1 if once else QUERIES_PATIENCE_SECONDS
        return await stack.enter_async_context(
            GpusAndQueries(exporters, queries, patience_seconds=patience)
        )

    def known_gpus(self) -> Iterator[Sequence[GpuSample]]:
        """Yield the duty cycles in memory, one node at a time; never reads."""
        for node, page in self._nodes.pages():
            if page.stale_problem(self._clock()) is None:
                yield node_gpus(page, node, (DUTY_CYCLE,)).get(DUTY_CYCLE, ())
        for family, answer in self._families.pages():
            if family == DUTY_CYCLE:
                yield from samples_by_node(answer.samples)

    def servers(self, *, every_seconds: float) -> PodPages:
        """Return the pages, not yet open, for a consumer that needs them every `every_seconds`."""
        return self._pod_pages(ServerClient(self._servers, clock=self._clock), every_seconds)

    def _pod_pages(self, client: ServerClient, every_seconds: float) -> PodPages:
        reader = ServerReader(client, self.server_reads, clock=self._clock)
        return PodPages(
            client, reader, self._pods, interval_seconds=every_seconds, clock=self._clock
        )

    def gpus(
        self, endpoints: Callable[[], Mapping[str, ExporterEndpoint]], *, every_seconds: float
    ) -> PrometheusGpus | ExporterGpus:
        """Return the source, not yet open, for a consumer that reads GPUs every `every_seconds`."""
        if self._gpus_from is not None:
            queries = PrometheusSource(self._gpus_from)
            return PrometheusGpus(
                self._families, queries, every_seconds=every_seconds, clock=self._clock
            )
        return self._exporter_gpus(endpoints, every_seconds)

    def node_gpus(
        self, endpoints: Callable[[], Mapping[str, ExporterEndpoint]], *, every_seconds: float
    ) -> PrometheusNodeGpus | ExporterGpus:
        """Return the source, not yet open, for a consumer that reads few nodes of many."""
        if self._gpus_from is not None:
            return PrometheusNodeGpus(PrometheusSource(self._gpus_from), clock=self._clock)
        return self._exporter_gpus(endpoints, every_seconds)

    def _exporter_gpus(
        self, endpoints: Callable[[], Mapping[str, ExporterEndpoint]], every_seconds: float
    ) -> ExporterGpus:
        scraper = Scraper(settings=self._exporters, timeout_seconds=self._scrape_timeout_seconds)
        return ExporterGpus(
            self._nodes, scraper, endpoints, every_seconds=every_seconds, clock=self._clock
        )
