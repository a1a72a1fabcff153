# SPDX-License-Identifier: Apache-2.0
"""The reflector over real HTTP: it follows, survives every way in which a watch ends, and tells
when it is out of contact."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from scaler.kube import reflector as watch
from scaler.kube.client import KubeClient
from scaler.kube.reflector import Reflector
from simulator.apiserver import running_apiserver
from tests.serving import serving
from tests.waiting import until

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
ALL = "/api/v1/configmaps"


def decode(raw, previous):
    return raw["metadata"]["name"], (raw.get("data") or {}).get("x")


def config_map(name, x="1", **data):
    return {"metadata": {"name": name}, "data": {"x": x, **data}}


@asynccontextmanager
async def reflecting(url, path=ALL, **options):
    """Run a reflector with short waits and yield it."""
    options = {"watch_seconds": 1, "idle_grace_seconds": 0.3, **options}
    options.setdefault("backoff_seconds", (0.01, 0.05))
    async with KubeClient(url) as client:
        reflector = Reflector(client, path, options.pop("decode", decode), **options)
        task = asyncio.create_task(reflector.run())
        try:
            yield reflector
        finally:
            task.cancel()
            done, _ = await asyncio.wait([task])
            assert all(item.cancelled() for item in done)


def content(reflector):
    return sorted(reflector.objects.values())


async def holds(reflector, *expected):
    await until(lambda: content(reflector) == sorted(expected), what=f"{expected}")


async def test_it_lists_and_follows():
    async with running_apiserver() as api, KubeClient(api.url) as client:
        await client.post(CONFIG_MAPS, config_map("a"))
        async with reflecting(api.url) as reflector:
            await asyncio.wait_for(reflector.synced.wait(), 60)
            assert content(reflector) == [("a", "1")]
            await client.post(CONFIG_MAPS, config_map("b"))
            await client.patch(f"{CONFIG_MAPS}/a", {"data": {"x": "2"}})
            await holds(reflector, ("a", "2"), ("b", "1"))
            await client.delete(f"{CONFIG_MAPS}/a")
            await holds(reflector, ("b", "1"))
            await until(lambda: reflector.is_fresh(time.monotonic()))


async def test_differences_are_told_once():
    async with running_apiserver() as api, KubeClient(api.url) as client:
        changes: list[tuple[object, object]] = []
        async with reflecting(api.url, changed=lambda old, new: changes.append((old, new))) as it:
            await it.synced.wait()
            await client.post(CONFIG_MAPS, config_map("a"))
            await client.patch(f"{CONFIG_MAPS}/a", {"data": {"other": "2"}})  # slim form the same
            await client.patch(f"{CONFIG_MAPS}/a", {"data": {"x": "2"}})
            await client.delete(f"{CONFIG_MAPS}/a")
            await until(lambda: changes and changes[-1][1] is None)
    assert changes == [(None, ("a", "1")), (("a", "1"), ("a", "2")), (("a", "2"), None)]


async def test_watches_that_end_in_time_are_carried_on():
    lists: list[object] = []
    watches: list[dict[str, str]] = []

    def note(request):
        if request.method == "GET":
            (watches if "watch" in request.query else lists).append(dict(request.query))
        return False

    async with running_apiserver() as api, KubeClient(api.url) as client:
        api.faults.applies_to = note
        async with reflecting(api.url) as reflector:
            await until(lambda: len(watches) >= 3, what="three watches")
            await client.post(CONFIG_MAPS, config_map("late"))
            await holds(reflector, ("late", "1"))
    assert len(lists) == 1
    assert all(query["timeoutSeconds"] == "1" for query in watches)


async def test_cut_connections_lose_nothing():
    async with running_apiserver() as api, KubeClient(api.url) as client:
        async with reflecting(api.url, watch_seconds=30) as reflector:
            await until(lambda: api.faults.open_watches)
            api.faults.cut_connections = True
            api.faults.drop_watches()
            await until(lambda: reflector.problem)
            api.store.create(watch_config_map(api), "default", config_map("meanwhile"))
            api.faults.clear()
            await holds(reflector, ("meanwhile", "1"))
            assert reflector.problem is None
        await client.get("/version")


def watch_config_map(api):
    return next(r for r in api.store.resources if r.plural == "configmaps")


async def test_what_vanished_while_the_history_was_lost_is_gone_here_too():
    async with running_apiserver() as api, KubeClient(api.url) as client:
        for name in ("stays", "vanishes"):
            await client.post(CONFIG_MAPS, config_map(name))
        async with reflecting(api.url, watch_seconds=30) as reflector:
            await holds(reflector, ("stays", "1"), ("vanishes", "1"))
            await until(lambda: api.faults.open_watches)
            api.faults.cut_connections = True
            api.faults.drop_watches()
            resource = watch_config_map(api)
            api.store.delete(resource, "default", "vanishes")
            api.store.create(resource, "default", config_map("comes"))
            api.compact()
            api.faults.clear()
            await holds(reflector, ("comes", "1"), ("stays", "1"))


async def test_a_half_open_connection_is_noticed():
    async with (
        running_apiserver() as api,
        KubeClient(api.url) as client,
        reflecting(api.url) as reflector,
    ):
        await until(lambda: api.faults.open_watches)
        api.faults.freeze_watches()
        await client.post(CONFIG_MAPS, config_map("unseen"))
        await until(lambda: reflector.problem, what="the silence is noticed")
        api.faults.clear()
        await holds(reflector, ("unseen", "1"))


async def test_freshness_ends_some_time_after_contact_does(monkeypatch):
    monkeypatch.setattr(watch, "DISCONNECTED_SECONDS", 0.5)
    async with running_apiserver() as api, reflecting(api.url) as reflector:
        assert not reflector.is_fresh(time.monotonic())
        assert reflector.age_seconds(time.monotonic()) is None
        await until(lambda: reflector.is_fresh(time.monotonic()))
        api.faults.cut_connections = True
        api.faults.drop_watches()
        await until(lambda: not reflector.is_fresh(time.monotonic()), what="stale")
        api.faults.clear()
        await until(lambda: reflector.is_fresh(time.monotonic()), what="fresh again")


async def test_an_object_larger_than_any_buffer_arrives():
    large = "y" * 1_000_000
    async with running_apiserver() as api, KubeClient(api.url) as client:
        seen: list[int] = []

        def decode_size(raw, previous):
            seen.append(len(raw["data"]["big"]))
            return raw["metadata"]["name"]

        async with reflecting(api.url, decode=decode_size) as reflector:
            await reflector.synced.wait()
            await client.post(CONFIG_MAPS, config_map("large", big=large))
            await until(lambda: seen)
    assert seen[0] == len(large)


async def test_an_object_that_cannot_be_read_hides_no_other(caplog):
    def picky(raw, previous):
        if raw["data"]["x"] == "bad":
            raise ValueError("bad")
        return raw["metadata"]["name"]

    async with running_apiserver() as api, KubeClient(api.url) as client:
        await client.post(CONFIG_MAPS, config_map("odd", x="bad"))
        async with reflecting(api.url, decode=picky) as reflector:
            await client.post(CONFIG_MAPS, config_map("good"))
            await until(lambda: content(reflector) == ["good"])
            await client.patch(f"{CONFIG_MAPS}/odd", {"data": {"y": "2"}})
            await client.patch(f"{CONFIG_MAPS}/odd", {"data": {"x": "fine"}})
            await until(lambda: content(reflector) == ["good", "odd"])
    left_out = [r for r in caplog.records if r.message.startswith("Malformed object")]
    assert len(left_out) == 1


async def test_a_lack_of_memory_leaves_no_object_out(caplog):
    """A pod that is left out would be one that is not there: the process has to end instead."""

    def no_memory(raw, previous):
        raise MemoryError

    async with running_apiserver() as api, KubeClient(api.url) as client:
        await client.post(CONFIG_MAPS, config_map("a"))
        reflector = Reflector(client, ALL, no_memory)
        with pytest.raises(MemoryError):
            await reflector.run()
    assert not reflector.synced.is_set()
    assert caplog.records == []


async def test_an_optional_kind_that_is_absent_is_asked_for_again(monkeypatch):
    monkeypatch.setattr(watch, "ABSENT_RETRY_SECONDS", 0.05)
    served: list[bool] = []

    async def answer(request):
        if not served:
            return web.json_response({"reason": "NotFound", "message": "no such"}, status=404)
        if "watch" in request.query:
            await asyncio.sleep(3600)
        item = {"metadata": {"uid": "u", "name": "so"}}
        return web.json_response({"metadata": {"resourceVersion": "5"}, "items": [item]})

    async with serving(answer) as url, reflecting(url, optional=True) as reflector:
        await asyncio.wait_for(reflector.synced.wait(), 60)
        assert reflector.is_fresh(time.monotonic())
        assert not reflector.objects
        served.append(True)
        await until(lambda: content(reflector) == [("so", None)])
        served.clear()
        await until(lambda: not reflector.objects, what="the kind was uninstalled")


@pytest.mark.parametrize(
    ("status", "was_shown", "may_be_hidden", "objects", "synced"),
    [
        pytest.param(403, False, True, [], True, id="never shown, and nobody has to show it"),
        pytest.param(403, False, False, [], False, id="never shown, and it has to be"),
        pytest.param(403, True, True, [("so", None)], True, id="shown: rights do not empty it"),
        pytest.param(404, True, False, [("so", None)], True, id="shown, and it has to be"),
    ],
)
async def test_a_kind_that_is_forbidden(status, was_shown, may_be_hidden, objects, synced):
    """An API server that has just started refuses for a moment; what it hid is still there."""
    asked: list[bool] = []

    async def answer(request):
        asked.append("watch" in request.query)
        if len(asked) > was_shown:
            return web.json_response({"message": "not yet"}, status=status)
        item = {"metadata": {"uid": "u", "name": "so"}}
        return web.json_response({"metadata": {"resourceVersion": "5"}, "items": [item]})

    async with (
        serving(answer) as url,
        reflecting(url, optional=True, may_be_hidden=may_be_hidden) as reflector,
    ):
        await until(lambda: reflector.problem, what="the refusal")
        await until(lambda: len(asked) > 2 or reflector.is_fresh(time.monotonic()))
        assert content(reflector) == objects
        assert reflector.synced.is_set() == synced


async def test_a_kind_that_must_be_there_never_counts_as_synced_when_it_is_not(caplog):
    path = "/apis/example.com/v1/things"
    async with running_apiserver() as api, reflecting(api.url, path) as reflector:
        await until(lambda: reflector.problem)
        assert not reflector.synced.is_set()
        assert not reflector.is_fresh(time.monotonic())
    warned = [r for r in caplog.records if r.message.startswith("Watch failed")]
    assert len(warned) == 1


class Script:
    """A server that lists one object and answers each watch by the next step of a script."""

    def __init__(self, *steps):
        self.steps = list(steps)
        self.lists = 0
        self.versions = []
        self.asked_seconds = []

    async def answer(self, request):
        if "watch" not in request.query:
            self.lists += 1
            item = {"metadata": {"uid": "u", "name": f"list{self.lists}"}}
            version = {"resourceVersion": str(100 * self.lists)}
            return web.json_response({"metadata": version, "items": [item]})
        self.versions.append(request.query["resourceVersion"])
        self.asked_seconds.append(time.monotonic())
        if not self.steps:
            await asyncio.sleep(3600)
        status, headers, body = self.steps.pop(0)
        return web.Response(status=status, headers=headers, body=body)


def event(type_, version, **thing):
    metadata = {"uid": "u", "name": "n", "resourceVersion": version}
    return json.dumps({"type": type_, "object": {"metadata": metadata, **thing}}) + "\n"


def error_event(code):
    return json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": code}}) + "\n"


@pytest.mark.parametrize(
    ("step", "lists", "next_version"),
    [
        pytest.param((410, {}, ""), 2, "200", id="410 as the HTTP status"),
        pytest.param((200, {}, error_event(410)), 2, "200", id="410 as an event"),
        pytest.param((200, {}, error_event(500)), 2, "200", id="another ERROR event"),
        pytest.param((200, {}, "no event\n"), 2, "200", id="a line that is no event"),
        pytest.param((500, {}, ""), 1, "100", id="500"),
        pytest.param((200, {}, ""), 1, "100", id="ended at once"),
        pytest.param((200, {}, event("BOOKMARK", "150")), 1, "150", id="after a bookmark"),
        pytest.param((200, {}, event("MODIFIED", "151")), 1, "151", id="after an event"),
        pytest.param((200, {}, event("MODIFIED", "152")[:-9]), 1, "100", id="cut line"),
    ],
)
async def test_what_follows_the_end_of_a_watch(step, lists, next_version):
    script = Script(step)
    async with serving(script.answer) as url, reflecting(url) as reflector:
        await until(lambda: len(script.versions) >= 2, what="the second watch")
        assert script.lists == lists
        assert script.versions[1] == next_version
        assert len(reflector.objects) == 1


async def test_a_busy_server_says_when_to_come_back():
    script = Script((429, {"Retry-After": "0.4"}, ""))
    async with serving(script.answer) as url, reflecting(url):
        await until(lambda: len(script.versions) >= 2)
    assert script.asked_seconds[1] - script.asked_seconds[0] >= 0.4
    assert script.lists == 1


async def test_watches_that_end_at_once_make_no_busy_loop():
    script = Script(*[(200, {}, "")] * 1000)
    async with serving(script.answer) as url, reflecting(url, backoff_seconds=(0.1, 0.2)):
        await until(lambda: len(script.versions) >= 4)
    gaps = [b - a for a, b in zip(script.asked_seconds[1:], script.asked_seconds[2:], strict=False)]
    assert min(gaps) >= 0.05
