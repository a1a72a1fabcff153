# SPDX-License-Identifier: Apache-2.0
"""The demo's serving Deployment under a stock HPA: the same one whoever serves the metrics."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from scaler.kube.errors import NotFound
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

    from scaler.kube.client import KubeClient
    from simulator.nodes import SimulatedNodes

    JsonObject: TypeAlias = dict[str, Any]

SCALE_SECONDS: Final = 180.0


class ServingUnderHpa:
    """The Deployment, its HPA and its load, all in one namespace."""

    def __init__(self, client: KubeClient, namespace: str, metric: JsonObject) -> None:
        self.namespace = namespace
        self._metric = metric
        self.deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        self.hpas = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"
        self._client = client

    async def scales_out_and_in(self) -> None:
        """Follow the load from one pod to eight and back."""
        await self.press(1)
        await self.until_replicas(lambda count: count >= 2, "2 replicas")
        # 5 x 63 % of a GPU are 8 pods at 40 %.
        await self.press(5)
        await self.until_replicas(lambda count: count >= 8, "8 replicas")
        await self.press(0)
        await self.until_replicas(lambda count: count == 1, "1 replica again")

        async def active() -> JsonObject | None:
            status: JsonObject = (await self._client.get(f"{self.hpas}/{NAME_SERVING}"))["status"]
            conditions = {one["type"]: one["status"] for one in status["conditions"]}
            fine = conditions["ScalingActive"] == conditions["AbleToScale"] == "True"
            return status if fine else None

        # On a busy machine the metric is absent for moments.
        status = await until(active, what="the HPA is able to scale on its metric")
        assert status is not None
        (metric,) = status["currentMetrics"]
        kind = metric["type"].lower()
        assert metric[kind]["metric"] == self._metric[kind]["metric"]

    async def press(self, replicas: int) -> None:
        """Make load with so many pods."""
        path = f"{self.deployments}/{NAME_PRESS}/scale"
        await self._client.patch(path, {"spec": {"replicas": replicas}})

    async def until_replicas(self, wanted: Callable[[int], bool], what: str) -> None:
        """Wait for a count that was asked for."""

        async def reached() -> bool:
            deployment = await self._client.get(f"{self.deployments}/{NAME_SERVING}")
            return wanted(deployment["spec"]["replicas"])

        await until(reached, deadline_seconds=SCALE_SECONDS, what=what)


PODS_METRIC: Final[JsonObject] = {
    "type": "Pods",
    "pods": {
        "metric": {"name": "duty_cycle_current"},
        "target": {"type": "AverageValue", "averageValue": str(TARGET_PERCENT)},
    },
}


def object_metric(name: str, target: JsonObject) -> JsonObject:
    """Return a metric of the serving Deployment itself."""
    described = {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME_SERVING}
    return {
        "type": "Object",
        "object": {"describedObject": described, "metric": {"name": name}, "target": target},
    }


@asynccontextmanager
async def serving_under_hpa(
    client: KubeClient,
    nodes: SimulatedNodes,
    namespace: str,
    metric: JsonObject = PODS_METRIC,
) -> AsyncIterator[ServingUnderHpa]:
    """Have all of it while the context lasts, in a namespace that goes with it."""
    serving = ServingUnderHpa(client, namespace, metric)
    await client.post("/api/v1/namespaces", {"metadata": {"name": namespace}})
    scaled = serving_deployment()
    # Without what our own scaler would go by.
    del scaled["metadata"]["annotations"]
    await client.post(serving.deployments, scaled)
    await client.post(serving.deployments, press_deployment())
    await client.post(serving.hpas, _hpa(metric))
    working = asyncio.create_task(Workload(nodes).run())
    try:
        yield serving
    finally:
        working.cancel()
        await client.delete(f"{serving.hpas}/{NAME_SERVING}")
        for name in (NAME_SERVING, NAME_PRESS):
            path = f"{serving.deployments}/{name}"
            await client.delete(path, body={"propagationPolicy": "Foreground"})
        await client.delete(f"/api/v1/namespaces/{namespace}")
        # The metrics API must be there until then, or the namespace stays.
        await until(
            lambda: namespace_is_gone(client, namespace),
            what="the namespace has gone",
        )


async def namespace_is_gone(client: KubeClient, namespace: str) -> bool:
    """Whether nothing is left of a namespace."""
    try:
        await client.get(f"/api/v1/namespaces/{namespace}")
    except NotFound:
        return True
    return False


def _hpa(metric: JsonObject) -> JsonObject:
    """The target and the short windows of the demo's serving Deployment."""
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
            "metrics": [metric],
            "behavior": BEHAVIOR,
        },
    }
