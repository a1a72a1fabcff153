# SPDX-License-Identifier: Apache-2.0
"""The source that reads Prometheus or a server with its API: Thanos, Mimir, VictoriaMetrics.

One query per series and window serves all Deployments in a loop; each `gpu-scaler/query` is its own
query. One timeout covers all of them, so that many queries do not delay a loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from scaler.budgets import INLINE_SAMPLES
from scaler.model import Metric, MetricReading, ObjectRef, PodValue
from scaler.readings.devices import PARTS
from scaler.readings.http import OpensConnections, computed
from scaler.readings.prometheus.client import CLIENT_FAULTS, PrometheusClient
from scaler.readings.prometheus.join import (
    MetricAnswer,
    SeriesAnswer,
    metric_answer,
    reading_of,
    series_of,
)
from scaler.readings.prometheus.queries import FRESH_SECONDS, family_query
from scaler.readings.prometheus.query_order import in_fair_order
from scaler.readings.prometheus.query_results import read_series, read_total
from scaler.readings.prometheus.response import PromqlError, Result
from scaler.readings.source import ReadingRequest, SourceAnswer, readable
from scaler.readings.unexpected import unexpected
from scaler.readings.window import pod_ranges
from toolkit.http_body import AnswerTooLargeError
from toolkit.log_once import OutageLog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scaler.model import ExporterEndpoint, PodState
    from scaler.readings.settings import PrometheusSettings
    from scaler.readings.window import PodRanges

log = logging.getLogger(__name__)

PATH = "/api/v1/query"
MAX_CONCURRENT_SERIES = 8
MAX_CONCURRENT_QUERIES = 16
LOOKBACK = ("lookback_delta", f"{FRESH_SECONDS:g}s")
"""For `gpu-scaler/query` Prometheus drops old samples; our own queries return their ages."""


class _Wanted(NamedTuple):
    """The series and window of one query for all Deployments."""

    series: str
    window_seconds: float


class PrometheusSource(OpensConnections):
    """Sends queries; use as an async context manager, which owns the connections."""

    def __init__(self, settings: PrometheusSettings) -> None:
        self.settings = settings
        self._names = settings.names
        self._client = PrometheusClient(
            settings, connections=MAX_CONCURRENT_SERIES + MAX_CONCURRENT_QUERIES
        )
        super().__init__(self._client)
        self._series_limit = asyncio.Semaphore(MAX_CONCURRENT_SERIES)
        self._query_limit = asyncio.Semaphore(MAX_CONCURRENT_QUERIES)
        self._begun_seconds: dict[str, float] = {}
        self._timed_out: set[str] = set()
        self._outage = OutageLog(log, "Cannot read Prometheus", "Prometheus can be read again")

    @property
    def answers_queries(self) -> bool:
        """True: Prometheus supports PromQL."""
        return True

    async def read(
        self, requests: Sequence[ReadingRequest], _: Mapping[str, ExporterEndpoint]
    ) -> SourceAnswer:
        """Return each Deployment's reading of each metric that it asked for; never raises.

        A failure is the `problem` of the readings that needed it.
        """
        deadline = asyncio.get_running_loop().time() + self.settings.timeout_seconds
        wanted = self._wanted(requests)
        pods = [pod.ref for request in requests for pod in readable(request.pods)]
        ranges = _ranges(requests)
        queries = in_fair_order(
            (
                (request.deployment.namespace, request.query)
                for request in requests
                if request.query is not None
            ),
            begun_seconds=self._begun_seconds,
            timed_out=self._timed_out,
        )
        async with asyncio.TaskGroup() as group:
            series_tasks = {
                one: group.create_task(
                    self._series(one, pods, ranges.get(one.window_seconds), deadline)
                )
                for one in wanted
            }
            query_tasks = {
                query: group.create_task(self._total(query, deadline)) for query in queries
            }
        answers = {one: task.result() for one, task in series_tasks.items()}
        totals = {query: task.result() for query, task in query_tasks.items()}
        self._begun_seconds = {
            query: at for query, at in self._begun_seconds.items() if query in totals
        }
        self._timed_out &= totals.keys()
        self._log(answers)
        failed = sum(answer.problem is not None for answer in answers.values())
        failed += sum(isinstance(total, str) for total in totals.values())
        return SourceAnswer(
            readings=self._readings(requests, answers, totals),
            succeeded=len(answers) + len(totals) - failed,
            failed=failed,
            max_age_seconds=max(
                (
                    age
                    for answer in answers.values()
                    if answer.values is not None
                    for age in answer.values.ages_seconds.values()
                ),
                default=None,
            ),
        )

    def forget(self) -> None:
        """Do nothing: only state of the last `read` is kept."""

    async def result(self, query: str) -> Result | str:
        """Return the result of one query, or why there is none."""
        deadline = asyncio.get_running_loop().time() + self.settings.timeout_seconds
        return await self._within(deadline, self._series_limit, query)

    def _wanted(self, requests: Sequence[ReadingRequest]) -> Sequence[_Wanted]:
        """Return the needed queries, the one for most Deployments first."""
        counts = Counter(
            _Wanted(series, request.window_seconds)
            for request in requests
            for metric in request.metrics
            if metric is not Metric.QUERY
            for series in series_of(metric, self._names)
        )
        return [wanted for wanted, _ in counts.most_common()]

    def _readings(
        self,
        requests: Sequence[ReadingRequest],
        answers: Mapping[_Wanted, SeriesAnswer],
        totals: Mapping[str, PodValue | str],
    ) -> dict[ObjectRef, dict[Metric, MetricReading]]:
        computed: dict[tuple[Metric, float], MetricAnswer] = {}
        readings: defaultdict[ObjectRef, dict[Metric, MetricReading]] = defaultdict(dict)
        for request in requests:
            for metric in request.metrics:
                if metric is Metric.QUERY:
                    reading = _total_reading(request.deployment, totals[request.query or ""])
                else:
                    try:
                        reading = self._gpu_reading(request, metric, answers, computed)
                    except Exception as error:  # noqa: BLE001  (it affects only this reading)
                        problem = self._problem(unexpected(metric, error))
                        reading = MetricReading(metric=metric, values={}, problem=problem)
                readings[request.deployment][metric] = reading
        return readings

    def _gpu_reading(
        self,
        request: ReadingRequest,
        metric: Metric,
        answers: Mapping[_Wanted, SeriesAnswer],
        computed: dict[tuple[Metric, float], MetricAnswer],
    ) -> MetricReading:
        window = request.window_seconds
        if (metric, window) not in computed:
            series = series_of(metric, self._names)
            by_series = {one: answers[_Wanted(one, window)] for one in series}
            computed[metric, window] = metric_answer(metric, self._names, by_series)
        return reading_of(metric, self._names, request.pods, computed[metric, window])

    async def _series(
        self,
        wanted: _Wanted,
        pods: Sequence[ObjectRef],
        ranges: PodRanges | None,
        deadline: float,
    ) -> SeriesAnswer:
        # In dcgm-exporter, used memory is also a part of the total.
        family, named = next(
            (family, named)
            for family, named in self._names.families.items()
            if wanted.series in named.series
        )
        query = family_query(
            family,
            wanted.series,
            self._names,
            matchers=self.settings.matchers,
            window_seconds=wanted.window_seconds,
            shorter=ranges.pods_by_length() if ranges is not None else None,
        )
        asked = time.monotonic()
        answer = await self._within(deadline, self._series_limit, query)
        values, own, problem = None, None, None
        if isinstance(answer, Result):
            try:
                values, own = await computed(
                    partial(
                        read_series,
                        answer,
                        self._names,
                        factor=named.factor,
                        pods=pods,
                        family=family,
                        is_part=len(named.series) > 1,
                        ranges=ranges,
                    ),
                    is_long=len(answer.rows) > INLINE_SAMPLES,
                )
            except PromqlError as error:
                problem = self._problem(str(error))
            except Exception as error:  # noqa: BLE001  (it affects only this series)
                problem = self._problem(unexpected(wanted.series, error))
        else:
            problem = answer
        return SeriesAnswer(
            asked_seconds=asked,
            duration_seconds=time.monotonic() - asked,
            values=values,
            problem=problem,
            own=own if PARTS.get(family) in self._names.families else None,
        )

    async def _total(self, query: str, deadline: float) -> PodValue | str:
        asked = time.monotonic()
        answer = await self._within(deadline, self._query_limit, query)
        if not isinstance(answer, Result):
            return answer
        try:
            return PodValue(value_milli=read_total(answer), sampled_seconds=asked)
        except PromqlError as error:
            return self._problem(str(error))
        except Exception as error:  # noqa: BLE001  (it affects only this query)
            return self._problem(unexpected("a gpu-scaler/query", error))

    async def _within(self, deadline: float, limit: asyncio.Semaphore, query: str) -> Result | str:
        """Return the result, or why there is none."""
        begun = False
        try:
            async with asyncio.timeout_at(deadline), limit:
                begun = True
                if limit is not self._query_limit:
                    return await self._client.ask(PATH, [("query", query)])
                self._begun_seconds[query] = time.monotonic()
                self._timed_out.discard(query)
                return await self._client.ask(PATH, [("query", query)], defaults=[LOOKBACK])
        except TimeoutError as error:
            if not begun:
                seconds = f"{self.settings.timeout_seconds:g} s (--prometheus.timeout)"
                return self._problem(f"not sent: other queries used all of the {seconds}")
            self._timed_out.add(query)
            return self._problem(error)
        except (AnswerTooLargeError, *CLIENT_FAULTS) as error:
            return self._problem(error)
        except Exception as error:  # noqa: BLE001  (it affects only this query)
            return self._problem(unexpected("Prometheus", error))

    def _problem(self, what: object) -> str:
        return self._client.problem(what)

    def _log(self, answers: Mapping[_Wanted, SeriesAnswer]) -> None:
        problem = next((one.problem for one in answers.values() if one.problem is not None), None)
        if problem is not None:
            self._outage.failed(problem)
        elif answers:
            self._outage.worked()


def _ranges(requests: Sequence[ReadingRequest]) -> Mapping[float, PodRanges]:
    """Return how much of each window the pods may be averaged over."""
    now = time.monotonic()
    pods: defaultdict[float, list[PodState]] = defaultdict(list)
    for request in requests:
        if request.window_seconds > 0:
            pods[request.window_seconds] += readable(request.pods)
    return {window: pod_ranges(some, window, now) for window, some in pods.items()}


def _total_reading(deployment: ObjectRef, total: PodValue | str) -> MetricReading:
    if isinstance(total, str):
        return MetricReading(metric=Metric.QUERY, values={}, problem=total)
    return MetricReading(metric=Metric.QUERY, values={deployment: total})
