# SPDX-License-Identifier: Apache-2.0
"""Every kind on the real API server: missing rights, dry runs, restarts and takeovers.

The kinds' controllers do not run: the minimum alone asks for two replicas of each.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.annotations.operators import (
    GROUPS,
    ROLLOUTS,
    create,
    granted_kind,
    install_kinds,
)
from tests.running import ScalerProcess, running_scaler
from tests.scaled import deployment
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from scaler.kube.client import KubeClient
    from tests.cluster.controlplane import ControlPlane

NAME = "llm"
LEASE_FLAGS = ("--lease-duration=3s", "--renew-deadline=2s", "--retry-period=1s")
pytestmark = [pytest.mark.needs(ROLLOUTS), pytest.mark.needs(GROUPS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind, and the operator that brings it, None for one of Kubernetes."""

    group: str
    version: str
    plural: str
    kind: str
    operator: str | None = None

    @property
    def name(self) -> str:
        return f"{self.plural}.{self.group}"

    def body(self, *, dry_run: bool) -> dict[str, Any]:
        """An object that is below its minimum of two."""
        body = deployment(name=NAME, min_replicas="2", dry_run=str(dry_run).lower())
        body["metadata"].pop("namespace", None)
        body |= {"apiVersion": f"{self.group}/{self.version}", "kind": self.kind}
        template = body["spec"]["template"]
        if self.operator == ROLLOUTS:
            body["spec"]["strategy"] = {"canary": {}}
        elif self.operator == GROUPS:
            worker = {"size": 2, "workerTemplate": template}
            body["spec"] = {"replicas": 1, "leaderWorkerTemplate": worker}
        else:
            body["spec"]["serviceName"] = NAME
        return body


STATEFUL_SET = Kind(group="apps", version="v1", plural="statefulsets", kind="StatefulSet")
ROLLOUT = Kind(
    group="argoproj.io",
    version="v1alpha1",
    plural="rollouts",
    kind="Rollout",
    operator=ROLLOUTS,
)
LEADER_WORKER_SET = Kind(
    group="leaderworkerset.x-k8s.io",
    version="v1",
    plural="leaderworkersets",
    kind="LeaderWorkerSet",
    operator=GROUPS,
)
KINDS = [pytest.param(kind, id=kind.plural) for kind in (STATEFUL_SET, ROLLOUT, LEADER_WORKER_SET)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An object of a kind, and what the scaler says of it."""

    client: KubeClient
    kind: Kind
    namespace: str

    @property
    def path(self) -> str:
        kind = self.kind
        base = f"/apis/{kind.group}/{kind.version}/namespaces/{self.namespace}"
        return f"{base}/{kind.plural}/{NAME}"

    async def replicas(self) -> int:
        found: int = (await self.client.get(self.path))["spec"]["replicas"]
        return found

    async def has_replicas(self, count: int) -> None:
        async def is_so() -> bool:
            return await self.replicas() == count

        await until(is_so, what=f"{count} replicas")

    async def decided(self, scaler: ScalerProcess, outcome: str) -> str:
        """Wait for an outcome, and return the message."""

        async def message() -> str:
            found = await scaler.decision(self.namespace, f"{self.kind.name}:{NAME}")
            return str(found["message"]) if found.get("outcome") == outcome else ""

        return await until(message, what=outcome)

    async def annotate(self, **annotations: str | None) -> None:
        named = {f"gpu-scaler/{key.replace('_', '-')}": v for key, v in annotations.items()}
        await self.client.patch(self.path, {"metadata": {"annotations": named}})


@asynccontextmanager
async def made(
    plane: ControlPlane,
    client: KubeClient,
    kind: Kind,
    namespace: str,
    *,
    dry_run: bool = False,
) -> AsyncIterator[Made]:
    if kind.operator is not None:
        await install_kinds(plane, kind.operator)
    found = Made(client=client, kind=kind, namespace=namespace)
    await create(client, found.path.rpartition("/")[0], kind.body(dry_run=dry_run))
    yield found
    await client.delete(found.path)


@pytest.fixture
async def kubeconfig(installed: ControlPlane) -> Path:
    return await asyncio.to_thread(installed.kubeconfig_for, "gpu-scaler/gpu-scaler")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", ["get", "patch"])
async def test_a_missing_right_for_the_scale_is_named(
    installed: ControlPlane,
    admin: KubeClient,
    kubeconfig: Path,
    namespace: str,
    kind: Kind,
    missing: str,
) -> None:
    scale = {"get", "patch"} - {missing}
    # The scale of a kind whose controller alone knows its pods is read before anything is decided.
    is_read_first = missing == "get" and kind is LEADER_WORKER_SET
    async with (
        made(installed, admin, kind, namespace) as it,
        granted_kind(installed, kind.group, kind.plural, scale=sorted(scale)),
        running_scaler(kubeconfig, f"--kinds=deployments.apps,{kind.name}") as scaler,
    ):
        text = await it.decided(scaler, "held" if is_read_first else "failed")
        assert f'cannot {missing} resource "{kind.plural}/scale"' in text
        assert await it.replicas() == 1
        async with granted_kind(installed, kind.group, kind.plural):
            await it.has_replicas(2)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_dry_run_a_restart_and_a_takeover(
    installed: ControlPlane, admin: KubeClient, kubeconfig: Path, namespace: str, kind: Kind
) -> None:
    flags = (f"--kinds={kind.name}", *LEASE_FLAGS)
    async with (
        made(installed, admin, kind, namespace, dry_run=True) as it,
        granted_kind(installed, kind.group, kind.plural),
    ):
        async with running_scaler(kubeconfig, "--identity=one", *flags) as first:
            assert "2" in await it.decided(first, "dry-run")
            assert await it.replicas() == 1
            await it.annotate(dry_run=None)
            await it.has_replicas(2)
            await it.annotate(dry_run="true", min_replicas="3")
            await it.decided(first, "dry-run")
            first.process.kill()
        async with running_scaler(kubeconfig, "--identity=two", *flags) as second:
            await it.decided(second, "dry-run")
            assert await it.replicas() == 2
            await it.annotate(dry_run=None)
            await it.has_replicas(3)
