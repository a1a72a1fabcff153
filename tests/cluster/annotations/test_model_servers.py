"""Model servers as pods on the real control plane, scaled on their own requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster.annotations.conftest import empty
from tests.cluster.processes import free_ports
from tests.running import running_scaler
from tests.servers import llamacpp
from tests.servers.load import requests_in_flight
from tests.servers.pods import running_server_pods
from tests.servers.served import NAME, TARGET, Served, explained

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from scaler.kube.client import KubeClient
    from tests.cluster.annotations.audit import Audit

REQUESTS = 5
PODS_FOR_THEM = -(-REQUESTS // TARGET)


@pytest.fixture
async def served(admin: KubeClient, tmp_path: Path) -> AsyncIterator[Served]:
    (port,) = free_ports(1)

    def start(address):
        return llamacpp.running_llamacpp(tmp_path, address=address, port=port)

    async with running_server_pods(admin, start, app=NAME) as pods:
        served = Served(client=admin, pods=pods)
        await served.add(port)
        yield served
        await empty(admin)


@pytest.mark.needs("linux")
@pytest.mark.needs("llamacpp")
async def test_pods_follow_the_requests_with_the_rights_that_we_ship(
    served: Served, kubeconfig: Path, audit: Audit
):
    await served.becomes(1)
    (server,) = served.pods.servers.values()
    async with running_scaler(kubeconfig) as scaler:
        url, body = llamacpp.completions(server), llamacpp.long_request()
        async with requests_in_flight(url, body, count=REQUESTS):
            await served.becomes(PODS_FOR_THEM)
            assert "llama.cpp, recognised by" in await explained(scaler)
        await served.becomes(1)
    sizes = [request.replicas for request in audit.rescales()]
    assert max(sizes) == PODS_FOR_THEM
    assert sizes[-1] == 1
