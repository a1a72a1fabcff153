# SPDX-License-Identifier: Apache-2.0
"""The embedded API over HTTP: versions and preconditions, subresources, lists, watches, faults."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import aiohttp
import pytest

from scaler.kube.client import KubeClient
from scaler.kube.errors import AlreadyExists, ApiError, Conflict, Invalid, NotFound, Unreachable
from simulator.apiserver import SCALED_OBJECTS, running_apiserver
from simulator.retrying_client import STRATEGIC_MERGE_PATCH
from tests.waiting import until

CORE = "/api/v1/namespaces/default"
CONFIG_MAPS = f"{CORE}/configmaps"
PODS = f"{CORE}/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"


def config_map(name, **labels):
    return {"metadata": {"name": name, "labels": labels}, "data": {}}


def pod(name, **metadata):
    return {
        "metadata": {"name": name, **metadata},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }


@asynccontextmanager
async def api_and_client(**options):
    async with running_apiserver(**options) as api, KubeClient(api.url) as client:
        yield api, client


async def names(client, path, **params):
    found = await client.get(path, params=params)
    return [item["metadata"]["name"] for item in found["items"]]


async def test_what_the_server_fills_in():
    async with api_and_client() as (_, client):
        made = await client.post(
            CONFIG_MAPS, {"metadata": {"generateName": "g-", "uid": "mine"}, "data": {"a": "b"}}
        )
        metadata = made["metadata"]
        assert metadata["name"].startswith("g-")
        assert len(metadata["name"]) == 7
        assert metadata["namespace"] == "default"
        assert metadata["uid"] != "mine"
        assert metadata["creationTimestamp"].endswith("Z")
        assert int(metadata["resourceVersion"]) > 0
        assert (made["apiVersion"], made["kind"]) == ("v1", "ConfigMap")


async def test_versions_grow_by_changes_only():
    async with api_and_client() as (_, client):
        first = await client.post(CONFIG_MAPS, config_map("a"))
        same = await client.patch(f"{CONFIG_MAPS}/a", {"data": {}})
        assert same == first
        other = await client.patch(f"{CONFIG_MAPS}/a", {"data": {"x": "y"}})
        assert int(other["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])


async def test_preconditions():
    async with api_and_client() as (_, client):
        first = await client.post(CONFIG_MAPS, config_map("a"))
        await client.patch(f"{CONFIG_MAPS}/a", {"data": {"x": "y"}})
        version = {"resourceVersion": first["metadata"]["resourceVersion"]}
        with pytest.raises(Conflict, match="the object has been modified"):
            await client.patch(f"{CONFIG_MAPS}/a", {"metadata": version, "data": {"x": "z"}})
        with pytest.raises(Conflict, match="UID in precondition"):
            await client.delete(f"{CONFIG_MAPS}/a", body={"preconditions": {"uid": "other"}})
        uid = {"uid": first["metadata"]["uid"]}
        await client.delete(f"{CONFIG_MAPS}/a", body={"preconditions": uid})
        assert await names(client, CONFIG_MAPS) == []


async def test_a_lease_is_only_replaced_with_its_version():
    async with api_and_client() as (_, client):
        lease = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}}
        made = await client.post(LEASES, lease)
        with pytest.raises(Invalid, match="resourceVersion"):
            await client.put(f"{LEASES}/l", lease)
        made["spec"]["holderIdentity"] = "b"
        await client.put(f"{LEASES}/l", made)
        with pytest.raises(Conflict):
            await client.put(f"{LEASES}/l", made)


async def test_generation_and_the_status_subresource():
    async with api_and_client() as (_, client):
        made = await client.post(PODS, {**pod("p"), "status": {"phase": "Running"}})
        assert made["status"]["phase"] == "Pending"
        patch = {"metadata": {"labels": {"x": "y"}}, "status": {"phase": "Running"}}
        spec_side = await client.patch(f"{PODS}/p", patch)
        assert spec_side["status"]["phase"] == "Pending"
        status_side = await client.patch(
            f"{PODS}/p/status",
            {"spec": {"nodeName": "n"}, "status": {"phase": "Running", "podIP": "10.0.0.1"}},
        )
        assert status_side["status"]["phase"] == "Running"
        assert "nodeName" not in status_side["spec"]
        conditions = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        await client.patch(f"{PODS}/p/status", conditions, content_type=STRATEGIC_MERGE_PATCH)
        more = {"status": {"conditions": [{"type": "PodScheduled", "status": "True"}]}}
        both = await client.patch(f"{PODS}/p/status", more, content_type=STRATEGIC_MERGE_PATCH)
        assert [c["type"] for c in both["status"]["conditions"]] == ["Ready", "PodScheduled"]


async def test_a_node_keeps_the_status_that_it_registers_with():
    async with api_and_client() as (_, client):
        body = {"metadata": {"name": "n"}, "status": {"capacity": {"nvidia.com/gpu": "8"}}}
        made = await client.post("/api/v1/nodes", body)
        assert made["status"]["capacity"] == {"nvidia.com/gpu": "8"}


async def test_binding_happens_once():
    async with api_and_client() as (_, client):
        await client.post(PODS, pod("p"))
        with pytest.raises(Invalid, match=r"spec\.nodeName"):
            await client.patch(f"{PODS}/p", {"spec": {"nodeName": "n1"}})
        await client.post(f"{PODS}/p/binding", {"target": {"name": "n1"}})
        bound = await client.get(f"{PODS}/p")
        assert bound["spec"]["nodeName"] == "n1"
        assert bound["status"]["conditions"][0]["type"] == "PodScheduled"
        with pytest.raises(Conflict, match='already assigned to node "n1"'):
            await client.post(f"{PODS}/p/binding", {"target": {"name": "n2"}})


async def test_a_bound_pod_waits_for_its_kubelet_to_delete_it():
    async with api_and_client() as (_, client):
        await client.post(PODS, pod("free"))
        await client.delete(f"{PODS}/free")
        assert await names(client, PODS) == []
        await client.post(PODS, pod("bound"))
        await client.post(f"{PODS}/bound/binding", {"target": {"name": "n1"}})
        await client.delete(f"{PODS}/bound")
        marked = await client.get(f"{PODS}/bound")
        assert marked["metadata"]["deletionTimestamp"]
        assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
        again = await client.delete(f"{PODS}/bound")
        assert again["metadata"]["resourceVersion"] == marked["metadata"]["resourceVersion"]
        await client.delete(f"{PODS}/bound", body={"gracePeriodSeconds": 0})
        with pytest.raises(NotFound):
            await client.get(f"{PODS}/bound")


async def test_finalizers_hold_an_object():
    async with api_and_client() as (_, client):
        await client.post(CONFIG_MAPS, {"metadata": {"name": "a", "finalizers": ["f"]}})
        await client.delete(f"{CONFIG_MAPS}/a")
        held = await client.get(f"{CONFIG_MAPS}/a")
        assert held["metadata"]["deletionTimestamp"]
        await client.patch(f"{CONFIG_MAPS}/a", {"metadata": {"finalizers": None}})
        assert await names(client, CONFIG_MAPS) == []


async def test_garbage_goes_with_its_last_owner():
    async with api_and_client() as (_, client):
        owners = [await client.post(CONFIG_MAPS, config_map(name)) for name in ("o1", "o2")]
        references = [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": o["metadata"]["name"], "uid": uid}
            for o in owners
            for uid in [o["metadata"]["uid"]]
        ]
        owned = {"metadata": {"name": "owned", "ownerReferences": references}}
        await client.post(CONFIG_MAPS, owned)
        await client.delete(f"{CONFIG_MAPS}/o1")
        assert await names(client, CONFIG_MAPS) == ["o2", "owned"]
        await client.delete(f"{CONFIG_MAPS}/o2")
        assert await names(client, CONFIG_MAPS) == []


async def test_orphans_stay():
    async with api_and_client() as (_, client):
        owner = await client.post(CONFIG_MAPS, config_map("owner"))
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner"}
        reference["uid"] = owner["metadata"]["uid"]
        await client.post(
            CONFIG_MAPS, {"metadata": {"name": "owned", "ownerReferences": [reference]}}
        )
        await client.delete(f"{CONFIG_MAPS}/owner", body={"propagationPolicy": "Orphan"})
        assert await names(client, CONFIG_MAPS) == ["owned"]


async def test_namespaces():
    async with api_and_client() as (_, client):
        with pytest.raises(NotFound, match='namespaces "other" not found'):
            await client.post("/api/v1/namespaces/other/configmaps", config_map("a"))
        await client.post("/api/v1/namespaces", {"metadata": {"name": "other"}})
        await client.post("/api/v1/namespaces/other/configmaps", config_map("a"))
        await client.post(CONFIG_MAPS, config_map("b"))
        assert await names(client, "/api/v1/configmaps") == ["b", "a"]
        assert await names(client, CONFIG_MAPS) == ["b"]
        await client.delete("/api/v1/namespaces/other")
        assert await names(client, "/api/v1/configmaps") == ["b"]


async def test_selectors():
    async with api_and_client() as (_, client):
        await client.post(CONFIG_MAPS, config_map("a", app="web"))
        await client.post(CONFIG_MAPS, config_map("b", app="db"))
        await client.post(PODS, pod("p"))
        await client.post(f"{PODS}/p/binding", {"target": {"name": "n1"}})
        assert await names(client, CONFIG_MAPS, labelSelector="app in (web)") == ["a"]
        assert await names(client, CONFIG_MAPS, fieldSelector="metadata.name!=a") == ["b"]
        assert await names(client, PODS, fieldSelector="spec.nodeName=n1") == ["p"]
        assert await names(client, PODS, fieldSelector="spec.nodeName=") == []
        with pytest.raises(ApiError, match="field label not supported"):
            await client.get(PODS, params={"fieldSelector": "spec.color=red"})
        await client.delete(f"{CONFIG_MAPS}", params={"labelSelector": "app=db"})
        assert await names(client, CONFIG_MAPS) == ["a"]


async def test_what_is_refused():
    async with api_and_client() as (_, client):
        with pytest.raises(Invalid, match="name is required"):
            await client.post(CONFIG_MAPS, {"metadata": {}})
        with pytest.raises(Invalid, match=r"spec\.containers"):
            await client.post(PODS, {"metadata": {"name": "p"}, "spec": {}})
        with pytest.raises(Invalid, match="does not match template"):
            await client.post(
                DEPLOYMENTS,
                {
                    "metadata": {"name": "d"},
                    "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {}},
                },
            )
        await client.post(CONFIG_MAPS, config_map("a"))
        with pytest.raises(AlreadyExists):
            await client.post(CONFIG_MAPS, config_map("a"))
        with pytest.raises(ApiError, match="does not match the name on the URL"):
            await client.put(f"{CONFIG_MAPS}/b", config_map("a"))
        with pytest.raises(ApiError, match="application/json-patch") as caught:
            await client.patch(f"{CONFIG_MAPS}/a", {}, content_type="application/json-patch+json")
        assert caught.value.status == 415
        with pytest.raises(NotFound, match="could not find the requested resource"):
            await client.get("/apis/example.com/v1/things")


async def test_resources_that_are_served_on_request():
    path = "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects"
    async with api_and_client() as (_, client):
        with pytest.raises(NotFound):
            await client.get(path)
    async with api_and_client(extra_resources=[SCALED_OBJECTS]) as (_, client):
        assert (await client.get(path))["kind"] == "ScaledObjectList"


@asynccontextmanager
async def watching(api, path, **params):
    """Yield a function that waits for the next event of a watch."""
    params = {"watch": "1", **params}
    async with aiohttp.ClientSession() as session, session.get(api.url + path, params=params) as r:
        assert r.status == 200

        async def next_event():
            async with asyncio.timeout(60):
                line = await r.content.readline()
            return json.loads(line) if line else None

        yield next_event


def brief(event):
    return event["type"], event["object"]["metadata"]["name"]


async def test_a_watch_begins_with_what_is_there_or_after_a_version():
    async with api_and_client() as (api, client):
        first = await client.post(CONFIG_MAPS, config_map("a"))
        await client.post(CONFIG_MAPS, config_map("b"))
        async with watching(api, CONFIG_MAPS) as next_event:
            assert [brief(await next_event()) for _ in range(2)] == [("ADDED", "a"), ("ADDED", "b")]
        version = first["metadata"]["resourceVersion"]
        async with watching(api, CONFIG_MAPS, resourceVersion=version) as next_event:
            assert brief(await next_event()) == ("ADDED", "b")
            await client.delete(f"{CONFIG_MAPS}/a")
            assert brief(await next_event()) == ("DELETED", "a")


async def test_a_watch_with_a_selector_sees_objects_come_and_go():
    async with api_and_client() as (api, client):
        async with watching(api, CONFIG_MAPS, labelSelector="on=yes") as next_event:
            await client.post(CONFIG_MAPS, config_map("a"))
            await client.patch(f"{CONFIG_MAPS}/a", {"metadata": {"labels": {"on": "yes"}}})
            assert brief(await next_event()) == ("ADDED", "a")
            await client.patch(f"{CONFIG_MAPS}/a", {"data": {"x": "y"}})
            assert brief(await next_event()) == ("MODIFIED", "a")
            await client.patch(f"{CONFIG_MAPS}/a", {"metadata": {"labels": {"on": "no"}}})
            assert brief(await next_event()) == ("DELETED", "a")
        await until(lambda: api.faults.open_watches == 0, what="the watch is closed")


async def test_bookmarks_and_the_end_of_a_watch():
    async with api_and_client(bookmark_interval_seconds=0.05) as (api, client):
        params = {"resourceVersion": str(api.store.revision), "timeoutSeconds": "1"}
        await client.post(PODS, pod("elsewhere"))
        async with watching(api, CONFIG_MAPS, allowWatchBookmarks="true", **params) as next_event:
            event = await next_event()
            assert event["type"] == "BOOKMARK"
            assert event["object"]["metadata"]["resourceVersion"] == str(api.store.revision)
            while event is not None:
                last, event = event, await next_event()
            assert last["type"] == "BOOKMARK"


async def test_a_version_that_is_forgotten_is_410():
    async with api_and_client(history_limit=4) as (api, client):
        start = str(api.store.revision)
        for number in range(6):
            await client.post(CONFIG_MAPS, config_map(f"m{number}"))
        recent = str(api.store.revision)
        async with watching(api, CONFIG_MAPS, resourceVersion=start) as next_event:
            event = await next_event()
            assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
            assert await next_event() is None
        await client.post(CONFIG_MAPS, config_map("more"))
        async with watching(api, CONFIG_MAPS, resourceVersion=recent) as next_event:
            assert brief(await next_event()) == ("ADDED", "more")
        api.compact()
        async with watching(api, CONFIG_MAPS, resourceVersion=recent) as next_event:
            assert (await next_event())["object"]["reason"] == "Expired"


async def test_a_watch_that_is_up_to_date_survives_a_compaction():
    async with api_and_client() as (api, client), watching(api, CONFIG_MAPS) as next_event:
        await until(lambda: api.faults.open_watches)
        await client.post(PODS, pod("elsewhere"))
        await client.post(CONFIG_MAPS, config_map("a"))
        assert brief(await next_event()) == ("ADDED", "a")
        api.compact()
        await client.post(CONFIG_MAPS, config_map("b"))
        assert brief(await next_event()) == ("ADDED", "b")


async def test_faults():
    async with api_and_client() as (api, client):
        api.faults.applies_to = lambda request: request.path.endswith("/configmaps")
        api.faults.error_status = 503
        with pytest.raises(ApiError, match="fault injected"):
            await client.get(CONFIG_MAPS)
        await client.get(PODS)
        api.faults.clear()
        api.faults.cut_connections = True
        with pytest.raises(Unreachable):
            await client.get(CONFIG_MAPS)
        api.faults.clear()
        await client.get(CONFIG_MAPS)


async def test_a_table_for_kubectl():
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
    async with api_and_client() as (api, client):
        await client.post(PODS, pod("p"))
        async with (
            aiohttp.ClientSession(headers=accept) as session,
            session.get(api.url + PODS) as response,
        ):
            table = await response.json()
    assert table["kind"] == "Table"
    names_ = [c["name"] for c in table["columnDefinitions"] if not c["priority"]]
    assert names_ == ["Name", "Ready", "Status", "Restarts", "Age"]
    assert table["rows"][0]["cells"][:4] == ["p", "0/1", "Pending", "0"]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
