# SPDX-License-Identifier: Apache-2.0
"""The scaler with --source prometheus under its own account: out, held, and in again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest
import pytest_asyncio

from simulator.scenario import (
    NAME_PRESS,
    NAME_SERVING,
    press_deployment,
    serving_deployment,
)
from simulator.workload import Workload
from tests.cluster.chain.prometheus import running_prometheus, shipped_jobs
from tests.cluster.processes import free_ports
from tests.running import running_scaler
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from scaler.kube.client import KubeClient
    from tests.cluster.chain.running import Chain

pytestmark = pytest.mark.asyncio(loop_scope="package")

NAMESPACE: Final = "chain-scaled"
DEPLOYMENTS: Final = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
ACCOUNT: Final = "gpu-scaler/gpu-scaler"
QUERIED: Final = "queried"
SCALED: Final = (NAME_SERVING, QUERIED)
QUERY: Final = f'max(nvidia_gpu_duty_cycle{{namespace_name="{NAMESPACE}"}})'
SCALE_SECONDS: Final = 180.0


@pytest_asyncio.fixture(loop_scope="package")
async def client(chain: Chain) -> AsyncIterator[KubeClient]:
    """The demo's two Deployments under load, and one that follows a query about them."""
    client = chain.client
    await client.post("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    for body in (serving_deployment(), press_deployment(), _queried_deployment()):
        await client.post(DEPLOYMENTS, body)
    working = asyncio.create_task(Workload(chain.nodes).run())
    try:
        yield client
    finally:
        working.cancel()
        for name in (NAME_SERVING, NAME_PRESS, QUERIED):
            await client.delete(f"{DEPLOYMENTS}/{name}", body={"propagationPolicy": "Foreground"})

        async def are_gone() -> bool:
            pods = await client.list_(f"/api/v1/namespaces/{NAMESPACE}/pods")
            return not pods["items"]

        await until(are_gone, what="the pods have gone")
        await client.delete(f"/api/v1/namespaces/{NAMESPACE}")


async def test_scales_out_holds_without_prometheus_and_scales_in(client, chain, tmp_path_factory):
    kubeconfig = await asyncio.to_thread(chain.plane.kubeconfig_for, ACCOUNT)
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"

    def prometheus() -> AbstractAsyncContextManager[object]:
        folder = tmp_path_factory.mktemp("prometheus-of-the-scaler")
        return running_prometheus(
            chain.plane, folder, jobs=shipped_jobs(), scrape_interval="1s", port=port
        )

    async with running_scaler(
        kubeconfig,
        *("--source=prometheus", f"--prometheus.url={url}"),
        *(f"--namespaces={NAMESPACE}", "--no-leader-elect"),
    ) as scaler:

        async def are_held() -> bool:
            decisions = [await scaler.decision(NAMESPACE, name) for name in SCALED]
            are_held = all(one.get("outcome") == "held" for one in decisions)
            # The first hold may still be of a query that broke off in the middle.
            why = (await scaler.decision(NAMESPACE, NAME_SERVING)).get("message", "")
            return are_held and f"Prometheus at {url}: Cannot connect" in why

        async with prometheus():
            await _press(client, 1)
            await _until_replicas(client, NAME_SERVING, lambda count: count >= 2)
            # The duty cycle of the busiest GPU, at 10 for each pod.
            await _until_replicas(client, QUERIED, lambda count: count >= 4)
        await until(are_held, deadline_seconds=SCALE_SECONDS, what="both are held")
        await _press(client, 0)
        async with prometheus():
            await _until_replicas(client, NAME_SERVING, lambda count: count == 1)
    assert [line for line in scaler.log if "Prometheus can be read again" in line]


def _queried_deployment() -> dict[str, Any]:
    labels = {"app": QUERIED}
    named = {"enabled": "true", "max-replicas": "10", "query": QUERY, "target-query": "10"}
    return {
        "metadata": {
            "name": QUERIED,
            "annotations": {f"gpu-scaler/{key}": value for key, value in named.items()},
        },
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": "example.com/x:1"}]},
            },
        },
    }


async def _press(client: KubeClient, replicas: int) -> None:
    await client.patch(f"{DEPLOYMENTS}/{NAME_PRESS}/scale", {"spec": {"replicas": replicas}})


async def _until_replicas(client: KubeClient, name: str, wanted: Callable[[int], bool]) -> None:
    async def reached() -> bool:
        deployment = await client.get(f"{DEPLOYMENTS}/{name}")
        return wanted(deployment["spec"]["replicas"])

    await until(reached, deadline_seconds=SCALE_SECONDS, what=f"replicas of {name}")
