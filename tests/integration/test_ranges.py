# SPDX-License-Identifier: Apache-2.0
"""The past is read in chunks: each step once, in smaller chunks where Prometheus refuses one."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from scaler.readings.prometheus import ranges
from scaler.readings.prometheus.range_chunks import Span
from scaler.readings.prometheus.ranges import PastError, RangeReader
from scaler.readings.settings import PrometheusSettings
from tests.serving import serving

SPAN = Span(6_000.0, 15.0, 1_000)


def refused(status: int, message: str) -> web.Response:
    document = {"status": "error", "errorType": "execution", "error": message}
    return web.json_response(document, status=status)


async def large(_: web.Request) -> web.Response:
    return web.Response(body=b" " * 200_000)


async def never(_: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def too_many_samples(_: web.Request) -> web.Response:
    return refused(422, "query processing would load too many samples into memory")


class Past:
    """Answers a range with the time of each step, up to `most_steps` of them."""

    def __init__(self, *, most_steps: int = 11_000, series: int = 1) -> None:
        self.most_steps = most_steps
        self.series = series
        self.lengths: list[int] = []
        self.forms: list[dict[str, str]] = []
        self.too_many = too_many_samples

    async def handle(self, request: web.Request) -> web.StreamResponse:
        form = {key: str(value) for key, value in (await request.post()).items()}
        self.forms.append(form)
        begun, ended, step = (float(form[key]) for key in ("start", "end", "step"))
        steps = round((ended - begun) / step) + 1
        self.lengths.append(steps)
        if steps > self.most_steps:
            return await self.too_many(request)
        times = [begun + n * step for n in range(steps)]
        rows = [
            {"metric": {"n": str(n)}, "values": [[time, f"{time:g}"] for time in times]}
            for n in range(self.series)
        ]
        return web.json_response(
            {"status": "success", "data": {"resultType": "matrix", "result": rows}}
        )


@asynccontextmanager
async def reader(past: Past, **changes: Any):
    async with serving(past.handle) as url:
        settings = replace(PrometheusSettings(url=url), **changes)
        async with RangeReader(settings) as opened:
            yield opened


async def times(opened: RangeReader, span: Span = SPAN) -> list[float]:
    chunks = [chunk async for chunk in opened.chunks(["up", "down"], span)]
    for chunk in chunks:
        first, second = chunk.rows
        assert first == second
    return [time for chunk in chunks for time, _ in chunk.rows[0][0].points]


EVERY_TIME = [SPAN.begun_unix_seconds + n * SPAN.step_seconds for n in range(SPAN.steps)]


async def test_each_step_is_read_once_and_chunks_grow():
    past = Past()
    async with reader(past) as opened:
        assert await times(opened) == EVERY_TIME
    assert past.lengths[::2] == past.lengths[1::2] == [240, 760]
    assert {form["lookback_delta"] for form in past.forms} == {"60s"}


async def test_a_chunk_with_many_series_makes_the_next_one_shorter(monkeypatch):
    monkeypatch.setattr("scaler.readings.prometheus.range_chunks.CHUNK_POINTS", 1_000)
    past = Past(series=5)
    async with reader(past) as opened:
        assert await times(opened) == EVERY_TIME
    assert set(past.lengths[2:-2]) == {100}


@pytest.mark.parametrize("too_many", [too_many_samples, large, never])
async def test_where_a_chunk_is_refused_its_half_is_read(too_many):
    past = Past(most_steps=130)
    past.too_many = too_many
    async with reader(past, timeout_seconds=0.3, max_answer_bytes=100_000) as opened:
        assert await times(opened) == EVERY_TIME
    assert past.lengths[0] == 240
    assert past.lengths[1] == 120


@pytest.mark.parametrize(
    ("status", "message", "asked"),
    [
        pytest.param(400, "invalid parameter query", 1, id="wrong query"),
        pytest.param(403, "not for you", 2, id="no permission, also not for GET"),
        pytest.param(404, "base URL", 2, id="no such path"),
        pytest.param(422, "always too many", 8, id="not even one step"),
    ],
)
async def test_what_prometheus_says_is_the_problem(status, message, asked):
    requests: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        requests.append(request.method)
        return refused(status, message)

    async with (
        serving(handle) as url,
        RangeReader(PrometheusSettings(url=url)) as opened,
    ):
        with pytest.raises(PastError, match=message) as error:
            await times(opened)
    assert url in str(error.value)
    assert error.value.status == status
    assert ("--prometheus.bearer-token-file" in str(error.value)) is (status == 403)
    assert len(requests) == asked


async def test_a_broken_connection_is_tried_again(monkeypatch):
    monkeypatch.setattr(ranges, "RETRY_SECONDS", 0.0)
    past = Past()
    breaks = [True]

    async def handle(request: web.Request) -> web.StreamResponse:
        if breaks:
            breaks.pop()
            assert request.transport is not None
            request.transport.abort()
        return await past.handle(request)

    async with (
        serving(handle) as url,
        RangeReader(PrometheusSettings(url=url)) as opened,
    ):
        assert await times(opened) == EVERY_TIME


async def test_a_server_that_is_not_there_is_a_problem(monkeypatch):
    monkeypatch.setattr(ranges, "RETRY_SECONDS", 0.0)
    async with RangeReader(PrometheusSettings(url="http://127.0.0.1:1")) as opened:
        with pytest.raises(PastError, match=r"127\.0\.0\.1:1"):
            await times(opened)
