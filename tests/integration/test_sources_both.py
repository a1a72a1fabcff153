# SPDX-License-Identifier: Apache-2.0
"""GPU values from exporters and queries from Prometheus: each without the other."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from scaler.model import Metric, ObjectRef
from scaler.readings.exporters.source import ExporterSource
from scaler.readings.gpus_and_queries import NO_ANSWER_YET, GpusAndQueries
from scaler.readings.prometheus.source import PrometheusSource
from scaler.readings.settings import PrometheusSettings
from scaler.readings.source import ReadingRequest
from tests.answering import Answers
from tests.integration.test_sources_exporters import exporter, exposition, pod
from tests.serving import serving

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaler.model import ExporterEndpoint, MetricReading, PodValue

NOTHING_LISTENS = "http://127.0.0.1:9"
GPUS, QUERY, BOTH = (
    ReadingRequest(
        deployment=ObjectRef(namespace="default", name=name),
        metrics=metrics,
        pods=(pod("web-0"),),
        window_seconds=0,
        query="sum(queue)" if Metric.QUERY in metrics else None,
    )
    for name, metrics in (
        ("gpus", (Metric.DUTY_CYCLE,)),
        ("query", (Metric.QUERY,)),
        ("both", (Metric.DUTY_CYCLE, Metric.QUERY)),
    )
)


class Bed:
    """An exporter that counts, and a Prometheus that answers once it may."""

    def __init__(self, endpoint: ExporterEndpoint, source: GpusAndQueries) -> None:
        self.endpoints: Mapping[str, ExporterEndpoint] = {"n1": endpoint}
        self.source = source

    async def read(self, *requests: ReadingRequest) -> dict[str, dict[Metric, MetricReading]]:
        answer = await self.source.read(requests, self.endpoints)
        return {ref.name: dict(found) for ref, found in answer.readings.items()}


def only(reading: MetricReading) -> PodValue:
    (value,) = reading.values.values()
    return value


@asynccontextmanager
async def bed(url: str, *, patience_seconds: float = 30.0):
    """What both sources are read from, with Prometheus at `url`."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=exposition(63))

    async with (
        exporter(answer) as endpoint,
        ExporterSource() as gpus,
        PrometheusSource(PrometheusSettings(url=url)) as queries,
        GpusAndQueries(gpus, queries, patience_seconds=patience_seconds) as source,
    ):
        yield Bed(endpoint, source)


async def test_each_metric_is_read_where_it_is():
    answers = Answers()
    answers.totals["sum(queue)"] = 7
    async with serving(answers.answer) as url, bed(url) as both:
        found = await both.read(GPUS, QUERY, BOTH)
    assert {name: set(one) for name, one in found.items()} == {
        "gpus": {Metric.DUTY_CYCLE},
        "query": {Metric.QUERY},
        "both": {Metric.DUTY_CYCLE, Metric.QUERY},
    }
    for name in ("gpus", "both"):
        assert only(found[name][Metric.DUTY_CYCLE]).value_milli == 63_000
    for name in ("query", "both"):
        assert only(found[name][Metric.QUERY]).value_milli == 7_000
    assert answers.asked == {"sum(queue)": 1}


async def test_gpu_values_are_there_while_prometheus_is_away():
    async with bed(NOTHING_LISTENS) as both:
        found = await both.read(GPUS, QUERY)
    assert only(found["gpus"][Metric.DUTY_CYCLE]).value_milli == 63_000
    assert NOTHING_LISTENS in (found["query"][Metric.QUERY].problem or "")


async def test_queries_are_answered_while_exporters_are_away():
    answers = Answers()
    answers.totals["sum(queue)"] = 7
    async with serving(answers.answer) as url, bed(url) as both:
        both.endpoints = {}
        found = await both.read(GPUS, QUERY)
    assert only(found["query"][Metric.QUERY]).value_milli == 7_000
    assert found["gpus"][Metric.DUTY_CYCLE].values == {}


async def test_nobody_asks_prometheus_without_a_query_nor_exporters_without_a_gpu_metric():
    answers = Answers()
    async with serving(answers.answer) as url, bed(url) as both:
        both.endpoints = {}
        await both.read(GPUS)
        answers.totals["sum(queue)"] = 7
        counts = await both.source.read([QUERY], {})
    assert answers.asked == {"sum(queue)": 1}
    assert (counts.succeeded, counts.failed) == (1, 0)


async def test_gpu_values_do_not_wait_for_a_query_and_its_answer_counts_once_it_is_there():
    answers, go_on = Answers(), asyncio.Event()
    answers.totals["sum(queue)"] = 7

    async def slow(request: web.Request) -> web.Response:
        await go_on.wait()
        return await answers.answer(request)

    async with serving(slow) as url, bed(url, patience_seconds=0.0) as both:
        found = await both.read(GPUS, QUERY)
        assert only(found["gpus"][Metric.DUTY_CYCLE]).value_milli == 63_000
        assert found["query"][Metric.QUERY].problem == NO_ANSWER_YET
        go_on.set()
        while (found := await both.read(GPUS, QUERY))["query"][Metric.QUERY].problem:
            assert only(found["gpus"][Metric.DUTY_CYCLE]).value_milli == 63_000
        assert only(found["query"][Metric.QUERY]).value_milli == 7_000


async def test_an_answer_to_another_query_is_none():
    answers = Answers()
    answers.totals |= {"sum(queue)": 7, "sum(other)": 8}
    other = ReadingRequest(
        deployment=QUERY.deployment,
        metrics=(Metric.QUERY,),
        pods=(),
        window_seconds=0,
        query="sum(other)",
    )
    async with serving(answers.answer) as url, bed(url) as both:
        await both.read(QUERY)
        assert only((await both.read(other))["query"][Metric.QUERY]).value_milli == 8_000
