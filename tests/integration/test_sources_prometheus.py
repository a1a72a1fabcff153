# SPDX-License-Identifier: Apache-2.0
"""The Prometheus source over real HTTP: what it asks, and what each bad answer says."""

from __future__ import annotations

import asyncio
import gzip
import logging
import math
import re
import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from multidict import MultiDict

from scaler.model import Metric, MetricReading, ObjectRef, PodPhase, PodState
from scaler.readings.prometheus import client
from scaler.readings.prometheus import source as prometheus_source
from scaler.readings.prometheus.join import metric_answer
from scaler.readings.prometheus.queries import PART
from scaler.readings.prometheus.source import MAX_CONCURRENT_QUERIES, PrometheusSource
from scaler.readings.settings import PrometheusSettings
from scaler.readings.source import ReadingRequest
from tests.serving import serving
from toolkit.http_access import HttpAccess

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_800_000_000.0
WEB = ObjectRef(namespace="default", name="web")
UUIDS = ("GPU-a", "GPU-b")


def pod(name: str) -> PodState:
    return PodState(
        ref=ObjectRef(namespace="default", name=name),
        uid=name,
        phase=PodPhase.RUNNING,
        deleting=False,
        ready_since_seconds=0.0,
        node_name="node-1",
    )


WEB_0 = pod("web-0").ref


def asks(
    *metrics: Metric, name: str = "web", query: str | None = None, window: float = 0
) -> ReadingRequest:
    """What the Deployment asks for that has the pod NAME-0."""
    return ReadingRequest(
        deployment=ObjectRef(namespace="default", name=name),
        metrics=metrics or (Metric.DUTY_CYCLE if query is None else Metric.QUERY,),
        pods=(pod(f"{name}-0"),),
        window_seconds=window,
        query=query,
    )


def vector(*rows: tuple[dict[str, str], str], **more: Any) -> web.Response:
    result = [{"metric": labels, "value": [NOW, text]} for labels, text in rows]
    data = {"resultType": "vector", "result": result}
    return web.json_response({"status": "success", "data": data, **more})


def gpus(value: str = "40", *, age: float = 5, name: str = "web-0", **more: Any) -> web.Response:
    """The answer to a query of ours: two GPUs of one pod, the second one's sample older by 1 s."""
    labels = {"namespace_name": "default", "pod_name": name}
    return vector(
        *(
            (labels | {"uuid": uuid, PART: part}, text)
            for n, uuid in enumerate(UUIDS)
            for part, text in (("value", value), ("time", str(NOW - age - n)))
        ),
        **more,
    )


class Prometheus:
    """Answers by a function of the query, and keeps what it was asked."""

    def __init__(self, answer: Callable[[str], web.StreamResponse]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, MultiDict[str]]] = []
        self.headers: list[dict[str, str]] = []
        self.path = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        form = MultiDict(request.query)
        form.extend((key, str(value)) for key, value in (await request.post()).items())
        self.asked.append((request.method, form))
        self.headers.append(dict(request.headers))
        self.path = request.path
        return self.answer(form["query"])

    def queries(self) -> list[str]:
        return [form["query"] for _, form in self.asked]


@asynccontextmanager
async def source(prometheus: Prometheus, **changes: Any):
    async with serving(prometheus.handle) as url:
        settings = replace(PrometheusSettings(url=url), **changes)
        async with PrometheusSource(settings) as opened:
            yield opened


async def read(
    opened: PrometheusSource, *requests: ReadingRequest
) -> dict[ObjectRef, dict[Metric, MetricReading]]:
    answer = await opened.read(requests, {})
    return {ref: dict(found) for ref, found in answer.readings.items()}


async def duty(prometheus: Prometheus, **changes: Any) -> MetricReading:
    async with source(prometheus, **changes) as opened:
        return (await read(opened, asks()))[WEB][Metric.DUTY_CYCLE]


@pytest.mark.parametrize(("series", "is_long"), [(2, False), (2000, True)])
async def test_a_long_answer_is_read_beside_the_event_loop(series, is_long, monkeypatch):
    threads: set[bool] = set()

    def noting(function):
        def noted(*args, **more):
            threads.add(threading.current_thread() is threading.main_thread())
            return function(*args, **more)

        return noted

    for module, name in ((client, "read_result"), (prometheus_source, "read_series")):
        monkeypatch.setattr(module, name, noting(getattr(module, name)))
    labels = {"namespace_name": "default", "pod_name": "web-0", PART: "value"}
    rows = [(labels | {"uuid": f"GPU-{n}"}, "40") for n in range(series)]
    rows += [(one | {PART: "time"}, str(NOW - 5)) for one, _ in rows]
    reading = await duty(Prometheus(lambda _: vector(*rows)))
    assert reading.values[WEB_0].device_count == series
    assert threads == {not is_long}


async def test_reads_the_mean_over_a_pods_gpus_with_the_older_ones_age():
    prometheus = Prometheus(lambda _: gpus("63.5", age=20))
    async with source(prometheus) as opened:
        begin = asyncio.get_running_loop().time()
        answer = await opened.read([asks()], {})
        end = asyncio.get_running_loop().time()
    value = answer.readings[WEB][Metric.DUTY_CYCLE].values[WEB_0]
    assert (value.value_milli, value.device_count) == (63_500, 2)
    rounding = 0.001
    assert begin - rounding <= value.sampled_seconds + 21 <= end + rounding
    assert (answer.succeeded, answer.failed, answer.max_age_seconds) == (1, 0, 21)
    assert prometheus.path == "/api/v1/query"


async def test_the_pods_own_part_of_a_shared_gpu_comes_with_the_same_query():
    labels = {"namespace_name": "default", "pod_name": "web-0", "uuid": "GPU-a"}
    rows = [(labels | {PART: "value"}, "80"), (labels | {PART: "time"}, str(NOW - 1))]
    for pod_name, container, text in (
        ("web-0", "main", "20"),
        ("web-0", "side", "11.5"),
        ("not-asked-for", "main", "45"),
    ):
        own = labels | {"container_name": container, "pod_name": pod_name}
        rows += [(own | {PART: "own_value"}, text), (own | {PART: "own_time"}, str(NOW - 2))]
    prometheus = Prometheus(lambda _: vector(*rows))
    reading = await duty(prometheus, matchers=('cluster="a"',))
    assert (reading.values[WEB_0].value_milli, reading.values[WEB_0].device_count) == (31_500, 1)
    (query,) = prometheus.queries()
    assert (
        " or label_replace(max by (namespace_name, pod_name, uuid, container_name)"
        ' (nvidia_gpu_container_duty_cycle{pod_name!="", allocate_mode="share", cluster="a"}),'
        ' "gpu_scaler_part", "own_value", "", "")' in query
    )


async def test_one_query_serves_all_deployments():
    prometheus = Prometheus(lambda _: gpus())
    many = [asks(name=f"web-{n}") for n in range(50)]
    async with source(prometheus) as opened:
        await opened.read(many, {})
        assert len(prometheus.asked) == 1
        prometheus.asked.clear()
        await opened.read(
            [
                *many,
                asks(Metric.MEMORY_USED_PERCENT, Metric.DUTY_CYCLE),
                asks(Metric.MEMORY_USED_BYTES),
                asks(window=60),
                asks(name="d", query="sum(a)"),
                asks(name="e", query="sum(a)"),
                asks(name="f", query="sum(b)"),
            ],
            {},
        )
    names = ["duty_cycle", "memory_used_bytes", "memory_total_bytes", "[60000ms]", "(a)", "(b)"]
    for name in names:
        assert sum(name in query for query in prometheus.queries()) >= 1, name
    assert len(prometheus.asked) == len(names)


async def test_pods_of_all_ages_are_in_one_query_with_the_range_that_each_may_have():
    now = asyncio.get_running_loop().time()
    ages = {"old-0": 5000.0, "half-0": 1100.0, "young-0": 300.0}
    pods = [replace(pod(name), ready_since_seconds=now - age) for name, age in ages.items()]
    starting = replace(pod("starting-0"), ready_since_seconds=None)

    def answer(_: str) -> web.Response:
        rows = []
        for one in (*pods, starting):
            labels = {"namespace_name": "default", "pod_name": one.ref.name, "uuid": "GPU-a"}
            rows += [(labels | {PART: "value"}, "40"), (labels | {PART: "time"}, str(NOW - 5))]
        rows.append((rows[2][0] | {PART: "value_of_1080000"}, "80"))
        return vector(*rows)

    prometheus = Prometheus(answer)
    request = replace(asks(window=1200), pods=(*pods, starting))
    async with source(prometheus) as opened:
        reading = (await read(opened, request))[WEB][Metric.DUTY_CYCLE]
    (query,) = prometheus.queries()
    assert 'pod_name=~"half-0"}[1080000ms]' in query
    assert query.count("value_of_") == query.count("value_of_1080000") == 2
    found = {ref.name: value.value_milli for ref, value in reading.values.items()}
    assert found == {"old-0": 40_000, "half-0": 80_000}
    missing = {ref.name: reason for ref, reason in reading.missing.items()}
    assert "samples cover only 0 s of the 1200 s window" in missing["starting-0"]
    (seconds,) = re.findall(r"cover only (\d+) s of the 1200 s window", missing["young-0"])
    # It has grown older meanwhile.
    assert 300 <= int(seconds) < 600


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


class Slow:
    """Answers `fast` queries at once and all others never, and counts how many wait."""

    def __init__(self) -> None:
        self.waiting = 0
        self.most_waiting = 0
        self.asked: list[str] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        query = str((await request.post())["query"])
        self.asked.append(query)
        if query == "fast":
            return vector(({}, "1"))
        if "duty_cycle" in query:
            return gpus()
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        try:
            await asyncio.sleep(math.inf)
        finally:
            self.waiting -= 1
        raise AssertionError


async def test_queries_are_bounded_in_number_and_time_and_take_turns():
    slow = Slow()
    names = [f"q{n:02}" for n in range(MAX_CONCURRENT_QUERIES + 4)]
    requests = [asks(), *(asks(name=one, query=one) for one in names)]
    async with (
        serving(slow.handle) as url,
        PrometheusSource(PrometheusSettings(url=url, timeout_seconds=3)) as opened,
    ):
        first = await read(opened, *requests)
        # What others ask for costs nobody a reading.
        assert first[WEB][Metric.DUTY_CYCLE].values[WEB_0].value_milli == 40_000
        problems = [
            first[ObjectRef(namespace="default", name=one)][Metric.QUERY].problem or ""
            for one in names
        ]
        assert sum("no answer within 3 s (--prometheus.timeout)" in one for one in problems) == 16
        assert sum("not sent: other queries used all of" in one for one in problems) == 4
        left_out = {name for name, one in zip(names, problems, strict=True) if "not asked" in one}
        slow.asked.clear()
        await read(opened, *requests)
    assert left_out <= set(slow.asked)
    assert slow.most_waiting == MAX_CONCURRENT_QUERIES


async def test_slow_queries_of_one_namespace_never_cost_another_its_value():
    slow = Slow()
    crowd = [f"q{n:02}" for n in range(3 * MAX_CONCURRENT_QUERIES)]
    innocent = replace(
        asks(query="fast"), deployment=ObjectRef(namespace="zz-team", name="web"), pods=()
    )
    requests = [*(asks(name=one, query=one) for one in crowd), innocent]
    async with (
        serving(slow.handle) as url,
        PrometheusSource(PrometheusSettings(url=url, timeout_seconds=2)) as opened,
    ):
        for _ in range(3):
            answer = await read(opened, *requests)
            reading = answer[innocent.deployment][Metric.QUERY]
            assert reading.values[innocent.deployment].value_milli == 1000


async def test_what_thanos_mimir_and_victoriametrics_need():
    prometheus = Prometheus(lambda _: gpus())
    await duty(prometheus, timeout_seconds=4.0, matchers=('cluster="eu-1"',))
    ((method, form),) = prometheus.asked
    assert method == "POST"
    assert 'pod_name!="", cluster="eu-1"' in form.popone("query")
    assert form == MultiDict(partial_response="false", dedup="true", nocache="1", timeout="4")
    assert prometheus.headers[0]["Accept"] == "application/json"
    assert prometheus.headers[0]["User-Agent"].startswith("gpu-scaler/")

    prometheus.asked.clear()
    await duty(
        prometheus,
        params=(("dedup", "false"), ("nocache", ""), ("storeMatch[]", "a"), ("storeMatch[]", "b")),
        access=HttpAccess(headers=(("X-Scope-OrgID", "team-a|team-b"),)),
    )
    ((_, form),) = prometheus.asked
    assert form.getall("storeMatch[]") == ["a", "b"]
    assert (form["dedup"], "nocache" in form, form["partial_response"]) == ("false", False, "false")
    assert prometheus.headers[-1]["X-Scope-OrgID"] == "team-a|team-b"


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        pytest.param((), "60s", id="as old as our own samples may be"),
        pytest.param((("lookback_delta", "5m"),), "5m", id="what a flag says"),
        pytest.param((("lookback_delta", ""),), None, id="nothing where a flag says so"),
    ],
)
async def test_samples_behind_a_query_of_somebody_elses_are_not_older(params, expected):
    prometheus = Prometheus(lambda _: vector(({}, "1")))
    async with source(prometheus, params=params) as opened:
        await opened.read([asks(query="sum(queue)")], {})
    ((_, form),) = prometheus.asked
    assert form.get("lookback_delta") == expected


async def test_that_it_cannot_be_read_is_said_once_and_so_is_that_it_can(caplog):
    caplog.set_level(logging.INFO, logger="scaler.readings.prometheus.source")
    fails = [False, True, True, False]
    prometheus = Prometheus(lambda _: web.Response(status=500) if fails[0] else gpus())
    async with source(prometheus) as opened:
        while fails:
            await read(opened, asks())
            fails.pop(0)
    assert [record.message for record in caplog.records] == [
        "Cannot read Prometheus",
        "Prometheus can be read again",
    ]


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


async def test_the_value_of_a_query_fits_into_what_is_told_of_it():
    async with source(Prometheus(lambda _: vector(({}, "1e20")))) as opened:
        found = await read(opened, asks(query="x"))
    assert found[WEB][Metric.QUERY].values[WEB].value_milli == 2**63 - 1
