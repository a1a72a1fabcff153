"""Lets requests in at a server that waits for no client.

Answers are read within a time or the connection ends, connections on which nothing begins end, who
says more than a request takes is cut off, and of too many connections the one goes that was silent
longest: whoever means it gets in, whoever else is there.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

MAX_CONNECTIONS: Final = 512
IDLE_SECONDS: Final = 60.0
"""Longer than the intervals at which Prometheus users scrape."""
READ_SECONDS: Final = 20.0
"""How long a client may take to read what does not fit the socket's buffer."""
REAP_SECONDS: Final = 1.0
MAX_LARGE: Final = 4

Request = TypeVar("Request", bound=web.BaseRequest)


class Caller(web.RequestHandler):
    """One connection, which says no more than a request takes."""

    __slots__ = ("_max_request_bytes", "_received_bytes", "asked_seconds")

    def __init__(self, server: web.Server, *, max_request_bytes: int, **options: Any) -> None:
        """Take `options` as aiohttp's RequestHandler does."""
        super().__init__(server, **options)
        self._max_request_bytes = max_request_bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to count."""
        self.note_request()
        super().connection_made(transport)

    def note_request(self) -> None:
        """Remember that a request begins now (monotonic)."""
        self.asked_seconds = time.monotonic()
        self._received_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Of headers the library bounds each one and their number, not what they are together."""
        super().data_received(data)
        self._received_bytes += len(data)
        if self._received_bytes > self._max_request_bytes and self.transport is not None:
            self.transport.abort()


class Gate:
    """Lets requests in, and ends connections that do not go on.

    Answers at `large_paths` are made a few at a time.
    """

    def __init__(
        self,
        *,
        max_connections: int = MAX_CONNECTIONS,
        idle_seconds: float = IDLE_SECONDS,
        read_seconds: float = READ_SECONDS,
        large_paths: Collection[str] = (),
    ) -> None:
        self.max_connections = max_connections
        self._idle_seconds = idle_seconds
        self._read_seconds = read_seconds
        self._large_paths = large_paths
        self._large = 0

    async def handle(
        self, request: Request, handler: Callable[[Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Answer, and see to it that the client reads the answer in time."""
        assert isinstance(request.protocol, Caller)
        request.protocol.note_request()
        large = request.path in self._large_paths
        if large and self._large >= MAX_LARGE:
            return web.Response(
                status=503,
                text=f"{MAX_LARGE} answers of this size are under way; try again later\n",
                headers={"Retry-After": "1"},
            )
        self._large += large
        try:
            response = await handler(request)
            await self._send(request, response)
        finally:
            self._large -= large
        return response

    async def _send(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Send all of it here: after a handler nobody watches the time."""
        try:
            async with asyncio.timeout(self._read_seconds):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()

    async def reap(self, runner: web.BaseRunner) -> None:
        """End idle connections, and the most idle ones of too many, until cancelled."""
        while True:
            await asyncio.sleep(REAP_SECONDS)
            self.end_idle(runner)

    def end_idle(self, runner: web.BaseRunner) -> None:
        """End what is idle for too long now."""
        now = time.monotonic()
        connections = runner.server.connections if runner.server is not None else []
        callers = [one for one in connections if isinstance(one, Caller)]
        callers.sort(key=lambda one: one.asked_seconds)
        too_many = len(callers) - self.max_connections
        for number, caller in enumerate(callers):
            idle = now - caller.asked_seconds > self._idle_seconds
            if (idle or number < too_many) and caller.transport is not None:
                # Not close(), which would wait for a client that does not read.
                caller.transport.abort()
