# SPDX-License-Identifier: Apache-2.0
"""A stock HPA on the requests in pods' model servers, with no GPU and no Prometheus."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from scaler.kube.errors import NotFound
from tests.waiting import until

if TYPE_CHECKING:
    from tests.cluster.metricsapi.conftest import Served

pytestmark = pytest.mark.asyncio(loop_scope="package")


def deployment(node: str, port: int) -> dict[str, Any]:
    labels = {"app": "llm"}
    ports = [{"name": "metrics", "containerPort": port}]
    container = {"name": "c", "image": "none", "ports": ports}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "llm"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"nodeName": node, "containers": [container]},
            },
        },
    }


HPA = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "llm"},
    "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llm"},
        "maxReplicas": 4,
        "metrics": [
            {
                "type": "Pods",
                "pods": {
                    "metric": {"name": "requests_current"},
                    "target": {"type": "AverageValue", "averageValue": "5"},
                },
            }
        ],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    },
}


async def test_a_stock_hpa_follows_the_requests_in_the_pods(served: Served) -> None:
    client, namespace = served.client, f"llm-{uuid.uuid4().hex[:8]}"
    deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    pods = f"/api/v1/namespaces/{namespace}/pods"
    running = 12

    async def page(_: web.Request) -> web.Response:
        return web.Response(
            text=f"vllm:num_requests_running {running}\nvllm:num_requests_waiting 0\n"
        )

    async def run_pods() -> None:
        """Be the kubelet of a node that has none."""
        status = {
            "phase": "Running",
            "podIP": "127.0.0.1",
            "podIPs": [{"ip": "127.0.0.1"}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        while True:
            for one in (await client.list_(pods))["items"]:
                path, metadata = f"{pods}/{one['metadata']['name']}", one["metadata"]
                with suppress(NotFound):
                    if metadata.get("deletionTimestamp"):
                        await client.delete(path, body={"gracePeriodSeconds": 0})
                    elif one["status"]["phase"] == "Pending":
                        await client.patch(f"{path}/status", {"status": status})
            await asyncio.sleep(0.2)

    async def replicas_become(count: int) -> None:
        async def are() -> bool:
            return bool((await client.get(f"{deployments}/llm"))["spec"]["replicas"] == count)

        await until(are, what=f"{count} replicas")

    async with AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_get("/metrics", page)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        for path, name in (("/api/v1/nodes", namespace), ("/api/v1/namespaces", namespace)):
            await client.post(path, {"metadata": {"name": name}})
            stack.push_async_callback(client.delete, f"{path}/{name}")
        await client.post(deployments, deployment(namespace, runner.addresses[0][1]))
        kubelet = asyncio.create_task(run_pods())
        stack.callback(kubelet.cancel)
        hpas = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"
        await client.post(hpas, HPA)
        await replicas_become(4)
        running = 0
        await replicas_become(1)
