# SPDX-License-Identifier: Apache-2.0
"""A listener over a server that does what a test wants."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from toolkit.listening.client_connection import ClientFaults
from toolkit.listening.limits import Limits
from toolkit.listening.listener import Listener
from toolkit.listening.sockets import bound_sockets

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

ASK = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"
ASK_ONCE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


class Served:
    """A running listener and what it has seen."""

    def __init__(self) -> None:
        self.faults = 0
        self.address = ("127.0.0.1", 0)
        self.server: web.Server

    def count(self) -> None:
        self.faults += 1

    def connections(self) -> int:
        return len(self.server.connections)

    def unsent_bytes(self) -> int:
        """What waits in this process for all clients."""
        return sum(
            one.transport.get_write_buffer_size()
            for one in self.server.connections
            if one.transport is not None
        )


@asynccontextmanager
async def served(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    tls: ssl.SSLContext | None = None,
    **limits,
) -> AsyncIterator[Served]:
    everything = {"connections": 200, "idle_seconds": 60.0, "request_bytes": 65536} | limits
    made = Served()
    made.server = web.Server(handler)
    bound = await bound_sockets("127.0.0.1", 0)
    listener = Listener(
        bound, made.server, Limits(**everything), tls=lambda: tls, faults=ClientFaults(made.count)
    )
    made.address = listener.addresses[0]
    running = asyncio.create_task(listener.run())
    try:
        yield made
    finally:
        running.cancel()
        await asyncio.wait([running])
        await made.server.shutdown(1)


async def opened(
    served: Served, sent: bytes = b"", *, source: str = "127.0.0.1", tls=None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection that reads nothing by itself."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.bind((source, 0))
    made.setblocking(False)
    await asyncio.get_running_loop().sock_connect(made, served.address)
    reader, writer = await asyncio.open_connection(
        sock=made, limit=1024, ssl=tls, server_hostname="localhost" if tls else None
    )
    writer.write(sent)
    await writer.drain()
    return reader, writer
