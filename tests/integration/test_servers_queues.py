# SPDX-License-Identifier: Apache-2.0
"""Queues read from real HTTP servers behind a Service of the embedded API."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from scaler.kube.client import KubeClient
from scaler.kube.service_endpoints import ServiceEndpoints
from scaler.model import Metric, MetricReading, MetricSelector, ObjectRef, Queue
from scaler.readings.servers import queues as queues_module
from scaler.readings.servers.client import ServerClient
from scaler.readings.servers.queues import NOT_READ_YET, PageQueues
from scaler.readings.settings import ExportersSettings, ServersSettings
from scaler.readings.source import ReadingRequest
from scaler.readings.sources import Sources
from simulator.apiserver import running_apiserver
from tests.serviceobjects import SLICES, create, endpoint, endpoint_slice, pod, service
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WEB = ObjectRef("default", "web")
RUNNING, WAITING = MetricSelector(name="gateway_running"), MetricSelector(name="gateway_waiting")
PAGE = "# TYPE gateway_running gauge\ngateway_running {}\ngateway_waiting 2\n"
DRAINING = {"ready": False, "serving": True, "terminating": True}


class Gateway:
    """A page on a loopback address of its own; `number` is what runs."""

    def __init__(self, number: int = 3) -> None:
        self.number = number
        self.body: str | None = None
        self.status = 200
        self.asked: list[str] = []
        self.at_once = self.most_at_once = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.answers.wait()
        finally:
            self.at_once -= 1
        text = PAGE.format(self.number) if self.body is None else self.body
        return web.Response(text=text, status=self.status, headers={"Location": "/elsewhere"})


class World:
    """Gateways as pods of one Service, and a reader of queues."""

    def __init__(
        self, client: KubeClient, queues: PageQueues, gateways: dict[str, Gateway], port: int
    ) -> None:
        self.client = client
        self.queues = queues
        self.gateways = gateways
        self.port = port

    def read(self, *requests: ReadingRequest) -> dict[str, MetricReading]:
        found = self.queues.totals(requests or [request()])
        return {ref.name: reading for ref, reading in found.items()}

    async def reading(self, *requests: ReadingRequest) -> MetricReading:
        """Return the first Deployment's next reading, of pages asked from now on."""
        asked = {name: len(one.asked) for name, one in self.gateways.items()}

        async def fresh() -> MetricReading | None:
            found = next(iter(self.read(*requests).values()))
            # Two further requests: the first may have begun before.
            new = all(len(one.asked) >= asked[name] + 2 for name, one in self.gateways.items())
            return found if new and found.problem != NOT_READ_YET else None

        found = await until(fresh)
        assert found is not None
        return found

    async def until_read(self, *requests: ReadingRequest) -> dict[str, MetricReading]:
        """Return the readings once each queue has been read."""

        async def all_read() -> dict[str, MetricReading] | None:
            found = self.read(*requests)
            return None if any(one.problem == NOT_READ_YET for one in found.values()) else found

        found = await until(all_read)
        assert found is not None
        return found


def request(*terms: MetricSelector, name: str = "web", **changes: str) -> ReadingRequest:
    where = {"service": "gateway", "port": "80", "path": "/metrics", **changes}
    return ReadingRequest(
        deployment=ObjectRef("default", name),
        metrics=(Metric.QUEUE,),
        pods=(),
        window_seconds=0.0,
        queue=Queue(terms=terms or (RUNNING, WAITING), **where),
    )


@asynccontextmanager
async def world(
    *gateways: Gateway,
    timeout_seconds: float = 10.0,
    conditions: dict[str, bool] | None = None,
) -> AsyncIterator[World]:
    """Serve gateways at 127.0.1.1, 127.0.1.2, ..., all on one port; `conditions` of the last."""
    async with AsyncExitStack() as stack:
        port = 0
        names = {}
        for number, gateway in enumerate(gateways, 1):
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", gateway.handle)
            runner = web.AppRunner(
                app, access_log=None, handler_cancellation=True, shutdown_timeout=0.2
            )
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, f"127.0.1.{number}", port).start()
            port = runner.addresses[0][1]
            names[f"gw-{number}"] = gateway
        api = await stack.enter_async_context(running_apiserver(controls=False))
        client = await stack.enter_async_context(KubeClient(api.url))
        ends = [endpoint(name, f"127.0.1.{n}") for n, name in enumerate(names, 1)]
        if conditions is not None:
            ends[-1]["conditions"] = conditions
        await create(
            client,
            *(pod(name, f"127.0.1.{n}") for n, name in enumerate(names, 1)),
            services=[service()],
            slices=[endpoint_slice(*ends, port=port or 8000)],
        )
        pages = await stack.enter_async_context(
            ServerClient(ServersSettings(loopback_pods=True, timeout_seconds=timeout_seconds))
        )
        queues = PageQueues(pages, ServiceEndpoints(client), interval_seconds=0.1)
        running = asyncio.create_task(queues.run())
        try:
            yield World(client, queues, names, port)
        finally:
            running.cancel()
            await asyncio.wait({running})


async def test_the_terms_are_summed_over_all_endpoints():
    async with world(Gateway(3), Gateway(4)) as it:
        assert it.read()["web"].problem == NOT_READ_YET
        found = await it.reading()
        assert found.metric is Metric.QUEUE
        assert found.problem is None
        assert {ref: value.value_milli for ref, value in found.values.items()} == {WEB: 11000}
        assert {path for one in it.gateways.values() for path in one.asked} == {"/metrics"}


async def test_deployments_share_the_requests_for_one_page():
    async with world(Gateway(3)) as it:
        both = [request(), request(RUNNING, name="other")]
        await it.reading(*both)
        found = it.read(*both)
        assert found["web"].values[WEB].value_milli == 5000
        assert found["other"].values[ObjectRef("default", "other")].value_milli == 3000
        assert it.gateways["gw-1"].most_at_once == 1


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, "no", "answers 404: set gpu-scaler/queue"),
        (302, "", "redirect"),
        (503, "busy", "answers 503"),
        (200, "", "empty page"),
        (200, "<html></html>", "HTML"),
        (200, "# TYPE gateway_running gauge\n", "no sample at all"),
        (200, "gateway_running NaN\ngateway_waiting 0\n", "gateway_running is not a number"),
    ],
)
async def test_one_endpoint_without_a_number_leaves_no_sum(status: int, body: str, expected: str):
    good, bad = Gateway(3), Gateway()
    bad.status, bad.body = status, body
    async with world(good, bad) as it:
        found = await it.reading()
        assert not found.values
        assert "pod gw-2 (127.0.1.2:" in (found.problem or "")
        assert expected in (found.problem or "")
        assert all(path == "/metrics" for path in bad.asked), "no redirect is followed"
        bad.status, bad.body = 200, None
        found = await it.reading()
        assert found.values[WEB].value_milli == 10000


@pytest.mark.parametrize(
    ("body", "known"),
    [("gateway_running 3\n", 10000), ("other 3\n", 7000), ("gateway_running 0\n", 7000)],
)
async def test_an_endpoint_whose_page_lacks_a_term_leaves_a_floor(body: str, known: int):
    """Some servers publish a metric with their first request only."""
    busy, lazy = Gateway(5), Gateway()
    lazy.body = body
    async with world(busy, lazy) as it:
        found = await it.reading()
        assert found.values[WEB].value_milli == known
        assert "pod gw-2 (127.0.1.2:" in found.missing[WEB]
        assert "some servers publish" in found.missing[WEB]
        assert found.problem is None


async def test_nothing_known_is_no_floor():
    lazy = Gateway()
    lazy.body = "gateway_running 0\n"
    async with world(lazy) as it:
        found = await it.reading()
        assert (found.values, found.missing) == ({}, {})
        assert "no metric gateway_waiting: some servers publish" in (found.problem or "")


async def test_one_of_three_that_hangs_leaves_no_floor():
    lazy, hanging = Gateway(), Gateway()
    lazy.body = "gateway_running 3\n"
    hanging.answers.clear()
    async with world(Gateway(3), lazy, hanging, timeout_seconds=1.0) as it:
        found = (await it.until_read())["web"]
        assert (found.values, found.missing) == ({}, {})
        assert found.problem is not None


async def test_a_type_without_samples_on_a_page_that_is_whole_is_0():
    idle = Gateway()
    idle.body = "# TYPE gateway_running gauge\ngateway_waiting 2\n"
    async with world(idle) as it:
        assert (await it.reading()).values[WEB].value_milli == 2000


async def test_an_endpoint_that_hangs_holds_its_queue_and_no_other():
    hanging = Gateway()
    hanging.answers.clear()
    async with world(Gateway(3), hanging, timeout_seconds=1.0) as it:
        await it.client.post("/api/v1/namespaces/default/services", service("other"))
        ends = endpoint("gw-1", "127.0.1.1")
        await it.client.post(SLICES, endpoint_slice(ends, name="x", of="other", port=it.port))
        both = [request(), request(name="other", service="other")]
        found = await it.until_read(*both)
        assert "gw-2" in (found["web"].problem or "")
        assert "did not answer within 1 s" in (found["web"].problem or "")
        assert found["other"].values[ObjectRef("default", "other")].value_milli == 5000
        assert hanging.most_at_once == 1


@pytest.mark.parametrize(
    ("answers", "expected"), [pytest.param(True, 10000), pytest.param(False, 5000)]
)
async def test_an_endpoint_that_terminates_counts_while_it_answers(answers: bool, expected: int):
    ending = Gateway(3)
    ending.status = 200 if answers else 503
    async with world(Gateway(3), ending, conditions=DRAINING) as it:
        assert (await it.reading()).values[WEB].value_milli == expected


@pytest.mark.parametrize(("status", "body"), [(503, "busy"), (200, "gateway_running 0\n")])
async def test_endpoints_that_all_terminate_without_a_sum_are_no_0(status: int, body: str):
    ending = Gateway()
    ending.status, ending.body = status, body
    async with world(ending, conditions=DRAINING) as it:
        assert "terminate" in ((await it.reading()).problem or "")


async def test_endpoints_are_looked_up_again_where_one_fails():
    async with world(Gateway(3)) as it:
        await it.reading()
        await it.client.patch(
            "/api/v1/namespaces/default/pods/gw-1/status",
            {"status": {"podIP": "127.0.1.9", "podIPs": [{"ip": "127.0.1.9"}]}},
        )
        await it.client.delete(f"{SLICES}/gateway-1")
        moved = endpoint("gw-1", "127.0.1.9")
        await it.client.post(SLICES, endpoint_slice(moved, port=it.port))
        it.gateways["gw-1"].status = 503

        def refused() -> bool:
            return "127.0.1.9" in (it.read()["web"].problem or "")

        await until(refused, what="the new address is asked")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"service": "none"}, "does not exist"), ({"port": "grpc"}, "no TCP port 'grpc'")],
)
async def test_what_is_wrong_with_the_service_is_said(changes: dict[str, str], expected: str):
    async with world(Gateway(3)) as it:
        found = await it.until_read(request(**changes))
        assert expected in (found["web"].problem or "")


async def test_a_rate_is_of_each_endpoint_over_two_readings():
    gateway = Gateway()
    async with world(gateway) as it:
        gateway.body = "# TYPE handled_total counter\nhandled_total 5\n"
        one = request(MetricSelector(name="handled_total", is_rate=True))
        found = await it.reading(one)
        assert "needs two readings" in (found.problem or "")
        await until(lambda: it.read(one)["web"].problem is None)
        assert it.read(one)["web"].values[WEB].value_milli == 0


async def test_what_nobody_asks_for_is_forgotten_and_not_read():
    async with world(Gateway(3)) as it:
        await it.reading()
        assert it.read(request(name="new", path="/other"))["new"].problem == NOT_READ_YET
        assert it.read()["web"].problem == NOT_READ_YET
        await until(lambda: not it.queues._polls._in_flight)
        it.queues.totals([])
        assert it.read(request(path="/other"))["web"].problem == NOT_READ_YET
        asked = it.gateways["gw-1"].asked = []
        await it.reading(request(path="/other"))
        assert set(asked) == {"/other"}


async def test_an_old_reading_is_no_reading():
    now = [1000.0]
    async with world(Gateway(3)) as it:
        it.queues._clock = lambda: now[0]
        it.queues._reader._clock = lambda: now[0]
        await it.reading()
        it.gateways["gw-1"].answers.clear()
        now[0] += 15.1
        assert "was last read" in (it.read()["web"].problem or "")
        it.gateways["gw-1"].answers.set()


async def test_a_namespace_has_a_bounded_number_of_queues(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(queues_module, "QUEUES", 1)
    async with world(Gateway(3)) as it:
        found = it.read(request(), request(name="same"), request(RUNNING, name="more"))
        assert found["same"].problem == NOT_READ_YET
        assert "more than 1 different queues" in (found["more"].problem or "")


async def test_one_loop_alone_waits_for_its_queue():
    async with world(Gateway(3)) as it, AsyncExitStack() as stack:
        sources = Sources(
            exporters=ExportersSettings(),
            scrape_timeout_seconds=2.0,
            prometheus=None,
            gpus_from_prometheus=False,
            servers=ServersSettings(loopback_pods=True, timeout_seconds=30.0),
        )
        source = await sources.for_loop(
            stack,
            interval_seconds=2.0,
            once=True,
            queues=lambda pages: PageQueues(
                pages, ServiceEndpoints(it.client), interval_seconds=2.0
            ),
        )
        running = asyncio.create_task(source.run())
        try:
            answer = await source.read([request()], {})
        finally:
            running.cancel()
            await asyncio.wait({running})
        assert answer.readings[WEB][Metric.QUEUE].values[WEB].value_milli == 5000
