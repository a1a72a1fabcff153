# SPDX-License-Identifier: Apache-2.0
"""Model servers as pods on the real control plane, scaled on their own requests."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.cluster.annotations.conftest import empty
from tests.cluster.endpoints import endpoints_at
from tests.cluster.processes import free_ports
from tests.ownaddress import own_address
from tests.running import running_scaler
from tests.servers import full, llamacpp
from tests.servers.gateway import running_gateway
from tests.servers.load import requests_in_flight
from tests.servers.pods import running_server_pods
from tests.servers.served import (
    NAME,
    SLEEPS,
    TARGET,
    Served,
    answers_from_zero,
    explained,
    requests_account,
)
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from scaler.kube.client import KubeClient
    from tests.cluster.annotations.audit import Audit
    from tests.servers.process import ServerProcess

    Run = Callable[..., AbstractAsyncContextManager[ServerProcess]]

REQUESTS = 5
PODS_FOR_THEM = -(-REQUESTS // TARGET)
PODS = 4
AT_ONCE = "{scaleDown: {stabilizationWindowSeconds: 0}}"


@asynccontextmanager
async def running_pods(
    admin: KubeClient,
    folder: Path,
    run: Run = llamacpp.running_llamacpp,
    replicas: int = 1,
    /,
    **annotations: str,
) -> AsyncIterator[Served]:
    """Have the Deployment, and a model server for each of its pods."""
    (port,) = free_ports(1)

    def start(address: str) -> AbstractAsyncContextManager[ServerProcess]:
        return run(folder, address=address, port=port)

    async with running_server_pods(admin, start, app=NAME) as pods:
        served = Served(client=admin, pods=pods)
        await served.add(port, replicas, **annotations)
        yield served
        await empty(admin)


@pytest.mark.needs("linux")
@pytest.mark.needs("llamacpp")
async def test_pods_follow_the_requests_with_the_rights_that_we_ship(
    admin: KubeClient, kubeconfig: Path, audit: Audit, tmp_path: Path
):
    async with running_pods(admin, tmp_path) as served, running_scaler(kubeconfig) as scaler:
        await served.becomes(1)
        (server,) = served.pods.servers.values()
        url, body = llamacpp.completions(server), llamacpp.long_request()
        async with requests_in_flight(url, body, count=REQUESTS):
            await served.becomes(PODS_FOR_THEM)
            assert "llama.cpp, recognised by" in await explained(scaler)
        await served.becomes(1)
    sizes = [request.replicas for request in audit.rescales()]
    assert max(sizes) == PODS_FOR_THEM
    assert sizes[-1] == 1


@pytest.mark.needs("linux")
@pytest.mark.needs("network")
@pytest.mark.needs("llamacpp")
async def test_a_request_at_a_gateway_wakes_a_server_that_answers_it(
    admin: KubeClient, kubeconfig: Path, audit: Audit, tmp_path: Path
):
    address = own_address()
    assert address is not None
    async with (
        running_pods(admin, tmp_path, **SLEEPS) as served,
        running_gateway(served.urls, host=address) as gateway,
    ):
        port = int(gateway.rpartition(":")[2])
        async with endpoints_at(admin, "default", [port]), running_scaler(kubeconfig):
            await answers_from_zero(served, gateway)
    assert [request.replicas for request in audit.rescales()] == [0, 1, 0, 1, 0]


@pytest.mark.needs("linux")
@pytest.mark.usefixtures("right")
async def test_the_pod_without_requests_in_hand_goes(
    admin: KubeClient, kubeconfig: Path, tmp_path: Path
):
    """On the real ReplicaSet controller; the pages of the pods are all that is known of them."""
    async with (
        running_pods(
            admin,
            tmp_path,
            full.running_full_server,
            PODS,
            scale_down_pods="idlest",
            behavior=AT_ONCE,
        ) as served,
        AsyncExitStack() as load,
    ):
        await served.becomes(PODS)
        servers = dict(sorted(served.pods.servers.items()))
        loads = {}
        for name, server in servers.items():
            requests = requests_in_flight(f"{server.url}/v1/completions", {}, count=TARGET)
            loads[name] = await load.enter_async_context(AsyncExitStack())
            await loads[name].enter_async_context(requests)
        async with running_scaler(kubeconfig) as scaler:

            async def all_count() -> bool:
                decision = await requests_account(scaler)
                return decision.values == dict.fromkeys(servers, TARGET)

            await until(all_count, what="the requests of all pods are known")
            idle = list(servers)[1]
            await loads[idle].aclose()
            await served.becomes(PODS - 1)
            assert set(served.pods.servers) == set(servers) - {idle}

            async def is_reported() -> bool:
                events = await admin.list_("/api/v1/namespaces/default/events")
                return any(
                    f"removed {idle}: 0 requests in hand" in event["message"]
                    for event in events["items"]
                )

            await until(is_reported, what="the event names the pod and its requests")
