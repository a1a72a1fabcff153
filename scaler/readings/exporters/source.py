# SPDX-License-Identifier: Apache-2.0
"""The source that reads the exporters directly: one hop from a GPU to a decision.

Only nodes with pods of the requesting Deployments are scraped, and only for the families that those
need (contract 4). A pod without a fresh value is missing, with the reason.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from scaler.budgets import INLINE_SAMPLES
from scaler.model import MetricReading, PodValue
from scaler.readings.exporters.reader import ExporterReader, Scraper
from scaler.readings.exposition import (
    NodePage,
    families_for,
    stale_after_seconds,
    values_by_pod,
)
from scaler.readings.http import OpensConnections, computed
from scaler.readings.pod_windows import PodAnswer, PodWindows
from scaler.readings.settings import ExportersSettings
from scaler.readings.source import NO_GPU_POD, ReadingRequest, SourceAnswer, readable
from scaler.readings.store import ReadingStore
from scaler.readings.unexpected import unexpected

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from scaler.model import ExporterEndpoint, Metric, ObjectRef, PodState


READ_SECONDS = 10.0
"""How long a loop starts new scrapes; the remaining exporters wait for the next loop."""


class _Node(NamedTuple):
    """A node's page with the values of its pods, or with the problem."""

    page: NodePage
    problem: str | None
    values: Mapping[Metric, Mapping[ObjectRef, PodValue | str]]


class ExporterSource(OpensConnections):
    """Reads exporters' pages; use as an async context manager, which owns the connections.

    The loop does not wait for other consumers: each `read` scrapes its nodes, within its own limit.
    """

    def __init__(
        self,
        *,
        store: ReadingStore[NodePage] | None = None,
        settings: ExportersSettings | None = None,
        timeout_seconds: float = 2.0,
        interval_seconds: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
        scraper: Scraper | None = None,
    ) -> None:
        """`interval_seconds` is how often `read` is called if exporters answer immediately."""
        scraper = scraper or Scraper(
            settings=settings or ExportersSettings(), timeout_seconds=timeout_seconds
        )
        super().__init__(scraper)
        self._endpoints: Mapping[str, ExporterEndpoint] = {}
        reader = ExporterReader(scraper, lambda: self._endpoints, clock=clock)
        self._demand = (store or ReadingStore(clock)).demand(reader, every_seconds=interval_seconds)
        self._clock = clock
        self._longest_read_seconds = READ_SECONDS + timeout_seconds
        self._windows = PodWindows(interval_seconds=interval_seconds)
        self._failing: set[str] = set()
        self._asked_seconds: dict[str, float] = {}

    @property
    def answers_queries(self) -> bool:
        """False: exporters do not support PromQL."""
        return False

    async def read(
        self, requests: Sequence[ReadingRequest], endpoints: Mapping[str, ExporterEndpoint]
    ) -> SourceAnswer:
        """Return each Deployment's reading of each metric that it asked for.

        `endpoints` maps node names to exporters. Never raises for a failing exporter: its pods are
        missing, with the reason.
        """
        wanted: defaultdict[str, set[Metric]] = defaultdict(set)
        for request in requests:
            for pod in readable(request.pods):
                wanted[pod.node_name or ""].update(request.metrics)
        self._endpoints = endpoints
        self._demand.state({node: families_for(metrics) for node, metrics in wanted.items()})
        nodes = await self._read_all(wanted)
        self._windows.begin_read()
        readings = {
            request.deployment: {
                metric: self._reading(request, metric, nodes) for metric in request.metrics
            }
            for request in requests
        }
        pages = [one.page for one in nodes.values()]
        # A slow exporter delays the whole loop.
        read_seconds = min(_duration_seconds(pages), self._longest_read_seconds)
        self._windows.end_read(requests, read_seconds=read_seconds)
        failed = sum(one.problem is not None for one in nodes.values())
        ages = [page.age_seconds for page in pages if page.age_seconds is not None]
        return SourceAnswer(
            readings=readings,
            succeeded=len(nodes) - failed,
            failed=failed,
            max_age_seconds=max(ages, default=None),
        )

    def forget(self) -> None:
        """Clear the demand and the windows, until the next `read`."""
        self._demand.state({})
        self._windows.end_read(())

    async def _read_all(self, wanted: Mapping[str, set[Metric]]) -> Mapping[str, _Node]:
        begun = asyncio.get_running_loop().time()
        end = begun + READ_SECONDS
        # Exporters that failed last time come last, so that they do not delay the others again. Of
        # the others, those that were not scraped last time come first.
        in_turn = sorted(
            wanted, key=lambda node: (node in self._failing, self._asked_seconds.get(node, 0.0))
        )
        async with asyncio.TaskGroup() as group:
            tasks = {
                node: group.create_task(self._node(node, wanted[node], end)) for node in in_turn
            }
        nodes = {node: task.result() for node, task in tasks.items()}
        self._failing = {
            node
            for node, one in nodes.items()
            if one.page.problem is not None
            and (node in self._failing or self._asked_seconds.get(node, 0.0) >= begun)
        }
        self._asked_seconds = {
            node: self._asked_seconds[node] for node in wanted if node in self._asked_seconds
        }
        return nodes

    async def _node(self, node: str, metrics: Collection[Metric], end: float) -> _Node:
        async with self._demand.places:
            now = asyncio.get_running_loop().time()
            if now > end:
                late = f"was not scraped: the others took more than {READ_SECONDS:g} s"
                page = NodePage(
                    families=(), asked_seconds=self._clock(), duration_seconds=0.0, problem=late
                )
                return _Node(page, late, {})
            self._asked_seconds[node] = now
            page = await self._demand.ask(node)
        problem = page.stale_problem()
        if problem is not None:
            return _Node(page, problem, {})
        try:
            values = await computed(
                partial(values_by_pod, page, metrics), is_long=len(page.series) > INLINE_SAMPLES
            )
        except Exception as error:  # noqa: BLE001  (it affects only this node)
            return _Node(page, unexpected(f"the exporter of node {node}", error), {})
        return _Node(page, None, values)

    def _reading(
        self, request: ReadingRequest, metric: Metric, nodes: Mapping[str, _Node]
    ) -> MetricReading:
        answers = (
            PodAnswer(
                pod,
                _pod_value(pod, metric, node),
                node.page.asked_seconds,
                stale_after_seconds(node.page.interval_seconds),
            )
            for pod in readable(request.pods)
            for node in [nodes[pod.node_name or ""]]
        )
        try:
            return self._windows.reading(request, metric, answers)
        except Exception as error:  # noqa: BLE001  (it affects only this Deployment)
            problem = unexpected(str(request.deployment), error)
            return MetricReading(metric=metric, values={}, problem=problem)


def _pod_value(pod: PodState, metric: Metric, node: _Node) -> PodValue | str:
    if node.problem is not None:
        return f"the exporter of node {pod.node_name} {node.problem}"
    found = node.values[metric].get(pod.ref)
    if isinstance(found, str):
        return f"the exporter of node {pod.node_name} reports {found}"
    if found is not None:
        return found
    if pod.requests_gpu is False:
        return NO_GPU_POD
    return (
        f"the exporter of node {pod.node_name} reports no {metric} for this pod;"
        f" its last readings are {node.page.age_seconds:.0f} s old"
    )


def _duration_seconds(pages: Iterable[NodePage]) -> float:
    """Return the time from the first request to the last answer, in seconds."""
    times = [(one.asked_seconds, one.asked_seconds + one.duration_seconds) for one in pages]
    return max((end for _, end in times), default=0.0) - min((at for at, _ in times), default=0.0)
