# SPDX-License-Identifier: Apache-2.0
"""Events on Deployments: the same news is counted, a failing API costs nothing but events."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from scaler.cluster import events as events_module
from scaler.cluster.events import EventRecorder
from scaler.kube.client import KubeClient
from scaler.model import ObjectRef
from simulator.apiserver import running_apiserver
from tests.waiting import until

EVENTS = "/api/v1/namespaces/default/events"
WEB = ObjectRef(namespace="default", name="web")


@asynccontextmanager
async def recording():
    async with running_apiserver() as api, KubeClient(api.url) as client:
        recorder = EventRecorder(client, host="scaler-0")
        task = asyncio.create_task(recorder.run())
        try:
            yield api, client, recorder
        finally:
            task.cancel()
            await asyncio.wait([task])


def record(recorder, *, reason="SuccessfulRescale", message="New size: 3", uid="u1"):
    recorder.record(WEB, uid, type_="Normal", reason=reason, message=message)


async def events(client):
    return (await client.list_(EVENTS))["items"]


async def test_an_event_names_its_deployment_and_its_source():
    async with recording() as (_, client, recorder):
        record(recorder)
        await recorder.flush(timeout_seconds=60)
        [event] = await events(client)
        assert event["involvedObject"] == {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "namespace": "default",
            "name": "web",
            "uid": "u1",
        }
        assert (event["type"], event["reason"], event["message"], event["count"]) == (
            "Normal",
            "SuccessfulRescale",
            "New size: 3",
            1,
        )
        assert event["source"] == {"component": "gpu-scaler", "host": "scaler-0"}
        assert event["reportingComponent"] == "gpu-scaler"


async def test_the_same_news_is_counted():
    async with recording() as (_, client, recorder):
        for _ in range(3):
            record(recorder)
        record(recorder, message="New size: 4")
        record(recorder, uid="u2")
        await recorder.flush(timeout_seconds=60)
        counts = sorted((event["message"], event["count"]) for event in await events(client))
        assert counts == [("New size: 3", 1), ("New size: 3", 3), ("New size: 4", 1)]


async def test_an_event_that_the_api_has_forgotten_begins_anew():
    async with recording() as (_, client, recorder):
        record(recorder)
        await recorder.flush(timeout_seconds=60)
        await client.delete(EVENTS)
        record(recorder)
        await recorder.flush(timeout_seconds=60)
        [event] = await events(client)
        assert event["count"] == 1


async def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(events_module, "MAX_REMEMBERED", 2)
    async with recording() as (_, client, recorder):
        for number in (1, 2, 3, 1):
            record(recorder, message=f"m{number}")
        await recorder.flush(timeout_seconds=60)
        messages = sorted(event["message"] for event in await events(client))
        assert messages == ["m1", "m1", "m2", "m3"]


async def test_failures_are_logged_once_and_never_raised(caplog):
    async with recording() as (api, client, recorder):
        api.faults.error_status = 500
        for number in range(3):
            record(recorder, message=f"lost {number}")
        await recorder.flush(timeout_seconds=60)
        api.faults.clear()
        record(recorder, message="arrives")
        await recorder.flush(timeout_seconds=60)
        assert [event["message"] for event in await events(client)] == ["arrives"]
    warned = [r for r in caplog.records if r.message.startswith("Event not sent")]
    assert len(warned) == 1


async def test_a_full_queue_drops_and_a_flush_gives_up(monkeypatch, caplog):
    monkeypatch.setattr(events_module, "MAX_QUEUED", 2)
    async with recording() as (api, client, recorder):
        api.faults.delay_seconds = 3600
        record(recorder, message="hangs")
        await until(lambda: len(recorder._queue) == 0)
        for number in range(5):
            record(recorder, message=f"m{number}")
        await recorder.flush(timeout_seconds=0.05)
        assert any(r.message == "Events not sent before exit" for r in caplog.records)
        api.faults.clear()
        assert await events(client) == []


async def test_a_namespace_with_many_events_costs_the_others_neither_place_nor_time(monkeypatch):
    monkeypatch.setattr(events_module, "MAX_QUEUED", 10)
    async with recording() as (_, client, recorder):
        await client.post("/api/v1/namespaces", {"metadata": {"name": "other"}})
        for number in range(100):
            record(recorder, message=f"m{number}")
        other = ObjectRef(namespace="other", name="web")
        recorder.record(other, "u2", type_="Normal", reason="SuccessfulRescale", message="New")
        await recorder.flush(timeout_seconds=60)
        assert {one["message"] for one in await events(client)} == {f"m{n}" for n in range(9)}
        [event] = (await client.list_("/api/v1/namespaces/other/events"))["items"]
        assert event["message"] == "New"


async def test_refused_events_of_a_namespace_leave_others_their_share_of_waiting(monkeypatch):
    monkeypatch.setattr(events_module, "MAX_QUEUED", 10)
    async with recording() as (api, _, recorder):
        api.faults.error_status, api.faults.retry_after_seconds = 429, 100
        for namespace in ("default", "other"):
            ref = ObjectRef(namespace=namespace, name="web")
            for number in range(10):
                recorder.record(ref, "u1", type_="Normal", reason="New", message=f"m{number}")
            await recorder.flush(timeout_seconds=60)
        waiting = {namespace: len(handles) for namespace, handles in recorder._waiting.items()}
        assert waiting == {"default": 5, "other": 5}
