# SPDX-License-Identifier: Apache-2.0
"""Pods of the real node, and who holds which GPU: as the kubelet says, as the exporter says."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from exporter.podresources.client import NO_PODS, PodResourcesClient
from tests import chart
from tests.cluster.node import images
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from scaler.kube.client import KubeClient

    JsonObject = dict[str, Any]

INTERVAL_SECONDS: Final = 2.0
"""The exporter's default, which the shipped manifest leaves as it is."""
POD_DEADLINE_SECONDS: Final = 60.0
DEVICE_FAMILY: Final = "nvidia_gpu_duty_cycle"
LISTED_AT: Final = "nvidia_gpu_exporter_pod_resources_last_success_timestamp_seconds"
LIST_ERRORS: Final = "nvidia_gpu_exporter_pod_resources_errors_total"

Holder = tuple[str, str]
"""The pod's name (all labels where namespace or container are none of the test's) and the mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One scrape: UUID -> its holders, and when the exporter had heard from the kubelet last.

    `unknowing_count` is how often it had asked a kubelet that did not know its pods yet.
    """

    holders: dict[str, set[Holder]]
    listed_at_unix_seconds: float
    unknowing_count: int

    @property
    def pods(self) -> dict[str, set[str]]:
        """UUID -> names of the pods; free GPUs are left out."""
        return {
            uuid: {pod for pod, _ in holders} for uuid, holders in self.holders.items() if holders
        }

    def of(self, pod: str) -> dict[str, str]:
        """Return a pod's GPUs: UUID -> mode."""
        return {
            uuid: mode
            for uuid, holders in self.holders.items()
            for name, mode in holders
            if name == pod
        }


class Exporter:
    """The exporter's answers, over HTTP from its pod."""

    def __init__(self, url: str, namespace: str) -> None:
        self._url = url
        self._namespace = namespace

    async def answer(self) -> Answer:
        """Scrape once."""
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(self._url) as got:
            assert got.status == 200
            text = await got.text()
        holders: dict[str, set[Holder]] = {}
        listed_at = 0.0
        unknowing_count = 0
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == LISTED_AT:
                    listed_at = sample.value
                if (sample.name, sample.labels.get("code")) == (LIST_ERRORS, NO_PODS):
                    unknowing_count = int(sample.value)
                if sample.name == DEVICE_FAMILY:
                    labels = sample.labels
                    held = holders.setdefault(labels["uuid"], set())
                    if labels["pod_name"]:
                        held.add((self._name(labels), labels["allocate_mode"]))
        return Answer(
            holders=holders, listed_at_unix_seconds=listed_at, unknowing_count=unknowing_count
        )

    def _name(self, labels: dict[str, str]) -> str:
        place = (labels["namespace_name"], labels["container_name"])
        return labels["pod_name"] if place == (self._namespace, "main") else str(labels)

    async def next_answer(self) -> Answer:
        """Return what the exporter says when it has begun to list, and listed, after this call."""
        # One list may be under way; the next one begins when that has ended.
        under_way = await self._listed_after(time.time())
        return await self._listed_after(under_way.listed_at_unix_seconds)

    async def _listed_after(self, unix_seconds: float) -> Answer:
        async def newer() -> Answer | None:
            answer = await self.answer()
            return answer if answer.listed_at_unix_seconds > unix_seconds else None

        found = await until(newer, what="the exporter lists again")
        assert found is not None
        return found


async def held(socket: Path) -> dict[str, set[str]]:
    """Ask the kubelet itself: pod -> UUIDs of its GPUs."""
    client = PodResourcesClient(str(socket), (), node_name="")
    found: dict[str, set[str]] = {}
    for one in (await client.list_pods()).allocations:
        pod = found.setdefault(one.container.pod_name, set())
        pod.add(one.device_id.partition("::")[0])
    return found


class Pods:
    """Makes pods in a namespace, bound to a node: the test is their scheduler."""

    def __init__(self, client: KubeClient, namespace: str, node: str) -> None:
        self._client = client
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._node = node

    async def create(self, name: str, **devices: int) -> None:
        """Create a pod with so many devices: `gpu=1`, `shared=1`."""
        names = {"gpu": "nvidia.com/gpu", "shared": "nvidia.com/gpu.shared"}
        limits = {names[kind]: str(count) for kind, count in devices.items()}
        await self._client.post(
            self._path,
            {
                "metadata": {"name": name},
                "spec": {
                    "nodeName": self._node,
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "hostNetwork": True,  # a network of its own takes a moment, and nobody calls
                    "containers": [
                        {
                            "name": "main",
                            "image": images.WORKLOAD,
                            "resources": {"limits": limits},
                        }
                    ],
                },
            },
        )

    async def start(self, name: str, **devices: int) -> JsonObject:
        """Create a pod and return it when it runs."""
        await self.create(name, **devices)
        return await self.reached(name, "Running")

    async def reached(self, name: str, phase: str) -> JsonObject:
        """Return the pod when it is in this phase."""

        async def pod_in_phase() -> JsonObject | None:
            pod = await self._client.get(f"{self._path}/{name}")
            return pod if pod["status"].get("phase") == phase else None

        found = await until(
            pod_in_phase, deadline_seconds=POD_DEADLINE_SECONDS, what=f"{name} is {phase}"
        )
        assert found is not None
        return found

    async def delete(self, *names: str) -> None:
        """Delete pods and return when they are gone."""
        await asyncio.gather(*(self._client.delete(f"{self._path}/{name}") for name in names))

        async def gone() -> bool:
            listed = await self._client.list_(self._path)
            return not {pod["metadata"]["name"] for pod in listed["items"]} & {*names}

        await until(gone, deadline_seconds=POD_DEADLINE_SECONDS, what=f"{names} are gone")


def container_id(pod: JsonObject) -> str:
    """Return the runtime's ID of a pod's only container."""
    (status,) = pod["status"]["containerStatuses"]
    return str(status["containerID"])


def sidecar_pod(node: str) -> JsonObject:
    """Return the pod of the chart's sidecar mode, bound to a node, with programs that do nothing.

    Needs helm.
    """
    found = chart.only(chart.objects("--set=scaler.mode=sidecar"), "DaemonSet", "gpu-exporter")
    spec: JsonObject = found["spec"]["template"]["spec"]
    for container in spec["containers"]:
        container |= {"image": images.WORKLOAD, "command": ["/idle"], "args": []}
        container.pop("livenessProbe")
        container.pop("readinessProbe", None)
    # Not the label: this pod is no exporter.
    return {"metadata": {"name": "beside"}, "spec": {**spec, "nodeName": node}}
