# SPDX-License-Identifier: Apache-2.0
"""The exporter's gRPC call at a socket behind which anything may answer."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager, suppress

import pytest
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
)

from exporter.podresources.client import PodResourcesClient, PodResourcesError
from exporter.podresources.grpc_answer import GrpcError, framed
from exporter.podresources.unary_call import Channel

MAX_BYTES = 1024 * 1024
# What the peer's side of a socket may take that the exporter never reads.
MAX_FLOOD_BYTES = 2 * 1024 * 1024
GRPC_HEADERS = ((":status", "200"), ("content-type", "application/grpc"))


def headers(*fields, end=False, continued=False):
    flags = [*(() if continued else ("END_HEADERS",)), *(("END_STREAM",) if end else ())]
    return HeadersFrame(1, data=Encoder().encode(fields), flags=flags).serialize()


def data(content, *, end=False):
    return DataFrame(1, data=content, flags=["END_STREAM"] if end else []).serialize()


def trailers(*fields):
    return headers(*fields, end=True)


SETTINGS = SettingsFrame(0).serialize()
UNKNOWN = b"\0\0\3\xfa\0\0\0\0\0new"
"""A frame of a type to come."""
BEGIN = SETTINGS + headers(*GRPC_HEADERS)
OK = trailers(("grpc-status", "0"))
ANSWER = BEGIN + data(framed(b"message")) + OK


class Peer:
    """Sends `once`, then `again` for as long as it is read, and closes at once if `closes`."""

    def __init__(self, once, again=b"", *, closes=False):
        self.once, self.again, self.closes = once, again, closes
        self.sent_bytes = 0
        self.is_reached, self.is_left = asyncio.Event(), asyncio.Event()

    async def serve(self, reader, writer):
        self.is_reached.set()
        try:
            writer.write(self.once)
            while self.again:
                writer.write(self.again)
                self.sent_bytes += len(self.again)
                await writer.drain()
            while not self.closes and await reader.read(65536):
                pass
        except ConnectionError:
            pass
        finally:
            self.is_left.set()
            writer.close()


@asynccontextmanager
async def listening(socket_path, peer):
    server = await asyncio.start_unix_server(peer.serve, socket_path)
    try:
        yield
        # A peer that is not read any more has to notice that it was left.
        async with asyncio.timeout(60):
            await peer.is_left.wait()
    finally:
        server.close()


async def call(socket_path, peer, *, timeout_seconds=60):
    async with listening(socket_path, peer):
        return await Channel(socket_path).call(
            "/a.B/C", b"", timeout_seconds=timeout_seconds, max_bytes=MAX_BYTES
        )


async def error(socket_path, peer, **options):
    with pytest.raises(GrpcError) as caught:
        await call(socket_path, peer, **options)
    return caught.value


async def test_an_answer_in_one_piece(socket_path):
    assert await call(socket_path, Peer(ANSWER)) == b"message"


async def test_an_answer_byte_by_byte(socket_path):
    class Slow(Peer):
        async def serve(self, reader, writer):
            for number in range(len(ANSWER)):
                writer.write(ANSWER[number : number + 1])
                await writer.drain()
            self.is_left.set()
            writer.close()

    assert await call(socket_path, Slow(b"")) == b"message"


async def test_what_is_there_beside_the_answer_does_no_harm(socket_path):
    padded = DataFrame(1, data=framed(b"message"), pad_length=200, flags=["PADDED"]).serialize()
    once = b"".join(
        [
            SettingsFrame(0, settings={SettingsFrame.MAX_CONCURRENT_STREAMS: 1}).serialize(),
            SettingsFrame(0, flags=["ACK"]).serialize(),
            PingFrame(0, opaque_data=b"12345678").serialize(),
            UNKNOWN,
            headers((":status", "103")),
            headers(*GRPC_HEADERS),
            PriorityFrame(1, depends_on=0, stream_weight=1).serialize(),
            data(b""),
            padded,
            OK,
        ]
    )
    assert await call(socket_path, Peer(once)) == b"message"


async def test_the_status_comes_without_a_message(socket_path):
    once = SETTINGS + headers(
        *GRPC_HEADERS, ("grpc-status", "8"), ("grpc-message", "rejected by%20rate limit"), end=True
    )
    caught = await error(socket_path, Peer(once))
    assert (caught.code, caught.details) == ("RESOURCE_EXHAUSTED", "rejected by rate limit")


@pytest.mark.parametrize(
    ("once", "code"),
    [
        pytest.param(b"", "UNAVAILABLE", id="nothing"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", "UNAVAILABLE", id="HTTP/1.1"),
        pytest.param(BEGIN, "UNAVAILABLE", id="headers only"),
        pytest.param(BEGIN + data(framed(b"message"))[:-1], "UNAVAILABLE", id="half a frame"),
        pytest.param(BEGIN + data(framed(b"message")), "UNAVAILABLE", id="no trailers"),
    ],
)
async def test_a_connection_that_closes_early(socket_path, once, code):
    assert (await error(socket_path, Peer(once, closes=True))).code == code


@pytest.mark.parametrize(
    ("once", "code"),
    [
        pytest.param(BEGIN + data(framed(b"message")[:-1]) + OK, "INTERNAL", id="truncated"),
        pytest.param(BEGIN + OK, "INTERNAL", id="no message"),
        pytest.param(
            BEGIN + data(framed(b"message"), end=True), "UNKNOWN", id="no status at the end"
        ),
        pytest.param(
            BEGIN + data(b"\0" + (MAX_BYTES + 1).to_bytes(4, "big")),
            "RESOURCE_EXHAUSTED",
            id="announces too much",
        ),
        pytest.param(SETTINGS + headers((":status", "503")), "UNAVAILABLE", id="HTTP 503"),
        pytest.param(SETTINGS + data(framed(b"message")), "INTERNAL", id="data before headers"),
        pytest.param(SETTINGS + headers(("a", "b")), "INTERNAL", id="no HTTP status"),
        pytest.param(
            SETTINGS + HeadersFrame(1, data=b"\xff" * 30, flags=["END_HEADERS"]).serialize(),
            "INTERNAL",
            id="headers that do not decode",
        ),
        pytest.param(
            BEGIN + RstStreamFrame(1, error_code=7).serialize(), "UNAVAILABLE", id="refused"
        ),
        pytest.param(BEGIN + RstStreamFrame(1, error_code=8).serialize(), "CANCELLED", id="reset"),
        pytest.param(SETTINGS + GoAwayFrame(0).serialize(), "UNAVAILABLE", id="goes away"),
        pytest.param(
            SETTINGS
            + PushPromiseFrame(
                1, promised_stream_id=2, data=Encoder().encode(GRPC_HEADERS), flags=["END_HEADERS"]
            ).serialize(),
            "INTERNAL",
            id="push",
        ),
        pytest.param(SETTINGS + data(b"x" * 20_000), "INTERNAL", id="a frame too long"),
        pytest.param(
            SETTINGS + headers(*GRPC_HEADERS, *[("a", "b" * 4000)] * 30),
            "INTERNAL",
            id="small headers that become large",
        ),
        pytest.param(
            SETTINGS + b"\0\0\x08\x06\0\0\0\0\x03" + bytes(8), "INTERNAL", id="a stream's ping"
        ),
    ],
)
async def test_an_answer_that_is_none(socket_path, once, code):
    assert (await error(socket_path, Peer(once))).code == code


def _settings_of(number):
    return SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: number}).serialize()


@pytest.mark.parametrize(
    ("once", "again"),
    [
        pytest.param(SETTINGS, PingFrame(0).serialize() * 100, id="pings"),
        pytest.param(b"", SETTINGS * 100, id="empty settings"),
        pytest.param(b"", _settings_of(1) + _settings_of(2), id="settings"),
        pytest.param(SETTINGS, UNKNOWN * 100, id="unknown"),
        pytest.param(BEGIN, data(b"") * 100, id="empty data"),
        pytest.param(
            BEGIN + data(framed(b"x" * MAX_BYTES)[:5]), data(b"x") * 100, id="data in bytes"
        ),
        pytest.param(SETTINGS, headers((":status", "103")), id="informational headers"),
        pytest.param(
            SETTINGS + headers(*GRPC_HEADERS, continued=True),
            ContinuationFrame(1, data=b"").serialize(),
            id="continuations without content",
        ),
        pytest.param(
            SETTINGS + headers(*GRPC_HEADERS, continued=True),
            ContinuationFrame(1, data=b"\0" * 16_000).serialize(),
            id="large continuations",
        ),
        pytest.param(BEGIN + data(framed(b"message")), data(b"x" * 16_000), id="data without end"),
    ],
)
async def test_a_flood_ends_the_call(socket_path, once, again):
    peer = Peer(once, again)
    assert (await error(socket_path, peer)).code == "INTERNAL"
    assert peer.sent_bytes < MAX_FLOOD_BYTES


async def test_a_peer_that_stalls(socket_path):
    caught = await error(socket_path, Peer(BEGIN), timeout_seconds=0.1)
    assert caught.code == "DEADLINE_EXCEEDED"


async def test_a_cancelled_call_leaves_its_connection(socket_path):
    peer = Peer(BEGIN)
    async with listening(socket_path, peer):
        task = asyncio.create_task(
            Channel(socket_path).call("/a.B/C", b"", timeout_seconds=60, max_bytes=MAX_BYTES)
        )
        await peer.is_reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_whatever_bytes_come_they_are_a_message_or_an_error(socket_path):
    chance = random.Random(4)
    outcomes = set()
    for _ in range(300):
        garbled = bytearray(ANSWER)
        for _ in range(chance.randint(1, 4)):
            garbled[chance.randrange(len(garbled))] = chance.randrange(256)
        with suppress(GrpcError):
            await call(socket_path, Peer(bytes(garbled), closes=True))
            outcomes.add("message")
            continue
        outcomes.add("error")
    assert outcomes == {"message", "error"}


async def test_the_client_names_the_code(socket_path):
    client = PodResourcesClient(socket_path, (), node_name="")
    async with listening(socket_path, Peer(SETTINGS + GoAwayFrame(0).serialize())):
        with pytest.raises(PodResourcesError) as caught:
            await client.list_pods()
    assert caught.value.code == "UNAVAILABLE"
