# SPDX-License-Identifier: Apache-2.0
"""The loop's source over real model servers as pods."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiohttp import web

from scaler.model import (
    ContainerPort,
    Metric,
    MetricReading,
    ObjectRef,
    PodNetwork,
    PodPhase,
    PodState,
)
from scaler.readings.servers.pod_pages import NOT_ASKED_YET
from scaler.readings.settings import ExportersSettings, ServersSettings
from scaler.readings.source import ReadingRequest
from scaler.readings.sources import Sources
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from scaler.readings.loop_source import LoopSource
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
        servers=ServersSettings(loopback_pods=True, timeout_seconds=timeout_seconds),
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


async def has_value(source: LoopSource, one: ReadingRequest, milli: int) -> bool:
    found = await reading(source, one)
    return any(value.value_milli == milli for value in found.values.values())
