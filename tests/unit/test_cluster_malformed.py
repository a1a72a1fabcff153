# SPDX-License-Identifier: Apache-2.0
"""Objects that no API server should have: each is left out and named once, and hides no other."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.cluster.kinds import DEPLOYMENTS, Kinds, WorkloadKind
from scaler.cluster.pod_cache import PodCache
from scaler.cluster.state import ClusterState
from scaler.kube.selectors import parse_selector
from scaler.kube.server_clock import ServerClock
from scaler.model import ObjectRef

SERVERS = WorkloadKind(group="example.com", version="v1", plural="servers", kind="Server")
GOOD = ObjectRef(namespace="ns", name="good")
GOOD_SERVER = ObjectRef(namespace="ns", name="good", kind="servers.example.com")


def metadata(name: str, **more: object) -> dict[str, Any]:
    return {"namespace": "ns", "name": name, "uid": f"uid-{name}", "resourceVersion": "7", **more}


OURS = {"gpu-scaler/enabled": "true"}
OWNER = {"kind": "ReplicaSet", "uid": "uid-set", "controller": True}
EXPRESSION = {"key": "app", "operator": "In", "values": ["x"]}
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
POD = {
    "metadata": metadata("pod", labels={"app": "x"}, ownerReferences=[OWNER]),
    "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"name": "metrics"}]}]},
    "status": {
        "phase": "Running",
        "podIP": "10.0.0.1",
        "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-23T21:00:00Z"},
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"},
        ],
    },
}
GOOD_POD: dict[str, Any] = {
    "metadata": metadata("good-pod", labels={"app": "good"}, ownerReferences=[OWNER]),
    "spec": {"nodeName": "n", "containers": [{"name": "c"}]},
    "status": {"phase": "Running"},
}
GOOD_LABELS = {"matchLabels": {"app": "good"}}
OBJECTS: dict[str, tuple[dict[str, Any], ...]] = {
    "namespaces": ({"metadata": metadata("ns", annotations={"gpu-scaler/window": "10s"})},),
    "deployments": (
        {"metadata": metadata("good", annotations=OURS), "spec": {"replicas": 2}},
        {"metadata": metadata("odd", annotations=OURS), "spec": {"replicas": 2}},
    ),
    "servers": (
        {
            "metadata": metadata("good", annotations=OURS, uid="uid-server"),
            "spec": {"selector": GOOD_LABELS},
        },
        {
            "metadata": metadata("odd", annotations=OURS),
            "spec": {"replicas": 1, "selector": {"matchExpressions": [EXPRESSION]}},
        },
    ),
    "replicasets": (
        {
            "metadata": metadata(
                "set", ownerReferences=[{**OWNER, "kind": "Deployment", "uid": "uid-good"}]
            )
        },
    ),
    "pods": (GOOD_POD, POD),
    "nodes": ({"metadata": metadata("n", labels={"a": "b"})},),
    "horizontalpodautoscalers": ({"metadata": metadata("h"), "spec": {"scaleTargetRef": TARGET}},),
    "scaledobjects": ({"metadata": metadata("s"), "spec": {"scaleTargetRef": TARGET}},),
}
SCALE = {
    "metadata": metadata("odd"),
    "spec": {"replicas": 1},
    "status": {"selector": "app=x"},
}

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["Gt", "Lt", "In", "NotIn", "Exists", "True", "ReplicaSet"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["metadata", "spec", "key", "operator", "values", "name", "uid", ""]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


def places(thing: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """Return where something stands in a document, the document itself included."""
    items: list[tuple[object, object]] = []
    if isinstance(thing, dict):
        items = list(thing.items())
    elif isinstance(thing, list):
        items = list(enumerate(thing))
    return [path, *(one for key, inner in items for one in places(inner, (*path, key)))]


@st.composite
def spoilt(draw: st.DrawFn, thing: dict[str, Any]) -> Any:
    """An object with something else, or nothing, in a few of its places."""
    document: Any = json.loads(json.dumps({"it": thing}))
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from([one for one in places(document) if one]))
        inner = document
        for key in way:
            inner = inner[key]
        if len(way) > 0 and isinstance(inner, dict) and draw(st.booleans()):
            del inner[last]
        else:
            inner[last] = draw(values)
    return document["it"]


class Lists:
    """An API that answers each list with these objects; watches end at once."""

    def __init__(self, objects: dict[str, Any], scale: Any = SCALE) -> None:
        self.objects = objects
        self.scale = scale
        self.clock = ServerClock()

    async def pages(self, path: str) -> Any:
        items = self.objects.get(path.rpartition("/")[2], [])
        yield {"metadata": {"resourceVersion": "9"}, "items": items}

    async def get(self, path: str, **_: object) -> Any:
        if path.endswith("/good/scale"):
            return {**SCALE, "metadata": metadata("good", uid="uid-server"), "status": {}}
        return self.scale


def reflectors(state: ClusterState) -> list[Any]:
    return [one.reflector for one in state._watches.all]


def seen(api: Lists) -> tuple[ClusterState, PodCache]:
    async def see() -> tuple[ClusterState, PodCache]:
        client: Any = api
        state = ClusterState(client, kinds=Kinds([DEPLOYMENTS, SERVERS]))
        labelled = PodCache(client)
        for reflector in (*reflectors(state), *labelled._reflectors):
            await reflector._list()
        for uid, path in list(state._scales._unread.items()):
            await state._scales._read(uid, path)
        return state, labelled

    return asyncio.run(see())


@settings(max_examples=400)
@given(data=st.data())
def test_random_objects_hide_no_other_and_raise_nothing(data: st.DataObject) -> None:
    plural = data.draw(st.sampled_from(sorted(OBJECTS)))
    odd = data.draw(spoilt(OBJECTS[plural][-1]))
    scale = data.draw(st.just(SCALE) | spoilt(SCALE).filter(lambda one: isinstance(one, dict)))
    good = {key: list(items) for key, items in OBJECTS.items()}
    good[plural] = [odd, *OBJECTS[plural][:-1]]
    state, labelled = seen(Lists(good, scale))
    found = {one.ref: one for one in state.deployments()}
    labelled.selected("ns", parse_selector("app in (good, x), a notin (b)"))
    state.exporter_endpoints()
    assert found[GOOD].spec_replicas == 2
    assert [pod.ref.name for pod in found[GOOD_SERVER].pods].count("good-pod") == 1


@pytest.mark.parametrize("operator", ["Gt", "Lt"])
def test_an_object_with_a_selector_that_cannot_be_is_named_once(
    operator: str, caplog: pytest.LogCaptureFixture
) -> None:
    good, odd = OBJECTS["servers"]
    expression = {"key": "app", "operator": operator, "values": ["1"]}
    odd = {**odd, "spec": {"replicas": 1, "selector": {"matchExpressions": [expression]}}}
    api = Lists({**OBJECTS, "servers": [odd, good]})
    client: Any = api

    async def see() -> ClusterState:
        state = ClusterState(client, kinds=Kinds([DEPLOYMENTS, SERVERS]))
        for _ in range(3):
            for reflector in reflectors(state):
                await reflector._list()
            for uid, path in list(state._scales._unread.items()):
                await state._scales._read(uid, path)
        return state

    state = asyncio.run(see())
    assert GOOD_SERVER in {one.ref for one in state.deployments()}
    assert GOOD_SERVER._replace(name="odd") not in {one.ref for one in state.deployments()}
    left_out = [one for one in caplog.records if one.message.startswith("Malformed object")]
    assert [vars(one)["object"] for one in left_out] == ["ns/odd"]
    assert f"operator '{operator}' is not one of In, NotIn" in vars(left_out[0])["error"]
