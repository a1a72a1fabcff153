"""The source that reads the exporters directly: one hop from a GPU to a decision.

Only nodes that run pods of the asking Deployments are scraped, and only for the families that
those need (contract 4). A pod without a fresh value is named as missing with the reason.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaler.model import Metric, MetricReading, PodState, PodValue
from scaler.readings.exporters.scrape import Scraper, parsed
from scaler.readings.exposition import (
    MIN_STALE_AFTER_SECONDS,
    ExpositionError,
    NodeReadings,
    families_for,
    read_exposition,
    stale_after_seconds,
)
from scaler.readings.source import NO_GPU_POD, ReadingRequest, SourceAnswer, readable
from scaler.readings.unexpected import unexpected
from scaler.readings.window import NEEDED_SHARE, PodWindow, not_yet, serving_since

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from scaler.model import ExporterEndpoint, ObjectRef
    from scaler.readings.series import Series
    from scaler.readings.settings import ExportersSettings


READ_SECONDS = 10.0
"""How long after the first exporter of a loop another one is asked; the rest have the next loop."""
STEP_INTERVALS = 3
"""Two samples of a window have at most so many intervals between them, or nobody looked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeScrape:
    """What came of scraping one node: readings taken at `sampled_seconds`, or why there are none.

    `asked_seconds` is when the request left, so that the readings are never taken for younger
    than they are.
    """

    asked_seconds: float
    duration_seconds: float
    readings: NodeReadings | None
    problem: str | None

    def stale_problem(self) -> str | None:
        """Return why these readings may not be used, or None if they are fresh."""
        if self.readings is None:
            return self.problem
        age = self.readings.age_seconds
        if age is None:
            return "has no GPU readings"
        limit = stale_after_seconds(self.readings.interval_seconds)
        age += self.duration_seconds
        return f"shows readings {age:.0f} s old, more than {limit:.0f} s" if age > limit else None


class ExporterSource:
    """Scrapes exporters over HTTP; use as an async context manager, which owns the connections."""

    def __init__(
        self,
        *,
        settings: ExportersSettings | None = None,
        timeout_seconds: float = 2.0,
        interval_seconds: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`interval_seconds` is how often `read` is called if exporters answer at once."""
        self._scraper = Scraper(settings=settings, timeout_seconds=timeout_seconds, clock=clock)
        self._longest_read_seconds = READ_SECONDS + timeout_seconds
        self._step_seconds = max(MIN_STALE_AFTER_SECONDS, STEP_INTERVALS * interval_seconds)
        self._reads = 0
        self._read_seconds = 0.0
        self._windows: dict[tuple[ObjectRef, str, Metric], tuple[int, PodWindow]] = {}
        self._series: Mapping[str, Mapping[str, Series]] = {}
        self._failing: set[str] = set()
        self._asked_seconds: dict[str, float] = {}

    @property
    def answers_queries(self) -> bool:
        """False: exporters know nothing of PromQL."""
        return False

    async def __aenter__(self) -> ExporterSource:
        """Open the connection pool."""
        await self._scraper.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection pool."""
        await self._scraper.__aexit__()

    async def read(
        self, requests: Sequence[ReadingRequest], endpoints: Mapping[str, ExporterEndpoint]
    ) -> SourceAnswer:
        """Return each Deployment's reading of each metric that it asked for.

        `endpoints` maps node names to exporters. Never raises for a failing exporter: its pods are
        missing, with the reason.
        """
        wanted: dict[str, set[Metric]] = defaultdict(set)
        for request in requests:
            for pod in readable(request.pods):
                wanted[pod.node_name or ""].update(request.metrics)
        scrapes = await self._scrape_all(wanted, endpoints)
        self._reads += 1
        self._series = {
            node: scrape.readings.series
            for node, scrape in scrapes.items()
            if scrape.readings is not None
        }
        readings = {
            request.deployment: {
                metric: self._own_reading(request, metric, scrapes) for metric in request.metrics
            }
            for request in requests
        }
        self._forget_windows(requests)
        self._read_seconds = min(_duration_seconds(scrapes.values()), self._longest_read_seconds)
        failed = sum(scrape.stale_problem() is not None for scrape in scrapes.values())
        ages = [
            scrape.readings.age_seconds
            for scrape in scrapes.values()
            if scrape.readings is not None and scrape.readings.age_seconds is not None
        ]
        return SourceAnswer(
            readings=readings,
            succeeded=len(scrapes) - failed,
            failed=failed,
            max_age_seconds=max(ages, default=None),
        )

    async def _scrape_all(
        self, wanted: Mapping[str, set[Metric]], endpoints: Mapping[str, ExporterEndpoint]
    ) -> Mapping[str, NodeScrape]:
        begun = asyncio.get_running_loop().time()
        end = begun + READ_SECONDS
        # Those that failed last come last, so that they hold up nobody again; of the others those
        # that were not asked come first.
        in_turn = sorted(
            wanted, key=lambda node: (node in self._failing, self._asked_seconds.get(node, 0.0))
        )
        async with asyncio.TaskGroup() as group:
            tasks = {
                node: group.create_task(self._scrape(node, endpoints.get(node), wanted[node], end))
                for node in in_turn
            }
        scrapes = {node: task.result() for node, task in tasks.items()}
        self._failing = {
            node
            for node, scrape in scrapes.items()
            if scrape.problem is not None
            and (node in self._failing or self._asked_seconds.get(node, 0.0) >= begun)
        }
        self._asked_seconds = {
            node: self._asked_seconds[node] for node in wanted if node in self._asked_seconds
        }
        return scrapes

    async def _scrape(
        self,
        node: str,
        endpoint: ExporterEndpoint | None,
        metrics: Collection[Metric],
        end: float,
    ) -> NodeScrape:
        def too_late() -> str | None:
            now = asyncio.get_running_loop().time()
            if now > end:
                return f"was not asked: the others took more than {READ_SECONDS:g} s"
            self._asked_seconds[node] = now
            return None

        scraped = await self._scraper.scrape(endpoint, families_for(metrics), too_late=too_late)
        readings, problem = None, scraped.problem
        if problem is None:
            known = self._series.get(node)
            try:
                readings = await parsed(
                    lambda: read_exposition(scraped.text, metrics, known), scraped.text
                )
            except ExpositionError as error:
                problem = f"failed: {error} ({endpoint.url if endpoint else node})"
            except Exception as error:  # noqa: BLE001  (it is this node's alone)
                problem = unexpected(f"the exporter of node {node}", error)
        return NodeScrape(
            asked_seconds=scraped.asked_seconds,
            duration_seconds=scraped.duration_seconds,
            readings=readings,
            problem=problem,
        )

    def _own_reading(
        self, request: ReadingRequest, metric: Metric, scrapes: Mapping[str, NodeScrape]
    ) -> MetricReading:
        try:
            return self._reading(request, metric, scrapes)
        except Exception as error:  # noqa: BLE001  (it is this Deployment's alone)
            problem = unexpected(str(request.deployment), error)
            return MetricReading(metric=metric, values={}, problem=problem)

    def _reading(
        self, request: ReadingRequest, metric: Metric, scrapes: Mapping[str, NodeScrape]
    ) -> MetricReading:
        values: dict[ObjectRef, PodValue] = {}
        missing: dict[ObjectRef, str] = {}
        for pod in readable(request.pods):
            answer = self._pod_value(pod, metric, scrapes[pod.node_name or ""])
            if isinstance(answer, PodValue) and request.window_seconds > 0:
                asked = scrapes[pod.node_name or ""].asked_seconds
                answer = self._window_mean(request, pod, metric, answer, asked)
            if isinstance(answer, PodValue):
                values[pod.ref] = answer
            else:
                missing[pod.ref] = answer
        return MetricReading(metric=metric, values=values, missing=missing)

    def _pod_value(self, pod: PodState, metric: Metric, scrape: NodeScrape) -> PodValue | str:
        problem = scrape.stale_problem()
        if problem is not None or scrape.readings is None or scrape.readings.age_seconds is None:
            return f"the exporter of node {pod.node_name} {problem}"
        reading = scrape.readings.values[metric].get(pod.ref)
        impossible = scrape.readings.problems[metric].get(pod.ref)
        if impossible is not None:
            return f"the exporter of node {pod.node_name} shows {impossible}"
        if reading is None and pod.requests_gpu is False:
            return NO_GPU_POD
        if reading is None:
            age = scrape.readings.age_seconds
            return (
                f"the exporter of node {pod.node_name} shows no {metric} for this pod;"
                f" its last readings are {age:.0f} s old"
            )
        return PodValue(
            value_milli=reading.value_milli,
            sampled_seconds=scrape.asked_seconds - scrape.readings.age_seconds,
            device_count=reading.device_count,
        )

    def _window_mean(
        self,
        request: ReadingRequest,
        pod: PodState,
        metric: Metric,
        value: PodValue,
        now_seconds: float,
    ) -> PodValue | str:
        key = (request.deployment, pod.uid, metric)
        last_read, before = self._windows.get(key, (0, PodWindow(samples=())))
        # A slow exporter makes the loop slow for all; a loop without a value is an outage.
        step = self._step_seconds + self._read_seconds if last_read == self._reads - 1 else 0.0
        window = before.add(value, window_seconds=request.window_seconds, longest_step_seconds=step)
        self._windows[key] = self._reads, window
        since = max(serving_since(pod, now_seconds), now_seconds - request.window_seconds)
        covered = window.covered_seconds(since, now_seconds)
        if covered < request.window_seconds * NEEDED_SHARE:
            return not_yet(covered, request.window_seconds)
        return window.mean(since)

    def _forget_windows(self, requests: Iterable[ReadingRequest]) -> None:
        living = {
            (request.deployment, pod.uid, metric)
            for request in requests
            if request.window_seconds > 0
            for pod in request.pods
            for metric in request.metrics
        }
        for key in self._windows.keys() - living:
            del self._windows[key]


def _duration_seconds(scrapes: Iterable[NodeScrape]) -> float:
    """How long the scrapes took together."""
    times = [(one.asked_seconds, one.asked_seconds + one.duration_seconds) for one in scrapes]
    return max((end for _, end in times), default=0.0) - min((at for at, _ in times), default=0.0)
