# SPDX-License-Identifier: Apache-2.0
"""The cluster as the scaler sees it, against the embedded API with its controllers."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

from scaler.cluster.state import ClusterState
from scaler.decision.decide import decide
from scaler.kube.client import KubeClient
from scaler.model import Metric, MetricReading, ObjectRef, PodValue
from simulator.apiserver import SCALED_OBJECTS, running_apiserver
from simulator.apiserver.resources import PODS as POD_KIND
from tests.unit.deployments import immediate, policy
from tests.waiting import until

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
REPLICA_SETS = "/apis/apps/v1/namespaces/default/replicasets"
PODS = "/api/v1/namespaces/default/pods"
EXPORTERS = "/api/v1/namespaces/gpu-exporter/pods"
AUTOSCALERS = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
SCALED = "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects"


def deployment(name, replicas=2, *, label="web", enabled="true"):
    annotations = {} if enabled is None else {"gpu-scaler/enabled": enabled}
    return {
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": label}},
            "template": {
                "metadata": {"labels": {"app": label}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        },
    }


def pod(name, **metadata):
    return {
        "metadata": {"name": name, **metadata},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }


@asynccontextmanager
async def watching(**options):
    """Yield the embedded API, a client and a synchronised ClusterState."""
    async with running_apiserver(**options) as api, KubeClient(api.url) as client:
        state = ClusterState(client)
        task = asyncio.create_task(state.run())
        try:
            await asyncio.wait_for(state.wait_synced(), 60)
            yield api, client, state
        finally:
            task.cancel()
            await asyncio.wait([task])


def pods_of(state, name):
    return [pod for item in state.deployments() if item.ref.name == name for pod in item.pods]


async def test_deployments_with_the_annotation_and_their_own_pods():
    async with watching() as (_, client, state):
        # The same labels everywhere: whose pod it is says the owner's uid alone.
        await client.post(DEPLOYMENTS, deployment("ours", 2))
        await client.post(DEPLOYMENTS, deployment("refused", 1, enabled="yes"))
        await client.post(DEPLOYMENTS, deployment("theirs", 3, enabled=None))
        await client.post(PODS, pod("loose", labels={"app": "web"}))
        await until(lambda: len(pods_of(state, "ours")) == 2)
        await until(lambda: len(pods_of(state, "refused")) == 1)
        found = state.deployments()
        assert [item.ref.name for item in found] == ["ours", "refused"]
        assert found[0].annotations == {"gpu-scaler/enabled": "true"}
        assert all(item.ref.name.startswith("ours-") for item in found[0].pods)
        assert state.is_fresh(time.monotonic())


async def test_who_owns_what_is_asked_within_the_namespace_only():
    """Somebody who knows a uid can write it into an object of theirs, in another namespace."""
    async with watching() as (_, client, state):
        await client.post("/api/v1/namespaces", {"metadata": {"name": "evil"}})
        victim = await client.post(DEPLOYMENTS, deployment("victim", 1))
        await until(lambda: len(pods_of(state, "victim")) == 1)
        replica_set = (await client.list_(REPLICA_SETS))["items"][0]
        before = state.deployments()

        def of(kind, uid):
            owner = {"apiVersion": "apps/v1", "kind": kind, "name": "x", "uid": uid}
            return [{**owner, "controller": True}]

        evil = "/api/v1/namespaces/evil/pods"
        forged = deployment("forged", 0)
        del forged["metadata"]["annotations"]
        forged["metadata"]["ownerReferences"] = of("Deployment", victim["metadata"]["uid"])
        forged = await client.post("/apis/apps/v1/namespaces/evil/replicasets", forged)
        for n, uid in enumerate((replica_set["metadata"]["uid"], forged["metadata"]["uid"])):
            await client.post(evil, pod(f"pod-{n}", ownerReferences=of("ReplicaSet", uid)))
        await until(lambda: len(state._pods._by_owner) == 3, what="all of them are seen")
        await until(lambda: len(state._pods._replica_sets) == 2, what="the ReplicaSet is seen")
        assert state.deployments() == before
        # What goes takes nothing of the victim's with it either.
        await client.delete(
            f"/apis/apps/v1/namespaces/evil/replicasets/{forged['metadata']['name']}"
        )
        await client.delete(f"{evil}/pod-0")
        await until(lambda: len(state._pods._by_owner) == 1 and len(state._pods._replica_sets) == 1)
        assert state.deployments() == before


async def test_a_deployment_that_waits_for_its_finalizers_is_left_alone():
    async with watching() as (_, client, state):
        held = deployment("held", 1)
        held["metadata"]["finalizers"] = ["example.com/wait"]
        await client.post(DEPLOYMENTS, held)
        await until(lambda: len(state.deployments()) == 1)
        await client.delete(f"{DEPLOYMENTS}/held")
        await until(lambda: state.deployments() == ())
        assert (await client.get(f"{DEPLOYMENTS}/held"))["metadata"]["deletionTimestamp"]


async def test_annotations_come_and_go():
    async with watching() as (_, client, state):
        await client.post(DEPLOYMENTS, deployment("web", enabled=None))
        await client.patch(
            f"{DEPLOYMENTS}/web", {"metadata": {"annotations": {"gpu-scaler/enabled": "true"}}}
        )
        await until(lambda: len(pods_of(state, "web")) == 2, what="opted in with its pods")
        await client.patch(
            f"{DEPLOYMENTS}/web", {"metadata": {"annotations": {"gpu-scaler/max-replicas": "4"}}}
        )
        await until(lambda: "gpu-scaler/max-replicas" in state.deployments()[0].annotations)
        await client.patch(
            f"{DEPLOYMENTS}/web", {"metadata": {"annotations": {"gpu-scaler/enabled": None}}}
        )
        await until(lambda: state.deployments() == ())


async def test_scaling_and_rollouts_show_in_the_pods():
    async with watching() as (_, client, state):
        await client.post(DEPLOYMENTS, deployment("web", 1))
        await until(lambda: len(pods_of(state, "web")) == 1)
        await client.patch(f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": 3}})
        await until(lambda: len(pods_of(state, "web")) == 3)
        await until(lambda: state.deployments()[0].spec_replicas == 3)
        await client.patch(
            f"{DEPLOYMENTS}/web",
            {"spec": {"template": {"metadata": {"annotations": {"version": "2"}}}}},
        )
        await until(lambda: len(pods_of(state, "web")) == 4, what="one surge pod")
        await client.delete(f"{DEPLOYMENTS}/web")
        await until(lambda: state.deployments() == ())
        await until(lambda: not state._pods._by_owner, what="the pods are forgotten")


async def test_readiness_of_a_pod():
    async with watching() as (api, client, state):
        await client.post(DEPLOYMENTS, deployment("web", 1))
        await until(lambda: len(pods_of(state, "web")) == 1)
        name = pods_of(state, "web")[0].ref.name
        before = time.monotonic()
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 60))
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": since}]
        status = {"status": {"phase": "Running", "conditions": conditions}}
        await client.patch(f"{PODS}/{name}/status", status)
        ready = await until(lambda: pods_of(state, "web")[0].ready_since_seconds)
        # It was seen before it was Ready, so the other clock is not believed.
        assert before <= ready <= time.monotonic()
        await client.patch(f"{PODS}/{name}", {"metadata": {"labels": {"touched": "yes"}}})
        version = api.store.revision
        await client.post(f"{PODS}/{name}/binding", {"target": {"name": "node-1"}})
        await until(lambda: pods_of(state, "web")[0].node_name == "node-1")
        assert pods_of(state, "web")[0].ready_since_seconds == ready
        assert api.store.revision > version


async def test_pods_that_turn_not_ready_under_load_are_told_from_those_that_load():
    now_unix_seconds = time.time()

    def at(seconds_ago, status):
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_unix_seconds - seconds_ago))
        condition = {"type": "Ready", "status": status, "lastTransitionTime": since}
        return {"status": {"phase": "Running", "conditions": [condition]}}

    async with running_apiserver() as api, KubeClient(api.url) as client:
        await client.post(DEPLOYMENTS, deployment("web", 8))

        async def names():
            return [one["metadata"]["name"] for one in (await client.get(PODS))["items"]]

        await until(lambda: len(api.store.list_(POD_KIND, "default")) == 8)
        for number, name in enumerate(await names()):
            await client.patch(
                f"{PODS}/{name}/status", at(3600, "False" if number == 0 else "True")
            )
        state = ClusterState(client)
        task = asyncio.create_task(state.run())
        try:
            await asyncio.wait_for(state.wait_synced(), 60)
            for name in (await names())[1:4]:
                await client.patch(f"{PODS}/{name}/status", at(5, "False"))
            await until(
                lambda: sum(pod.served_seconds is not None for pod in pods_of(state, "web")) == 3
            )
        finally:
            task.cancel()
            await asyncio.wait([task])
        found = pods_of(state, "web")
    (web,) = state.deployments()
    served = [pod.served_seconds for pod in found]
    assert served[0] is None, "it has loaded ever since"
    assert all(abs((one or 0) - 3595) <= 1 for one in served[1:4])
    assert served[4:] == [None] * 4
    reading = MetricReading(
        metric=Metric.DUTY_CYCLE,
        values={
            pod.ref: PodValue(value_milli=100_000, sampled_seconds=time.monotonic())
            for pod in found
        },
    )
    rules = policy({Metric.DUTY_CYCLE: 60}, behavior=immediate())
    decided = decide(web, rules, {Metric.DUTY_CYCLE: reading}, None, time.monotonic())
    # 7 of 8 count with 100, the one that loads with 0: 700 / 60.
    assert decided.desired_replicas == 12


async def test_who_else_scales_a_deployment():
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    async with watching(extra_resources=[SCALED_OBJECTS]) as (_, client, state):
        await client.post(DEPLOYMENTS, deployment("web"))
        await client.post(DEPLOYMENTS, deployment("other"))
        await until(lambda: len(state.deployments()) == 2)

        def owner():
            return {item.ref.name: item.owned_by for item in state.deployments()}

        assert owner() == {"web": None, "other": None}
        await client.post(
            AUTOSCALERS, {"metadata": {"name": "keda-hpa-so"}, "spec": {"scaleTargetRef": target}}
        )
        await until(lambda: owner()["web"] == "HorizontalPodAutoscaler default/keda-hpa-so")
        await client.post(
            SCALED, {"metadata": {"name": "so"}, "spec": {"scaleTargetRef": {"name": "web"}}}
        )
        await until(lambda: owner()["web"] == "ScaledObject default/so")
        await client.patch(f"{SCALED}/so", {"spec": {"scaleTargetRef": {"name": "other"}}})
        await until(lambda: owner()["other"] == "ScaledObject default/so")
        await client.delete(f"{SCALED}/so")
        await client.delete(f"{AUTOSCALERS}/keda-hpa-so")
        await until(lambda: owner() == {"web": None, "other": None})


async def add_exporter(client, name, node, address, *, ready, pods=EXPORTERS):
    body = pod(name, labels={"app.kubernetes.io/name": "gpu-exporter"})
    body["spec"]["containers"][0]["ports"] = [{"name": "metrics", "containerPort": 9445}]
    await client.post(pods, body)
    await client.post(f"{pods}/{name}/binding", {"target": {"name": node}})
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    status = {"phase": "Running", "podIP": address, "conditions": conditions}
    await client.patch(f"{pods}/{name}/status", {"status": status})


async def test_exporters_by_node():
    async with watching() as (_, client, state):
        await client.post("/api/v1/namespaces", {"metadata": {"name": "gpu-exporter"}})
        await add_exporter(client, "one", "node-1", "10.0.0.1", ready=True)
        await add_exporter(client, "two", "node-2", "fd00::2", ready=False)
        await until(lambda: len(state.exporter_endpoints()) == 2)
        endpoints = state.exporter_endpoints()
        assert endpoints["node-1"].url == "http://10.0.0.1:9445/metrics"
        assert endpoints["node-1"].pod == ObjectRef(namespace="gpu-exporter", name="one")
        await until(lambda: state.exporter_endpoints()["node-2"].url.startswith("http://[fd00::2]"))
        assert not state.exporter_endpoints()["node-2"].ready
        await add_exporter(client, "two-new", "node-2", "10.0.0.3", ready=True)
        await until(lambda: state.exporter_endpoints()["node-2"].pod.name == "two-new")
        await client.delete(f"{EXPORTERS}/one")
        await until(lambda: "node-1" not in state.exporter_endpoints(), what="a deleting one goes")


async def test_a_pod_of_another_namespace_is_no_exporter_whatever_it_says():
    async with watching() as (_, client, state):
        await client.post("/api/v1/namespaces", {"metadata": {"name": "gpu-exporter"}})
        await add_exporter(client, "zzz", "node-1", "10.6.6.6", ready=True, pods=PODS)
        await add_exporter(client, "one", "node-1", "10.0.0.1", ready=False)
        await until(state.exporter_endpoints)
        assert state.exporter_endpoints()["node-1"].url == "http://10.0.0.1:9445/metrics"


async def test_the_annotations_of_a_namespace_come_and_go():
    async with watching() as (_, client, state):
        await client.post(DEPLOYMENTS, deployment("web"))
        await until(lambda: len(state.deployments()) == 1)

        def defaults():
            return state.deployments()[0].defaults

        async def annotate(**annotations):
            named = {f"gpu-scaler/{name}": value for name, value in annotations.items()}
            body = {"metadata": {"annotations": named | {"example.com/other": "x"}}}
            await client.patch("/api/v1/namespaces/default", body)

        assert defaults() == {}
        await annotate(paused="true")
        await until(lambda: defaults() == {"gpu-scaler/paused": "true"})
        await client.post("/api/v1/namespaces", {"metadata": {"name": "other"}})
        await annotate(paused=None, window="10s")
        await until(lambda: defaults() == {"gpu-scaler/window": "10s"})
        await annotate(window=None)
        await until(lambda: defaults() == {})


async def test_namespaces_are_not_watched_where_only_some_are_ours():
    async with running_apiserver() as api, KubeClient(api.url) as client:
        await client.post(DEPLOYMENTS, deployment("web"))
        state = ClusterState(client, namespaces=["default"])
        task = asyncio.create_task(state.run())
        await asyncio.wait_for(state.wait_synced(), 60)
        assert [item.defaults for item in state.deployments()] == [None]
        task.cancel()
        await asyncio.wait([task])


async def test_it_is_not_fresh_without_the_api():
    async with running_apiserver() as api, KubeClient(api.url) as client:
        state = ClusterState(client)
        assert not state.is_fresh(time.monotonic())
        assert state.deployments() == ()
        assert state.exporter_endpoints() == {}
        task = asyncio.create_task(state.run())
        await state.wait_synced()
        assert state.is_fresh(time.monotonic())
        assert not state.is_fresh(time.monotonic() + 60)
        task.cancel()
        await asyncio.wait([task])
