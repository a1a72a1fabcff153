# SPDX-License-Identifier: Apache-2.0
"""The exporters source over real HTTP: what it asks, what is fresh, and what each failure says."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from scaler.budgets import INLINE_CHARACTERS, TEXT_CHARACTERS
from scaler.model import ExporterEndpoint, Metric, ObjectRef, PodPhase, PodState
from scaler.readings import store, unexpected
from scaler.readings.exporters import reader
from scaler.readings.exporters import source as exporters
from scaler.readings.exporters.source import ExporterSource
from scaler.readings.exposition import read_page
from scaler.readings.source import ReadingRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaler.model import MetricReading

WEB = ObjectRef(namespace="default", name="web")


def pod(name: str, *, node: str = "n1", phase: PodPhase = PodPhase.RUNNING) -> PodState:
    return PodState(
        ref=ObjectRef(namespace="default", name=name),
        uid=f"uid-{name}",
        phase=phase,
        deleting=False,
        ready_since_seconds=0.0,
        node_name=node,
    )


def exposition(
    duty: float | str, *, age: float = 0.5, interval: float = 2, name: str = "web-0"
) -> str:
    return (
        f'nvidia_gpu_duty_cycle{{uuid="GPU-a",namespace_name="default",pod_name="{name}"}} {duty}\n'
        f"nvidia_gpu_exporter_snapshot_age_seconds {age}\n"
        f"nvidia_gpu_exporter_interval_seconds {interval}\n"
    )


@asynccontextmanager
async def exporter(answer):
    """Serve `answer(request)` at /metrics and yield the endpoint."""
    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield ExporterEndpoint(
            url=f"http://127.0.0.1:{port}/metrics",
            pod=ObjectRef(namespace="gpu-exporter", name="gpu-exporter-n1"),
            ready=True,
        )
    finally:
        await runner.cleanup()


@pytest.fixture(autouse=True)
def _nothing_logged(monkeypatch):
    monkeypatch.setattr(unexpected, "_logged", set())


def ask(*pods: PodState, window: float = 0) -> list[ReadingRequest]:
    return [
        ReadingRequest(
            deployment=WEB, metrics=(Metric.DUTY_CYCLE,), pods=pods, window_seconds=window
        )
    ]


async def read(
    source: ExporterSource, requests, endpoints
) -> Mapping[ObjectRef, Mapping[Metric, MetricReading]]:
    return (await source.read(requests, endpoints)).readings


async def test_reads_the_value_with_its_age():
    asked = []

    async def answer(request):
        asked.append(request.query.getall("name[]"))
        return web.Response(text=exposition(63))

    clock = iter(float(n) for n in range(100, 200))
    async with exporter(answer) as endpoint, ExporterSource(clock=lambda: next(clock)) as source:
        readings = await read(source, ask(pod("web-0")), {"n1": endpoint})
    value = readings[WEB][Metric.DUTY_CYCLE].values[pod("web-0").ref]
    assert (value.value_milli, value.sampled_seconds) == (63_000, 99.5)
    assert asked == [
        [
            "nvidia_gpu_container_duty_cycle",
            "nvidia_gpu_duty_cycle",
            "nvidia_gpu_exporter_snapshot_age_seconds",
            "nvidia_gpu_exporter_interval_seconds",
        ]
    ]


async def missing_reason(answer, *, timeout_seconds: float = 60.0) -> str:
    async with (
        exporter(answer) as endpoint,
        ExporterSource(clock=lambda: 100.0, timeout_seconds=timeout_seconds) as s,
    ):
        readings = await read(s, ask(pod("web-0")), {"n1": endpoint})
    reading = readings[WEB][Metric.DUTY_CYCLE]
    assert reading.values == {}
    return reading.missing[pod("web-0").ref]


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        pytest.param(exposition(1, age=15.2), 200, "readings 15 s old, more than 15 s", id="stale"),
        pytest.param(
            exposition(1, age=31, interval=10), 200, "31 s old, more than 30 s", id="3 intervals"
        ),
        pytest.param("", 200, "has no GPU readings", id="no readings at all"),
        pytest.param(
            exposition(1, name="other"), 200, "reports no duty_cycle for this pod", id="no pod"
        ),
        pytest.param("gone", 503, "HTTP status 503", id="status"),
        pytest.param("<html>", 200, "not a Prometheus text exposition", id="not metrics"),
    ],
)
async def test_why_a_pod_has_no_value(text, status, reason):
    async def answer(_):
        return web.Response(text=text, status=status)

    assert reason in await missing_reason(answer)


@pytest.mark.parametrize("value", ["1e308", "NaN", "+Inf", "-1", "101"])
async def test_a_value_that_cannot_be_is_missing_by_node_and_others_have_theirs(value):
    async def answer(_):
        return web.Response(text=exposition(value) + exposition(7, name="web-1"))

    async with exporter(answer) as endpoint, ExporterSource(timeout_seconds=60) as source:
        readings = await read(
            source, ask(pod("web-0"), pod("web-1")), {"n1": endpoint, "n2": endpoint}
        )
    reading = readings[WEB][Metric.DUTY_CYCLE]
    assert reading.missing == {
        pod("web-0").ref: f"the exporter of node n1 reports nvidia_gpu_duty_cycle {float(value):g},"
        " which is outside 0 to 100"
    }
    assert reading.values[pod("web-1").ref].value_milli == 7000


async def test_an_error_that_nobody_foresaw_costs_its_node_alone(monkeypatch, caplog):
    def breaks(text, known, **more):
        if "web-0" in text:
            raise ZeroDivisionError("not foreseen")
        return read_page(text, known, **more)

    monkeypatch.setattr(reader, "read_page", breaks)

    async def answer(_):
        return web.Response(text=exposition(1))

    async def other(_):
        return web.Response(text=exposition(7, name="web-1"))

    async with (
        exporter(answer) as bad,
        exporter(other) as good,
        ExporterSource(timeout_seconds=60) as source,
    ):
        for _ in range(3):
            readings = await read(
                source, ask(pod("web-0"), pod("web-1", node="n2")), {"n1": bad, "n2": good}
            )
    reading = readings[WEB][Metric.DUTY_CYCLE]
    assert "n1 failed: ZeroDivisionError: not foreseen" in reading.missing[pod("web-0").ref]
    assert reading.values[pod("web-1").ref].value_milli == 7000
    assert [one.exc_info is not None for one in caplog.records] == [True]


async def test_an_address_that_is_none_costs_its_node_alone():
    async def answer(_):
        return web.Response(text=exposition(7, name="web-1"))

    async with exporter(answer) as good, ExporterSource(timeout_seconds=60) as source:
        bad = replace(good, url="http://[::1:9445/metrics")
        readings = await read(
            source, ask(pod("web-0"), pod("web-1", node="n2")), {"n1": bad, "n2": good}
        )
    reading = readings[WEB][Metric.DUTY_CYCLE]
    assert "failed" in reading.missing[pod("web-0").ref]
    assert reading.values[pod("web-1").ref].value_milli == 7000


async def test_readings_just_within_the_limit_are_fresh():
    async def answer(_):
        return web.Response(text=exposition(1, age=29, interval=10))

    async with exporter(answer) as endpoint, ExporterSource(timeout_seconds=60) as source:
        readings = await read(source, ask(pod("web-0")), {"n1": endpoint})
    assert readings[WEB][Metric.DUTY_CYCLE].missing == {}


async def test_a_hanging_exporter_costs_one_timeout_and_only_its_own_pods():
    release = asyncio.Event()

    async def hang(_):
        await release.wait()
        return web.Response(text="")

    async def answer(_):
        return web.Response(text=exposition(7, name="web-1"))

    async with (
        exporter(hang) as bad,
        exporter(answer) as good,
        ExporterSource(timeout_seconds=2) as source,
    ):
        readings = await read(
            source, ask(pod("web-0"), pod("web-1", node="n2")), {"n1": bad, "n2": good}
        )
        release.set()
    reading = readings[WEB][Metric.DUTY_CYCLE]
    assert "did not answer within 2 s" in reading.missing[pod("web-0").ref]
    assert reading.values[pod("web-1").ref].value_milli == 7000


async def test_a_page_over_budget_is_named_and_costs_only_its_own_pods(monkeypatch):
    monkeypatch.setattr(reader, "PAGE_BYTES", 10_000)

    async def flood(_):
        return web.Response(text=exposition(63) + "# \n" * 10_000)

    async def answer(_):
        return web.Response(text=exposition(7, name="web-1"))

    async with (
        exporter(flood) as bad,
        exporter(answer) as good,
        ExporterSource(timeout_seconds=60) as source,
    ):
        readings = await read(
            source, ask(pod("web-0"), pod("web-1", node="n2")), {"n1": bad, "n2": good}
        )
    reading = readings[WEB][Metric.DUTY_CYCLE]
    text = reading.missing[pod("web-0").ref]
    assert text.startswith("the exporter of node n1 is over budget: ")
    assert reading.values[pod("web-1").ref].value_milli == 7000


async def test_a_long_page_is_not_parsed_on_the_event_loop(monkeypatch):
    threads = []

    def parse(*arguments, **more):
        threads.append(threading.current_thread())
        return read_page(*arguments, **more)

    async def answer(request):
        more = "# \n" * INLINE_CHARACTERS if request.query_string.startswith("long") else ""
        return web.Response(text=exposition(63) + more)

    monkeypatch.setattr(reader, "read_page", parse)
    async with exporter(answer) as endpoint, ExporterSource(timeout_seconds=60) as source:
        for query in ("long", "short"):
            asked = replace(endpoint, url=f"{endpoint.url}?{query}=1")
            readings = await read(source, ask(pod("web-0")), {"n1": asked})
            assert readings[WEB][Metric.DUTY_CYCLE].values[pod("web-0").ref].value_milli == 63_000
    assert threads[0] is not threading.main_thread()
    assert threads[1] is threading.main_thread()


async def test_what_an_exporter_writes_never_reaches_a_terminal_as_a_command():
    async def answer(_):
        return web.Response(text="\x1b[2J\x1b]0;owned\x07" * 100_000)

    text = await missing_reason(answer)
    assert text.isprintable()
    assert len(text) < 2 * TEXT_CHARACTERS


async def test_many_hanging_exporters_cost_one_deadline_and_come_last_after_that(monkeypatch):
    monkeypatch.setattr(store, "MAX_CONCURRENT_READS", 2)
    monkeypatch.setattr(exporters, "READ_SECONDS", 3)
    asked = []

    async def answer(request):
        node = request.query["node"]
        asked.append(node)
        if node != "well":
            await asyncio.sleep(3600)
        return web.Response(text=exposition(63))

    nodes = [f"n{number}" for number in range(6)]
    async with exporter(answer) as endpoint, ExporterSource(timeout_seconds=2) as source:
        endpoints = {
            node: replace(endpoint, url=f"{endpoint.url}?node={node}") for node in (*nodes, "well")
        }
        request = ask(*(pod(node, node=node) for node in nodes), pod("web-0", node="well"))
        missing = (await read(source, request, endpoints))[WEB][Metric.DUTY_CYCLE].missing
        reasons = [missing[pod(node).ref] for node in nodes]
        assert "did not answer within 2 s" in reasons[0]
        assert "was not scraped: the others took more than 3 s" in reasons[-1]
        assert "well" not in asked
        while "well" not in asked:
            assert len(asked) <= len(nodes), "none is asked twice before others were asked"
            await read(source, request, endpoints)
        asked.clear()
        values = (await read(source, request, endpoints))[WEB][Metric.DUTY_CYCLE].values
        assert asked[0] == "well"
        assert set(values) == {pod("web-0").ref}


async def test_an_exporter_speaks_for_the_pods_of_its_node_only():
    async def truth(_):
        return web.Response(text=exposition(90))

    async def lie(_):
        return web.Response(text=exposition(1) + exposition(7, name="web-1"))

    async with (
        exporter(truth) as honest,
        exporter(lie) as lying,
        ExporterSource(timeout_seconds=60) as source,
    ):
        readings = await read(
            source, ask(pod("web-0"), pod("web-1", node="n2")), {"n1": honest, "n2": lying}
        )
    values = readings[WEB][Metric.DUTY_CYCLE].values
    assert values[pod("web-0").ref].value_milli == 90_000
    assert values[pod("web-1").ref].value_milli == 7_000


async def test_node_without_exporter_and_refused_connection():
    async def answer(_):
        return web.Response()

    async with exporter(answer) as gone:
        pass
    async with ExporterSource(timeout_seconds=60) as source:
        readings = await read(source, ask(pod("web-0"), pod("web-1", node="n2")), {"n1": gone})
    missing = readings[WEB][Metric.DUTY_CYCLE].missing
    assert "failed: " in missing[pod("web-0").ref]
    assert missing[pod("web-1").ref].startswith("the exporter of node n2 is missing: no pod label")


async def test_only_nodes_with_running_pods_are_asked():
    async with ExporterSource(timeout_seconds=60) as source:
        answer = await source.read(ask(pod("web-0", phase=PodPhase.PENDING)), {})
    assert (answer.succeeded, answer.failed, answer.max_age_seconds) == (0, 0, None)
    assert answer.readings[WEB][Metric.DUTY_CYCLE].missing == {}


async def test_the_window_average_waits_for_half_a_window():
    duty = [10.0]
    now = [1000.0]

    async def answer(_):
        return web.Response(text=exposition(duty[0], age=0))

    async with exporter(answer) as endpoint, ExporterSource(clock=lambda: now[0]) as source:

        async def measure():
            readings = await read(source, ask(pod("web-0"), window=20), {"n1": endpoint})
            return readings[WEB][Metric.DUTY_CYCLE]

        first = await measure()
        assert first.missing[pod("web-0").ref].startswith("samples cover only 0 s of the 20 s")
        now[0], duty[0] = 1010.0, 30.0
        second = await measure()
        assert second.values[pod("web-0").ref].value_milli == 20_000
