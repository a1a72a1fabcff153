# SPDX-License-Identifier: Apache-2.0
"""Answers requests within limits for all clients: requests in progress, and unsent bytes.

A request is in progress until its whole response has been sent. Beyond a limit, the response of
the client address that has the most is ended, so that a client that does not read blocks nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.payload import Payload

from toolkit.listening.client_connection import ClientConnection, forget_frames
from toolkit.listening.fair_queue import FairQueue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.abc import AbstractStreamWriter

    from toolkit.listening.client_connection import ClientFaults
    from toolkit.listening.limits import Limits

SLICE_BYTES: Final = 64 * 1024
"""Bytes passed to a connection at a time: it copies what it cannot send at once."""
UNREAD_SECONDS: Final = 1.0
"""A response that takes longer may be ended in favour of any other request."""


@dataclass(eq=False, slots=True, kw_only=True)
class _Answer:
    client: ClientConnection
    begun_seconds: float
    unsent_bytes: int = 0


class Answering:
    """Wraps a server's handler."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        limits: Limits,
        faults: ClientFaults,
    ) -> None:
        self._handler = handler
        self._limits = limits
        self._faults = faults
        self._queue = FairQueue()
        # Oldest first.
        self._under_way: dict[_Answer, None] = {}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer the request, and send the whole response in time."""
        client = request.protocol
        assert isinstance(client, ClientConnection)
        client.note_request()
        fault = request.content.exception()
        if fault is not None:
            # The body is broken; the request takes no turn.
            client.is_faulty = True
            self._faults.note(fault)
            forget_frames(fault)
            return web.Response(status=400, text="the body does not match its headers\n")
        async with self._queue.turn(client.address):
            # One request of each address begins in a turn of the event loop.
            await asyncio.sleep(0)
        if client.transport is None:
            self._faults.note(ConnectionResetError())
            return web.Response()
        answer = _Answer(client=client, begun_seconds=time.monotonic())
        most = self._limits.requests
        if most and len(self._under_way) >= most and not self._make_way(answer):
            return _busy(f"the limit of {most} requests in progress is reached")
        self._under_way[answer] = None
        try:
            try:
                response = await self._handler(request)
            except web.HTTPException as refusal:
                response = _unraised(refusal)
            response = self._sliced(response, answer)
            await self._send(request, response)
        finally:
            self._under_way.pop(answer, None)
        return response

    def _sliced(self, response: web.StreamResponse, answer: _Answer) -> web.StreamResponse:
        body = response.body if isinstance(response, web.Response) else None
        if not isinstance(body, bytes):
            return response
        answer.unsent_bytes = len(body)
        while sum(one.unsent_bytes for one in self._under_way) > self._limits.unsent_bytes:
            if len(self._under_way) == 1 or answer not in self._under_way:
                break
            if not self._make_way(answer):
                answer.unsent_bytes = 0
                return _busy("too many bytes are waiting to be sent")
        if len(body) > SLICE_BYTES:
            assert isinstance(response, web.Response)
            response.body = _Slices(body)
        return response

    def _make_way(self, newcomer: _Answer) -> bool:
        """End another response in favour of the newcomer; return whether one could be ended."""
        others = [one for one in self._under_way if one is not newcomer]
        by_address = Counter(one.client.address for one in others)
        most = max(by_address.values(), default=0)
        now = time.monotonic()
        for one in others:
            is_greedy = by_address[one.client.address] == most
            is_fair = most > by_address[newcomer.client.address] + 1
            if is_greedy and (is_fair or now - one.begun_seconds > UNREAD_SECONDS):
                one.client.end()
                self._under_way.pop(one, None)
                return True
        return False

    async def _send(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Send the whole response here, because aiohttp has no timeout after the handler."""
        try:
            async with asyncio.timeout(self._limits.read_seconds):
                await response.prepare(request)
                await response.write_eof()
                await request.writer.drain()
        except TimeoutError:
            assert isinstance(request.protocol, ClientConnection)
            request.protocol.end()
        except ConnectionError as error:
            self._faults.note(error)
        finally:
            if isinstance(response, web.Response):
                # aiohttp keeps a response until the connection's next one.
                response.body = None


def _unraised(refusal: web.HTTPException) -> web.Response:
    """Return the same response without the frames that the exception references."""
    forget_frames(refusal)
    return web.Response(
        status=refusal.status, reason=refusal.reason, headers=refusal.headers, body=refusal.body
    )


def _busy(why: str) -> web.Response:
    return web.Response(status=503, text=f"{why}; try again later\n", headers={"Retry-After": "1"})


class _Slices(Payload):
    """A body that is written slice by slice."""

    _value: bytes

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self._size = len(body)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._value.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        body = memoryview(self._value)
        for start in range(0, len(body), SLICE_BYTES):
            await writer.write(body[start : start + SLICE_BYTES])
            await writer.drain()
