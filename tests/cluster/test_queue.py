# SPDX-License-Identifier: Apache-2.0
"""A queue behind a real Service: both endpoints count, read with the scaler's own rights."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from tests.cluster.endpoints import endpoints_at
from tests.running import running_scaler
from tests.waiting import until

if TYPE_CHECKING:
    from scaler.kube.client import KubeClient
    from tests.cluster.controlplane import ControlPlane

# The API accepts no loopback address in an EndpointSlice.
pytestmark = pytest.mark.needs("network")


class Gateways:
    """Two pages at this machine's address, on a port each; `waiting` is what both of them say."""

    def __init__(self) -> None:
        self.waiting = 6

    async def handle(self, _: web.Request) -> web.Response:
        return web.Response(text=f"# TYPE waiting gauge\nwaiting {self.waiting}\n")

    async def start(self, stack: AsyncExitStack) -> list[int]:
        app = web.Application()
        app.router.add_get("/metrics", self.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        for _ in range(2):
            await web.TCPSite(runner, "0.0.0.0", 0).start()
        return [address[1] for address in runner.addresses]


def deployment() -> dict[str, Any]:
    labels = {"app": "llm"}
    annotations = {
        "enabled": "true",
        "max-replicas": "8",
        "target-requests": "5",
        "queue": "http://gateway:http/metrics waiting",
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "llm",
            "annotations": {f"gpu-scaler/{key}": value for key, value in annotations.items()},
        },
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": "none"}]},
            },
        },
    }


async def test_a_queue_is_summed_over_the_endpoints_of_a_service(
    installed: ControlPlane, admin: KubeClient, namespace: str
) -> None:
    gateways = Gateways()
    deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"

    async def replicas() -> int:
        return int((await admin.get(f"{deployments}/llm"))["spec"]["replicas"])

    async def three() -> bool:
        return await replicas() == 3

    async with AsyncExitStack() as stack:
        ports = await gateways.start(stack)
        await stack.enter_async_context(endpoints_at(admin, namespace, ports))
        kubeconfig = await asyncio.to_thread(installed.kubeconfig_for, "gpu-scaler/gpu-scaler")
        await stack.enter_async_context(running_scaler(kubeconfig))
        await admin.post(deployments, deployment())
        await until(three, what="2 x 6 requests need 3 pods of 5 each")
