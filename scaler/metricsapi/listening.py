"""The listening end of the metrics API: TLS connections, none of which is waited for.

A connection costs 0.3 MB from its first moment on, whoever made it. So there is a bound to those
that shake hands as well as to those that have: of too many the oldest goes, since who means it is
through within milliseconds.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiohttp import web

from scaler.gate import Caller

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from scaler.gate import Gate

log = logging.getLogger(__name__)

MAX_REQUEST_BYTES: Final = 128 * 1024
"""With all its headers; bodies have nothing to say here."""
MAX_HANDSHAKES: Final = 64
HANDSHAKE_SECONDS: Final = 10.0
BACKLOG: Final = 128
PAUSE_SECONDS: Final = 1.0


@asynccontextmanager
async def listening(
    runner: web.ServerRunner, tls: ssl.SSLContext, host: str, port: int, gate: Gate
) -> AsyncIterator[Door]:
    """Listen while the context lasts; who comes in is served while `run` runs.

    An empty host is all addresses.

    Raises:
        OSError: the address cannot be bound.
    """
    await runner.setup()
    try:
        with _bound(host, port) as bound:
            yield Door(bound, runner, tls, gate)
    finally:
        await runner.cleanup()


class HttpServer(web.Server):
    """Speaks HTTP with callers that say no more than a request takes."""

    def __call__(self) -> web.RequestHandler:
        """Return the protocol of one connection."""
        return Caller(self, max_request_bytes=MAX_REQUEST_BYTES, loop=self._loop, **self._kwargs)


class Door:
    """Takes connections and shakes hands with them."""

    def __init__(
        self, bound: socket.socket, runner: web.ServerRunner, tls: ssl.SSLContext, gate: Gate
    ) -> None:
        self._bound = bound
        self._runner = runner
        self._tls = tls
        self._gate = gate
        # Oldest first.
        self._handshakes: dict[asyncio.Task[None], socket.socket] = {}

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port."""
        host, port, *_ = self._bound.getsockname()
        return host, port

    async def run(self) -> None:
        """Let in who comes, and end what does not go on, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._gate.reap(self._runner))
            while True:
                try:
                    connection, _ = await asyncio.get_running_loop().sock_accept(self._bound)
                except ConnectionAbortedError:
                    continue
                except OSError as error:
                    log.warning("No connection can be taken", extra={"error": str(error)})
                    await asyncio.sleep(PAUSE_SECONDS)
                    continue
                task = group.create_task(self._shake_hands(connection))
                self._handshakes[task] = connection
                task.add_done_callback(self._is_over)
                await self._make_room()

    async def _make_room(self) -> None:
        if len(self._handshakes) > MAX_HANDSHAKES:
            oldest = next(iter(self._handshakes))
            oldest.cancel()
            await asyncio.wait([oldest])
        else:
            # A crowd at the door must not hold up those who are in.
            await asyncio.sleep(0)
        server = self._runner.server
        if server is not None and len(server.connections) > self._gate.max_connections:
            self._gate.end_idle(self._runner)

    async def _shake_hands(self, connection: socket.socket) -> None:
        server = self._runner.server
        assert server is not None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                server, connection, ssl=self._tls, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        except OSError:
            # A client that has no TLS, no time or no certificate that is trusted: its affair.
            connection.close()
        except Exception:  # one connection's failure is its own
            log.exception("Connection failed")
            connection.close()

    def _is_over(self, task: asyncio.Task[None]) -> None:
        connection = self._handshakes.pop(task)
        if task.cancelled():
            connection.close()


def _bound(host: str, port: int) -> socket.socket:
    if host:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.create_server((host, port), family=family, backlog=BACKLOG)
    elif socket.has_dualstack_ipv6():
        bound = socket.create_server(
            ("", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True
        )
    else:
        bound = socket.create_server(("", port), backlog=BACKLOG)
    bound.setblocking(False)
    return bound
