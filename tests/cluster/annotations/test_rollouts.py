# SPDX-License-Identifier: Apache-2.0
"""Argo Rollouts under its real controller: canary and blue-green updates while it is scaled."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.annotations.operators import ROLLOUTS, create, granted_kind, running_rollouts
from tests.running import ScalerProcess, running_scaler
from tests.scaled import Scaled, deployment, hold
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.cluster.controlplane import ControlPlane

KIND = "rollouts.argoproj.io"
NAME = "web"
pytestmark = pytest.mark.needs(ROLLOUTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The Rollout of a test, and who scales it."""

    scaled: Scaled
    namespace: str
    scaler: ScalerProcess

    @property
    def path(self) -> str:
        return f"/apis/argoproj.io/v1alpha1/namespaces/{self.namespace}/rollouts/{NAME}"

    async def replicas(self) -> int:
        return await self.scaled.replicas(self.path)

    async def has_replicas(self, number: int) -> None:
        async def is_so() -> bool:
            return await self.replicas() == number

        await until(is_so, what=f"{number} replicas")

    async def update(self) -> None:
        """Change the template; the controller goes on until it pauses."""
        template = {"metadata": {"annotations": {"version": "2"}}}
        await self.scaled.client.patch(self.path, {"spec": {"template": template}})

        async def is_paused() -> bool:
            status = (await self.scaled.client.get(self.path))["status"]
            return bool(status.get("pauseConditions"))

        await until(is_paused, what="the update pauses")

    async def promote(self) -> None:
        """Promote the update as `kubectl argo rollouts promote` does, until that has happened.

        Without pause conditions the controller switches the active Service, or, if the new
        ReplicaSet has not the Rollout's count yet, pauses again. It also puts the answers to its
        own patches into its cache, over a newer object that the watch has shown in between: then
        it does not see that it was promoted until anything else changes.
        """
        tries = count(1)

        async def is_active() -> bool:
            status = (await self.scaled.client.get(self.path))["status"]
            if status["blueGreen"].get("activeSelector") == status["currentPodHash"]:
                return True
            if status.get("pauseConditions"):
                patch: dict[str, Any] = {"status": {"pauseConditions": None}}
                await self.scaled.client.patch(f"{self.path}/status", patch)
            else:
                patch = {"metadata": {"annotations": {"promoted": str(next(tries))}}}
                await self.scaled.client.patch(self.path, patch)
            return False

        await until(is_active, what="the update is promoted")

    async def pods(self) -> dict[str, list[str]]:
        """The names of the living pods by the hash of their template, oldest hash first."""
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        found: dict[str, list[str]] = {}
        for pod in (await self.scaled.client.list_(path))["items"]:
            template = pod["metadata"]["labels"].get("rollouts-pod-template-hash", "")
            if "deletionTimestamp" not in pod["metadata"]:
                found.setdefault(template, []).append(pod["metadata"]["name"])
        return found

    async def load(self, *, stable: int, new: int) -> None:
        """Hold the GPUs of pods of the stable and of the new template at these percentages."""
        status = (await self.scaled.client.get(self.path))["status"]
        loads: dict[str, float] = {}
        for template, names in (await self.pods()).items():
            percent = stable if template == status["stableRS"] else new
            for name in names:
                loads |= dict.fromkeys(self.scaled.nodes.devices_of(self.namespace, name), percent)
        await hold(self.scaled.nodes, loads)

    async def decided(self, message: str) -> None:
        """Wait for a decision that has seen every living pod and says `message`."""

        async def is_decided() -> bool:
            found = await self.scaler.decision(self.namespace, f"{KIND}:{NAME}")
            text = json.dumps(found)
            names = [name for names in (await self.pods()).values() for name in names]
            return message in str(found.get("message")) and all(
                name in text for name in names if name != "loose"
            )

        await until(is_decided, what=message)


@asynccontextmanager
async def scaling(
    scaled: Scaled,
    plane: ControlPlane,
    kubeconfig: Path,
    namespace: str,
    strategy: dict[str, Any],
) -> AsyncIterator[Rollout]:
    """A Rollout of two replicas that are Ready, and a pod of somebody else with its labels."""
    body = deployment(name=NAME, replicas=2, max_replicas="4")
    body |= {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout"}
    body["spec"]["strategy"] = strategy
    loose = {"metadata": {"name": "loose", "labels": {"app": NAME}}}
    loose["spec"] = body["spec"]["template"]["spec"]
    async with granted_kind(plane, "argoproj.io", "rollouts"), running_rollouts(plane):
        for service in ("active", "preview"):
            spec = {"selector": {"app": NAME}, "ports": [{"port": 80}]}
            services = f"/api/v1/namespaces/{namespace}/services"
            await scaled.client.post(services, {"metadata": {"name": service}, "spec": spec})
        await scaled.client.post(f"/api/v1/namespaces/{namespace}/pods", loose)
        path = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/rollouts"
        await create(scaled.client, path, body)
        await scaled.ready(2, path=f"{path}/{NAME}")
        async with running_scaler(kubeconfig, f"--kinds=deployments.apps,{KIND}") as scaler:
            yield Rollout(scaled=scaled, namespace=namespace, scaler=scaler)
        await scaled.client.delete(f"{path}/{NAME}")
    assert not [line for line in scaler.log if "level=error" in line]


async def test_a_canary_neither_inflates_nor_hides_load(
    scaled: Scaled, installed: ControlPlane, kubeconfig: Path, namespace: str
):
    strategy = {"canary": {"maxSurge": 1, "steps": [{"setWeight": 50}, {"pause": {}}]}}
    async with scaling(scaled, installed, kubeconfig, namespace, strategy) as rollout:
        await rollout.load(stable=40, new=40)
        await rollout.decided("duty_cycle 40/40")
        await rollout.update()
        assert len(await rollout.pods()) > 1
        await rollout.load(stable=40, new=40)
        await rollout.decided("duty_cycle 40/40")
        assert await rollout.replicas() == 2

        await rollout.load(stable=100, new=100)
        await rollout.has_replicas(4)
        await rollout.scaled.ready(4, path=rollout.path)
        await rollout.load(stable=0, new=0)
        await rollout.has_replicas(1)


async def test_a_blue_green_preview_neither_inflates_nor_hides_load(
    scaled: Scaled, installed: ControlPlane, kubeconfig: Path, namespace: str
):
    strategy = {
        "blueGreen": {
            "activeService": "active",
            "previewService": "preview",
            "autoPromotionEnabled": False,
            "scaleDownDelaySeconds": 1,
        }
    }
    async with scaling(scaled, installed, kubeconfig, namespace, strategy) as rollout:
        await rollout.load(stable=40, new=40)
        await rollout.decided("duty_cycle 40/40")
        await rollout.update()

        async def are_all_ready() -> bool:
            status = (await scaled.client.get(rollout.path))["status"]
            return bool(status.get("replicas") == 4 == status.get("readyReplicas", 0) + 2)

        await until(are_all_ready, what="both sets")
        # The pods of both sets together are worth four replicas, those that are requested two.
        await rollout.load(stable=40, new=40)
        await rollout.decided("duty_cycle 40/40")
        assert await rollout.replicas() == 2
        # Idle previews would bring the mean of all to 29.
        await rollout.load(stable=58, new=0)
        await rollout.has_replicas(3)

        await rollout.promote()

        async def is_one_set() -> bool:
            status = (await scaled.client.get(rollout.path))["status"]
            sets = [names for names in (await rollout.pods()).values() if names != ["loose"]]
            is_new = status.get("stableRS") == status["currentPodHash"]
            return is_new and [len(names) for names in sets] == [3]

        await until(is_one_set, what="the old set is gone")
        assert await rollout.replicas() == 3
        # The pods that were the preview are those that serve.
        await rollout.load(stable=50, new=0)
        await rollout.has_replicas(4)
        await rollout.load(stable=0, new=0)
        await rollout.has_replicas(1)
