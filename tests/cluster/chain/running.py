# SPDX-License-Identifier: Apache-2.0
"""The chain as a test sees it: what exporters show, what was scraped, what the metrics API says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from prometheus_client.parser import text_string_to_metric_families

from scaler.quantities import parse_quantity
from simulator.nodes import NodeSpec
from simulator.plugin_devices import SHARED_GPU_RESOURCE
from simulator.podstatus import GPU_MEMORY_ANNOTATION, STARTUP_ANNOTATION
from tests.waiting import until

if TYPE_CHECKING:
    import aiohttp

    from scaler.kube.client import KubeClient
    from simulator.nodes import SimulatedNodes
    from tests.cluster.chain.prometheus import Prometheus
    from tests.cluster.controlplane import ControlPlane

    JsonObject = dict[str, Any]
    Series = tuple[dict[str, str], float]

API: Final = "/apis/custom.metrics.k8s.io"
NAMESPACE: Final = "default"
PODS: Final = f"/api/v1/namespaces/{NAMESPACE}/pods"
NODES: Final = (
    NodeSpec(name="chain-1", gpus=("H100",) * 8),
    NodeSpec(name="chain-2", gpus=("T4",) * 6),
    NodeSpec(name="chain-3", gpus=("T4",) * 2, replicas=2, resource_name=SHARED_GPU_RESOURCE),
)
LOADS: Final = {"one-gpu": (40.0,), "two-gpus": (30.0, 61.0), "shared": (20.0, 50.0)}
"""The duty cycles of the GPUs of each pod, in percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Everything that runs; `client` is the admin's."""

    plane: ControlPlane
    client: KubeClient
    nodes: SimulatedNodes
    prometheus: Prometheus
    http: aiohttp.ClientSession

    async def texts(self) -> list[str]:
        """What every exporter shows now."""
        return [await self._text(*node.exporter_address) for node in self.nodes.nodes.values()]

    async def series(self) -> dict[str, list[Series]]:
        """All series of all exporters by name; as in Prometheus, an empty label is none."""
        found: dict[str, list[Series]] = {}
        for text in await self.texts():
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    labels = {key: value for key, value in sample.labels.items() if value}
                    found.setdefault(sample.name, []).append((labels, sample.value))
        return found

    async def values(self, resource: str, metric: str, version: str = "v1beta1") -> dict[str, int]:
        """Ask the metrics API for all pods of `NAMESPACE`, or all nodes: milli units by name."""
        where = "nodes" if resource == "nodes" else f"namespaces/{NAMESPACE}/{resource}"
        answer = await self.client.get(f"{API}/{version}/{where}/*/{metric}")
        return {
            item["describedObject"]["name"]: int(parse_quantity(item["value"]) * 1000)
            for item in answer["items"]
        }

    async def _text(self, host: str, port: int) -> str:
        async with self.http.get(f"http://{host}:{port}/metrics") as response:
            response.raise_for_status()
            return await response.text()


def pods() -> list[JsonObject]:
    """Return the pods of `LOADS`, each with 3 GiB on every GPU of its own.

    The last one holds both GPUs of the third node, one of them with both of its containers.
    """
    return [
        _pod("one-gpu", {"nvidia.com/gpu": "1"}),
        _pod("two-gpus", {"nvidia.com/gpu": "2"}),
        _pod("shared", {SHARED_GPU_RESOURCE: "1"}, {SHARED_GPU_RESOURCE: "2"}),
    ]


def _pod(name: str, *limits: dict[str, str]) -> JsonObject:
    return {
        "metadata": {
            "name": name,
            "annotations": {GPU_MEMORY_ANNOTATION: str(3 * 2**30), STARTUP_ANNOTATION: "0.1"},
        },
        "spec": {
            "containers": [
                {"name": f"main-{n}", "image": "example.com/x", "resources": {"limits": one}}
                for n, one in enumerate(limits)
            ]
        },
    }


async def remove_pods(client: KubeClient, namespace: str) -> None:
    """Delete all pods of a namespace and see them go, while there are nodes to end them."""

    async def are_gone() -> bool:
        return not (await client.list_(path))["items"]

    path = f"/api/v1/namespaces/{namespace}/pods"
    for found in (await client.list_(path))["items"]:
        await client.delete(f"{path}/{found['metadata']['name']}", body={"gracePeriodSeconds": 0})
    await until(are_gone, what=f"{path} is empty")
