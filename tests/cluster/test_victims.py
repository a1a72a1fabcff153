# SPDX-License-Identifier: Apache-2.0
"""The idlest pods go: the scaler's marks and the real ReplicaSet controller."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from exporter.cli.config import ExporterConfig
from scaler.cluster.deletion_cost import mark
from scaler.cluster.pod_facts import DELETION_COST, MARK
from scaler.kube.client import KubeClient
from scaler.model import ObjectRef
from simulator.nodes import NodeSpec, running_nodes
from tests.running import running_scaler
from tests.scaled import deployment, hold
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from simulator.nodes import SimulatedNodes
    from tests.cluster.controlplane import ControlPlane
    from tests.running import ScalerProcess

NODES: Final = tuple(NodeSpec(name=f"victims-{n}", gpus=("T4", "T4")) for n in range(3))
AT_ONCE: Final = "{scaleDown: {stabilizationWindowSeconds: 0}}"


class Serving:
    """A Deployment of six pods with a GPU each, and what each of them does."""

    def __init__(self, client: KubeClient, nodes: SimulatedNodes, namespace: str) -> None:
        self.client = client
        self.namespace = namespace
        self._nodes = nodes
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"

    async def start(self, **annotations: str) -> list[str]:
        """Create it with every pod at 38 %, and return its pods' names once all are Ready."""
        body = deployment(
            name="web",
            replicas=6,
            scale_down_pods="idlest",
            behavior=AT_ONCE,
            **{"min_replicas": "1", **annotations},
        )
        await self.client.post(self._deployments, body)
        names = await until(self._all_ready, what="six pods are Ready")
        await self.load(dict.fromkeys(names, 38.0))
        return names

    async def load(self, percent: dict[str, float]) -> None:
        """Hold the pods' GPUs at these percentages, and all others at 0."""
        loads = {
            uuid: value
            for pod, value in percent.items()
            for uuid in self._nodes.devices_of(self.namespace, pod)
        }
        await hold(self._nodes, loads)

    async def pods(self) -> dict[str, dict[str, Any]]:
        """Return the pods that are not being deleted, by name."""
        found = await self.client.list_(self._pods)
        return {
            one["metadata"]["name"]: one
            for one in found["items"]
            if "deletionTimestamp" not in one["metadata"]
        }

    async def marks(self) -> dict[str, str]:
        """Return the deletion costs, by pod."""
        return {
            name: annotations[DELETION_COST]
            for name, pod in (await self.pods()).items()
            if DELETION_COST in (annotations := pod["metadata"].get("annotations", {}))
        }

    async def left(self, count: int) -> set[str]:
        """Wait until so many pods are left."""

        async def names() -> set[str]:
            found = set(await self.pods())
            return found if len(found) == count else set()

        return await until(names, what=f"{count} pods are left")

    async def annotate(self, pod: str, **annotations: str) -> None:
        """Set annotations of a pod as somebody else."""
        await self.client.patch(f"{self._pods}/{pod}", {"metadata": {"annotations": annotations}})

    async def events(self) -> str:
        """Return what the scaler's events say."""
        found = await self.client.list_(f"/api/v1/namespaces/{self.namespace}/events")
        ours = (e for e in found["items"] if e["source"].get("component") == "gpu-scaler")
        return "\n".join(event["message"] for event in ours)

    async def _all_ready(self) -> list[str]:
        found = await self.client.get(f"{self._deployments}/web")
        ready = found.get("status", {}).get("readyReplicas", 0) == 6
        return sorted(await self.pods()) if ready else []


@pytest.fixture
async def serving(
    installed: ControlPlane, admin: KubeClient, namespace: str
) -> AsyncIterator[Serving]:
    config = ExporterConfig(nvml_interval_seconds=0.2, nvml_window_seconds=1)
    async with running_nodes(admin, NODES, startup_seconds=0.1, exporter_config=config) as nodes:
        yield Serving(admin, nodes, namespace)


@asynccontextmanager
async def scaling(plane: ControlPlane) -> AsyncIterator[ScalerProcess]:
    kubeconfig = await asyncio.to_thread(plane.kubeconfig_for, "gpu-scaler/gpu-scaler")
    async with running_scaler(kubeconfig) as scaler:
        yield scaler


@pytest.mark.usefixtures("right")
async def test_the_idlest_pods_go_and_a_cost_of_somebody_else_is_respected(
    installed: ControlPlane, serving: Serving
) -> None:
    names = await serving.start()
    busy, idle = set(names[::2]), set(names[1::2])
    # 3 x 38 % are 3 pods at 40 %.
    await serving.load(dict.fromkeys(busy, 38.0))
    async with scaling(installed):
        assert await serving.left(3) == busy

        async def is_reported() -> bool:
            events = await serving.events()
            return all(name in events for name in idle)

        await until(is_reported, what="the events name the pods that went")

        kept, goes, works = sorted(busy)
        await serving.annotate(kept, **{DELETION_COST: "100"})
        # Three pods at all times until the one that goes is the idlest that may go.
        await serving.load({kept: 38.0, goes: 20.0, works: 50.0})
        # Without it as well, 50 % are two pods.
        await serving.load({goes: 20.0, works: 50.0})
        assert await serving.left(2) == {kept, works}

        async def only_the_other() -> bool:
            return await serving.marks() == {kept: "100"}

        await until(only_the_other, what="no mark of the scaler is left")

        async def respected() -> bool:
            return f"pod-deletion-cost of {kept}" in await serving.events()

        await until(respected, what="the event says whose cost counts")


@pytest.mark.usefixtures("right")
async def test_a_scale_down_waits_for_idle_pods(installed: ControlPlane, serving: Serving) -> None:
    names = await serving.start(scale_down_max_busy="10%")
    await serving.load(dict.fromkeys(names, 20.0))
    async with scaling(installed) as scaler:

        async def waits() -> bool:
            found = await scaler.decision(serving.namespace, "web")
            return found.get("reason") == "WaitingForIdlePods"

        await until(waits, what="it waits, since no pod is below 10 %")
        assert len(await serving.pods()) == 6
        await serving.load(dict.fromkeys(names, 20.0) | dict.fromkeys(names[::2], 38.0))
        await serving.load(dict.fromkeys(names[::2], 38.0))
        assert await serving.left(3) == set(names[::2])


@pytest.mark.usefixtures("right")
async def test_a_scaler_that_died_before_it_wrote_the_count_leaves_no_mark(
    installed: ControlPlane, serving: Serving
) -> None:
    first, second, *_ = await serving.start()
    kubeconfig = await asyncio.to_thread(installed.kubeconfig_for, "gpu-scaler/gpu-scaler")
    uids = {name: pod["metadata"]["uid"] for name, pod in (await serving.pods()).items()}
    async with await KubeClient.load(str(kubeconfig)) as former:
        for name in (first, second):
            await mark(former, ObjectRef(serving.namespace, name), uids[name])
    # Somebody else has set another cost since.
    await serving.annotate(second, **{DELETION_COST: "7"})
    async with scaling(installed):

        async def taken_back() -> bool:
            found = await serving.pods()
            marked = [one for one in found.values() if MARK in one["metadata"]["annotations"]]
            return not marked and await serving.marks() == {second: "7"}

        await until(taken_back, what="our marks are gone, and the other cost is there")
    assert len(await serving.pods()) == 6


@pytest.mark.usefixtures("right")
async def test_a_dry_run_marks_nothing(installed: ControlPlane, serving: Serving) -> None:
    names = await serving.start(dry_run="true")
    await serving.load(dict.fromkeys(names[1:], 20.0))
    async with scaling(installed):

        async def is_reported() -> bool:
            return f"removed {names[0]}" in await serving.events()

        await until(is_reported, what="the event names the pod that would go")
        assert await serving.marks() == {}
    assert len(await serving.pods()) == 6


async def test_without_the_right_it_scales_and_names_the_right(
    installed: ControlPlane, serving: Serving
) -> None:
    names = await serving.start()
    await serving.load(dict.fromkeys(names[::2], 38.0))
    async with scaling(installed):
        await serving.left(3)

        async def is_reported() -> bool:
            return "pods/status" in await serving.events()

        await until(is_reported, what="the event names the right")
