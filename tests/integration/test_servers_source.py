# SPDX-License-Identifier: Apache-2.0
"""The loop's source with real model servers as pods: values, reasons, and what it never asks."""

from __future__ import annotations

import socket
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from scaler.model import (
    Metric,
    MetricSelector,
    ObjectRef,
    PodPhase,
    ServerSettings,
)
from scaler.readings.servers.pod_pages import NOT_ASKED_YET
from tests.serversource import WEB, Server, asked, bed, has_value, pod, reading, request
from tests.waiting import until

if TYPE_CHECKING:
    from scaler.readings.loop_source import LoopSource
    from scaler.readings.source import ReadingRequest


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
            await until(lambda: has_value(source, one, 10_000))


async def _missing(source: LoopSource, one: ReadingRequest, text: str) -> bool:
    found = await reading(source, one)
    return any(text in reason for reason in found.missing.values())


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
        await until(lambda: has_value(source, one, 0))


async def test_values_are_averaged_over_the_window_once_half_of_it_is_covered():
    async with Server("127.0.0.2").serving() as server, bed() as (source, _):
        one = request(pod(server), window_seconds=0.6)
        (text,) = (await reading(source, one)).missing.values()
        assert "0.6 s window" in text
        await until(lambda: has_value(source, one, 4000))
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
