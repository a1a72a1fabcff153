"""A stock HPA on the exporters' duty cycle."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest
import pytest_asyncio

from scaler.cluster.errors import NotFound
from simulator.scenario import (
    BEHAVIOR,
    MAX_REPLICAS,
    NAME_PRESS,
    NAME_SERVING,
    TARGET_PERCENT,
    press_deployment,
    serving_deployment,
)
from simulator.workload import Workload
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from scaler.cluster.client import KubeClient
    from tests.cluster.chain.running import Chain

    JsonObject = dict[str, Any]

pytestmark = pytest.mark.asyncio(loop_scope="package")

NAMESPACE: Final = "chain-serving"
DEPLOYMENTS: Final = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
HPAS: Final = f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers"
SCALE_SECONDS: Final = 60.0


async def test_a_stock_hpa_scales_out_and_in(serving, chain):
    await _press(serving, 1)
    await _until_replicas(serving, lambda count: count >= 2, "2 replicas")
    # 5 x 63 % of a GPU are 8 pods at 40 %.
    await _press(serving, 5)
    await _until_replicas(serving, lambda count: count >= 8, "8 replicas")
    await _press(serving, 0)
    await _until_replicas(serving, lambda count: count == 1, "1 replica again")
    status = (await serving.get(f"{HPAS}/{NAME_SERVING}"))["status"]
    conditions = {one["type"]: one["status"] for one in status["conditions"]}
    assert conditions["ScalingActive"] == "True"
    assert conditions["AbleToScale"] == "True"
    (metric,) = status["currentMetrics"]
    assert metric["pods"]["metric"]["name"] == "duty_cycle_current"


@pytest_asyncio.fixture(loop_scope="package")
async def serving(chain: Chain) -> AsyncIterator[KubeClient]:
    """The demo's two Deployments with an HPA, under load, in a namespace that goes with them."""
    client = chain.client
    await client.post("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    scaled = serving_deployment()
    # Without what our own scaler would go by.
    del scaled["metadata"]["annotations"]
    await client.post(DEPLOYMENTS, scaled)
    await client.post(DEPLOYMENTS, press_deployment())
    await client.post(HPAS, _hpa())
    working = asyncio.create_task(Workload(chain.nodes).run())
    try:
        yield client
    finally:
        working.cancel()
        await client.delete(f"{HPAS}/{NAME_SERVING}")
        for name in (NAME_SERVING, NAME_PRESS):
            await client.delete(f"{DEPLOYMENTS}/{name}", body={"propagationPolicy": "Foreground"})
        await client.delete(f"/api/v1/namespaces/{NAMESPACE}")
        # The metrics API must be there until then, or the namespace stays.
        await until(lambda: _is_gone(client), deadline_seconds=60, what="the namespace has gone")


def _hpa() -> JsonObject:
    """The target and the short windows of the demo's serving Deployment."""
    target = {"type": "AverageValue", "averageValue": str(TARGET_PERCENT)}
    return {
        "metadata": {"name": NAME_SERVING},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": NAME_SERVING,
            },
            "minReplicas": 1,
            "maxReplicas": MAX_REPLICAS,
            "metrics": [
                {
                    "type": "Pods",
                    "pods": {"metric": {"name": "duty_cycle_current"}, "target": target},
                }
            ],
            "behavior": BEHAVIOR,
        },
    }


async def _press(client: KubeClient, replicas: int) -> None:
    await client.patch(f"{DEPLOYMENTS}/{NAME_PRESS}/scale", {"spec": {"replicas": replicas}})


async def _until_replicas(client: KubeClient, wanted: Callable[[int], bool], what: str) -> None:
    async def reached() -> bool:
        deployment = await client.get(f"{DEPLOYMENTS}/{NAME_SERVING}")
        return wanted(deployment["spec"]["replicas"])

    await until(reached, deadline_seconds=SCALE_SECONDS, what=what)


async def _is_gone(client: KubeClient) -> bool:
    try:
        await client.get(f"/api/v1/namespaces/{NAMESPACE}")
    except NotFound:
        return True
    return False
