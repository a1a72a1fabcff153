# SPDX-License-Identifier: Apache-2.0
"""The one write to a workload: it changes the count that was decided from, or nothing."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import ClassVar

import pytest

from scaler.cluster.scale import CountChanged, Replaced, Written, read_scale, write_scale
from scaler.kube.client import KubeClient
from scaler.kube.errors import NotFound, ServerError
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
