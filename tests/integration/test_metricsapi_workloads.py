# SPDX-License-Identifier: Apache-2.0
"""How the metrics API finds the pods of workloads: against the embedded API."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from scaler.cluster.kinds import DEPLOYMENTS, STATEFUL_SETS, WorkloadKind, find_kinds
from scaler.kube.client import KubeClient
from scaler.kube.errors import ApiError
from scaler.kube.selectors import EVERYTHING, parse_selector
from scaler.metricsapi import workloads
from scaler.metricsapi.workloads import KEPT_SECONDS, TooManyWorkloads, WorkloadSelectors
from simulator.apiserver import running_apiserver
from tests.integration.test_cluster_kinds import PATH as SERVERS_PATH
from tests.integration.test_cluster_kinds import SERVER, SERVERS, SETS, STATEFUL, workload
from tests.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATH = "/apis/apps/v1/namespaces/default/deployments"


def deployment(name: str, tier: str = "web", **labels: str) -> dict[str, Any]:
    labels = labels or {"app": name}
    return {
        "metadata": {"name": name, "labels": {"tier": tier}},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        },
    }


@asynccontextmanager
async def bed() -> AsyncIterator[Any]:
    now = SimpleNamespace(seconds=0.0)
    async with running_apiserver(controls=False) as api, KubeClient(api.url) as client:
        found = WorkloadSelectors(client, [DEPLOYMENTS], clock=lambda: now.seconds)
        yield SimpleNamespace(client=client, find=found, now=now)


def texts(found: Any) -> dict[str, str]:
    return {name: selector.text for name, selector in found.items()}


async def test_a_workload_by_its_name_is_read_once_in_a_while():
    async with bed() as it:
        await it.client.post(PATH, deployment("llm"))
        for _ in range(3):
            assert texts(await it.find.named(DEPLOYMENTS.name, "default", "llm")) == {
                "llm": "app=llm"
            }
        assert it.client.answers["GET", 200] == 1
        await it.client.delete(f"{PATH}/llm")
        await it.client.post(PATH, deployment("llm", app="new"))
        it.now.seconds += KEPT_SECONDS
        assert texts(await it.find.named(DEPLOYMENTS.name, "default", "llm")) == {"llm": "app=new"}


async def test_workloads_of_the_other_kinds_by_their_scale():
    """A custom resource has its selector there alone."""
    async with (
        running_apiserver(extra_resources=[SERVER, STATEFUL]) as api,
        KubeClient(api.url) as client,
    ):
        kinds = await find_kinds(client, [STATEFUL_SETS.name, SERVERS])
        find = WorkloadSelectors(client, kinds)
        for kind, path in ((STATEFUL_SETS.name, SETS), (SERVERS, SERVERS_PATH)):
            await client.post(path, workload("llm"))
            assert texts(await find.named(kind, "default", "llm")) == {"llm": "app=llm"}
            assert texts(await find.listed(kind, "default", EVERYTHING)) == {"llm": "app=llm"}


async def test_the_pods_of_groups_are_not_only_their_leaders():
    """The selector in a LeaderWorkerSet's scale finds leaders alone."""
    prefix = "leaderworkerset.sigs.k8s.io"
    text = f"{prefix}/name=llm,{prefix}/worker-index=0"

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"metadata": {}, "status": {"selector": text}})

    kind = WorkloadKind(
        group="leaderworkerset.x-k8s.io",
        version="v1",
        plural="leaderworkersets",
        kind="LeaderWorkerSet",
    )
    async with serving(answer) as url, KubeClient(url) as client:
        find = WorkloadSelectors(client, [kind, DEPLOYMENTS])
        (group,) = (await find.named(kind.name, "default", "llm")).values()
        (other,) = (await find.named(DEPLOYMENTS.name, "default", "llm")).values()
        worker = {f"{prefix}/name": "llm", f"{prefix}/worker-index": "1"}
        assert (group.matches(worker), other.matches(worker)) == (True, False)
        assert not group.matches({**worker, f"{prefix}/name": "other"})


async def test_callers_at_the_same_time_share_one_read():
    async with bed() as it:
        await it.client.post(PATH, deployment("llm"))
        await asyncio.gather(
            *(it.find.named(DEPLOYMENTS.name, "default", "llm") for _ in range(20))
        )
        assert it.client.answers["GET", 200] == 1


async def test_workloads_by_their_own_labels():
    async with bed() as it:
        for name, tier in (("a", "web"), ("b", "web"), ("c", "batch")):
            await it.client.post(PATH, deployment(name, tier))
        found = await it.find.listed(DEPLOYMENTS.name, "default", parse_selector("tier=web"))
        assert texts(found) == {"a": "app=a", "b": "app=b"}
        assert await it.find.listed(DEPLOYMENTS.name, "other", EVERYTHING) == {}


async def test_more_workloads_than_one_request_may_name_are_refused(monkeypatch):
    monkeypatch.setattr(workloads, "MAX_LISTED", 2)
    async with bed() as it:
        for name in ("a", "b", "c"):
            await it.client.post(PATH, deployment(name))
        with pytest.raises(TooManyWorkloads, match=r"more than 2 deployments\.apps"):
            await it.find.listed(DEPLOYMENTS.name, "default", EVERYTHING)


@pytest.mark.parametrize(
    ("namespace", "name"),
    [
        ("default", "gone"),
        ("default", "../deployments/llm"),
        ("default", "llm?x=y"),
        ("default", ".."),
        ("default/deployments", "llm"),
        ("", "llm"),
    ],
)
async def test_what_is_no_workloads_name_leads_nowhere(namespace, name):
    """The scaler may read more than its clients."""
    async with bed() as it:
        await it.client.post(PATH, deployment("llm"))
        assert await it.find.named(DEPLOYMENTS.name, namespace, name) == {}
        assert not it.client.answers["GET", 200]


async def test_a_caller_that_leaves_takes_no_other_along():
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        asked.set()
        await go_on.wait()
        return web.json_response({"metadata": {}, "status": {"selector": "app=x"}})

    async with serving(answer) as url, KubeClient(url) as client:
        find = WorkloadSelectors(client, [DEPLOYMENTS])
        leaves, stays = (
            asyncio.create_task(find.named(DEPLOYMENTS.name, "default", "llm")) for _ in range(2)
        )
        await asyncio.wait_for(asked.wait(), 60)
        leaves.cancel()
        go_on.set()
        assert texts(await stays) == {"llm": "app=x"}
        assert leaves.cancelled()


async def test_a_missing_permission_is_said_once_until_it_is_there(caplog):
    refuses = True

    async def answer(_: web.Request) -> web.Response:
        if refuses:
            return web.json_response({"reason": "Forbidden", "message": "may not"}, status=403)
        return web.json_response({"metadata": {}, "status": {"selector": "app=x"}})

    async with serving(answer) as url, KubeClient(url) as client:
        find = WorkloadSelectors(client, [DEPLOYMENTS, STATEFUL_SETS])
        for _ in range(2):
            with pytest.raises(ApiError):
                await find.named(STATEFUL_SETS.name, "default", "llm")
        (record,) = caplog.records
        assert (record.kind, "may not" in record.error) == ("statefulsets.apps", True)
        refuses = False
        assert texts(await find.named(STATEFUL_SETS.name, "default", "llm")) == {"llm": "app=x"}


@pytest.mark.parametrize("status", [{}, {"selector": ""}, {"selector": "!!"}, {"selector": 3}])
async def test_a_scale_that_selects_nothing_or_everything_has_no_pods(status):
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"metadata": {}, "status": status})

    async with serving(answer) as url, KubeClient(url) as client:
        assert (
            await WorkloadSelectors(client, [DEPLOYMENTS, STATEFUL_SETS]).named(
                DEPLOYMENTS.name, "default", "llm"
            )
            == {}
        )


async def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(workloads, "MAX_KEPT", 3)
    async with bed() as it:
        for n in range(9):
            await it.find.named(DEPLOYMENTS.name, "default", f"gone-{n}")
        assert len(it.find._known) == 3
