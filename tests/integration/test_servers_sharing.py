# SPDX-License-Identifier: Apache-2.0
"""Who else reads what the loop reads of model servers, and whom the loop does not ask."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from scaler.model import (
    ExporterEndpoint,
    Metric,
    MetricReading,
    ObjectRef,
    ServerSettings,
)
from scaler.readings.servers.pod_pages import NOT_ASKED_YET
from scaler.readings.settings import ExportersSettings
from scaler.readings.sources import Sources
from tests.serversource import INTERVAL, WEB, Server, asked, bed, has_value, pod, reading, request
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaler.readings.servers.pod_pages import PodPages


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
                await until(partial(has_value, source, one, wanted))
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

    queues: Any = Queues()
    sources = Sources(
        exporters=ExportersSettings(),
        scrape_timeout_seconds=2.0,
        prometheus=None,
        gpus_from_prometheus=False,
    )
    async with AsyncExitStack() as stack:
        source = await sources.for_loop(
            stack, interval_seconds=INTERVAL, once=False, queues=lambda _: queues
        )
        found = await source.read([request(metrics=(Metric.QUEUE,))], {})
    reading = found.readings[WEB][Metric.QUEUE]
    assert (reading.problem is not None) if failing else (reading is total)
