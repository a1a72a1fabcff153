# SPDX-License-Identifier: Apache-2.0
"""What the API server shows of Deployments, their pods and the times that pods took to start."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from scaler.cluster.past_workloads import PastWorkloads, read_workloads
from scaler.kube.client import KubeClient
from scaler.model import ObjectRef
from tests.serving import serving

ON = {"gpu-scaler/enabled": "true", "other/annotation": "x"}
GROUPS = ("/api/v1", "/apis/apps/v1")
WEB, BATCH = ObjectRef("prod", "web"), ObjectRef("dev", "batch")


def owned(name: str, kind: str, owner: str, namespace: str = "prod", **more: Any) -> dict[str, Any]:
    references = [{"kind": kind, "name": owner, "uid": "u", "controller": True}]
    metadata = {"namespace": namespace, "name": name, "ownerReferences": references}
    return {"metadata": metadata | {"creationTimestamp": "2026-01-01T00:00:00Z"}, **more}


def ready(at: str, *, restarts: int = 0, is_ready: str = "True") -> dict[str, Any]:
    return {
        "conditions": [{"type": "Ready", "status": is_ready, "lastTransitionTime": at}],
        "containerStatuses": [{"restartCount": restarts}],
    }


def deployment(ref: ObjectRef, annotations: dict[str, str]) -> dict[str, Any]:
    return {"metadata": {"namespace": ref[0], "name": ref[1], "annotations": annotations}}


OBJECTS: dict[str, list[Any]] = {
    "deployments": [deployment(WEB, ON), deployment(BATCH, {}), {"metadata": {"name": 5}}],
    "replicasets": [
        owned("web-5b8c7d9f6", "Deployment", "web"),
        owned("rollout-x", "Rollout", "rollout"),
        owned("batch-5b8c7d9f6", "Deployment", "batch", namespace="dev"),
    ],
    "pods": [
        owned(name, "ReplicaSet", "web-5b8c7d9f6", status=status)
        for name, status in {
            "web-1": ready("2026-01-01T00:01:30Z"),
            "web-2": ready("2026-01-01T00:02:00Z", restarts=1),
            "web-3": ready("2026-01-01T00:02:00Z", is_ready="False"),
            "web-4": ready("2026-01-03T00:00:00Z"),
            "web-5": ready("yesterday"),
        }.items()
    ]
    + [{"metadata": {"namespace": "prod", "name": "bare"}}],
    "namespaces": [
        {"metadata": {"name": "prod", "annotations": {"gpu-scaler/max-replicas": "9"}}},
        {"metadata": {"name": "dev"}},
    ],
}


class FakeApi:
    """Lists objects, save of the resources that are forbidden, and keeps what it was asked."""

    def __init__(self, *forbidden: str) -> None:
        self.forbidden = forbidden
        self.asked: list[tuple[str, str]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.path))
        parts = request.path.split("/")
        if parts[-1] in self.forbidden:
            return web.json_response({"message": "forbidden to you"}, status=403)
        namespace = parts[-2] if "namespaces" in parts[:-1] else None
        items = [
            one
            for one in OBJECTS[parts[-1]]
            if namespace in (None, one["metadata"].get("namespace"))
        ]
        return web.json_response({"metadata": {}, "items": items})


async def read(api: FakeApi, *named: ObjectRef, is_for_all: bool = False) -> PastWorkloads:
    async with serving(api.handle) as url, KubeClient(url) as client:
        return await read_workloads(client, named, is_for_all=is_for_all)


async def test_all_that_tells_of_a_deployment_is_found():
    found = await read(FakeApi(), WEB)
    assert found.annotations == {WEB: {"gpu-scaler/enabled": "true"}}
    assert found.defaults == {"prod": {"gpu-scaler/max-replicas": "9"}}
    assert found.replica_sets == [(ObjectRef("prod", "web-5b8c7d9f6"), "web")]
    assert [(pod.name, kind, name) for pod, kind, name in found.pods] == [
        (f"web-{n}", "ReplicaSet", "web-5b8c7d9f6") for n in range(1, 6)
    ]
    assert found.start_seconds == {ObjectRef("prod", "web-1"): 90.0}
    assert not found.missing
    assert not found.problems


@pytest.mark.parametrize(
    ("named", "is_for_all", "paths"),
    [
        pytest.param(
            (WEB, BATCH),
            False,
            {f"{one}/namespaces/{name}" for one in GROUPS for name in ("prod", "dev")},
            id="named: their namespaces",
        ),
        pytest.param(
            (),
            False,
            {"/apis/apps/v1", *(f"{one}/namespaces/prod" for one in GROUPS)},
            id="opted in: its namespace",
        ),
        pytest.param((), True, set(GROUPS), id="all"),
    ],
)
async def test_only_what_is_needed_is_listed_and_nothing_written(named, is_for_all, paths):
    api = FakeApi()
    await read(api, *named, is_for_all=is_for_all)
    asked = {path.rpartition("/")[0] for _, path in api.asked if path != "/api/v1/namespaces"}
    assert asked == paths
    assert {method for method, _ in api.asked} == {"GET"}


async def test_a_deployment_that_is_not_there_is_missing():
    gone = ObjectRef("prod", "gone")
    assert (await read(FakeApi(), WEB, gone)).missing == [gone]


@pytest.mark.parametrize("forbidden", ["deployments", "replicasets", "pods", "namespaces"])
async def test_what_may_not_be_read_is_a_problem_and_the_rest_is_read(forbidden):
    found = await read(FakeApi(forbidden), WEB)
    (problem,) = found.problems
    assert forbidden in problem
    assert "forbidden to you" in problem
    assert bool(found.annotations) is (forbidden != "deployments")
    assert bool(found.pods) is (forbidden != "pods")
    assert found.missing == []


async def test_nothing_more_is_read_without_a_deployment_that_is_opted_in():
    api = FakeApi("deployments")
    found = await read(api)
    assert found.opted_in() == []
    assert len(api.asked) == 1
