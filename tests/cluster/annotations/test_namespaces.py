# SPDX-License-Identifier: Apache-2.0
"""A scaler that was given some namespaces and has rights in no other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.cluster.conftest import ROOT
from tests.running import running_scaler
from tests.scaled import DEPLOYMENTS, Scaled, deployment
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.controlplane import ControlPlane

ACCOUNT = "restricted"
OTHERS = "/apis/apps/v1/namespaces/{}/deployments"


@pytest.fixture
def restricted(installed: ControlPlane) -> Path:
    """An account with the shipped Roles for the namespace default, and with nothing else."""
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": "gpu-scaler"}
    account = {"apiVersion": "v1", "kind": "ServiceAccount"}
    installed.apply(
        json.dumps({**account, "metadata": {"name": ACCOUNT, "namespace": "gpu-scaler"}})
    )
    for file, namespace in (
        ("scaler-namespace-role.yaml", "default"),
        ("scaler-exporters-role.yaml", "gpu-exporter"),
        ("scaler.yaml", "gpu-scaler"),
    ):
        for one in yaml.safe_load_all((ROOT / "daemonset" / file).read_text()):
            if one["kind"] not in ("Role", "RoleBinding"):
                continue
            one["metadata"].setdefault("namespace", namespace)
            assert one["metadata"]["namespace"] == namespace
            if one["kind"] == "RoleBinding":
                one["metadata"]["name"] += "-restricted"
                one["subjects"] = [subject]
            installed.apply(json.dumps(one))
    return installed.kubeconfig_for(f"gpu-scaler/{ACCOUNT}")


async def test_only_the_given_namespaces_are_looked_at(
    scaled: Scaled, restricted: Path, namespace: str
):
    other = OTHERS.format(namespace)
    await scaled.client.post(DEPLOYMENTS, deployment(name="ours"))
    await scaled.client.post(other, deployment(name="theirs"))
    for path in (f"{DEPLOYMENTS}/ours", f"{other}/theirs"):
        await scaled.ready(1, path=path)
    async with running_scaler(restricted, "--namespaces=default") as scaler:
        scaled.nodes.set_loads(
            {
                uuid: 80.0
                for pod in scaled.nodes.pods()
                for uuid in scaled.nodes.devices_of(
                    pod["metadata"]["namespace"], pod["metadata"]["name"]
                )
                if pod["metadata"]["namespace"] in ("default", namespace)
            }
        )
        await scaled.ready(2, path=f"{DEPLOYMENTS}/ours")
        assert await scaler.decision("default", "ours")
        assert not await scaler.decision(namespace, "theirs")
    assert await scaled.replicas(f"{other}/theirs") == 1
    assert not [line for line in scaler.log if "level=error" in line]


async def test_a_namespace_without_the_role_holds_everything_and_says_which(
    scaled: Scaled, restricted: Path, namespace: str
):
    await scaled.client.post(DEPLOYMENTS, deployment(name="ours"))
    await scaled.ready(1, path=f"{DEPLOYMENTS}/ours")
    async with running_scaler(restricted, f"--namespaces=default,{namespace}") as scaler:
        await until(
            lambda: any(
                "level=warning" in line and f"/namespaces/{namespace}/" in line
                for line in scaler.log
            ),
            what="the missing right in the log",
        )
        scaled.load(80)
        assert (await scaler.text("/readyz")) != "ok\n"
    assert await scaled.replicas(f"{DEPLOYMENTS}/ours") == 1
