# SPDX-License-Identifier: Apache-2.0
"""The listener of both programs over a server that does what a test wants: who gives way."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import re
import socket
import ssl
from contextlib import asynccontextmanager
from types import FrameType
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from tests.listeningclients import BROKEN_GZIP, NO_HTTP, answer_to, send_and_reset
from tests.waiting import until
from toolkit.listening import client_connection, request_limits
from toolkit.listening import listener as listening
from toolkit.listening.client_connection import ClientFaults
from toolkit.listening.limits import Limits
from toolkit.listening.listener import Listener
from toolkit.listening.request_limits import SLICE_BYTES
from toolkit.listening.sockets import bound_sockets
from toolkit.web.server import WebServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

ASK = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"
ASK_ONCE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


class Served:
    """A running listener and what it has seen."""

    def __init__(self) -> None:
        self.faults = 0
        self.address = ("127.0.0.1", 0)
        self.server: web.Server

    def count(self) -> None:
        self.faults += 1

    def connections(self) -> int:
        return len(self.server.connections)

    def unsent_bytes(self) -> int:
        """What waits in this process for all clients."""
        return sum(
            one.transport.get_write_buffer_size()
            for one in self.server.connections
            if one.transport is not None
        )


@asynccontextmanager
async def served(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    tls: ssl.SSLContext | None = None,
    **limits,
) -> AsyncIterator[Served]:
    everything = {"connections": 200, "idle_seconds": 60.0, "request_bytes": 65536} | limits
    made = Served()
    made.server = web.Server(handler)
    bound = await bound_sockets("127.0.0.1", 0)
    listener = Listener(
        bound, made.server, Limits(**everything), tls=lambda: tls, faults=ClientFaults(made.count)
    )
    made.address = listener.addresses[0]
    running = asyncio.create_task(listener.run())
    try:
        yield made
    finally:
        running.cancel()
        await asyncio.wait([running])
        await made.server.shutdown(1)


async def opened(
    served: Served, sent: bytes = b"", *, source: str = "127.0.0.1", tls=None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection that reads nothing by itself."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.bind((source, 0))
    made.setblocking(False)
    await asyncio.get_running_loop().sock_connect(made, served.address)
    reader, writer = await asyncio.open_connection(
        sock=made, limit=1024, ssl=tls, server_hostname="localhost" if tls else None
    )
    writer.write(sent)
    await writer.drain()
    return reader, writer


async def status(reader: asyncio.StreamReader) -> int:
    """Return the status of the next answer, 0 if the connection ended."""
    try:
        line = await asyncio.wait_for(reader.readline(), 60)
        return int(line.split()[1]) if line else 0
    except ConnectionError:
        return 0


# --- faults of clients


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


# --- who gives way


async def large(_: web.BaseRequest) -> web.Response:
    return web.Response(body=b"x" * 8_000_000)


async def test_what_clients_do_not_read_is_bounded_in_all(monkeypatch):
    monkeypatch.setattr(request_limits, "UNREAD_SECONDS", 0.0)
    async with served(large, unsent_bytes=30_000_000) as made:
        greedy = [await opened(made, ASK % b"", source="127.0.0.2") for _ in range(60)]
        most = 30_000_000 // 8_000_000
        await until(lambda: 0 < made.connections() <= most + 1, what="the others end")
        assert made.unsent_bytes() <= 2 * SLICE_BYTES * made.connections()
        reader, writer = await opened(made, ASK % b"", source="127.0.0.3")
        assert await status(reader) == 200
        greedy.append((reader, writer))
        for _, writer in greedy:
            writer.transport.abort()


async def test_an_answer_is_forgotten_once_it_is_sent():
    answers = []

    async def handler(_: web.BaseRequest) -> web.Response:
        answers.append(web.Response(body=b"x" * 1_000_000))
        return answers[-1]

    async with served(handler) as made:
        # The connection stays open, and asks for nothing more.
        reader, writer = await asyncio.open_connection(*made.address)
        writer.write(ASK % b"")
        assert await status(reader) == 200
        await until(lambda: answers[0].body is None, what="the end of the body")
        while await reader.readline() != b"\r\n":
            pass
        assert len(await reader.readexactly(1_000_000)) == 1_000_000
        writer.write(ASK % b"")
        assert await status(reader) == 200
        writer.transport.abort()


async def test_a_request_counts_until_its_answer_is_sent(monkeypatch):
    monkeypatch.setattr(request_limits, "UNREAD_SECONDS", 60.0)
    async with served(large, requests=2) as made:
        held = [await opened(made, ASK % b"") for _ in range(2)]
        for reader, _ in held:
            assert await status(reader) == 200
        third, third_writer = await opened(made, ASK % b"")
        assert await status(third) == 503
        # Whoever comes from elsewhere has nothing yet, and takes the place of one that has more.
        other, other_writer = await opened(made, ASK % b"", source="127.0.0.2")
        assert await status(other) == 200
        await until(lambda: made.connections() == 3, what="the end of one")
        for _, writer in (*held, (third, third_writer), (other, other_writer)):
            writer.transport.abort()


async def test_an_answer_that_nobody_reads_gives_way_to_anybody(monkeypatch):
    monkeypatch.setattr(request_limits, "UNREAD_SECONDS", 0.0)
    async with served(large, requests=1) as made:
        _, first = await opened(made, ASK % b"")
        reader, second = await opened(made, ASK % b"")
        assert await status(reader) == 200
        await until(lambda: made.connections() == 1, what="the end of the first")
        first.transport.abort()
        second.transport.abort()


async def test_of_too_many_connections_those_of_the_greediest_address_end():
    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(text="ok")

    async with served(handler, connections=10) as made:
        innocent, writer = await opened(made, source="127.0.0.3")
        greedy = [await opened(made, source="127.0.0.2") for _ in range(40)]
        await until(lambda: made.connections() <= 10, what="the others end")
        # It was silent for longest, and is there yet.
        writer.write(ASK % b"")
        assert await status(innocent) == 200
        for _, one in (*greedy, (innocent, writer)):
            one.transport.abort()


async def test_without_a_file_for_a_connection_the_greediest_address_gives_one_back(
    monkeypatch, caplog
):
    monkeypatch.setattr(listening, "PAUSE_SECONDS", 0.01)
    loop = asyncio.get_running_loop()
    real, full = loop.sock_accept, [False]

    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(text="ok")

    async with served(handler) as made:

        async def accept(bound):
            if full[0] and made.connections() >= 5:
                raise OSError(errno.EMFILE, "Too many open files")
            return await real(bound)

        greedy = [await opened(made, source="127.0.0.2") for _ in range(5)]
        await until(lambda: made.connections() == 5)
        full[0] = True
        monkeypatch.setattr(loop, "sock_accept", accept)
        for _ in range(3):
            # The accept that is under way already is one that succeeds.
            assert b" 200 " in await answer_to(made.address, ASK_ONCE)
            greedy.append(await opened(made, source="127.0.0.2"))
        for _, one in greedy:
            one.transport.abort()
    assert len([one for one in caplog.records if "cannot be accepted" in one.message]) <= 1


async def test_a_crowd_at_one_address_costs_another_no_more_than_a_few_requests():
    order: list[str] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        order.append(request.path)
        return web.Response(text="ok")

    async with served(handler) as made:
        greedy = [await opened(made, source="127.0.0.2") for _ in range(100)]
        modest = await opened(made)
        # All at once, the modest one last.
        for _, writer in greedy:
            writer.write(ASK % b"greedy")
        modest[1].write(ASK % b"modest")
        assert await status(modest[0]) == 200
        assert order.index("/modest") < 30
        await until(lambda: len(order) == 101, what="all are answered")
        for _, writer in (*greedy, modest):
            writer.transport.abort()


async def test_requests_in_one_piece_take_turns_with_other_connections():
    order: list[str] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        order.append(request.path)
        return web.Response(text="ok")

    async with served(handler) as made:
        greedy = await opened(made, (ASK % b"greedy") * 500)
        modest = await opened(made, ASK % b"modest")
        assert await status(modest[0]) == 200
        assert order.index("/modest") < 400
        for _, writer in (greedy, modest):
            writer.transport.abort()


async def test_a_web_server_that_has_ended_by_an_error_has_no_addresses():
    limits = Limits(connections=1, idle_seconds=10, request_bytes=1000)
    server = WebServer(host="127.0.0.1", port=0, limits=limits)
    with contextlib.suppress(RuntimeError):
        async with server.opened(web.Application()):
            assert len(server.addresses) == 1
            raise RuntimeError
    assert server.addresses == ()
