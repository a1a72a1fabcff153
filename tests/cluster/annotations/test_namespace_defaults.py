# SPDX-License-Identifier: Apache-2.0
"""Annotations of a Namespace as defaults of its Deployments, the scaler under its own account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.running import ScalerProcess, running_scaler
from tests.scaled import Scaled, deployment
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

NAME = "web"
FAST = '{"scaleDown": {"stabilizationWindowSeconds": 0}}'


class Defaulted:
    """One opted-in Deployment in a Namespace of its own, and the scaler's word on it."""

    def __init__(self, scaled: Scaled, scaler: ScalerProcess, namespace: str) -> None:
        self.path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{NAME}"
        self.scaled = scaled
        self._scaler = scaler
        self._namespace = namespace

    async def annotate_namespace(self, **annotations: str | None) -> None:
        await self._annotate(f"/api/v1/namespaces/{self._namespace}", annotations)

    async def annotate(self, **annotations: str | None) -> None:
        await self._annotate(self.path, annotations)

    async def _annotate(self, path: str, annotations: dict[str, str | None]) -> None:
        named = {f"gpu-scaler/{key.replace('_', '-')}": v for key, v in annotations.items()}
        await self.scaled.client.patch(path, {"metadata": {"annotations": named}})

    async def decision(self) -> dict[str, Any]:
        return await self._scaler.decision(self._namespace, NAME)

    async def decided(self, reason: str) -> dict[str, Any]:
        async def found() -> dict[str, Any]:
            decision = await self.decision()
            return decision if decision.get("reason") == reason else {}

        return await until(found, what=f"a decision {reason}")

    def load(self, percent: float) -> None:
        names = [
            pod["metadata"]["name"]
            for pod in self.scaled.nodes.pods()
            if pod["metadata"]["namespace"] == self._namespace
        ]
        held = [self.scaled.nodes.devices_of(self._namespace, name) for name in names]
        self.scaled.nodes.set_loads({uuid: percent for uuids in held for uuid in uuids})


@pytest.fixture
async def defaulted(scaled: Scaled, kubeconfig: Path, namespace: str):
    body = deployment(name=NAME)
    body["metadata"]["annotations"] = {"gpu-scaler/enabled": "true"}
    async with running_scaler(kubeconfig) as scaler:
        found = Defaulted(scaled, scaler, namespace)
        await scaled.client.post(found.path.rpartition("/")[0], body)
        await scaled.ready(1, path=found.path)
        yield found
    assert not [line for line in scaler.log if "level=error" in line]


async def test_the_namespace_scales_its_deployment_until_that_says_otherwise(
    defaulted: Defaulted, namespace: str
):
    refused = await defaulted.decided("InvalidAnnotation")
    assert f"is required, here or on the Namespace {namespace}" in refused["message"]

    await defaulted.annotate_namespace(
        max_replicas="2", target_duty_cycle="40", ready_age="0s", behavior=FAST
    )
    defaulted.load(80)
    await defaulted.scaled.ready(2, path=defaulted.path)
    decision = await defaulted.decision()
    origins = {one["annotation"]: one["origin"] for one in decision["policy"]["settings"]}
    assert origins["gpu-scaler/max-replicas"] == "namespace"
    assert origins["gpu-scaler/enabled"] == "own"

    await defaulted.annotate_namespace(paused="true")
    await defaulted.decided("Paused")
    await defaulted.annotate_namespace(paused=None)
    await defaulted.annotate(max_replicas="1")
    await defaulted.scaled.ready(1, path=defaulted.path)


async def test_a_wrong_default_scales_nothing_and_is_named_in_the_event(
    defaulted: Defaulted, namespace: str
):
    await defaulted.annotate_namespace(max_replicas="many", target_duty_cycle="40", ready_age="0s")

    async def event() -> str:
        path = f"/api/v1/namespaces/{namespace}/events"
        events = (await defaulted.scaled.client.list_(path))["items"]
        return next((one["message"] for one in events if '"many"' in one["message"]), "")

    message = await until(event, what="an event about the default")
    assert "gpu-scaler/max-replicas" in message
    assert f"(default of the Namespace {namespace})" in message
    defaulted.load(80)
    await defaulted.decided("InvalidAnnotation")
    assert await defaulted.scaled.replicas(defaulted.path) == 1
