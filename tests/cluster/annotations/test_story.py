# SPDX-License-Identifier: Apache-2.0
"""The demo's story on the real control plane, the scaler under its own account."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest

from simulator.demo import EXPORTER_CONFIG, Stage, tell
from simulator.demo_script import PODS_FOR_MORE_LOAD
from simulator.nodes import NodeSpec, running_nodes
from simulator.scenario import NAME_SERVING, press_deployment, serving_deployment
from simulator.workload import Workload
from tests.cluster.annotations.conftest import empty
from tests.running import running_scaler
from tests.scaled import DEPLOYMENTS

if TYPE_CHECKING:
    from scaler.kube.client import KubeClient

EVENTS = "/api/v1/namespaces/default/events"


@pytest.fixture
async def stage(installed, admin: KubeClient, kubeconfig):
    specs = [NodeSpec(name=f"gpu-node-{n}", gpus=("H100",) * 8) for n in (1, 2)]
    async with (
        running_nodes(admin, specs, exporter_config=EXPORTER_CONFIG) as nodes,
        running_scaler(kubeconfig, "--interval=1s") as scaler,
        aiohttp.ClientSession() as session,
        asyncio.TaskGroup() as group,
    ):
        workload = Workload(nodes)
        working = group.create_task(workload.run())
        yield Stage(
            client=admin,
            session=session,
            workload=workload,
            scaler_url=scaler.url,
            began_seconds=time.monotonic(),
        )
        working.cancel()
        await empty(admin)


async def test_the_story_of_the_demo(stage: Stage, audit):
    uid = (await stage.client.post(DEPLOYMENTS, serving_deployment()))["metadata"]["uid"]
    await stage.client.post(DEPLOYMENTS, press_deployment())
    assert await tell(stage) >= PODS_FOR_MORE_LOAD

    about = [
        event
        for event in (await stage.client.list_(EVENTS))["items"]
        if event["involvedObject"].get("uid") == uid
        and event["source"].get("component") == "gpu-scaler"
    ]
    assert {event["reason"] for event in about} == {"SuccessfulRescale"}
    reasons = {event["message"].partition("; ")[2] for event in about}
    assert reasons == {"reason: duty_cycle above target", "reason: All metrics below target"}
    assert {event["involvedObject"]["kind"] for event in about} == {"Deployment"}

    # What was done, by the API server's own account of it.
    sizes = [1, *(request.replicas for request in audit.rescales())]
    assert max(sizes) >= PODS_FOR_MORE_LOAD
    assert sizes[-1] == 1
    assert sum(event.get("count", 1) for event in about) == len(sizes) - 1
    writes = {
        f"{request.verb} {request.what}"
        for request in audit.of_scalers()
        if request.verb not in ("get", "list", "watch") and "events" not in request.what
    }
    assert writes <= {
        f"patch deployments/scale default/{NAME_SERVING}",
        "create leases gpu-scaler",
        "create leases gpu-scaler/gpu-scaler",
        "update leases gpu-scaler/gpu-scaler",
    }
    # The API server refuses events about workloads of other tests whose namespace is ending.
    own = [request for request in audit.of_scalers() if " test-" not in request.what]
    assert [request for request in own if request.code in (401, 403)] == []


def test_the_scaler_is_no_administrator(installed):
    bindings = installed.request("GET", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings")
    administrators = [
        subject["name"]
        for binding in bindings["items"]
        if binding["roleRef"]["name"] == "cluster-admin"
        for subject in binding.get("subjects", ())
    ]
    assert administrators == ["system:masters"]
