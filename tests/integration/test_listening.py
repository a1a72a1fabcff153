# SPDX-License-Identifier: Apache-2.0
"""The listener of both programs when clients misbehave: one line, one count, nothing kept."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import ssl
from types import FrameType

import pytest
from aiohttp import web

from tests.listeningclients import BROKEN_GZIP, NO_HTTP, answer_to, send_and_reset
from tests.listeningserver import ASK, ASK_ONCE, Served, opened, served
from tests.waiting import until
from toolkit.listening import client_connection
from toolkit.listening.client_connection import ClientFaults
from toolkit.listening.limits import Limits
from toolkit.web.server import WebServer


@pytest.fixture(autouse=True)
def _all_levels(caplog):
    """Capture what is told below warnings as well."""
    caplog.set_level("INFO", logger="toolkit")


async def slow_answer(request: web.BaseRequest) -> web.Response:
    await until(lambda: request.transport is None, what="the reset")
    return web.Response(body=b"x" * 1_000_000)


async def test_requests_and_resets_are_one_line_and_a_count(caplog):
    async with served(slow_answer) as made:
        for _ in range(20):
            await send_and_reset(made.address, ASK % b"")
        await until(lambda: made.faults == 20, what="all are counted")
    (record,) = caplog.records
    assert (record.levelname, record.count, record.exc_info) == ("INFO", 1, None)


@pytest.mark.parametrize("sent", [BROKEN_GZIP % b"/", NO_HTTP], ids=["gzip", "no HTTP"])
async def test_what_cannot_be_read_is_one_line_and_a_count(caplog, monkeypatch, sent):
    monkeypatch.setattr(client_connection, "FAULT_SECONDS", 0.0)

    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(text="ok")

    async with served(handler) as made:
        for _ in range(20):
            assert await answer_to(made.address, sent)
        await until(lambda: made.faults == 20, what="all are counted")
    (record,) = caplog.records
    assert (record.levelname, record.exc_info) == ("INFO", None)


@pytest.mark.parametrize("sent", [BROKEN_GZIP % b"/", NO_HTTP], ids=["gzip", "no HTTP"])
async def test_after_what_cannot_be_read_the_connection_ends(monkeypatch, sent):
    async def handler(request: web.BaseRequest) -> web.Response:
        pytest.fail(f"{request.path} is handled")

    monkeypatch.setattr(client_connection, "FAULT_SECONDS", 0.0)
    async with served(handler) as made:
        reader, writer = await opened(made, sent + ASK % b"")
        answer = await reader.read()
        assert re.findall(rb"^HTTP/1.. (\d+)", answer, re.MULTILINE) == [b"400"]
        writer.transport.abort()


async def test_whoever_waits_for_the_answer_to_what_cannot_be_read_keeps_nobody_waiting(
    monkeypatch,
):
    monkeypatch.setattr(client_connection, "FAULT_SECONDS", 3600.0)

    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(text="ok")

    async with served(handler) as made:
        faulty = [await opened(made, BROKEN_GZIP % b"/") for _ in range(50)]
        assert b" 200 " in await answer_to(made.address, ASK_ONCE)
        assert made.connections() >= len(faulty)
        for _, writer in faulty:
            writer.transport.abort()
        await until(lambda: not made.connections(), what="no connection outlives its client")


@pytest.mark.parametrize(
    "sent",
    [BROKEN_GZIP % b"/", NO_HTTP, b"GET /missing HTTP/1.1\r\nHost: a\r\n\r\n", ASK_ONCE],
    ids=["gzip", "no HTTP", "not found", "valid"],
)
async def test_no_request_leaves_much_for_the_garbage_collector(monkeypatch, sent):
    monkeypatch.setattr(client_connection, "FAULT_SECONDS", 0.0)

    async def handler(request: web.BaseRequest) -> web.Response:
        if request.path == "/missing":
            raise web.HTTPNotFound
        return web.Response(text="ok")

    async with served(handler) as made:
        left = await garbage(made, sent if sent == ASK_ONCE else sent + ASK_ONCE)
    assert not {FrameType, web.BaseRequest} & left


@pytest.mark.parametrize("sent", [b"", NO_HTTP], ids=["nothing", "no TLS"])
async def test_no_failed_handshake_leaves_its_buffers_to_the_garbage_collector(sent):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    async with served(slow_answer, tls=tls) as made:
        left = await garbage(made, sent)
    assert not {FrameType, ssl.MemoryBIO} & left


async def garbage(made: Served, sent: bytes) -> set[type]:
    """Return the types of what connections that say this leave to the garbage collector."""

    async def connect() -> None:
        reader, writer = await asyncio.open_connection(*made.address)
        writer.write(sent)
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.transport.abort()
        await until(lambda: not made.connections())

    await connect()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(5):
            await connect()
        gc.collect()
        return {type(one) for one in gc.garbage}
    finally:
        gc.set_debug(0)
        gc.enable()
        gc.garbage.clear()


async def test_a_minute_later_there_is_another_line_that_says_how_many(caplog, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("toolkit.listening.client_connection.time.monotonic", lambda: now[0])
    faults = ClientFaults()
    for _ in range(30):
        faults.note(ConnectionResetError())
    now[0] += client_connection.LOG_SECONDS
    faults.note(ConnectionResetError())
    assert [one.count for one in caplog.records] == [1, 30]


async def test_our_own_failures_are_told_in_full(caplog):
    async def handler(_: web.BaseRequest) -> web.Response:
        raise ValueError("a bug")

    async with served(handler) as made:
        assert b" 500 " in await answer_to(made.address, ASK % b"")
        assert made.faults == 0
    assert [str(one.exc_info[1]) for one in caplog.records if one.exc_info] == ["a bug"]


async def test_a_web_server_that_has_ended_by_an_error_has_no_addresses():
    limits = Limits(connections=1, idle_seconds=10, request_bytes=1000)
    server = WebServer(host="127.0.0.1", port=0, limits=limits)
    with contextlib.suppress(RuntimeError):
        async with server.opened(web.Application()):
            assert len(server.addresses) == 1
            raise RuntimeError
    assert server.addresses == ()
