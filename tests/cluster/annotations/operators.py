# SPDX-License-Identifier: Apache-2.0
"""The real controllers of other kinds: Argo Rollouts and LeaderWorkerSet."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import yaml

from scaler.kube.errors import ApiError
from tests.cluster import tools
from tests.cluster.processes import free_ports
from tests.cluster.tools import golang
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from scaler.kube.client import KubeClient
    from tests.cluster.controlplane import ControlPlane

ROLLOUTS: Final = "rollouts-controller"
GROUPS: Final = "lws-controller"
SCALER: Final = {"kind": "ServiceAccount", "name": "gpu-scaler", "namespace": "gpu-scaler"}
RBAC: Final = "rbac.authorization.k8s.io"


def crds(operator: str) -> list[Path]:
    """Return the files with the kinds of an operator's release."""
    source = golang.folder_of(tools.BY_NAME[operator])
    if operator == ROLLOUTS:
        return sorted((source / "manifests" / "crds").glob("*-crd.yaml"))
    bases = source / "config" / "crd" / "bases"
    return [bases / "leaderworkerset.x-k8s.io_leaderworkersets.yaml"]


async def install_kinds(plane: ControlPlane, operator: str) -> None:
    """Create the kinds of an operator's release; they remain."""
    for file in await asyncio.to_thread(crds, operator):
        await asyncio.to_thread(plane.apply, file)


@asynccontextmanager
async def running_rollouts(plane: ControlPlane) -> AsyncIterator[None]:
    """Run Argo Rollouts as the admin, with the kinds of its release."""
    await asyncio.to_thread(plane.kubectl, "create", "namespace", "argo-rollouts")
    await install_kinds(plane, ROLLOUTS)
    health, metrics = free_ports(2)
    plane.processes.start(
        ROLLOUTS,
        [
            plane.tool(ROLLOUTS),
            f"--kubeconfig={plane.admin}",
            "--leader-elect=false",
            f"--healthzPort={health}",
            f"--metricsPort={metrics}",
        ],
    )
    try:
        yield
    finally:
        await asyncio.to_thread(plane.processes.stop, ROLLOUTS)


@asynccontextmanager
async def running_groups(plane: ControlPlane) -> AsyncIterator[None]:
    """Run LeaderWorkerSet's controller as the admin, with the webhooks of its release."""
    source = await asyncio.to_thread(golang.folder_of, tools.BY_NAME[GROUPS])
    await install_kinds(plane, GROUPS)
    webhook, health = free_ports(2)
    folder = plane.files.folder / "lws"
    folder.mkdir(exist_ok=True)
    issued = plane.issue("lws", hosts=["127.0.0.1"])
    shutil.copy(issued.certificate, folder / "tls.crt")
    shutil.copy(issued.key, folder / "tls.key")
    config = {
        "apiVersion": "config.lws.x-k8s.io/v1alpha1",
        "kind": "Configuration",
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "webhook": {"host": "127.0.0.1", "port": webhook, "certDir": str(folder)},
        "health": {"healthProbeBindAddress": f"127.0.0.1:{health}"},
        "metrics": {"bindAddress": "0"},
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    plane.processes.start(
        GROUPS,
        [plane.tool(GROUPS), f"--config={folder / 'config.yaml'}"],
        environment={"KUBECONFIG": str(plane.admin)},
    )
    hooks = _webhooks(source, webhook, plane.files.ca)
    try:
        for one in hooks:
            await asyncio.to_thread(plane.apply, json.dumps(one))
        yield
    finally:
        for one in hooks:
            await asyncio.to_thread(plane.kubectl, "delete", one["kind"], one["metadata"]["name"])
        await asyncio.to_thread(plane.processes.stop, GROUPS)


def _webhooks(source: Path, port: int, ca: Path) -> list[dict[str, Any]]:
    """The release's webhooks at the address of our process, for the pods of groups only."""
    text = (source / "config" / "webhook" / "manifests.yaml").read_text()
    found = [one for one in yaml.safe_load_all(text) if one]
    bundle = base64.b64encode(ca.read_bytes()).decode()
    for one in found:
        one["metadata"]["name"] = f"lws-{one['metadata']['name']}"
        for hook in one["webhooks"]:
            path = hook["clientConfig"]["service"]["path"]
            hook["clientConfig"] = {"url": f"https://127.0.0.1:{port}{path}", "caBundle": bundle}
            if hook["rules"][0]["resources"] == ["pods"]:
                label = {"key": "leaderworkerset.sigs.k8s.io/name", "operator": "Exists"}
                hook["objectSelector"] = {"matchExpressions": [label]}
    return found


async def create(client: KubeClient, path: str, body: dict[str, Any]) -> None:
    """Create an object as soon as its kind is served and its webhook answers."""

    async def is_created() -> bool:
        try:
            await client.post(path, body)
        except ApiError:
            return False
        return True

    await until(is_created, what=f"{path} takes objects")


@asynccontextmanager
async def granted_kind(
    plane: ControlPlane, group: str, plural: str, *, scale: Sequence[str] = ("get", "patch")
) -> AsyncIterator[None]:
    """Give the scaler's account the rows that the chart's `scaler.kinds` gives for a kind.

    `scale` are the verbs for its scale.
    """
    name = f"gpu-scaler-{plural}"
    metadata = {"name": name}
    role = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": metadata,
        "rules": [
            {"apiGroups": [group], "resources": [plural], "verbs": ["list", "watch"]},
            {"apiGroups": [group], "resources": [f"{plural}/scale"], "verbs": list(scale)},
        ],
    }
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
        "subjects": [SCALER],
    }
    for one in (role, binding):
        await asyncio.to_thread(plane.apply, json.dumps(one))
    try:
        yield
    finally:
        for kind in ("clusterrolebinding", "clusterrole"):
            await asyncio.to_thread(plane.kubectl, "delete", kind, name)
