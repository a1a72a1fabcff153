# SPDX-License-Identifier: Apache-2.0
"""The Prometheus source over real HTTP: answers of which nothing, or not all, is used."""

from __future__ import annotations

import gzip

import pytest
from aiohttp import web

from scaler.model import Metric, ObjectRef
from scaler.readings.prometheus import source as prometheus_source
from scaler.readings.prometheus.join import metric_answer
from scaler.readings.prometheus.queries import PART
from scaler.readings.prometheus.source import PrometheusSource
from scaler.readings.settings import PrometheusSettings
from tests.prometheusserver import (
    NOW,
    WEB,
    WEB_0,
    Prometheus,
    asks,
    duty,
    gpus,
    read,
    source,
    vector,
)
from tests.serving import serving


async def test_a_deployment_whose_own_query_fails_is_the_only_one_to_hold():
    def answer(query: str) -> web.StreamResponse:
        if query == "bad":
            return web.json_response({"status": "error", "error": "no"}, status=422)
        return gpus() if "duty_cycle" in query else vector(({}, "35.5"))

    async with source(Prometheus(answer)) as opened:
        found = await opened.read(
            [asks(Metric.DUTY_CYCLE, Metric.QUERY, query="bad"), asks(name="b", query="good")], {}
        )
    readings = found.readings[WEB]
    assert readings[Metric.DUTY_CYCLE].values[WEB_0].value_milli == 40_000
    problem = readings[Metric.QUERY].problem
    assert problem is not None
    assert problem.endswith("HTTP status 422: error: no")
    other = ObjectRef(namespace="default", name="b")
    assert found.readings[other][Metric.QUERY].values[other].value_milli == 35_500
    assert (found.succeeded, found.failed) == (2, 1)


@pytest.mark.parametrize("status", [403, 404, 405, 501])
async def test_where_no_post_gets_through_it_is_get_from_then_on(status):
    prometheus = Prometheus(lambda _: gpus())

    async def handle(request: web.Request) -> web.StreamResponse:
        answer = await prometheus.handle(request)
        return web.Response(status=status) if request.method == "POST" else answer

    async with (
        serving(handle) as url,
        PrometheusSource(PrometheusSettings(url=url + "/prefix/")) as opened,
    ):
        for _ in range(2):
            reading = (await read(opened, asks()))[WEB][Metric.DUTY_CYCLE]
            assert reading.values[WEB_0].value_milli == 40_000
    assert [method for method, _ in prometheus.asked] == ["POST", "GET", "GET"]
    first, second, _ = (form for _, form in prometheus.asked)
    assert first == second
    assert prometheus.path == "/prefix/api/v1/query"


async def test_where_get_is_refused_too_it_stays_with_post():
    prometheus = Prometheus(lambda _: web.Response(status=404))
    async with source(prometheus) as opened:
        for _ in range(2):
            problem = (await read(opened, asks()))[WEB][Metric.DUTY_CYCLE].problem
            assert problem is not None
            assert problem.endswith("HTTP status 404")
    assert [method for method, _ in prometheus.asked] == ["POST", "GET", "POST", "GET"]


async def test_redirects_are_not_followed():
    """A login page, or another host that would be shown the token."""

    def answer(_: str) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "https://login.example/?next=1"})

    prometheus = Prometheus(answer)
    reading = await duty(prometheus)
    assert reading.problem is not None
    assert "HTTP status 302 redirects to 'https://login.example/?next=1'" in reading.problem
    assert len(prometheus.asked) == 1


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        pytest.param(
            lambda: gpus("0", warnings=["No StoreAPIs matched"]),
            "the answer has warnings: No StoreAPIs matched",
            id="Thanos lacks a store",
        ),
        pytest.param(lambda: gpus("0", isPartial=True), "is partial", id="VictoriaMetrics"),
        pytest.param(
            lambda: web.json_response(
                {"status": "error", "errorType": "execution", "error": "store is away"}, status=422
            ),
            "HTTP status 422: execution: store is away",
            id="an error",
        ),
        pytest.param(lambda: web.Response(status=401, text="no org id"), "status 401", id="tenant"),
        pytest.param(lambda: web.Response(status=503), "HTTP status 503", id="unavailable"),
        pytest.param(lambda: web.Response(text="<html>"), "an HTML page, not JSON", id="a page"),
        pytest.param(
            lambda: vector(*[({"pod_name": str(n)}, "1") for n in range(11)]),
            "11 series, more than --prometheus.max-series=10",
            id="too many series",
        ),
        pytest.param(
            lambda: web.Response(text="x" * 5000),
            "the answer exceeds 4096 bytes (--prometheus.max-answer-size)",
            id="too large",
        ),
        pytest.param(
            lambda: web.Response(
                body=gzip.compress(b"0" * 50_000_000), headers={"Content-Encoding": "gzip"}
            ),
            "the answer exceeds 4096 bytes",
            id="too large when decompressed",
        ),
        pytest.param(
            lambda: web.Response(body=b"junk", headers={"Content-Encoding": "gzip"}),
            "Can not decode content-encoding: gzip",
            id="not compressed at all",
        ),
    ],
)
async def test_answers_of_which_nothing_is_used(answer, problem):
    reading = await duty(
        Prometheus(lambda _: answer()), max_series=10, max_answer_bytes=4096, timeout_seconds=10.0
    )
    assert (reading.values, reading.missing) == ({}, {})
    assert reading.problem is not None
    assert reading.problem.startswith("Prometheus at http://127.0.0.1:")
    assert problem in reading.problem


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(lambda: gpus("NaN"), "the value for this pod is NaN", id="NaN"),
        pytest.param(lambda: gpus("+Inf"), "the value for this pod is +Inf", id="Inf"),
        pytest.param(lambda: gpus(age=60), "is 61 s old, more than 60 s", id="stale"),
        pytest.param(lambda: gpus(name="web-1"), "Prometheus has no nvidia_gpu_", id="other pod"),
        pytest.param(vector, "Prometheus has no nvidia_gpu_duty_cycle", id="nothing"),
    ],
)
async def test_answers_without_the_pod(answer, reason):
    reading = await duty(Prometheus(lambda _: answer()))
    assert (reading.values, reading.problem) == ({}, None)
    assert reason in reading.missing[WEB_0]


@pytest.mark.parametrize("text", ["NaN", "-Inf"])
async def test_no_number_as_the_value_of_a_query(text):
    async with source(Prometheus(lambda _: vector(({}, text)))) as opened:
        reading = (await read(opened, asks(query="a")))[WEB][Metric.QUERY]
    assert (reading.values, f"the result is {text}" in (reading.problem or "")) == ({}, True)


async def test_a_port_that_nobody_listens_on():
    async with serving(Prometheus(lambda _: gpus()).handle) as url:
        pass
    async with PrometheusSource(PrometheusSettings(url=url)) as opened:
        reading = (await read(opened, asks()))[WEB][Metric.DUTY_CYCLE]
    assert reading.problem is not None
    assert "Cannot connect" in reading.problem


@pytest.mark.parametrize("value", ["1e308", "101", "NaN", "-1"])
async def test_a_value_that_cannot_be_is_missing_and_others_have_theirs(value):
    def answer(_: str) -> web.Response:
        labels = {"namespace_name": "default", "uuid": "GPU-a"}
        return vector(
            *(
                ({**labels, "pod_name": pod, PART: part}, text)
                for pod, found in (("web-0", value), ("llm-0", "40"))
                for part, text in (("value", found), ("time", str(NOW)))
            )
        )

    async with source(Prometheus(answer)) as opened:
        found = await read(opened, asks(), asks(name="llm"))
    missing = found[WEB][Metric.DUTY_CYCLE].missing[WEB_0]
    assert "the value for this pod is " in missing
    llm = ObjectRef(namespace="default", name="llm")
    [value] = found[llm][Metric.DUTY_CYCLE].values.values()
    assert value.value_milli == 40_000


async def test_an_error_that_nobody_foresaw_costs_its_metric_alone(monkeypatch, caplog):
    def breaks(metric, names, answers):
        if metric is Metric.POWER_USAGE_MILLIWATTS:
            raise ZeroDivisionError("not foreseen")
        return metric_answer(metric, names, answers)

    monkeypatch.setattr(prometheus_source, "metric_answer", breaks)
    async with source(Prometheus(lambda _: gpus())) as opened:
        for _ in range(3):
            found = await read(
                opened, asks(Metric.DUTY_CYCLE, Metric.POWER_USAGE_MILLIWATTS), asks(name="llm")
            )
    assert found[WEB][Metric.DUTY_CYCLE].values[WEB_0].value_milli == 40_000
    problem = found[WEB][Metric.POWER_USAGE_MILLIWATTS].problem
    assert problem is not None
    assert problem.endswith("failed: ZeroDivisionError: not foreseen")
    assert len([one for one in caplog.records if one.exc_info is not None]) == 1
