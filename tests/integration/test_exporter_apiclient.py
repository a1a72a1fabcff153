# SPDX-License-Identifier: Apache-2.0
"""Requests to the Kubernetes API: the token, the CA, and answers that cannot be used."""

from __future__ import annotations

import asyncio
import os

import aiohttp
import orjson
import pytest
from aiohttp import web

from exporter.kubeapi.client import ApiClient, KubeApiError
from tests.cluster.certificates import Authority
from tests.forbidding import CODES, forbidden
from tests.kubeapi import Api
from tests.serving import serving
from tests.waiting import until


@pytest.fixture
async def api(account):
    api = Api()
    async with serving(api.handle, tls=account[1]) as url:
        yield api, {"api_url": url}


async def test_a_request_that_is_not_answered_ends_in_time(account, monkeypatch):
    monkeypatch.setattr("exporter.kubeapi.client.TIMEOUT", aiohttp.ClientTimeout(total=0.05))
    folder, context = account

    async def handle(_request):
        await asyncio.Event().wait()

    async with serving(handle, tls=context) as url:
        with pytest.raises(KubeApiError, match="TimeoutError"):
            await ApiClient(url, folder).get("/x")


async def test_a_renewed_token_is_used(account, api):
    folder, _ = account
    server, settings = api
    client = ApiClient(settings["api_url"], folder)
    server.documents["/x"] = {}
    await client.get("/x")
    (folder / "token").write_text("secret-2")
    await client.get("/x")
    await client.close()
    assert [one.headers["Authorization"] for one in server.requests] == [
        "Bearer secret-1",
        "Bearer secret-2",
    ]


async def test_two_who_ask_at_once_leave_no_connection_behind(account, api):
    folder, _ = account
    server, settings = api
    client = ApiClient(settings["api_url"], folder)
    server.documents["/x"] = {}
    await asyncio.gather(client.get("/x"), client.get("/x"))
    await client.close()

    def are_closed():
        return all(one.transport is None or one.transport.is_closing() for one in server.requests)

    await until(are_closed, what="the end of all connections")


async def test_another_ca_is_not_believed(account, api, tmp_path):
    _, settings = api
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "ca")
    (other.file.parent / "token").write_text("secret")
    client = ApiClient(settings["api_url"], other.file.parent)
    with pytest.raises(KubeApiError, match="certificate verify failed"):
        await client.get("/x")
    await client.close()


@pytest.mark.parametrize("token", [b"\xff\xfe", b"two\nlines", b"a\rb", b"nul\0"])
async def test_a_token_that_cannot_be_sent_is_an_error_like_any_other(account, api, token):
    folder, _ = account
    server, settings = api
    server.documents["/x"] = {}
    (folder / "token").write_bytes(token)
    client = ApiClient(settings["api_url"], folder)
    with pytest.raises(KubeApiError, match="GET /x: "):
        await client.get("/x")
    (folder / "token").write_text("good")
    assert await client.get("/x") == {}
    await client.close()


@pytest.mark.parametrize("code", CODES, ids=os.strerror)
async def test_a_token_that_cannot_be_read_is_an_error_like_any_other(account, api, code):
    folder, _ = account
    server, settings = api
    server.documents["/x"] = {}
    client = ApiClient(settings["api_url"], folder)
    with forbidden(folder / "token", code), pytest.raises(KubeApiError, match=os.strerror(code)):
        await client.get("/x")
    assert await client.get("/x") == {}
    await client.close()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        pytest.param(web.Response(text="<html>"), "no JSON", id="no JSON"),
        pytest.param(web.Response(status=302, headers={"Location": "/"}), "302", id="redirect"),
        pytest.param(web.Response(status=500, body=b"\xff"), "500", id="no text"),
        pytest.param(web.Response(body=b" " * (17 << 20)), "exceeds", id="too large"),
        pytest.param(
            web.Response(status=403, body=orjson.dumps({"message": "no " * 1_000_000})),
            "403 no no",
            id="a long message",
        ),
        pytest.param(
            web.Response(status=403, body=orjson.dumps({"message": [0] * 100_000})),
            "403",
            id="a message that is no text",
        ),
    ],
)
async def test_bad_answers(account, answer, text):
    folder, context = account

    async def handle(_request):
        return answer

    async with serving(handle, tls=context) as url:
        client = ApiClient(url, folder)
        with pytest.raises(KubeApiError, match=text) as raised:
            await client.get("/x")
        assert len(str(raised.value)) < 2000
        await client.close()


async def test_no_token(account, api):
    folder, _ = account
    _, settings = api
    (folder / "token").unlink()
    with pytest.raises(KubeApiError, match="No such file"):
        await ApiClient(settings["api_url"], folder).get("/x")
