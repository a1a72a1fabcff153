# SPDX-License-Identifier: Apache-2.0
"""The source of what pods' model servers have in hand, and of queues: both read from memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING

from scaler.model import SERVER_METRICS, Metric, MetricReading, PodValue
from scaler.readings.http import OpensConnections
from scaler.readings.pod_windows import PodAnswer, PodWindows
from scaler.readings.source import SourceAnswer
from scaler.readings.unexpected import unexpected

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scaler.model import ExporterEndpoint
    from scaler.readings.servers.pod_pages import PodPages
    from scaler.readings.servers.queues import PageQueues
    from scaler.readings.servers.reader import ServerPage
    from scaler.readings.source import ReadingRequest

MAX_NOTES = 3
NO_QUEUES = "queues are not read"


class ServersSource(OpensConnections):
    """Answers from memory, while `run` reads; use as an async context manager.

    The context owns the connections.
    """

    def __init__(
        self,
        pages: PodPages,
        *,
        interval_seconds: float,
        queues: PageQueues | None = None,
        wait_seconds: float | None = None,
        clock: Callable[[], float],
    ) -> None:
        """`interval_seconds` is how often `read` is called.

        With `wait_seconds`, `read` waits that long for pods and queues that were not asked yet.
        """
        super().__init__(pages)
        self._pages = pages
        self._polls = pages.polls
        self._queues = queues
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._windows = PodWindows(interval_seconds=interval_seconds)

    async def run(self) -> None:
        """Ask pods and queues until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._polls.run())
            if self._queues is not None:
                group.create_task(self._queues.run())

    def paused(self) -> AbstractContextManager[None]:
        """Start no request to a pod within the context."""
        return self._polls.paused()

    async def read(
        self, requests: Sequence[ReadingRequest], endpoints: Mapping[str, ExporterEndpoint]
    ) -> SourceAnswer:
        """Return each Deployment's readings of its pods' servers and of its queue; never raises."""
        self._want(requests)
        queued = [request for request in requests if Metric.QUEUE in request.metrics]
        if self._wait_seconds is not None:
            self._totals(queued)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wait_seconds):
                    await self._polls.wait_for_all()
                    if self._queues is not None:
                        await self._queues.wait_for_all()
        now = self._clock()
        self._windows.begin_read()
        readings = {request.deployment: self._own_readings(request, now) for request in requests}
        self._windows.end_read(requests)
        for request, reading in zip(queued, self._totals(queued), strict=True):
            readings[request.deployment][Metric.QUEUE] = reading
        sampled = [
            value.sampled_seconds
            for found in readings.values()
            for reading in found.values()
            for value in reading.values.values()
        ]
        return SourceAnswer(
            readings=readings, max_age_seconds=now - min(sampled) if sampled else None
        )

    def forget(self) -> None:
        """Clear the demand and the windows, until the next `read`."""
        self._want(())
        self._totals(())
        self._windows.end_read(())

    def _want(self, requests: Sequence[ReadingRequest]) -> None:
        """Name the pods that are asked from now on."""
        self._pages.want(
            (request.pods, request.server)
            for request in requests
            if not SERVER_METRICS.isdisjoint(request.metrics)
        )

    def _own_readings(self, request: ReadingRequest, now: float) -> dict[Metric, MetricReading]:
        metrics = [one for one in request.metrics if one in SERVER_METRICS]
        try:
            return self._readings(request, metrics, now)
        except Exception as error:  # noqa: BLE001  (it affects only this Deployment)
            problem = unexpected(str(request.deployment), error)
            return {
                metric: MetricReading(metric=metric, values={}, problem=problem)
                for metric in metrics
            }

    def _readings(
        self, request: ReadingRequest, metrics: Sequence[Metric], now: float
    ) -> dict[Metric, MetricReading]:
        if not metrics:
            return {}
        pages = self._pages.pages(request.pods, request.server)
        note = _note([page for _, page in pages if not isinstance(page, str)])
        return {
            metric: self._windows.reading(
                request,
                metric,
                (
                    PodAnswer(pod, page if isinstance(page, str) else _pod_value(page, metric), now)
                    for pod, page in pages
                ),
                note=note,
            )
            for metric in metrics
        }

    def _totals(self, requests: Sequence[ReadingRequest]) -> Sequence[MetricReading]:
        problem, totals = NO_QUEUES, None
        if self._queues is not None:
            try:
                totals = self._queues.totals(requests)
            except Exception as error:  # noqa: BLE001  (metrics of pods must not be affected)
                problem = unexpected("a queue", error)
        none = MetricReading(metric=Metric.QUEUE, values={}, problem=problem)
        return [
            none if totals is None else totals.get(request.deployment, none) for request in requests
        ]


def _pod_value(page: ServerPage, metric: Metric) -> PodValue | str:
    value = page.pod_values.get(metric)
    if value is not None:
        return value
    reason = page.values.values.get(metric) if page.values is not None else None
    return f"{reason or f'the page has no {metric}'} ({page.target.url if page.target else ''})"


def _note(pages: Sequence[ServerPage]) -> str | None:
    """Return what was recognised, by what and where, the most frequent first."""
    found = Counter([page.note for page in pages])
    if len(found) <= 1:
        return next(iter(found), None)
    sentences = [
        f"{one} ({count} {'pod' if count == 1 else 'pods'})"
        for one, count in found.most_common(MAX_NOTES)
    ]
    more = len(found) - MAX_NOTES
    return "; ".join(sentences) + (f"; {more} more" if more > 0 else "")
