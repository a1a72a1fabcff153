# SPDX-License-Identifier: Apache-2.0
"""A LeaderWorkerSet under its real controller: groups are scaled as replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.annotations.operators import GROUPS, create, granted_kind, running_groups
from tests.running import run_program, running_scaler
from tests.scaled import Scaled, deployment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.controlplane import ControlPlane

KIND = "leaderworkersets.leaderworkerset.x-k8s.io"
NAME = "llm"
pytestmark = pytest.mark.needs(GROUPS)


def leader_worker_set() -> dict[str, Any]:
    """Groups of two, whose workers come once their leader is Ready."""
    body = deployment(name=NAME, max_replicas="3")
    template = body["spec"]["template"]
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": NAME, "annotations": body["metadata"]["annotations"]},
        "spec": {
            "replicas": 1,
            "startupPolicy": "LeaderReady",
            "leaderWorkerTemplate": {"size": 2, "workerTemplate": template},
        },
    }


async def test_groups_are_scaled_by_all_their_pods(
    scaled: Scaled, installed: ControlPlane, kubeconfig: Path, namespace: str
):
    sets = f"/apis/leaderworkerset.x-k8s.io/v1/namespaces/{namespace}/leaderworkersets"
    path = f"{sets}/{NAME}"

    def load(**percents: int) -> None:
        loads: dict[str, float] = {}
        for pod, percent in percents.items():
            name = pod.replace("_", "-")
            loads |= dict.fromkeys(scaled.nodes.devices_of(namespace, name), percent)
        scaled.nodes.set_loads(loads)

    async with (
        granted_kind(installed, "leaderworkerset.x-k8s.io", "leaderworkersets"),
        running_groups(installed),
    ):
        await create(scaled.client, sets, leader_worker_set())
        await scaled.ready(1, path=path)
        async with running_scaler(kubeconfig, f"--kinds={KIND}") as scaler:
            # The mean over both is above the target of 40; the leader's alone is not.
            load(llm_0=0, llm_0_1=100)
            await scaled.ready(2, path=path)
            _, output, _ = await run_program(
                "explain", f"{namespace}/{KIND}:{NAME}", f"--server={scaler.url}"
            )
            assert f"{KIND} {namespace}/{NAME}" in output
            load(llm_0=0, llm_0_1=0, llm_1=0, llm_1_1=0)
            await scaled.ready(1, path=path)
        await scaled.client.delete(path)
    assert not [line for line in scaler.log if "level=error" in line]
