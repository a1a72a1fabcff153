# SPDX-License-Identifier: Apache-2.0
"""Workloads of other kinds, against the embedded API: found, counted, scaled by their scale."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest

from scaler.cluster import pod_index, scales
from scaler.cluster.kinds import UnknownKind, find_kinds
from scaler.cluster.scale import read_scale, write_scale
from scaler.cluster.state import ClusterState
from scaler.kube.client import KubeClient
from scaler.model import ObjectRef
from simulator.apiserver import running_apiserver
from simulator.apiserver.resources import Resource
from tests.waiting import until

SERVERS = "servers.example.com"
SERVER = Resource(
    group="example.com",
    version="v1beta1",
    plural="servers",
    kind="Server",
    subresources=frozenset({"scale", "status"}),
)
OTHER = replace(SERVER, plural="others", kind="Other")
PLAIN = Resource(group="example.com", version="v1beta1", plural="plains", kind="Plain")
STATEFUL = Resource(
    group="apps",
    version="v1",
    plural="statefulsets",
    kind="StatefulSet",
    subresources=frozenset({"scale", "status"}),
)
ROLLOUT = Resource(
    group="argoproj.io",
    version="v1alpha1",
    plural="rollouts",
    kind="Rollout",
    subresources=frozenset({"scale", "status"}),
)
PATH = "/apis/example.com/v1beta1/namespaces/default/servers"
SETS = "/apis/apps/v1/namespaces/default/statefulsets"
PODS = "/api/v1/namespaces/default/pods"
REF = ObjectRef(namespace="default", name="llm", kind=SERVERS)


def workload(name="llm", replicas=2):
    return {
        "metadata": {"name": name, "annotations": {"gpu-scaler/enabled": "true"}},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}},
    }


def owned(kind, uid):
    reference = {"apiVersion": "x/v1", "kind": kind, "name": "x", "uid": uid, "controller": True}
    return {"ownerReferences": [reference]}


def pod(name, label, *, owner=None, kind="StatefulSet"):
    metadata = {"name": name, "labels": {"app": label}}
    if owner is not None:
        metadata |= owned(kind, owner)
    return {"metadata": metadata, "spec": {"containers": [{"name": "c", "image": "i"}]}}


@asynccontextmanager
async def watching(*names):
    resources = [SERVER, OTHER, PLAIN, STATEFUL, ROLLOUT]
    async with (
        running_apiserver(extra_resources=resources) as api,
        KubeClient(api.url) as client,
    ):
        kinds = await find_kinds(client, names)
        state = ClusterState(client, kinds=kinds)
        task = asyncio.create_task(state.run())
        try:
            await asyncio.wait_for(state.wait_synced(), 60)
            yield client, kinds, state, api
        finally:
            task.cancel()
            await asyncio.wait([task])


def found(state):
    return {
        item.ref: (item.spec_replicas, [pod.ref.name for pod in item.pods])
        for item in state.deployments()
    }


async def test_a_custom_resource_has_its_count_and_its_selector_from_its_scale():
    async with watching("deployments.apps", SERVERS) as (client, kinds, state, _):
        await client.post(PODS, pod("llm-a", "llm"))
        await client.post(PODS, pod("other", "other"))
        made = await client.post(PATH, workload())
        await until(lambda: found(state) == {REF: (2, ["llm-a"])})
        await client.post(PODS, pod("llm-b", "llm"))
        await until(lambda: found(state) == {REF: (2, ["llm-a", "llm-b"])})

        kind, uid = kinds.of(REF), made["metadata"]["uid"]
        scale = await read_scale(client, REF, kind=kind, uid=uid)
        assert scale.replicas == 2
        await write_scale(client, REF, kind=kind, uid=uid, scale=scale, to_replicas=5)
        await until(lambda: found(state) == {REF: (5, ["llm-a", "llm-b"])})
        assert (await read_scale(client, REF, kind=kind, uid=uid)).replicas == 5
        await client.delete(f"{PATH}/llm")
        await until(lambda: found(state) == {})


async def test_selectors_that_overlap_too_much_hold_workloads_of_their_namespace(monkeypatch):
    monkeypatch.setattr(pod_index, "SELECTED_PODS", 1)
    monkeypatch.setattr(pod_index, "SELECTIONS_OF_POD", 1)
    same = {"selector": {"matchLabels": {"app": "llm"}}, "replicas": 1}
    elsewhere = "/apis/example.com/v1beta1/namespaces/elsewhere/servers"
    async with watching(SERVERS) as (client, _, state, _):
        await client.post("/api/v1/namespaces", {"metadata": {"name": "elsewhere"}})
        await client.post(PODS, pod("llm-a", "llm"))
        await client.post("/api/v1/namespaces/elsewhere/pods", pod("llm-b", "llm"))
        for path, name in ((PATH, "one"), (PATH, "two"), (PATH, "three"), (elsewhere, "four")):
            await client.post(path, workload(name) | {"spec": same})

        def held():
            return {one.ref.name for one in state.deployments() if one.out_of_contact}

        await until(lambda: len(found(state)) == 4 and len(held()) == 2)
        assert "four" not in held()
        assert all("overlap" in (one.out_of_contact or "x overlap") for one in state.deployments())
        (counted,) = {"one", "two", "three"} - held()
        await client.delete(f"{PATH}/{counted}")
        await until(lambda: len(found(state)) == 3 and len(held()) == 1, what="another fits in")


async def test_scales_are_read_only_when_something_changes():
    async with watching(SERVERS) as (client, _, state, _):
        await client.post(PATH, workload())
        await until(lambda: REF in found(state))
        before = client.answers["GET", 200]
        await client.post(PODS, pod("llm-a", "llm"))
        await until(lambda: found(state) == {REF: (2, ["llm-a"])})
        assert client.answers["GET", 200] == before


@pytest.mark.parametrize("status", [403, 404])
async def test_a_scale_that_cannot_be_read_holds_its_workload_and_delays_no_other(
    monkeypatch, status
):
    monkeypatch.setattr(scales, "RETRY_SECONDS", 3600.0)
    async with watching(SERVERS) as (client, _, state, api):
        api.faults.applies_to = lambda request: request.path.endswith("/llm/scale")
        api.faults.error_status = status
        await client.post(PATH, workload(replicas=3))
        await until(lambda: REF in found(state))
        (held,) = state.deployments()
        assert held.spec_replicas == 3
        assert f"/llm/scale: {status}" in (held.out_of_contact or "")
        await client.post(PATH, workload("other"))
        await until(lambda: len(found(state)) == 2, what="the other is there")
        assert [one.out_of_contact is None for one in state.deployments()] == [False, True]
        api.faults.clear()
        await client.patch(f"{PATH}/llm", {"spec": {"replicas": 4}})
        await until(
            lambda: all(one.out_of_contact is None for one in state.deployments()),
            what="it is back",
        )
        assert found(state)[REF][0] == 4


async def test_scales_that_hang_delay_neither_others_nor_the_start(monkeypatch):
    monkeypatch.setattr(scales, "CALL_TIMEOUT_SECONDS", 3600.0)
    monkeypatch.setattr(scales, "SETTLE_SECONDS", 0.1)
    api_base = "/apis/example.com/v1beta1/namespaces"
    async with watching(SERVERS, "others.example.com") as (client, kinds, state, api):
        await client.post("/api/v1/namespaces", {"metadata": {"name": "elsewhere"}})
        hanging = f"{api_base}/default/servers/"
        api.faults.applies_to = lambda request: (
            request.path.startswith(hanging) and request.path.endswith("/scale")
        )
        api.faults.delay_seconds = 3600.0
        # More than are read at once.
        for number in range(2 * scales.MAX_CONCURRENT_READS):
            await client.post(PATH, workload(f"hanging-{number}"))
        await until(lambda: len(state._scales._queued) == 2 * scales.MAX_CONCURRENT_READS)
        await client.post(f"{api_base}/default/others", workload("another-kind"))
        await client.post(f"{api_base}/elsewhere/servers", workload("another-namespace"))

        def read(watched):
            return {one.ref.name for one in watched.deployments() if one.out_of_contact is None}

        await until(lambda: read(state) == {"another-kind", "another-namespace"})
        starting = ClusterState(client, kinds=kinds)
        task = asyncio.create_task(starting.run())
        await asyncio.wait_for(starting.wait_synced(), 60)
        await until(lambda: read(starting) == {"another-kind", "another-namespace"})

        def held(watched):
            whys = [one.out_of_contact for one in watched.deployments() if one.out_of_contact]
            assert all("scale" in why for why in whys)
            return len(whys)

        # Those that nobody has begun to read are not left out either.
        for watched in (state, starting):
            await until(partial(lambda one: held(one) == 2 * scales.MAX_CONCURRENT_READS, watched))
        task.cancel()
        await asyncio.wait([task])


async def test_a_scale_that_could_not_be_read_is_tried_again(monkeypatch):
    monkeypatch.setattr(scales, "RETRY_SECONDS", 0.05)
    async with watching(SERVERS) as (client, _, state, api):
        api.faults.applies_to = lambda request: request.path.endswith("/llm/scale")
        api.faults.error_status = 500
        await client.post(PATH, workload())
        await until(lambda: any(one.out_of_contact for one in state.deployments()))
        api.faults.clear()
        await until(lambda: found(state) == {REF: (2, [])}, what="it is read")
        await until(lambda: not any(one.out_of_contact for one in state.deployments()))


async def test_a_stateful_set_has_the_pods_that_it_controls_and_no_others():
    async with watching("statefulsets.apps") as (client, _, state, _):
        made = await client.post(SETS, workload("db", 1))
        await client.post(PODS, pod("db-0", "db", owner=made["metadata"]["uid"]))
        await client.post(PODS, pod("loose", "db"))
        await client.post(PODS, pod("theirs", "db", owner="another"))
        ref = ObjectRef(namespace="default", name="db", kind="statefulsets.apps")
        await until(lambda: found(state) == {ref: (1, ["db-0"])})


async def test_a_rollout_has_the_pods_of_its_replica_sets_and_no_others():
    rollouts, sets = (
        f"/apis/{group}/namespaces/default/{plural}"
        for group, plural in (("argoproj.io/v1alpha1", "rollouts"), ("apps/v1", "replicasets"))
    )
    async with watching("deployments.apps", "rollouts.argoproj.io") as (client, _, state, _):
        made = await client.post(rollouts, workload("web", 2))
        for name in ("old", "new"):
            owners = owned("Rollout", made["metadata"]["uid"])
            spec = workload("web", 0)["spec"] | {"template": pod("", "web")}
            replica_set = await client.post(
                sets, {"metadata": {"name": name} | owners, "spec": spec}
            )
            uid = replica_set["metadata"]["uid"]
            await client.post(PODS, pod(f"{name}-1", "web", owner=uid, kind="ReplicaSet"))
        await client.post(PODS, pod("loose", "web"))
        await client.post(PODS, pod("theirs", "web", owner="another", kind="ReplicaSet"))
        ref = ObjectRef(namespace="default", name="web", kind="rollouts.argoproj.io")
        await until(lambda: found(state) == {ref: (2, ["new-1", "old-1"])})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("statefulset", "has no namespaced kind statefulset; the name must include the group"),
        ("gadgets.example.com", "has no namespaced kind gadgets.example.com"),
        ("things.absent.example.com", "has no namespaced kind things.absent.example.com"),
        ("plains.example.com", "plains.example.com has no scale subresource"),
        ("namespaces", "has no namespaced kind namespaces"),
    ],
)
async def test_a_kind_that_cannot_be_scaled(name, message):
    async with (
        running_apiserver(extra_resources=[SERVER, PLAIN]) as api,
        KubeClient(api.url) as client,
    ):
        with pytest.raises(UnknownKind, match=message):
            await find_kinds(client, ["deployments.apps", name])


async def test_how_many_pods_make_up_a_replica_is_what_is_there():
    async with watching(SERVERS) as (client, _, state, _):
        for member in range(8):
            await client.post(PODS, pod(f"llm-{member}", "llm"))
        await client.post(PATH, workload())
        await until(lambda: len(found(state).get(REF, (0, []))[1]) == 8)
        status = {"status": {"replicas": 2}}
        await client.patch(f"{PATH}/llm/status", status)
        await until(lambda: [item.pods_per_replica for item in state.deployments()] == [4])
        await client.delete(f"{PATH}/llm")
        await until(lambda: found(state) == {})
