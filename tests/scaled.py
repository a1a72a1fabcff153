# SPDX-License-Identifier: Apache-2.0
"""The demo's serving Deployment on some Kubernetes API with simulated nodes, as a test sees it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from simulator.scenario import NAME_SERVING, serving_deployment
from tests.waiting import DEADLINE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from scaler.kube.client import KubeClient
    from simulator.nodes import SimulatedNodes

NAME = NAME_SERVING
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PATH = f"{DEPLOYMENTS}/{NAME}"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/gpu-scaler/leases/gpu-scaler"
LOAD_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """The Deployment and the GPUs under it; `client` may do everything."""

    client: KubeClient
    nodes: SimulatedNodes

    async def replicas(self, path: str = PATH) -> int:
        deployment = await self.client.get(path)
        replicas: int = deployment["spec"]["replicas"]
        return replicas

    async def ready(
        self, count: int, *, path: str = PATH, deadline_seconds: float = DEADLINE_SECONDS
    ) -> None:
        async def enough() -> bool:
            status = (await self.client.get(path)).get("status", {})
            return bool(status.get("readyReplicas", 0) == count)

        await until(enough, deadline_seconds=deadline_seconds, what=f"{count} ready replicas")

    async def annotate(self, **annotations: str | None) -> None:
        named = {f"gpu-scaler/{key.replace('_', '-')}": v for key, v in annotations.items()}
        await self.client.patch(PATH, {"metadata": {"annotations": named}})

    async def events(self) -> list[dict[str, Any]]:
        found = await self.client.list_("/api/v1/namespaces/default/events")
        return [
            event for event in found["items"] if event["source"].get("component") == "gpu-scaler"
        ]

    def load(self, percent: float) -> None:
        """Hold every GPU of every serving pod at `percent`."""
        held = [
            self.nodes.devices_of("default", pod["metadata"]["name"])
            for pod in self.nodes.pods()
            if pod["metadata"]["namespace"] == "default"
        ]
        self.nodes.set_loads({uuid: percent for uuids in held for uuid in uuids})

    @asynccontextmanager
    async def under_load(self, percent: float) -> AsyncIterator[None]:
        """Hold the GPUs of pods still to come at `percent` as well, while the context lasts."""

        async def again_and_again() -> None:
            while True:
                self.load(percent)
                await asyncio.sleep(LOAD_SECONDS)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(again_and_again())
            yield
            task.cancel()


async def hold(nodes: SimulatedNodes, loads: Mapping[str, float]) -> None:
    """Set these devices' loads, and all others to 0; return when every exporter shows them.

    Exporters see a change one after another: whoever reads them in between sees something else.
    """
    nodes.set_loads(loads)
    async with aiohttp.ClientSession() as http:

        async def is_shown() -> bool:
            for node in nodes.nodes.values():
                host, port = node.exporter_address
                async with http.get(f"http://{host}:{port}/metrics") as response:
                    text = await response.text()
                for family in text_string_to_metric_families(text):
                    for sample in family.samples:
                        if sample.name == "nvidia_gpu_duty_cycle":
                            expected = loads.get(sample.labels["uuid"], 0.0)
                            if abs(sample.value - expected) >= 1:
                                return False
            return True

        await until(is_shown, what="the exporters show the loads")


def deployment(*, name: str = NAME, replicas: int = 1, **annotations: str) -> dict[str, Any]:
    """Return the serving Deployment with pods that are ready at once and count at once."""
    body = serving_deployment()
    body["metadata"]["name"] = name
    body["spec"]["replicas"] = replicas
    body["metadata"]["annotations"] |= {"gpu-scaler/ready-age": "0s"} | {
        f"gpu-scaler/{key.replace('_', '-')}": value for key, value in annotations.items()
    }
    labels = {"app": name}
    body["spec"]["selector"]["matchLabels"] = labels
    template = body["spec"]["template"]["metadata"]
    template["labels"] = labels
    template["annotations"]["simulator/startup-seconds"] = "0.1"
    return body
