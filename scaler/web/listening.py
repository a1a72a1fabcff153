"""The status server at its address: probes and Prometheus get in, whoever else is there."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiohttp import web

from toolkit.listening.client_connection import ClientFaults
from toolkit.listening.limits import Limits
from toolkit.listening.listener import Listener
from toolkit.listening.sockets import bound_sockets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

LIMITS: Final = Limits(
    connections=512,
    # Longer than the intervals at which Prometheus users scrape.
    idle_seconds=60.0,
    request_bytes=32 * 1024,
    unsent_bytes=64 * 1024 * 1024,
)


@asynccontextmanager
async def listening(
    app: web.Application,
    host: str,
    port: int,
    *,
    limits: Limits = LIMITS,
    on_client_fault: Callable[[], None] = lambda: None,
) -> AsyncIterator[Sequence[tuple[str, int]]]:
    """Serve `app` while the context lasts; yield the addresses. An empty host is all of them.

    Raises:
        OSError: the address cannot be bound.
    """
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    try:
        assert runner.server is not None
        bound = await bound_sockets(host, port)
        listener = Listener(bound, runner.server, limits, faults=ClientFaults(on_client_fault))
        running = asyncio.create_task(listener.run())
        try:
            yield listener.addresses
        finally:
            running.cancel()
            await asyncio.wait([running])
    finally:
        await runner.cleanup()
