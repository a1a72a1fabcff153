# SPDX-License-Identifier: Apache-2.0
"""The client of the Kubernetes API against a server that answers without end or measure."""

from __future__ import annotations

import asyncio
import zlib
from itertools import pairwise

import orjson
import pytest
from aiohttp import web

from scaler.budgets import MESSAGE_BYTES
from scaler.kube import client as client_module
from scaler.kube.client import MAX_RESPONSE_BYTES, KubeClient
from scaler.kube.errors import MAX_REASON_CHARACTERS, ApiError, ResponseTooLarge, ServerError
from scaler.kube.lease import LeaseElection
from scaler.kube.reflector import Reflector
from tests.serving import serving
from tests.waiting import until

PODS = "/api/v1/pods"
MEGABYTE = b"x" * 2**20


class Endless:
    """Answers with `start` and then with filler, until the client hangs up."""

    def __init__(self, start: bytes = b"", *, status: int = 200, is_gzipped: bool = False) -> None:
        self._status = status
        self._encoding = "gzip" if is_gzipped else "identity"
        self._parts = [start, MEGABYTE]
        if is_gzipped:
            # What a full flush ends can be repeated as it is.
            gzip = zlib.compressobj(wbits=31)
            self._parts = [
                gzip.compress(part) + gzip.flush(zlib.Z_FULL_FLUSH) for part in self._parts
            ]
        self.was_hung_up = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        headers = {"Content-Encoding": self._encoding}
        response = web.StreamResponse(status=self._status, headers=headers)
        await response.prepare(request)
        start, filler = self._parts
        try:
            await response.write(start)
            while True:
                await response.write(filler)
        finally:
            self.was_hung_up.set()


@pytest.mark.parametrize("is_gzipped", [False, True])
@pytest.mark.parametrize("verb", ["get", "post", "put", "patch"])
async def test_an_endless_response_is_cut_off(verb, is_gzipped):
    server = Endless(b'{"metadata": "', is_gzipped=is_gzipped)
    async with serving(server.answer) as url, KubeClient(url, timeout_seconds=60) as client:
        with pytest.raises(ResponseTooLarge, match=f"exceeds {MAX_RESPONSE_BYTES} bytes") as caught:
            await getattr(client, verb)(PODS, *([] if verb == "get" else [{}]))
        await asyncio.wait_for(server.was_hung_up.wait(), 60)
    assert not caught.value.is_refusal(), "a write may have had its effect"


async def test_an_endless_error_keeps_its_status():
    server = Endless(b"<html>out of order", status=500)
    async with serving(server.answer) as url, KubeClient(url, timeout_seconds=60) as client:
        with pytest.raises(ServerError, match="out of order") as caught:
            await client.get(PODS)
        await asyncio.wait_for(server.was_hung_up.wait(), 60)
    assert len(str(caught.value)) < MESSAGE_BYTES


async def test_the_texts_of_an_error_are_cut():
    async def answer(request):
        status = {"kind": "Status", "message": "m" * 20_000, "reason": "r" * 20_000}
        return web.json_response(status, status=500)

    async with serving(answer) as url, KubeClient(url) as client:
        with pytest.raises(ServerError) as caught:
            await client.get(PODS)
    assert len(caught.value.message) <= MESSAGE_BYTES
    assert len(caught.value.reason) <= MAX_REASON_CHARACTERS


async def test_large_objects_are_listed_a_few_at_a_time():
    names = [f"pod-{number}" for number in range(300)]
    limits = []

    async def answer(request):
        limit, start = int(request.query["limit"]), int(request.query.get("continue", 0))
        limits.append(limit)
        items = [{"name": name, "text": "x" * 2**17} for name in names[start : start + limit]]
        end = start + len(items)
        token = str(end) if end < len(names) else ""
        return web.Response(body=orjson.dumps({"metadata": {"continue": token}, "items": items}))

    async with serving(answer) as url, KubeClient(url, timeout_seconds=60) as client:
        listed = [item["name"] async for page in client.pages(PODS) for item in page["items"]]
    assert listed == names
    assert all(later in (earlier, earlier // 2) for earlier, later in pairwise(limits))


async def test_one_object_that_is_too_large_ends_the_list():
    server = Endless(b'{"items": ["')
    async with serving(server.answer) as url, KubeClient(url, timeout_seconds=60) as client:
        with pytest.raises(ResponseTooLarge):
            await client.list_(PODS, limit=2)


@pytest.mark.parametrize(
    ("token", "items", "error"),
    [
        pytest.param("more", [{}, {}], "more than 10 objects", id="objects"),
        pytest.param("more", [], "more than 10 objects", id="empty pages"),
        pytest.param("t" * 100_000, [], "continue token", id="long token"),
        pytest.param(["more"], [], "continue token", id="token of another type"),
    ],
)
async def test_a_list_without_end(monkeypatch, token, items, error):
    monkeypatch.setattr(client_module, "MAX_LISTED", 10)

    async def answer(request):
        return web.json_response({"metadata": {"continue": token}, "items": items})

    async with serving(answer) as url, KubeClient(url) as client:
        with pytest.raises(ApiError, match=error):
            await client.list_(PODS)


async def test_a_watch_line_without_end_causes_a_new_list():
    endless = Endless(b'{"type": "ADDED", "object": "')
    lists = []

    async def answer(request):
        if "watch" in request.query:
            return await endless.answer(request)
        lists.append(request)
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})

    async with serving(answer) as url, KubeClient(url, timeout_seconds=60) as client:
        pods = Reflector(client, PODS, lambda raw, _: raw, backoff_seconds=(0.0, 0.0))
        async with asyncio.TaskGroup() as group:
            running = group.create_task(pods.run())
            await until(lambda: len(lists) > 1)
            running.cancel()
    assert endless.was_hung_up.is_set()


def election(client):
    return LeaseElection(client, namespace="default", name="scaler", identity="a")


async def test_a_lease_with_a_long_holder_is_shown_in_part():
    async def answer(request):
        spec = {"holderIdentity": "a" * 100_000, "leaseDurationSeconds": 15}
        return web.json_response({"metadata": {"resourceVersion": "1"}, "spec": spec})

    async with serving(answer) as url, KubeClient(url) as client:
        candidate = election(client)
        assert not await candidate.try_once()
        assert 1 < len(candidate.leader() or "") < 300


@pytest.mark.parametrize(
    "lease",
    [
        pytest.param({}, id="empty"),
        pytest.param({"metadata": None}, id="no metadata"),
        pytest.param({"metadata": {"resourceVersion": 5}}, id="version"),
        pytest.param({"metadata": {"resourceVersion": "5"}, "spec": ["a"]}, id="spec"),
        pytest.param(
            {"metadata": {"resourceVersion": "5"}, "spec": {"leaseDurationSeconds": "soon"}},
            id="duration",
        ),
        pytest.param(
            {"metadata": {"resourceVersion": "5", "annotations": {"gpu-scaler/paused": 1}}},
            id="annotation",
        ),
    ],
)
async def test_an_answer_that_is_no_lease_makes_nobody_leader(lease):
    async def answer(request):
        return web.json_response(lease)

    async with serving(answer) as url, KubeClient(url) as client:
        candidate = election(client)
        assert not await candidate.try_once()
        assert "cannot read the Lease" in str(await candidate.confirm())
        await candidate.release()
