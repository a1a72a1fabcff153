"""The listening end of the status server, which waits for no client.

Answers are read within a time or the connection ends, connections on which nothing begins end, and
of too many the one goes that was silent longest: probes and Prometheus get in whoever else is
there. Large answers are made a few at a time.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aiohttp.typedefs import Handler

MAX_CONNECTIONS: Final = 512
IDLE_SECONDS: Final = 60.0
"""Longer than the intervals at which Prometheus users scrape."""
READ_SECONDS: Final = 20.0
"""How long a client may take to read what does not fit the socket's buffer."""
REAP_SECONDS: Final = 1.0
MAX_LARGE: Final = 4
LARGE_PATHS: Final = ("/api/v1/decisions", "/metrics")


class Gate:
    """Lets requests in, and ends connections that do not go on."""

    def __init__(
        self, *, idle_seconds: float = IDLE_SECONDS, read_seconds: float = READ_SECONDS
    ) -> None:
        self._idle_seconds = idle_seconds
        self._read_seconds = read_seconds
        self._seen: dict[object, float] = {}
        self._large = 0

    @web.middleware
    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer, and see to it that the client reads the answer in time."""
        self._seen[request.protocol] = time.monotonic()
        large = request.path in LARGE_PATHS
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

    async def _send(self, request: web.Request, response: web.StreamResponse) -> None:
        """Send all of it here: after a middleware nobody watches the time."""
        try:
            async with asyncio.timeout(self._read_seconds):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()

    async def reap(self, runner: web.AppRunner) -> None:
        """End idle connections, and the most idle ones of too many, until cancelled."""
        while True:
            await asyncio.sleep(REAP_SECONDS)
            self.end_idle(runner)

    def end_idle(self, runner: web.AppRunner) -> None:
        """End what is idle for too long now."""
        now = time.monotonic()
        connections = list(runner.server.connections) if runner.server is not None else []
        self._seen = {one: self._seen.get(one, now) for one in connections}
        connections.sort(key=lambda one: self._seen[one])
        too_many = len(connections) - MAX_CONNECTIONS
        for number, connection in enumerate(connections):
            idle = now - self._seen[connection] > self._idle_seconds
            if (idle or number < too_many) and connection.transport is not None:
                # Not close(), which would wait for a client that does not read.
                connection.transport.abort()


@asynccontextmanager
async def listening(
    app: web.Application, host: str, port: int, gate: Gate | None = None
) -> AsyncIterator[Sequence[tuple[str, int]]]:
    """Serve `app` while the context lasts; yield the addresses. An empty host is all of them.

    Raises:
        OSError: the address cannot be bound.
    """
    gate = gate or Gate()
    app.middlewares.insert(0, gate.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    reaping: asyncio.Task[None] | None = None
    try:
        await web.TCPSite(runner, host or None, port).start()
        reaping = asyncio.create_task(gate.reap(runner))
        yield [(address[0], address[1]) for address in runner.addresses]
    finally:
        if reaping is not None:
            reaping.cancel()
        await runner.cleanup()
