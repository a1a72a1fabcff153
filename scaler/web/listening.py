"""The listening end of the status server, which waits for no client: probes and Prometheus get in.

Large answers are made a few at a time.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from aiohttp import web

from scaler.gate import Caller, Gate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aiohttp.typedefs import Handler

MAX_REQUEST_BYTES: Final = 32 * 1024
LARGE_PATHS: Final = ("/api/v1/decisions", "/metrics")


def why_not_bound(error: OSError) -> str:
    """Return the system's own words, without asyncio's around them."""
    if error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)


@asynccontextmanager
async def listening(
    app: web.Application, host: str, port: int, gate: Gate | None = None
) -> AsyncIterator[Sequence[tuple[str, int]]]:
    """Serve `app` while the context lasts; yield the addresses. An empty host is all of them.

    Raises:
        OSError: the address cannot be bound.
    """
    let_in = gate or Gate(large_paths=LARGE_PATHS)

    @web.middleware
    async def through_the_gate(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await let_in.handle(request, handler)

    app.middlewares.insert(0, through_the_gate)
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    assert runner.server is not None
    loop = asyncio.get_running_loop()
    caller = partial(
        Caller, runner.server, loop=loop, access_log=None, max_request_bytes=MAX_REQUEST_BYTES
    )
    try:
        server = await loop.create_server(caller, host or None, port)
        reaping = asyncio.create_task(let_in.reap(runner))
        try:
            yield [one.getsockname()[:2] for one in server.sockets]
        finally:
            reaping.cancel()
            server.close()
    finally:
        await runner.cleanup()
