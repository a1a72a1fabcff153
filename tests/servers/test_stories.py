# SPDX-License-Identifier: Apache-2.0
"""Real model servers as pods, scaled on their own requests: no GPU, exporter or Prometheus."""

from __future__ import annotations

import signal
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from scaler.kube.client import KubeClient
from simulator.apiserver import running_apiserver
from tests.cluster.processes import free_ports
from tests.running import running_scaler
from tests.servers import dynamo, full, llamacpp
from tests.servers.gateway import running_gateway
from tests.servers.load import requests_in_flight
from tests.servers.pods import PODS, running_server_pods
from tests.servers.served import (
    NAME,
    SLEEPS,
    STORY_SECONDS,
    TARGET,
    Served,
    answers_from_zero,
    explained,
    requests_account,
)
from tests.serviceobjects import create, endpoint, endpoint_slice, pod, service
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.running import ScalerProcess
    from tests.servers.pods import Start
    from tests.servers.process import ServerProcess

pytestmark = pytest.mark.needs("linux")

REQUESTS = 5
PODS_FOR_THEM = -(-REQUESTS // TARGET)


@asynccontextmanager
async def running(folder: Path, start: Start) -> AsyncIterator[tuple[Served, ScalerProcess]]:
    """Run the embedded API, a pod's server for each pod, and the scaler at its defaults."""
    async with running_apiserver() as api, KubeClient(api.url) as client:
        await client.post("/api/v1/namespaces", {"metadata": {"name": "gpu-scaler"}})
        async with (
            running_server_pods(client, start, app=NAME) as pods,
            running_scaler(api.write_kubeconfig(folder / "kubeconfig")) as scaler,
        ):
            yield Served(client=client, pods=pods), scaler


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two llama.cpp pods, all requests at the `first`; the second is `name` with `server`."""

    served: Served
    scaler: ScalerProcess
    first: str
    name: str
    server: ServerProcess
    load: AsyncExitStack

    async def holds(self, reason: str) -> None:
        """End the load; wait until the count is held for want of the second pod's value."""
        await self.load.aclose()

        async def is_held() -> bool:
            decision = await requests_account(self.scaler)
            is_idle = [*decision.values.values()] == [0]
            return (
                is_idle
                and decision.outcome == "held"
                and reason in decision.left_out.get(self.name, "")
            )

        await until(is_held, deadline_seconds=STORY_SECONDS, what=f"the count is held: {reason}")
        assert reason in await explained(self.scaler)
        assert len(self.served.pods.servers) == 2


@asynccontextmanager
async def running_pair(folder: Path, *, drain: bool = False) -> AsyncIterator[Pair]:
    (port,) = free_ports(1)

    def start(address: str) -> AbstractAsyncContextManager[ServerProcess]:
        return llamacpp.running_llamacpp(folder, address=address, port=port, drains=drain)

    async with running(folder, start) as (served, scaler), AsyncExitStack() as load:
        await served.add(port)
        await served.becomes(1)
        ((first, server),) = served.pods.servers.items()
        url, body = llamacpp.completions(server), llamacpp.long_request()
        await load.enter_async_context(requests_in_flight(url, body, count=TARGET + 1))
        await served.becomes(2)
        (name,) = served.pods.servers.keys() - {first}
        yield Pair(
            served=served,
            scaler=scaler,
            first=first,
            name=name,
            server=served.pods.servers[name],
            load=load,
        )


@pytest.mark.needs("dynamo")
async def test_workers_follow_the_requests_that_a_frontend_spreads(tmp_path):
    (port,) = free_ports(1)
    async with dynamo.running_frontend(tmp_path) as frontend:

        def start(address):
            return dynamo.running_worker(frontend, address=address, port=port)

        async with running(tmp_path, start) as (served, scaler):
            await served.add(port)
            await served.becomes(1)
            body = dynamo.long_request()
            async with requests_in_flight(frontend.completions, body, count=REQUESTS):
                await served.becomes(PODS_FOR_THEM)
                assert "Dynamo, recognised by" in await explained(scaler)
            await served.becomes(1)


@pytest.mark.needs("llamacpp")
async def test_a_server_that_hangs_holds_the_count_until_it_answers(tmp_path):
    async with running_pair(tmp_path) as pair:
        pair.server.process.send_signal(signal.SIGSTOP)
        try:
            await pair.holds("did not answer within")
        finally:
            pair.server.process.send_signal(signal.SIGCONT)
        await pair.served.becomes(1)


@pytest.mark.needs("llamacpp")
async def test_a_server_that_died_holds_the_count_until_it_runs_again(tmp_path):
    async with running_pair(tmp_path) as pair:
        pair.server.process.kill()
        await pair.holds("refuses the connection")
        pair.served.pods.restart(pair.name)
        await pair.served.becomes(1)


@pytest.mark.needs("llamacpp")
async def test_a_server_that_drains_finishes_its_requests_and_counts_no_more(tmp_path):
    async with running_pair(tmp_path, drain=True) as pair, AsyncExitStack() as clients:
        pods, client = pair.served.pods, pair.served.client
        # Of the two, the second is to go.
        cost = {"controller.kubernetes.io/pod-deletion-cost": "100"}
        await client.patch(f"{PODS}/{pair.first}", {"metadata": {"annotations": cost}})
        url, body = llamacpp.completions(pair.server), llamacpp.long_request()
        failures = await clients.enter_async_context(requests_in_flight(url, body, count=1))
        await pair.load.aclose()
        await pair.served.becomes(1)

        async def counts_the_other_alone() -> bool:
            decision = await requests_account(pair.scaler)
            return decision.values == {pair.first: 0} and decision.outcome == "unchanged"

        await until(counts_the_other_alone, deadline_seconds=STORY_SECONDS)
        assert (await requests_account(pair.scaler)).left_out == {pair.name: "is being deleted"}
        assert [*pods.ending] == [pair.name], "it ended with a request in hand"
        assert failures == []
        await clients.aclose()
        await until(lambda: not pods.ending, what="the drained server ends")
        await pair.served.becomes(1)


@pytest.mark.parametrize(
    ("annotations", "pods"),
    [
        # 3 in hand with a target of 2: what it rejects is no demand that its page shows.
        pytest.param({}, 2, id="by requests in hand"),
        pytest.param(
            {
                "pod_metric": "rate(vllm:admission_rejections_total)",
                "target_pod_metric": "1",
                "max_replicas": "4",
            },
            4,
            id="by rejections too",
        ),
    ],
)
async def test_a_server_that_rejects_counts_what_it_took(tmp_path, annotations, pods):
    (port,) = free_ports(1)

    def start(address):
        return full.running_full_server(tmp_path, address=address, port=port)

    async with running(tmp_path, start) as (served, scaler):
        await served.add(port, **annotations)
        await served.becomes(1)
        ((name, server),) = served.pods.servers.items()
        url = f"{server.url}/v1/completions"
        async with requests_in_flight(url, {}, count=20) as failures:
            await served.becomes(pods)

            async def is_steady() -> bool:
                decision = await requests_account(scaler)
                return decision.values.get(name) == 3 and len(decision.values) == pods

            await until(is_steady, deadline_seconds=STORY_SECONDS, what="all pods count")
            await served.becomes(pods)
            assert failures
        await served.becomes(1)


@pytest.mark.needs("llamacpp")
@pytest.mark.parametrize(
    ("has_metrics", "annotations", "reason"),
    [
        pytest.param(True, {"server": "vllm"}, "vLLM", id="another server's page"),
        pytest.param(False, {}, "--metrics", id="no page"),
    ],
)
async def test_a_page_that_does_not_say_is_never_idle(tmp_path, has_metrics, annotations, reason):
    (port,) = free_ports(1)

    def start(address):
        return llamacpp.running_llamacpp(tmp_path, address=address, port=port, metrics=has_metrics)

    async with running(tmp_path, start) as (served, scaler):
        await served.add(port, 2, **annotations)

        async def is_refused() -> bool:
            decision = await requests_account(scaler)
            return len([one for one in decision.left_out.values() if reason in one]) == 2

        await until(is_refused, what=f"both pods are left out: {reason}")
        assert reason in await explained(scaler)
        await served.becomes(2)


@pytest.mark.needs("llamacpp")
async def test_what_waits_at_a_gateway_wakes_a_server_that_answers_it(tmp_path):
    (port,) = free_ports(1)

    def start(address):
        return llamacpp.running_llamacpp(tmp_path, address=address, port=port)

    async with (
        running(tmp_path, start) as (served, scaler),
        running_gateway(served.urls) as gateway,
    ):
        await create(
            served.client,
            pod("gateway-1", "127.0.0.1"),
            services=[service()],
            slices=[
                endpoint_slice(endpoint("gateway-1", "127.0.0.1"), port=int(gateway.split(":")[2]))
            ],
        )
        await served.add(port, **SLEEPS)
        await served.becomes(0)
        assert "wakes when the queue exceeds 0" in await explained(scaler)
        await answers_from_zero(served, gateway)
