# SPDX-License-Identifier: Apache-2.0
"""Callers of the metrics API that do not go on, come in crowds, or send what is no request."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING

import aiohttp
import pytest

from scaler.metricsapi.server import LIMITS, MAX_PATH_LENGTH
from tests.listeningclients import BROKEN_GZIP, NO_HTTP, answer_to
from tests.metricsapidoor import HOST, PODS, Door, running_door
from tests.waiting import until

if TYPE_CHECKING:
    from tests.cluster.certificates import Certificate

ASK = f"GET {PODS} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


async def connected(
    door: Door,
    sent: bytes = b"",
    *,
    tls: bool = True,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = door.url.removeprefix("https://").split(":")
    context = None
    if tls:
        context = ssl.create_default_context(cadata=door.bundle)
    reader, writer = await asyncio.open_connection(
        host, int(port), ssl=context, server_hostname=HOST if tls else None, limit=1024
    )
    writer.write(sent)
    await writer.drain()
    return reader, writer


async def is_ended(reader: asyncio.StreamReader) -> bool:
    try:
        return not await reader.read(1000)
    except (ConnectionError, ssl.SSLError):
        return True


async def is_ended_for_good(reader: asyncio.StreamReader) -> bool:
    while not await is_ended(reader):
        pass
    return True


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="says nothing"),
        pytest.param(ASK[:-10], id="stops within its headers"),
        pytest.param(ASK, id="asks for nothing more"),
    ],
)
async def test_a_caller_that_does_not_go_on_is_disconnected(tmp_path, sent):
    async with running_door(tmp_path, idle_seconds=0.2) as door:
        reader, writer = await connected(door, sent)
        await until(lambda: is_ended(reader), what="the end of the connection")
        writer.transport.abort()


async def test_a_handshake_that_does_not_go_on_ends(tmp_path):
    async with running_door(tmp_path, handshake_seconds=0.2) as door:
        # The beginning of a greeting, and nothing at all.
        for sent in (b"\x16\x03\x01\x02\x00\x01", b""):
            reader, writer = await connected(door, sent, tls=False)
            await until(lambda reader=reader: is_ended(reader), what="the end")  # type: ignore[misc]
            writer.transport.abort()


async def test_of_too_many_handshakes_the_oldest_go(tmp_path):
    async with running_door(tmp_path, handshake_seconds=60) as door:
        held = [await connected(door, tls=False) for _ in range(LIMITS.handshakes + 20)]
        ends = [asyncio.create_task(is_ended(reader)) for reader, _ in held]
        await until(lambda: sum(end.done() for end in ends) >= 20, what="20 ends")
        alice = door.cluster.issue("alice")
        assert (await door.get(certificate=alice))[0] == 200
        assert all(end.done() for end in ends[:20])
        assert not any(end.done() for end in ends[30:])
        await _let_go(held, ends)


async def test_of_too_many_connections_the_longest_silent_go_at_once(tmp_path):
    async with running_door(tmp_path, connections=10, idle_seconds=60) as door:
        held = [await connected(door) for _ in range(30)]
        ends = [asyncio.create_task(is_ended(reader)) for reader, _ in held]
        await until(lambda: sum(end.done() for end in ends) >= 20, what="20 ends")
        alice = door.cluster.issue("alice")
        assert (await door.get(certificate=alice))[0] == 200
        assert not any(end.done() for end in ends[25:])
        await _let_go(held, ends)


async def test_a_caller_that_does_not_read_is_disconnected(tmp_path):
    async with running_door(tmp_path, read_seconds=0.2) as door:
        alice = door.cluster.issue("alice")
        with await asyncio.to_thread(_never_reading, door, alice) as caller:
            await until(
                lambda: asyncio.to_thread(_has_ended, caller), what="the end of the connection"
            )

        async def is_served() -> bool:
            try:
                return bool((await door.get(certificate=alice))[0] == 200)
            except aiohttp.ClientError:
                # This machine may be slower than the caller may be.
                return False

        await until(is_served, what="an answer to somebody else")


def _never_reading(door: Door, certificate: Certificate) -> ssl.SSLSocket:
    """A connection of a plain socket: asyncio's waits for what it has not read before it ends."""
    host, port = door.url.removeprefix("https://").split(":")
    context = ssl.create_default_context(cadata=door.bundle)
    context.load_cert_chain(certificate.certificate, certificate.key)
    own = socket.socket()
    # With little room at the caller a few answers fill the way to it.
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    own.connect((host, int(port)))
    secured = context.wrap_socket(own, server_hostname=HOST)
    secured.settimeout(0.1)
    return secured


def _has_ended(caller: ssl.SSLSocket) -> bool:
    try:
        caller.send(ASK * 100)
    except TimeoutError:
        return False
    except OSError:
        return True
    return False


@pytest.mark.parametrize(
    "beginning",
    [
        pytest.param(ASK[:-2], id="headers"),
        pytest.param(ASK[:-2] + b"Content-Length: 10000000\r\n\r\n", id="a body"),
    ],
)
async def test_who_says_more_than_a_request_takes_is_disconnected(tmp_path, beginning):
    async with running_door(tmp_path) as door:
        reader, writer = await connected(door, beginning)
        ended = asyncio.create_task(is_ended_for_good(reader))
        for n in range(100):
            # Each is as long as it may be, and so many are not too many.
            writer.write(f"X-{n}: {'a' * 4000}\r\n".encode())
            try:
                await writer.drain()
            except ConnectionError:
                break
        await until(ended.done, what="the end of the connection")
        writer.transport.abort()


async def test_a_user_may_be_in_many_groups(tmp_path):
    async with running_door(tmp_path) as door:
        groups = [f"group-{n}" for n in range(500)]
        headers = [("X-Remote-User", "alice"), *(("X-Remote-Group", group) for group in groups)]
        proxy = door.front_proxy.issue("front-proxy-client")
        assert (await door.get(certificate=proxy, headers=headers))[0] == 200
        (review,) = door.kubernetes.asked
        assert review["spec"]["groups"] == groups


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(
            b"GET /apis HTTP/1.1\r\nAuthorization: Bearer \xff\xfe\r\n", 401, id="a token"
        ),
        pytest.param(b"GET /\xff HTTP/1.1\r\n", 400, id="a path that is no text"),
        pytest.param(b"\x00\x01\x02 / HTTP/1.1\r\n", 400, id="no method"),
        pytest.param(b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n", 400, id="too long a line"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n", 400, id="a header"),
        pytest.param(
            b"POST /apis HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n",
            400,
            id="a body that is not packed",
        ),
    ],
)
async def test_what_is_no_request_fills_no_log(tmp_path, caplog, sent, status):
    async with running_door(tmp_path) as door:
        caplog.clear()
        ended = b"Host: x\r\nConnection: close\r\n\r\n" + (b"ab" if b"gzip" in sent else b"")
        reader, writer = await connected(door, sent + ended)
        assert int((await reader.read()).split()[1]) == status
        writer.transport.abort()
        assert [record.message for record in caplog.records if record.levelno > 20] == []


@pytest.mark.parametrize("host", ["", "::"])
async def test_all_addresses_are_those_of_both_families(tmp_path, host):
    async with running_door(tmp_path, bound_to=host) as door:
        port = int(door.url.rpartition(":")[2])
        tls = ssl.create_default_context(cadata=door.bundle)
        ask = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        for address in ("127.0.0.1", "::1"):
            assert b" 200 " in await answer_to((address, port), ask, tls, HOST)


async def test_what_callers_break_is_a_count_and_one_line(tmp_path, caplog):
    caplog.set_level("INFO", logger="toolkit")
    async with running_door(tmp_path) as door:
        host, port = door.url.removeprefix("https://").split(":")
        tls = ssl.create_default_context(cadata=door.bundle)

        def count() -> float | None:
            return door.registry.get_sample_value("gpu_scaler_metrics_api_client_errors_total")

        assert count() == 0
        for sent in (BROKEN_GZIP % b"/apis", NO_HTTP) * 5:
            await answer_to((host, int(port)), sent, tls, HOST)
        await until(lambda: count() == 10, what="all are counted")
        (record,) = [
            one for one in caplog.records if one.name == "toolkit.listening.client_connection"
        ]
        assert (record.levelname, record.exc_info) == ("INFO", None)
        assert [one for one in caplog.records if one.levelno > 20] == []


async def test_a_path_that_is_too_long_is_neither_reviewed_nor_remembered(tmp_path):
    async with running_door(tmp_path) as door:
        alice = door.cluster.issue("alice")
        path = PODS.replace("default", "a" * MAX_PATH_LENGTH)
        assert (await door.get(path))[0] == 401
        status, answer = await door.get(path, certificate=alice)
        assert (status, answer["reason"]) == (414, "RequestURITooLong")
        assert door.kubernetes.asked == []
        # A long selector is another thing.
        selector = ",".join(f"{n:060}={n:060}" for n in range(64))
        path = f"{PODS}?labelSelector={selector}"
        assert (await door.get(path, certificate=alice))[0] == 200


async def _let_go(
    held: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]], ends: list[asyncio.Task[bool]]
) -> None:
    for end in ends:
        end.cancel()
    await asyncio.gather(*ends, return_exceptions=True)
    for _, writer in held:
        writer.transport.abort()
