# SPDX-License-Identifier: Apache-2.0
"""An API server that asks to wait is not asked again before its time."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from aiohttp import web

from scaler.cluster.events import EventRecorder
from scaler.kube.client import KubeClient
from scaler.kube.errors import ServerError, TooManyRequests
from scaler.model import ObjectRef
from simulator.apiserver import running_apiserver
from tests.embedded import running_cluster
from tests.running import running_scaler
from tests.scaled import DEPLOYMENTS, NAME, deployment
from tests.serving import serving
from tests.waiting import until


@pytest.mark.parametrize(("status", "kind"), [(429, TooManyRequests), (503, ServerError)])
async def test_no_method_asks_again_before_the_time(status, kind):
    asked: list[str] = []

    async def answer(request):
        asked.append(f"{request.method} {request.path}")
        if request.path.endswith("/busy"):
            headers = {"Retry-After": "20"}
            return web.json_response({"message": "slow down"}, status=status, headers=headers)
        return web.json_response({})

    async with serving(answer) as url, KubeClient(url) as client:
        with pytest.raises(kind, match="slow down; retry after 20 s"):
            await client.patch("/busy", {})
        calls = [
            lambda: client.patch("/busy", {}),
            lambda: client.get("/busy"),
            lambda: client.list_("/busy"),
            lambda: client.put("/busy", {}),
            lambda: client.post("/busy", {}),
            lambda: client.delete("/busy"),
            lambda: client.stream("/busy", params={}, idle_timeout_seconds=1).__aenter__(),
        ]
        for call in calls:
            with pytest.raises(kind, match="not sent, still waiting") as caught:
                await call()
            assert caught.value.is_refusal()
        assert asked == ["PATCH /busy"]
        await client.get("/other")
    assert asked == ["PATCH /busy", "GET /other"]


async def test_an_event_is_sent_when_the_server_takes_it():
    web_ref = ObjectRef(namespace="default", name="web")
    events = "/api/v1/namespaces/default/events"
    async with running_apiserver() as api, KubeClient(api.url) as client:
        recorder = EventRecorder(client, host="scaler-0")
        task = asyncio.create_task(recorder.run())
        posts: list[float] = []

        def note(request):
            if request.method == "POST":
                posts.append(time.monotonic())
            return request.method == "POST" and len(posts) == 1

        api.faults.applies_to = note
        api.faults.error_status = 429
        api.faults.retry_after_seconds = 1
        recorder.record(web_ref, "u", type_="Normal", reason="R", message="m")

        async def arrived() -> bool:
            return bool((await other.list_(events))["items"])

        async with KubeClient(api.url) as other:
            await until(arrived, what="the event comes late")
        task.cancel()
        await asyncio.wait([task])
    assert len(posts) == 2
    assert posts[1] - posts[0] >= 1.0


@pytest.mark.parametrize("status", [429, 503])
async def test_a_scale_that_is_refused_waits_as_told_and_says_so(tmp_path, status):
    patches: list[float] = []

    def note(request):
        is_patch = request.method == "PATCH" and request.path.endswith("/scale")
        if is_patch:
            patches.append(time.monotonic())
        return is_patch and len(patches) == 1

    async with running_cluster(tmp_path) as cluster:
        await cluster.client.post(DEPLOYMENTS, deployment())
        await cluster.ready(1)
        cluster.api.faults.applies_to = note
        cluster.api.faults.error_status = status
        cluster.api.faults.retry_after_seconds = 3
        async with running_scaler(cluster.kubeconfig) as scaler, cluster.under_load(80):

            async def reported() -> dict[str, Any]:
                decision = await scaler.decision("default", NAME)
                return decision if "not sent, still waiting" in decision.get("message", "") else {}

            decision = await until(reported, what="the decision says that it waits")
            assert decision["reason"] == "FailedUpdateScale"
            assert "retry after" in decision["message"]
            assert str(status) in decision["message"]
            await cluster.ready(2)
            events = await cluster.events()
    # Loops come every 200 ms: one write was refused, and the next one came when it was time.
    assert patches[1] - patches[0] >= 3.0
    failed = [event for event in events if event["reason"] == "FailedUpdateScale"]
    assert [event["count"] for event in failed] == [1]
