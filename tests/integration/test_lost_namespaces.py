# SPDX-License-Identifier: Apache-2.0
"""A namespace or a kind that the API server shows no longer is held and named; the others go on."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from scaler.cluster.kinds import DEPLOYMENTS, STATEFUL_SETS, Kinds
from scaler.cluster.state import ClusterState
from scaler.decision.decide import decide
from scaler.decision.model import Outcome
from scaler.kube import reflector
from scaler.kube.client import KubeClient
from scaler.policy.parse import parse_policy
from simulator.apiserver import SCALED_OBJECTS, running_apiserver
from simulator.apiserver.resources import Resource
from tests.embedded import running_cluster
from tests.integration.test_cluster_state import deployment
from tests.running import running_scaler
from tests.scaled import DEPLOYMENTS as DEFAULT
from tests.scaled import NAME
from tests.scaled import deployment as serving
from tests.waiting import until

STATEFUL = Resource(
    group="apps",
    version="v1",
    plural="statefulsets",
    kind="StatefulSet",
    subresources=frozenset({"scale", "status"}),
)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(reflector, "DISCONNECTED_SECONDS", 0.5)


@asynccontextmanager
async def two_namespaces(**options):
    resources = [SCALED_OBJECTS, STATEFUL]
    async with running_apiserver(extra_resources=resources) as api, KubeClient(api.url) as client:
        for name in ("team-a", "team-b", "gpu-exporter"):
            await client.post("/api/v1/namespaces", {"metadata": {"name": name}})
        for name in ("team-a", "team-b"):
            path = f"/apis/apps/v1/namespaces/{name}/deployments"
            await client.post(path, deployment("web", 1))
        state = ClusterState(client, **options)
        task = asyncio.create_task(state.run())
        try:
            yield api, state
        finally:
            task.cancel()
            await asyncio.wait([task])


def refuse(api, part, status):
    """Have the API server refuse whatever is under a path from now on, open watches included."""
    api.faults.applies_to = lambda request: part in request.path
    api.faults.error_status = status
    api.faults.drop_watches()


def held(state):
    return {
        one.ref.namespace: one.out_of_contact
        for one in state.deployments()
        if one.out_of_contact is not None
    }


@pytest.mark.parametrize("status", [403, 500])
@pytest.mark.parametrize(
    "resource",
    [
        "apps/v1/namespaces/team-b/deployments",
        "apps/v1/namespaces/team-b/replicasets",
        "api/v1/namespaces/team-b/pods",
        "autoscaling/v2/namespaces/team-b/horizontalpodautoscalers",
        "keda.sh/v1alpha1/namespaces/team-b/scaledobjects",
        "namespaces/team-b/",
    ],
)
async def test_a_lost_watch_costs_its_namespace_alone(resource, status, caplog):
    caplog.set_level("INFO")
    async with two_namespaces(namespaces=["team-a", "team-b"]) as (api, state):
        await asyncio.wait_for(state.wait_synced(), 60)
        assert held(state) == {}
        refuse(api, resource, status)
        # All connections were cut: those of team-a come back.
        await until(lambda: held(state).keys() == {"team-b"} and state.is_fresh(time.monotonic()))
        [why] = held(state).values()
        assert why.startswith("namespace team-b")
        assert f"{status} " in why
        assert len(state.lost(time.monotonic())) == 1
        api.faults.clear()
        await until(lambda: held(state) == {}, what="team-b is back")
    # On a slow machine team-a may have been lost too until its connections came back.
    [record] = [
        one
        for one in caplog.records
        if one.message == "Watch lost; its workloads are held"
        and vars(one)["namespace"] == "team-b"
    ]
    assert f"{status} " in vars(record)["error"]
    assert any(
        one.message == "Watch is back; its workloads are scaled again" for one in caplog.records
    )


@pytest.mark.parametrize("status", [403, 404])
async def test_a_new_scaler_starts_without_a_namespace_that_is_gone(status):
    async with two_namespaces(namespaces=["team-a", "team-b"]) as (api, state):
        refuse(api, "namespaces/team-b/", status)
        await asyncio.wait_for(state.wait_synced(), 60)
        assert state.is_fresh(time.monotonic())
        assert {one.part.namespace for one in state.lost(time.monotonic())} == {"team-b"}
        assert [one.ref.namespace for one in state.deployments()] == ["team-a"]
        assert held(state) == {}
        api.faults.clear()
        await until(lambda: len(state.deployments()) == 2 and not held(state), what="it is back")


async def test_a_kind_that_is_lost_costs_its_workloads_alone():
    kinds = Kinds([DEPLOYMENTS, STATEFUL_SETS])
    async with two_namespaces(kinds=kinds) as (api, state):
        await asyncio.wait_for(state.wait_synced(), 60)
        refuse(api, "/apis/apps/v1/statefulsets", 403)
        await until(lambda: state.lost(time.monotonic()))
        assert [one.part.kind for one in state.lost(time.monotonic())] == ["statefulsets.apps"]
        assert state.is_fresh(time.monotonic())
        assert held(state) == {}


async def test_what_all_namespaces_need_holds_all_of_them():
    async with two_namespaces(namespaces=["team-a", "team-b"]) as (api, state):
        await asyncio.wait_for(state.wait_synced(), 60)
        refuse(api, "namespaces/gpu-exporter/pods", 403)
        await until(lambda: not state.is_fresh(time.monotonic()))
        assert [one.part.namespace for one in state.lost(time.monotonic())] == [None]


async def test_nothing_is_in_sight_while_no_namespace_is():
    async with two_namespaces(namespaces=["team-a", "team-b"]) as (api, state):
        refuse(api, "namespaces/team-", 403)
        waiting = asyncio.create_task(state.wait_synced())
        await until(lambda: len(state.lost(time.monotonic())) == 2)
        assert not state.is_fresh(time.monotonic())
        assert not waiting.done()
        api.faults.clear()
        await asyncio.wait_for(waiting, 60)


async def test_a_deployment_out_of_sight_is_held_whatever_its_annotations_ask_for():
    async with two_namespaces(namespaces=["team-a", "team-b"]) as (api, state):
        await asyncio.wait_for(state.wait_synced(), 60)
        refuse(api, "namespaces/team-b/pods", 403)
        await until(lambda: "team-b" in held(state))
        [_, found] = state.deployments()
        # 1 replica is below the floor, which needs no metric to be mended.
        annotations = {"enabled": "true", "min-replicas": "2", "max-replicas": "4"}
        policy = parse_policy(
            {f"gpu-scaler/{key}": value for key, value in annotations.items()}
            | {"gpu-scaler/target-duty-cycle": "40"},
            query_supported=False,
        )
        decision = decide(found, policy, {}, None, 1000.0)
    assert (decision.outcome, decision.reason) == (Outcome.HELD, "OutOfContact")
    assert "namespace team-b" in decision.message
    assert decision.desired_replicas == 1


async def test_the_scaler_works_for_one_team_while_the_namespace_of_another_is_gone(tmp_path):
    async with running_cluster(tmp_path) as cluster:
        await cluster.client.post(DEFAULT, serving())
        await cluster.ready(1)
        cluster.api.faults.applies_to = lambda request: "/namespaces/team-b/" in request.path
        cluster.api.faults.error_status = 403
        flags = ("--namespaces=default,team-b", "--exporters.namespace=gpu-exporter")
        async with (
            running_scaler(cluster.kubeconfig, *flags) as scaler,
            cluster.under_load(80),
        ):

            async def decided() -> bool:
                decision = await scaler.decision("default", NAME)
                return bool(decision.get("outcome")) and decision["outcome"] != "held"

            await until(decided, what="a decision for the team that is there")
            ready = await scaler.text("/readyz")
            metrics = await scaler.text("/metrics")
        log = "".join(scaler.log)
    assert ready.startswith("ok\nheld: namespace team-b")
    assert "403" in ready
    assert 'gpu_scaler_out_of_contact{kind="",namespace="team-b"} 1.0' in metrics
    assert "gpu_scaler_holding 0.0" in metrics
    assert "Watch lost; its workloads are held" in log
    assert "team-b" in log
