# SPDX-License-Identifier: Apache-2.0
"""The loop's source with real model servers as pods: values, reasons, and what it never asks."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from scaler.model import (
    ContainerPort,
    ExporterEndpoint,
    Metric,
    MetricReading,
    MetricSelector,
    ObjectRef,
    PodNetwork,
    PodPhase,
    PodState,
    ServerSettings,
)
from scaler.readings.servers.pod_pages import NOT_ASKED_YET
from scaler.readings.settings import ExportersSettings, ServersSettings
from scaler.readings.source import ReadingRequest
from scaler.readings.sources import Sources
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from scaler.readings.loop_source import LoopSource
    from scaler.readings.servers.pod_pages import PodPages
    from scaler.readings.source import SourceAnswer

WEB = ObjectRef("default", "web")
INTERVAL = 0.1


class Server:
    """A model server on a loopback address of its own."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.port = 0
        self.running = 3
        self.asked = 0
        self.at_once = 0
        self.body: bytes | None = None
        self.status = 200
        self.answer = asyncio.Event()
        self.answer.set()

    async def handle(self, request: web.Request) -> web.Response:
        self.asked += 1
        self.at_once += 1
        assert self.at_once == 1
        try:
            await self.answer.wait()
        finally:
            self.at_once -= 1
        page = f"vllm:num_requests_running {self.running}\nvllm:num_requests_waiting 1\n"
        body = page.encode() if self.body is None else self.body
        return web.Response(body=body, status=self.status)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Server]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.2
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, self.address, self.port).start()
            self.port = runner.addresses[0][1]
            yield self
        finally:
            await runner.cleanup()


def pod(server: Server, name: str = "web-0", **changes: Any) -> PodState:
    made = PodState(
        ref=ObjectRef("default", name),
        uid=f"uid-{name}",
        phase=PodPhase.RUNNING,
        deleting=False,
        ready_since_seconds=0.0,
        node_name="node-1",
        address=server.address,
        network=PodNetwork(ports=(ContainerPort("http", server.port),)),
    )
    return replace(made, **changes)


def request(*pods: PodState, deployment: ObjectRef = WEB, **changes: Any) -> ReadingRequest:
    made = ReadingRequest(
        deployment=deployment, metrics=(Metric.REQUESTS,), pods=pods, window_seconds=0.0
    )
    return replace(made, **changes)


@asynccontextmanager
async def bed(
    *, interval_seconds: float = INTERVAL, once: bool = False, timeout_seconds: float = 5.0
) -> AsyncIterator[tuple[LoopSource, Sources]]:
    sources = Sources(
        exporters=ExportersSettings(),
        scrape_timeout_seconds=2.0,
        prometheus=None,
        gpus_from_prometheus=False,
        servers=ServersSettings(timeout_seconds=timeout_seconds),
    )
    async with AsyncExitStack() as stack:
        source = await sources.for_loop(stack, interval_seconds=interval_seconds, once=once)
        running = asyncio.create_task(source.run())
        try:
            yield source, sources
        finally:
            running.cancel()
            await asyncio.wait({running})


async def asked(
    source: LoopSource, *requests: ReadingRequest, endpoints: Mapping[str, Any] | None = None
) -> SourceAnswer:
    """Read every interval until each pod has been asked."""

    async def answer() -> SourceAnswer | None:
        found = await source.read(requests, endpoints or {})
        waiting = [
            reason
            for readings in found.readings.values()
            for reading in readings.values()
            for reason in reading.missing.values()
            if reason == NOT_ASKED_YET
        ]
        return None if waiting else found

    found = await until(answer)
    assert found is not None
    return found


async def reading(source: LoopSource, one: ReadingRequest) -> MetricReading:
    (metric,) = one.metrics
    return (await asked(source, one)).readings[one.deployment][metric]


async def test_each_pod_has_its_value_and_the_note_says_how_it_was_found():
    async with Server("127.0.0.2").serving() as one, Server("127.0.0.3").serving() as two:
        one.running, two.running = 3, 7
        pods = (pod(one, "web-0"), pod(two, "web-1"))
        async with bed() as (source, sources):
            first = (await source.read([request(*pods)], {})).readings[WEB][Metric.REQUESTS]
            assert set(first.missing.values()) == {NOT_ASKED_YET}
            answer = await asked(source, request(*pods))
    found = answer.readings[WEB][Metric.REQUESTS]
    assert {ref.name: value.value_milli for ref, value in found.values.items()} == {
        "web-0": 4000,
        "web-1": 8000,
    }
    assert found.missing == {}
    assert answer.max_age_seconds is not None
    assert sources.server_reads["success"] >= 2
    for text in ("vLLM", "vllm:num_requests_running", "container port http"):
        assert text in (found.note or "")


async def test_pods_that_do_not_run_or_are_deleted_are_not_asked():
    async with Server("127.0.0.2").serving() as server, bed() as (source, _):
        pods = (
            pod(server, "pending", phase=PodPhase.PENDING),
            pod(server, "done", phase=PodPhase.SUCCEEDED),
            pod(server, "deleted", deleting=True),
            pod(server, "new", address=None),
        )
        found = await reading(source, request(*pods))
        assert [ref.name for ref in found.missing] == ["new"]
        assert not found.values
        assert not server.asked


async def test_a_page_cannot_speak_for_another_pod():
    async with Server("127.0.0.2").serving() as good, Server("127.0.0.3").serving() as liar:
        liar.body = (
            b'vllm:num_requests_running{pod="web-0",namespace="default",instance="127.0.0.2"} 90\n'
            b"vllm:num_requests_waiting 0\n"
        )
        async with bed() as (source, _):
            found = await reading(source, request(pod(good, "web-0"), pod(liar, "web-1")))
    assert found.values[ObjectRef("default", "web-0")].value_milli == 4000
    assert found.values[ObjectRef("default", "web-1")].value_milli == 90000


async def test_a_failing_pod_is_missing_with_the_reason_and_never_0():
    async with Server("127.0.0.2").serving() as good, Server("127.0.0.3").serving() as bad:
        for status, body, expected in (
            (501, None, "llama.cpp, start it with --metrics"),
            (404, None, "/v1/metrics of NIM"),
            (200, b"", "empty page"),
            (200, b"a 1\n", "known server"),
            (200, b"\x00\x01", "no Prometheus text"),
        ):
            bad.status, bad.body = status, body
            async with bed() as (source, _):
                found = await reading(source, request(pod(good, "web-0"), pod(bad, "web-1")))
            assert [ref.name for ref in found.values] == ["web-0"]
            (reason,) = found.missing.values()
            assert expected in reason
            assert f"http://127.0.0.3:{bad.port}/metrics" in reason


async def test_a_server_that_is_known_gets_its_own_hint():
    async with Server("127.0.0.2").serving() as server, bed() as (source, _):
        server.body, server.status = b"", 501
        settings = ServerSettings(server="llama.cpp")
        found = await reading(source, request(pod(server), server=settings))
        (text,) = found.missing.values()
        assert text.startswith("llama.cpp answers 501: start it with --metrics")


async def test_a_server_that_ends_and_comes_back():
    async with bed() as (source, _):
        server = Server("127.0.0.2")
        async with server.serving():
            one = request(pod(server))
            assert (await reading(source, one)).values
        await until(lambda: _missing(source, one, "refuses the connection"))
        async with server.serving():
            server.running = 9
            await until(lambda: _value(source, one, 10_000))


async def _missing(source: LoopSource, one: ReadingRequest, text: str) -> bool:
    found = await reading(source, one)
    return any(text in reason for reason in found.missing.values())


async def _value(source: LoopSource, one: ReadingRequest, milli: int) -> bool:
    found = await reading(source, one)
    return any(value.value_milli == milli for value in found.values.values())


async def test_the_rate_of_a_counter_over_two_readings():
    async with Server("127.0.0.2").serving() as server, bed() as (source, _):
        selector = MetricSelector(name="done_total", is_rate=True)
        one = request(
            pod(server),
            metrics=(Metric.POD_METRIC,),
            server=ServerSettings(pod_metric=selector),
        )
        server.body = b"# TYPE done_total counter\ndone_total 5\n"
        (text,) = (await reading(source, one)).missing.values()
        assert "two readings" in text
        await until(lambda: _value(source, one, 0))


async def test_values_are_averaged_over_the_window_once_half_of_it_is_covered():
    async with Server("127.0.0.2").serving() as server, bed() as (source, _):
        one = request(pod(server), window_seconds=0.6)
        (text,) = (await reading(source, one)).missing.values()
        assert "0.6 s window" in text
        await until(lambda: _value(source, one, 4000))
        server.running = 103

        async def between() -> bool:
            values = (await reading(source, one)).values.values()
            return any(4000 < value.value_milli < 104_000 for value in values)

        await until(between)


async def test_another_setting_drops_what_was_read_with_the_last():
    async with Server("127.0.0.2").serving() as server, bed() as (source, _):
        one = request(pod(server))
        assert (await reading(source, one)).values
        other = replace(one, server=ServerSettings(server="llama.cpp"))
        answer = await source.read([other], {})
        assert not answer.readings[WEB][Metric.REQUESTS].values
        (text,) = (await reading(source, other)).missing.values()
        assert "vLLM" in text


async def test_hanging_pods_delay_neither_the_read_nor_another_namespace():
    async with Server("127.0.0.2").serving() as good, AsyncExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.3", 0), backlog=4096))
        hangs = Server("127.0.0.3")
        hangs.port = listener.getsockname()[1]
        crowd = ObjectRef("crowd", "hang")
        pods = [pod(hangs, f"hang-{n}", ref=ObjectRef("crowd", f"hang-{n}")) for n in range(1000)]
        async with bed(timeout_seconds=30) as (source, _):
            both = [request(*pods, deployment=crowd), request(pod(good))]
            for running in (5, 6, 7):
                good.running = running

                async def sees(milli: int = 1000 * (running + 1)) -> bool:
                    found = await source.read(both, {})
                    values = found.readings[WEB][Metric.REQUESTS].values
                    return any(value.value_milli == milli for value in values.values())

                await until(sees)
            found = await source.read(both, {})
            assert len(found.readings[crowd][Metric.REQUESTS].missing) == 1000


async def test_with_once_each_pod_is_waited_for_up_to_its_timeout():
    async with Server("127.0.0.2").serving() as good, Server("127.0.0.3").serving() as hangs:
        hangs.answer.clear()
        async with bed(once=True, interval_seconds=60, timeout_seconds=0.2) as (source, _):
            found = await source.read([request(pod(good, "web-0"), pod(hangs, "web-1"))], {})
        reading = found.readings[WEB][Metric.REQUESTS]
        assert [ref.name for ref in reading.values] == ["web-0"]
        assert "did not answer within 0.2 s" in reading.missing[ObjectRef("default", "web-1")]


async def test_a_deployment_with_servers_alone_asks_no_exporter_and_one_with_gpus_no_server():
    async with Server("127.0.0.2").serving() as server, Server("127.0.0.9").serving() as exporter:
        endpoints = {
            "node-1": ExporterEndpoint(
                url=f"http://127.0.0.9:{exporter.port}/metrics",
                pod=ObjectRef("gpu-exporter", "e"),
                ready=True,
            )
        }
        async with bed() as (source, _):
            await asked(source, request(pod(server)), endpoints=endpoints)
            assert not exporter.asked
        before = server.asked
        async with bed() as (source, _):
            gpus = request(pod(server), metrics=(Metric.DUTY_CYCLE,))
            found = await source.read([gpus], endpoints)
            assert list(found.readings[WEB]) == [Metric.DUTY_CYCLE]
            assert exporter.asked > 0
            both = replace(gpus, metrics=(Metric.DUTY_CYCLE, Metric.REQUESTS))
            assert server.asked == before
            readings = (await asked(source, both, endpoints=endpoints)).readings[WEB]
            assert set(readings) == {Metric.DUTY_CYCLE, Metric.REQUESTS}
            assert readings[Metric.REQUESTS].values


async def test_whoever_loses_the_lease_asks_nobody_any_more():
    async with Server("127.0.0.2").serving() as server, bed() as (source, _):
        one = request(pod(server))
        assert (await reading(source, one)).values
        source.forget()
        found = await source.read([one], {})
        assert set(found.readings[WEB][Metric.REQUESTS].missing.values()) == {NOT_ASKED_YET}


async def test_the_metrics_api_shares_the_requests_of_the_loop():
    async with Server("127.0.0.2").serving() as server, bed() as (source, sources):
        # The loop's own setting does not hide the page from others.
        one = request(pod(server), server=ServerSettings(server="vllm"))
        async with sources.servers(every_seconds=10 * INTERVAL) as pages:
            running = asyncio.create_task(pages.polls.run())
            assert (await reading(source, one)).values
            pages.want([((pod(server),), ServerSettings())])
            await pages.polls.wait_for_all()
            before = server.asked
            for _ in range(3):
                server.running += 1
                wanted = 1000 * (server.running + 1)
                await until(partial(_value, source, one, wanted))
                pages.want([((pod(server),), ServerSettings())])
                page = pages.page(pod(server))
                assert not isinstance(page, str)
                assert page.values is not None
                assert page.values.values[Metric.REQUESTS] == server.running + 1
            # Two at once would fail in the server.
            assert server.asked - before >= 3
            # Alone, it asks for itself.
            source.forget()
            server.running = 50
            await until(lambda: _sees(pages, server, 51))
            running.cancel()
            await asyncio.wait({running})


def _sees(pages: PodPages, server: Server, requests: float) -> bool:
    pages.want([((pod(server),), ServerSettings())])
    page = pages.page(pod(server))
    return (
        not isinstance(page, str)
        and page.values is not None
        and page.values.values[Metric.REQUESTS] == requests
    )


async def test_without_a_reader_of_queues_a_queue_has_no_value():
    async with bed() as (source, _):
        found = await source.read([request(metrics=(Metric.QUEUE,))], {})
    assert found.readings[WEB][Metric.QUEUE].problem


@pytest.mark.parametrize("failing", [True, False])
async def test_queues_are_answered_by_their_own_reader(failing):
    total = MetricReading(metric=Metric.QUEUE, values={})

    class Queues:
        def totals(self, requests: Any) -> Mapping[ObjectRef, MetricReading]:
            if failing:
                raise ValueError("impossible")
            return {one.deployment: total for one in requests}

        async def wait_for_all(self) -> None:
            pass

        async def run(self) -> None:
            await asyncio.Event().wait()

    sources = Sources(
        exporters=ExportersSettings(),
        scrape_timeout_seconds=2.0,
        prometheus=None,
        gpus_from_prometheus=False,
    )
    async with AsyncExitStack() as stack:
        source = await sources.for_loop(
            stack, interval_seconds=INTERVAL, once=False, queues=lambda _: Queues()
        )
        found = await source.read([request(metrics=(Metric.QUEUE,))], {})
    reading = found.readings[WEB][Metric.QUEUE]
    assert (reading.problem is not None) if failing else (reading is total)
