# SPDX-License-Identifier: Apache-2.0
"""A StatefulSet on the real control plane, with the rights that docs/scaler.md gives for it."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.cluster.conftest import ROOT
from tests.running import run_program, running_scaler
from tests.scaled import Scaled, deployment
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.cluster.controlplane import ControlPlane

NAME = "llm"
ROLE = "gpu-scaler-statefulsets"


@pytest.fixture
async def granted(installed: ControlPlane) -> AsyncIterator[None]:
    """The rules of the page, for the scaler's account."""
    page = (ROOT / "docs" / "scaler.md").read_text(encoding="utf-8")
    found = re.search(r"```yaml\n((?:(?!```).)*statefulsets/scale.*?)```", page, re.S)
    assert found is not None
    api = "rbac.authorization.k8s.io"
    role = {
        "apiVersion": f"{api}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": ROLE},
        "rules": yaml.safe_load(found[1]),
    }
    binding = {
        "apiVersion": f"{api}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": ROLE},
        "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": ROLE},
        "subjects": [{"kind": "ServiceAccount", "name": "gpu-scaler", "namespace": "gpu-scaler"}],
    }
    for one in (role, binding):
        await asyncio.to_thread(installed.apply, json.dumps(one))
    yield
    for kind in ("clusterrolebinding", "clusterrole"):
        await asyncio.to_thread(installed.kubectl, "delete", kind, ROLE)


async def test_a_stateful_set_is_scaled_and_explained(
    scaled: Scaled, kubeconfig: Path, namespace: str, granted: None
):
    sets = f"/apis/apps/v1/namespaces/{namespace}/statefulsets"
    body = deployment(name=NAME, max_replicas="2")
    body |= {"apiVersion": "apps/v1", "kind": "StatefulSet"}
    body["metadata"].pop("namespace", None)
    body["spec"] |= {"serviceName": NAME}
    await scaled.client.post(sets, body)
    await scaled.ready(1, path=f"{sets}/{NAME}")
    async with running_scaler(kubeconfig, "--kinds=deployments.apps,statefulsets.apps") as scaler:
        devices = scaled.nodes.devices_of(namespace, f"{NAME}-0")
        scaled.nodes.set_loads(dict.fromkeys(devices, 80))
        await scaled.ready(2, path=f"{sets}/{NAME}")
        status, output, _ = await run_program(
            "explain", f"{namespace}/statefulsets.apps:{NAME}", f"--server={scaler.url}"
        )
        assert (status, output.splitlines()[0].partition(",")[0]) == (
            0,
            f"statefulsets.apps {namespace}/{NAME}",
        )

        async def is_reported() -> bool:
            events = await scaled.client.list_(f"/api/v1/namespaces/{namespace}/events")
            return any(
                event["involvedObject"].get("kind") == "StatefulSet"
                and event["reason"] == "SuccessfulRescale"
                for event in events["items"]
                if event["source"].get("component") == "gpu-scaler"
            )

        await until(is_reported, what="the event on the StatefulSet")
    assert not [line for line in scaler.log if "level=error" in line]
