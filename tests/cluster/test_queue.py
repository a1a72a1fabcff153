"""A queue behind a real Service: both endpoints count, read with the scaler's own rights."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from tests.ownaddress import own_address
from tests.running import running_scaler
from tests.waiting import until

if TYPE_CHECKING:
    from scaler.kube.client import KubeClient
    from tests.cluster.controlplane import ControlPlane

# The API accepts no loopback address in an EndpointSlice.
pytestmark = pytest.mark.needs("network")

LABELS = {"app": "gateway"}


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


async def add_pod(admin: KubeClient, namespace: str, name: str, port: int) -> None:
    """Add a pod as a kubelet would report it: running, ready, at this machine's address."""
    pods, address = f"/api/v1/namespaces/{namespace}/pods", own_address()
    ports = [{"name": "page", "containerPort": port}]
    spec = {"containers": [{"name": "c", "image": "none", "ports": ports}], "nodeName": namespace}
    metadata = {"name": name, "labels": LABELS}
    await admin.post(pods, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    status = {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    await admin.patch(f"{pods}/{name}/status", {"status": status})


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
    services = f"/api/v1/namespaces/{namespace}/services"
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"

    async def replicas() -> int:
        return int((await admin.get(f"{deployments}/llm"))["spec"]["replicas"])

    async def three() -> bool:
        return await replicas() == 3

    async with AsyncExitStack() as stack:
        # A pod without a node is no endpoint.
        await admin.post("/api/v1/nodes", {"metadata": {"name": namespace}})
        stack.push_async_callback(admin.delete, f"/api/v1/nodes/{namespace}")
        for number, port in enumerate(await gateways.start(stack)):
            await add_pod(admin, namespace, f"gateway-{number}", port)
        spec = {"selector": LABELS, "ports": [{"name": "http", "port": 80, "targetPort": "page"}]}
        await admin.post(services, {"metadata": {"name": "gateway"}, "spec": spec})

        async def both_are_endpoints() -> bool:
            listed = (await admin.list_(slices))["items"]
            return sum(len(one.get("endpoints") or ()) for one in listed) == 2

        await until(both_are_endpoints, what="the Service has both endpoints")
        kubeconfig = await asyncio.to_thread(installed.kubeconfig_for, "gpu-scaler/gpu-scaler")
        await stack.enter_async_context(running_scaler(kubeconfig))
        await admin.post(deployments, deployment())
        await until(three, what="2 x 6 requests need 3 pods of 5 each")
