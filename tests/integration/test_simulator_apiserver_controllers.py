# SPDX-License-Identifier: Apache-2.0
"""Deployments become pods: scaling, rollouts, which pods go first, statuses."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

from scaler.kube.client import KubeClient
from simulator.apiserver import running_apiserver
from tests.waiting import until

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
REPLICA_SETS = "/apis/apps/v1/namespaces/default/replicasets"
PODS = "/api/v1/namespaces/default/pods"
WEB = f"{DEPLOYMENTS}/web"


def deployment(replicas, **spec):
    return {
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "i:1"}]},
            },
            **spec,
        },
    }


NEW_TEMPLATE = {"spec": {"template": {"metadata": {"annotations": {"version": "2"}}}}}


@asynccontextmanager
async def web(replicas, **spec):
    async with running_apiserver() as api, KubeClient(api.url) as client:
        await client.post(DEPLOYMENTS, deployment(replicas, **spec))
        await until_pods(client, replicas)
        yield client


async def pods(client) -> Any:
    return (await client.list_(PODS))["items"]


async def until_pods(client, count) -> Any:
    async def there():
        found = await pods(client)
        return found if len(found) == count else None

    return await until(there, what=f"{count} pods") if count else []


async def run(client, *chosen, ready="True", since="2026-11-23T20:00:00Z"):
    """Be the kubelet: bind the pods and report them."""
    for pod in chosen:
        path = f"{PODS}/{pod['metadata']['name']}"
        if not pod["spec"].get("nodeName"):
            await client.post(f"{path}/binding", {"target": {"name": "n1"}})
        conditions = [{"type": "Ready", "status": ready, "lastTransitionTime": since}]
        status = {"status": {"phase": "Running", "conditions": conditions}}
        await client.patch(f"{path}/status", status)


async def until_status(client, **expected):
    async def reached():
        status = (await client.get(WEB)).get("status") or {}
        found = {name: status.get(name, 0) for name in expected}
        return found if found == expected else None

    await until(reached, what=f"{expected}")


async def test_pods_belong_to_a_replica_set_of_the_deployment():
    async with web(2) as client:
        [replica_set] = (await client.list_(REPLICA_SETS))["items"]
        made = await client.get(WEB)
        owner = replica_set["metadata"]["ownerReferences"][0]
        assert (owner["uid"], owner["controller"]) == (made["metadata"]["uid"], True)
        template_hash = replica_set["metadata"]["labels"]["pod-template-hash"]
        assert replica_set["metadata"]["name"] == f"web-{template_hash}"
        for pod in await pods(client):
            assert pod["metadata"]["ownerReferences"][0]["uid"] == replica_set["metadata"]["uid"]
            assert pod["metadata"]["labels"] == {"app": "web", "pod-template-hash": template_hash}


async def test_the_status_follows_the_pods():
    async with web(2) as client:
        await until_status(client, replicas=2, updatedReplicas=2, readyReplicas=0)
        await run(client, (await pods(client))[0])
        await until_status(client, readyReplicas=1, availableReplicas=1, unavailableReplicas=1)
        await run(client, (await pods(client))[1])
        await until_status(client, readyReplicas=2, unavailableReplicas=0, observedGeneration=1)
        conditions = (await client.get(WEB))["status"]["conditions"]
        assert {c["type"]: c["status"] for c in conditions} == {
            "Available": "True",
            "Progressing": "True",
        }


async def test_the_scale_subresource():
    async with web(1) as client:
        scale = await client.get(f"{WEB}/scale")
        assert (scale["kind"], scale["spec"]) == ("Scale", {"replicas": 1})
        assert scale["status"]["selector"] == "app=web"
        before = (await client.get(WEB))["metadata"]["generation"]
        await client.patch(f"{WEB}/scale", {"spec": {"replicas": 3}})
        await until_pods(client, 3)
        assert (await client.get(WEB))["metadata"]["generation"] == before + 1
        scale = await client.get(f"{WEB}/scale")
        scale["spec"]["replicas"] = 0
        await client.put(f"{WEB}/scale", scale)
        await until_status(client, replicas=0)


async def test_pods_that_serve_least_go_first():
    async with web(4) as client:
        old, new, not_ready, pending = await pods(client)
        await run(client, old, since="2026-11-23T20:00:00Z")
        await run(client, new, since="2026-11-23T21:00:00Z")
        await run(client, not_ready, ready="False")

        async def left():
            return {
                pod["metadata"]["name"]
                for pod in await pods(client)
                if not pod["metadata"].get("deletionTimestamp")
            }

        for replicas, gone in ((3, pending), (2, not_ready), (1, new)):
            before = await left()
            await client.patch(f"{WEB}/scale", {"spec": {"replicas": replicas}})

            async def shrunk(count=replicas):
                return len(await left()) == count

            await until(shrunk)
            assert before - await left() == {gone["metadata"]["name"]}


async def test_a_deleted_pod_is_replaced_at_once():
    async with web(1) as client:
        [first] = await pods(client)
        await run(client, first)
        await client.delete(f"{PODS}/{first['metadata']['name']}")
        both = await until_pods(client, 2)
        terminating = [p for p in both if p["metadata"].get("deletionTimestamp")]
        assert [p["metadata"]["uid"] for p in terminating] == [first["metadata"]["uid"]]
        await until_status(client, replicas=1)


async def test_a_rollout_keeps_to_its_limits():
    limits = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    async with web(3, strategy=limits) as client:
        await run(client, *await pods(client))
        await until_status(client, availableReplicas=3)
        old = {pod["metadata"]["uid"] for pod in await pods(client)}
        await client.patch(WEB, NEW_TEMPLATE)
        for _ in range(3):

            async def surge():
                found = await pods(client)
                active = [p for p in found if not p["metadata"].get("deletionTimestamp")]
                waiting = [p for p in active if not p["spec"].get("nodeName")]
                return (active, waiting) if waiting else None

            found: Any = await until(surge, what="a new pod")
            active, waiting = found
            assert len(active) <= 4
            assert sum(bool(p["spec"].get("nodeName")) for p in active) >= 3
            await run(client, *waiting)
            for pod in await pods(client):  # the kubelet is done with what is terminating
                if pod["metadata"].get("deletionTimestamp"):
                    await client.delete(
                        f"{PODS}/{pod['metadata']['name']}", body={"gracePeriodSeconds": 0}
                    )
        await until_status(client, replicas=3, updatedReplicas=3, availableReplicas=3)

        async def only_new():
            found = [p for p in await pods(client) if not p["metadata"].get("deletionTimestamp")]
            return len(found) == 3 and not old & {p["metadata"]["uid"] for p in found}

        await until(only_new)
        revision = (await client.get(WEB))["metadata"]["annotations"]
        assert revision == {"deployment.kubernetes.io/revision": "2"}


async def test_going_back_uses_the_old_replica_set_and_a_paused_one_does_not_roll():
    async with web(1) as client:
        [first] = (await client.list_(REPLICA_SETS))["items"]
        await client.patch(WEB, {"spec": {"paused": True}})
        await client.patch(WEB, NEW_TEMPLATE)
        await client.patch(f"{WEB}/scale", {"spec": {"replicas": 2}})
        await until_pods(client, 2)
        assert len((await client.list_(REPLICA_SETS))["items"]) == 1
        await client.patch(WEB, {"spec": {"paused": None}})

        async def two_sets():
            return len((await client.list_(REPLICA_SETS))["items"]) == 2

        await until(two_sets)
        back = {"spec": {"template": {"metadata": {"annotations": None}}}}
        await client.patch(WEB, back)

        async def revision():
            found = await client.get(f"{REPLICA_SETS}/{first['metadata']['name']}")
            return found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"

        await until(revision)


async def test_recreate_stops_the_old_before_it_starts_the_new():
    async with web(2, strategy={"type": "Recreate"}) as client:
        old = {pod["metadata"]["uid"] for pod in await pods(client)}
        await client.patch(WEB, NEW_TEMPLATE)

        async def replaced():
            found = {pod["metadata"]["uid"] for pod in await pods(client)}
            return len(found) == 2 and not found & old

        await until(replaced)


async def test_a_pod_counts_as_available_after_min_ready_seconds():
    async with web(1, minReadySeconds=3600) as client:
        [pod] = await pods(client)
        now = (await client.get(WEB))["metadata"]["creationTimestamp"]
        await run(client, pod, since=now)
        await until_status(client, readyReplicas=1, availableReplicas=0)
        await run(client, *await pods(client), since="2020-01-01T00:00:00Z")
        await until_status(client, readyReplicas=1, availableReplicas=1)


async def test_everything_goes_with_the_deployment():
    async with web(2) as client:
        await client.delete(WEB)

        async def empty():
            return not await pods(client) and not (await client.list_(REPLICA_SETS))["items"]

        await until(empty)


async def test_what_changed_is_told_as_events():
    async with web(1) as client:
        await client.patch(f"{WEB}/scale", {"spec": {"replicas": 2}})
        await until_pods(client, 2)
        found = await client.get(
            "/api/v1/namespaces/default/events", params={"fieldSelector": "involvedObject.name=web"}
        )
        messages = sorted(event["message"].split(" from ")[1] for event in found["items"])
        assert messages == ["0 to 1", "1 to 2"]
