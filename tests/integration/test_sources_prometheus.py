# SPDX-License-Identifier: Apache-2.0
"""The Prometheus source over real HTTP: what it asks, and what each bad answer says."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import threading
from dataclasses import replace

import pytest
from aiohttp import web
from multidict import MultiDict

from scaler.model import Metric, ObjectRef
from scaler.readings.prometheus import client
from scaler.readings.prometheus import source as prometheus_source
from scaler.readings.prometheus.queries import PART
from scaler.readings.prometheus.source import MAX_CONCURRENT_QUERIES, PrometheusSource
from scaler.readings.settings import PrometheusSettings
from tests.prometheusserver import (
    NOW,
    WEB,
    WEB_0,
    Prometheus,
    asks,
    duty,
    gpus,
    pod,
    read,
    source,
    vector,
)
from tests.serving import serving
from toolkit.http_access import HttpAccess


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


async def test_the_value_of_a_query_fits_into_what_is_told_of_it():
    async with source(Prometheus(lambda _: vector(({}, "1e20")))) as opened:
        found = await read(opened, asks(query="x"))
    assert found[WEB][Metric.QUERY].values[WEB].value_milli == 2**63 - 1
