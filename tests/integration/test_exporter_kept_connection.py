# SPDX-License-Identifier: Apache-2.0
"""The connection to the kubelet that is kept from call to call, and what may befall it between."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from hpack import Encoder
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, PingFrame, SettingsFrame

from exporter.podresources.grpc_answer import GrpcError, framed
from exporter.podresources.unary_call import Channel
from tests.waiting import until

SETTINGS = SettingsFrame(0).serialize()
PING = PingFrame(0, opaque_data=bytes(8)).serialize()
GO_AWAY = GoAwayFrame(0, last_stream_id=1).serialize()


def answer(stream, *, status="0"):
    head = Encoder().encode([(":status", "200"), ("content-type", "application/grpc")])
    end = Encoder().encode([("grpc-status", status)])
    return (
        HeadersFrame(stream, data=head, flags=["END_HEADERS"]).serialize()
        + DataFrame(stream, data=framed(b"message")).serialize()
        + HeadersFrame(stream, data=end, flags=["END_HEADERS", "END_STREAM"]).serialize()
    )


class Kubelet:
    """Answers every call; `after` each answer it sends that and closes if that is None."""

    def __init__(self, after=b""):
        self.after = after
        self.status = "0"
        self.connections = self.calls = 0
        self.open = set()

    async def serve(self, reader, writer):
        self.connections += 1
        self.open.add(writer)
        writer.write(SETTINGS)
        stream = 1
        try:
            while received := await reader.read(65536):
                # An empty message, on a stream of its own.
                if (
                    DataFrame(stream, data=framed(b""), flags=["END_STREAM"]).serialize()
                    in received
                ):
                    self.calls += 1
                    writer.write(answer(stream, status=self.status) + (self.after or b""))
                    stream += 2
                    if self.after is None:
                        break
        except ConnectionError:
            pass
        finally:
            self.open.discard(writer)
            writer.close()


@asynccontextmanager
async def listening(socket_path, kubelet):
    server = await asyncio.start_unix_server(kubelet.serve, socket_path)
    try:
        yield
    finally:
        server.close()
        for writer in kubelet.open:
            writer.close()
        await until(lambda: not kubelet.open, what="all connections are closed")


@pytest.fixture
def channel(socket_path):
    return Channel(socket_path)


async def call(channel):
    return await channel.call("/a.B/C", b"", timeout_seconds=60, max_bytes=1024)


async def test_each_call_has_its_connection_unless_it_is_kept(socket_path, channel):
    kubelet = Kubelet()
    async with listening(socket_path, kubelet):
        for _ in range(3):
            assert await call(channel) == b"message"
        assert kubelet.connections == 3
        with channel.kept():
            for _ in range(3):
                assert await call(channel) == b"message"
        assert kubelet.connections == 4


@pytest.mark.parametrize(
    ("after", "connections"),
    [
        pytest.param(None, 3, id="closed"),
        pytest.param(GO_AWAY, 3, id="told to go"),
        pytest.param(PING * 3, 1, id="asked whether it is there"),
        pytest.param(SETTINGS, 1, id="other settings"),
    ],
)
async def test_whatever_befalls_it_between_two_calls_both_are_answered(
    socket_path, channel, after, connections
):
    kubelet = Kubelet(after)
    async with listening(socket_path, kubelet):
        with channel.kept():
            for _ in range(3):
                assert await call(channel) == b"message"
        assert (kubelet.calls, kubelet.connections) == (3, connections)


async def test_a_kubelet_that_restarts_is_found_at_the_next_call(socket_path, channel):
    with channel.kept():
        for _ in range(2):
            kubelet = Kubelet()
            async with listening(socket_path, kubelet):
                assert await call(channel) == b"message"
                assert kubelet.connections == 1


async def test_a_call_that_the_kubelet_refuses_is_not_made_again(socket_path, channel):
    kubelet = Kubelet()
    async with listening(socket_path, kubelet):
        with channel.kept():
            await call(channel)
            kubelet.status = "8"
            with pytest.raises(GrpcError, match="RESOURCE_EXHAUSTED"):
                await call(channel)
            assert kubelet.calls == 2
            kubelet.status = "0"
            assert await call(channel) == b"message"
