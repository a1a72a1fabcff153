# SPDX-License-Identifier: Apache-2.0
"""One unary gRPC call over a unix socket, on a connection of its own.

A connection costs less than the call, and one that is kept may be to a kubelet that has since
restarted. gRPC's own library takes 10 MB of memory and several threads for the same.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from exporter.podresources.grpc_answer import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    UNAVAILABLE,
    GrpcAnswer,
    GrpcError,
    framed,
    reset_error,
)

if TYPE_CHECKING:
    from h2.events import Event

# Decoded without a pause for others on the event loop.
_READ_BYTES: Final = 16 * 1024
# What the server may send before it hears that we took it; most nodes' answers are smaller.
_WINDOW_BYTES: Final = 1024 * 1024
# What a server may send beside the message: headers, settings, pings, the headers of frames. It
# bounds the number of frames too: servers fill theirs with up to 16 KiB.
_MAX_OVERHEAD_BYTES: Final = 64 * 1024
_MESSAGE_BYTES_PER_OVERHEAD_BYTE: Final = 64


async def unary_call(
    socket_path: str, method: str, request: bytes, *, timeout_seconds: float, max_bytes: int
) -> bytes:
    """Return the answer to `request`, a message of at most `max_bytes`; raises GrpcError."""
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _call(socket_path, _headers(method, timeout_seconds), request, max_bytes)
    except TimeoutError as error:
        message = f"no answer within {timeout_seconds:g} s"
        raise GrpcError(DEADLINE_EXCEEDED, message) from error
    except ProtocolError as error:
        raise GrpcError(INTERNAL, f"the answer is not HTTP/2: {error}") from error
    except OSError as error:
        raise GrpcError(UNAVAILABLE, f"{socket_path}: {error.strerror or error}") from error


def _headers(method: str, timeout_seconds: float) -> list[tuple[str, str]]:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        # Go servers refuse the path of a socket.
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("grpc-timeout", f"{max(1, round(timeout_seconds * 1000))}m"),
        ("user-agent", "gpu-exporter"),
    ]


async def _call(
    socket_path: str, headers: list[tuple[str, str]], request: bytes, max_bytes: int
) -> bytes:
    reader, writer = await asyncio.open_unix_connection(socket_path, limit=_READ_BYTES)
    try:
        call = _Call(headers, request, max_bytes)
        while not call.has_ended:
            writer.write(call.to_send())
            await writer.drain()
            received = await reader.read(_READ_BYTES)
            if not received:
                raise GrpcError(UNAVAILABLE, "the server closed the connection before it answered")
            call.on_received(received)
        return call.answer.message()
    finally:
        writer.transport.abort()


class _Call:
    """Both sides' bytes of one call; without I/O."""

    def __init__(self, headers: list[tuple[str, str]], request: bytes, max_bytes: int) -> None:
        connection = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        connection.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW_BYTES,
            },
        )
        self._connection = connection
        self._received_bytes = self._message_bytes = 0
        self.answer = GrpcAnswer(max_bytes)
        self.has_ended = False
        connection.initiate_connection()
        connection.increment_flow_control_window(_WINDOW_BYTES)
        self._stream_id = connection.get_next_available_stream_id()
        connection.send_headers(self._stream_id, headers)
        connection.send_data(self._stream_id, framed(request), end_stream=True)

    def to_send(self) -> bytes:
        """Return what the server must get before it answers further."""
        return self._connection.data_to_send()

    def on_received(self, received: bytes) -> None:
        """Take bytes of the server; raises GrpcError and h2's ProtocolError."""
        self._received_bytes += len(received)
        for event in self._connection.receive_data(received):
            self._on_event(event)
            if self.has_ended:
                return
        allowance = _MAX_OVERHEAD_BYTES + self._message_bytes // _MESSAGE_BYTES_PER_OVERHEAD_BYTE
        if self._received_bytes - self._message_bytes > allowance:
            raise GrpcError(INTERNAL, "the server sends too much beside its answer")

    def _on_event(self, event: Event) -> None:
        if isinstance(event, DataReceived):
            self._message_bytes += len(event.data)
            self.answer.on_data(event.data)
            self._connection.acknowledge_received_data(
                event.flow_controlled_length, self._stream_id
            )
        elif isinstance(event, ResponseReceived):
            self.answer.on_headers(event.headers)
        elif isinstance(event, TrailersReceived):
            self.answer.on_trailers(event.headers)
        elif isinstance(event, StreamEnded):
            self.has_ended = True
        elif isinstance(event, StreamReset):
            raise reset_error(int(event.error_code))
        elif isinstance(event, ConnectionTerminated):
            message = f"the server ends the connection with error {int(event.error_code or 0)}"
            raise GrpcError(UNAVAILABLE, message)
