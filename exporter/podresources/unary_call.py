# SPDX-License-Identifier: Apache-2.0
"""Unary gRPC calls over a unix socket, one at a time.

gRPC's own library takes 10 MB of memory and several threads for the same.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
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
    from collections.abc import Iterator

    from h2.events import Event

# Decoded without a pause for others on the event loop.
_READ_BYTES: Final = 16 * 1024
# What the server may send before it hears that we took it; most nodes' answers are smaller.
_WINDOW_BYTES: Final = 1024 * 1024
# What a server may send beside the message: headers, settings, pings, the headers of frames. It
# bounds the number of frames too: servers fill theirs with up to 16 KiB.
_MAX_OVERHEAD_BYTES: Final = 64 * 1024
_MESSAGE_BYTES_PER_OVERHEAD_BYTE: Final = 64


class _LostError(Exception):
    """The connection has ended before the answer."""


class Channel:
    """Calls of one server, one at a time; each has a connection of its own unless it is kept."""

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path
        self._keeps = False
        self._kept: _Connection | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the connection from one call to the next while the context lasts.

        To make one takes as long as the rest of a call.
        """
        self._keeps = True
        try:
            yield
        finally:
            self._keeps = False
            if self._kept is not None:
                self._kept.close()
                self._kept = None

    async def call(
        self, method: str, request: bytes, *, timeout_seconds: float, max_bytes: int
    ) -> bytes:
        """Return the answer to `request`, a message of at most `max_bytes`; raises GrpcError."""
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._call(_headers(method, timeout_seconds), request, max_bytes)
        except TimeoutError as error:
            message = f"no answer within {timeout_seconds:g} s"
            raise GrpcError(DEADLINE_EXCEEDED, message) from error
        except ProtocolError as error:
            raise GrpcError(INTERNAL, f"the answer is not HTTP/2: {error}") from error
        except _LostError as error:
            raise GrpcError(UNAVAILABLE, str(error)) from error
        except OSError as error:
            message = f"{self._socket_path}: {error.strerror or error}"
            raise GrpcError(UNAVAILABLE, message) from error

    async def _call(self, headers: list[tuple[str, str]], request: bytes, max_bytes: int) -> bytes:
        kept, self._kept = self._kept, None
        if kept is not None:
            # The server may have restarted since the last call.
            with suppress(_LostError, ProtocolError, OSError):
                return await self._call_over(kept, headers, request, max_bytes)
        connection = _Connection(
            *await asyncio.open_unix_connection(self._socket_path, limit=_READ_BYTES)
        )
        return await self._call_over(connection, headers, request, max_bytes)

    async def _call_over(
        self,
        connection: _Connection,
        headers: list[tuple[str, str]],
        request: bytes,
        max_bytes: int,
    ) -> bytes:
        is_good = False
        try:
            answer = await connection.call(headers, request, max_bytes)
            is_good = self._keeps
        finally:
            if is_good:
                self._kept = connection
            else:
                connection.close()
        return answer


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


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._http.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW_BYTES,
            },
        )
        self._http.initiate_connection()
        self._http.increment_flow_control_window(_WINDOW_BYTES)

    async def call(self, headers: list[tuple[str, str]], request: bytes, max_bytes: int) -> bytes:
        call = _Call(self._http, headers, request, max_bytes)
        while not call.has_ended:
            self._send()
            await self._writer.drain()
            received = await self._reader.read(_READ_BYTES)
            if not received:
                raise _LostError("the server closed the connection before it answered")
            call.on_received(received)
        self._send()
        return call.answer.message()

    def _send(self) -> None:
        if to_send := self._http.data_to_send():
            self._writer.write(to_send)

    def close(self) -> None:
        self._writer.transport.abort()


class _Call:
    """The answer to one call as its bytes come in; without I/O."""

    def __init__(
        self,
        connection: H2Connection,
        headers: list[tuple[str, str]],
        request: bytes,
        max_bytes: int,
    ) -> None:
        self._connection = connection
        self._received_bytes = self._message_bytes = 0
        self.answer = GrpcAnswer(max_bytes)
        self.has_ended = False
        self._stream_id = connection.get_next_available_stream_id()
        connection.send_headers(self._stream_id, headers)
        connection.send_data(self._stream_id, framed(request), end_stream=True)

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
        if getattr(event, "stream_id", None) not in (None, 0, self._stream_id):
            return  # of a call before
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
            raise _LostError(message)
