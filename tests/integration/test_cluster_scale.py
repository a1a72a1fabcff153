# SPDX-License-Identifier: Apache-2.0
"""The one write to a workload: it changes the count that was decided from, or nothing."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest

from scaler.cluster.scale import CountChanged, Replaced, Written, read_scale, write_scale
from scaler.kube.client import KubeClient
from scaler.kube.errors import ApiError, NotFound, ServerError
from scaler.model import ObjectRef
from simulator.apiserver import running_apiserver

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
WEB = ObjectRef(namespace="default", name="web")


def deployment(replicas):
    return {
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        },
    }


@asynccontextmanager
async def web(replicas=2):
    async with running_apiserver() as api, KubeClient(api.url) as client:
        await client.post(DEPLOYMENTS, deployment(replicas))
        yield api, client


async def uid(client):
    return (await client.get(f"{DEPLOYMENTS}/web"))["metadata"]["uid"]


async def scale(client, to_replicas, *, ref=WEB, known=None):
    """Read the scale of a Deployment and write another count in its place."""
    known = known or await uid(client)
    found = await read_scale(client, ref, uid=known)
    return await write_scale(client, ref, uid=known, scale=found, to_replicas=to_replicas)


async def replicas(client):
    return (await client.get(f"{DEPLOYMENTS}/web"))["spec"]["replicas"]


@pytest.mark.parametrize(("before", "after"), [(2, 5), (5, 1), (1, 0), (0, 1)])
async def test_the_count_is_changed_and_nothing_else(before, after):
    async with web(before) as (_, client):
        old = await client.get(f"{DEPLOYMENTS}/web")
        assert await scale(client, after) == Written(replicas=after)
        new = await client.get(f"{DEPLOYMENTS}/web")
        assert new["spec"] == {**old["spec"], "replicas": after}
        assert new["metadata"]["labels"] == old["metadata"]["labels"]


class Meddling(KubeClient):
    """A client whose Deployment somebody writes to between the read and the patch."""

    meddle: ClassVar[dict[str, object]] = {"spec": {"replicas": 7}}

    async def patch(self, path, body, **options):
        assert path.endswith("/scale")
        await super().patch(path.removesuffix("/scale"), self.meddle)
        return await super().patch(path, body, **options)


async def test_a_write_in_between_is_never_overwritten():
    async with web(2) as (api, client), Meddling(api.url) as meddling:
        assert await scale(meddling, 4) == CountChanged(found=7)
        assert await replicas(client) == 7


async def test_an_unrelated_write_in_between_means_read_again(monkeypatch):
    monkeypatch.setattr(Meddling, "meddle", {"metadata": {"labels": {"x": "y"}}})
    async with web(2) as (api, client), Meddling(api.url) as meddling:
        assert await scale(meddling, 4) == CountChanged(found=2)
        assert await replicas(client) == 2


async def test_another_deployment_of_that_name_is_left_alone():
    async with web(2) as (_, client):
        before = await uid(client)
        await client.delete(f"{DEPLOYMENTS}/web")
        await client.post(DEPLOYMENTS, deployment(2))
        with pytest.raises(Replaced, match="default/web"):
            await scale(client, 4, known=before)
        assert await replicas(client) == 2


async def test_an_api_that_refuses():
    async with web(2) as (api, client):
        missing = ObjectRef(namespace="default", name="gone")
        with pytest.raises(NotFound, match="gone"):
            await scale(client, 4, ref=missing, known="any")
        known = await uid(client)
        api.faults.error_status = 503
        with pytest.raises(ServerError):
            await scale(client, 4, known=known)
        api.faults.clear()
        assert await replicas(client) == 2


class Garbled(KubeClient):
    """A client of an API server (or of what stands before it) that answers a write with this."""

    answer: ClassVar[dict[str, object]] = {}

    async def patch(self, path, body, **options):
        await super().patch(path, body, **options)
        return self.answer


class GarbledReads(KubeClient):
    """The same for a read."""

    answer: ClassVar[dict[str, object]] = {}

    async def get(self, path, **options):
        await super().get(path, **options)
        return self.answer


WRONG_SPECS: list[Any] = [
    None,
    3,
    [],
    "replicas",
    {"replicas": "3"},
    {"replicas": -1},
    {"replicas": True},
]


@pytest.mark.parametrize("spec", WRONG_SPECS, ids=repr)
async def test_a_written_count_whose_answer_is_no_scale_may_have_taken_effect(monkeypatch, spec):
    monkeypatch.setattr(Garbled, "answer", {"spec": spec})
    async with web(2) as (api, client), Garbled(api.url) as garbled:
        with pytest.raises(ApiError) as raised:
            await scale(garbled, 4)
        assert not raised.value.is_refusal()
        assert "PATCH" in str(raised.value)
        assert await replicas(client) == 4


async def test_a_written_count_without_an_answer_is_the_one_asked_for():
    async with web(2) as (api, _), Garbled(api.url) as garbled:
        assert await scale(garbled, 4) == Written(replicas=4)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"metadata": None, "spec": {"replicas": 2}},
        {"metadata": {"uid": 7, "resourceVersion": "7"}, "spec": {"replicas": 2}},
        {"metadata": {"uid": "a"}, "spec": {"replicas": 2}},
        *({"metadata": {"uid": "a", "resourceVersion": "7"}, "spec": one} for one in WRONG_SPECS),
    ],
    ids=repr,
)
async def test_what_is_read_and_is_no_scale_is_an_error_of_the_api(monkeypatch, answer):
    monkeypatch.setattr(GarbledReads, "answer", answer)
    async with web(2) as (api, _), GarbledReads(api.url) as garbled:
        with pytest.raises(ApiError, match="GET"):
            await read_scale(garbled, WEB, uid="a")
