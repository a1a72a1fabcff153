# SPDX-License-Identifier: Apache-2.0
"""`gpu-scaler/queue` from the annotation to the replicas: to none and back, without Prometheus."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from yarl import URL

from scaler.kube.client import KubeClient
from scaler.kube.errors import NotFound
from simulator.apiserver import running_apiserver
from tests.running import run_program, running_scaler
from tests.scaled import DEPLOYMENTS
from tests.serviceobjects import CORE, create, endpoint, endpoint_slice, pod, service
from tests.serving import serving
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ANNOTATIONS = {
    "enabled": "true",
    "min-replicas": "0",
    "max-replicas": "10",
    "target-requests": "5",
    "queue": "http://gateway:80/metrics gateway_requests",
    "cooldown": "0s",
    "ready-age": "0s",
    "behavior": '{"scaleDown": {"stabilizationWindowSeconds": 0}}',
}
READY = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}


class Bed:
    """A gateway and model servers that all are one process; it counts `requests` for them."""

    def __init__(self, client: KubeClient, kubeconfig: Path) -> None:
        self.client = client
        self.kubeconfig = kubeconfig

    async def replicas_become(self, count: int) -> None:
        async def are() -> bool:
            found = await self.client.get(f"{DEPLOYMENTS}/llm")
            return bool(found["spec"]["replicas"] == count)

        await until(are, what=f"{count} replicas")

    async def run_pods(self) -> None:
        """Be the kubelet of the Deployment's pods."""
        while True:
            for one in (await self.client.list_(f"{CORE}/pods"))["items"]:
                if one.get("status", {}).get("phase", "Pending") == "Pending":
                    status = {"phase": "Running", "podIP": "127.0.0.1", "conditions": [READY]}
                    path = f"{CORE}/pods/{one['metadata']['name']}/status"
                    with suppress(NotFound):
                        await self.client.patch(path, {"status": status})
            await asyncio.sleep(0.05)


class Page:
    """What the gateway counts, and what runs in each pod."""

    def __init__(self) -> None:
        self.requests = 12
        self.running = 3

    async def answer(self, _: web.Request) -> web.Response:
        return web.Response(
            text=f"gateway_requests {self.requests}\n"
            f"vllm:num_requests_running {self.running}\nvllm:num_requests_waiting 0\n"
        )


@asynccontextmanager
async def bed(page: Page, folder: Path) -> AsyncIterator[Bed]:
    async with (
        running_apiserver() as api,
        KubeClient(api.url) as client,
        serving(page.answer) as url,
    ):
        port = URL(url).port
        await client.post("/api/v1/namespaces", {"metadata": {"name": "gpu-scaler"}})
        await create(
            client,
            pod("gateway", "127.0.0.1"),
            services=[service()],
            slices=[endpoint_slice(endpoint("gateway", "127.0.0.1"), port=port)],
        )
        labels = {"app": "llm"}
        ports = [{"name": "metrics", "containerPort": port}]
        await client.post(
            DEPLOYMENTS,
            {
                "metadata": {
                    "name": "llm",
                    "annotations": {f"gpu-scaler/{key}": v for key, v in ANNOTATIONS.items()},
                },
                "spec": {
                    "replicas": 1,
                    "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {"containers": [{"name": "c", "image": "i", "ports": ports}]},
                    },
                },
            },
        )
        made = Bed(client, api.write_kubeconfig(folder / "kubeconfig"))
        kubelet = asyncio.create_task(made.run_pods())
        try:
            yield made
        finally:
            kubelet.cancel()
            await asyncio.wait({kubelet})


@pytest.fixture
def page() -> Page:
    return Page()


async def test_requests_at_a_gateway_wake_a_deployment_and_their_end_lets_it_sleep(
    page: Page, tmp_path: Path
) -> None:
    async with bed(page, tmp_path) as it, running_scaler(it.kubeconfig) as scaler:
        await it.replicas_become(3)
        _, output, _ = await run_program("explain", "default/llm", f"--server={scaler.url}")
        assert "Metric queue" in output
        page.requests = page.running = 0
        await it.replicas_become(0)
        page.requests = 7
        await it.replicas_become(2)
