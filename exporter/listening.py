"""Takes connections, none of which is waited for: TLS handshakes, and clients that do not go on.

A connection by TLS costs 0.3 MB from its first moment on, whoever made it. So there is a bound to
those that shake hands as well as to those that have: of too many the oldest goes, since who means
it is through within milliseconds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Sequence

log = logging.getLogger(__name__)
_server_log: Final = logging.getLogger(f"{__name__}.server")

MAX_CONNECTIONS: Final = 128
"""Far more than scrapers have, and far fewer than fit the memory that the DaemonSet is given."""
MAX_HANDSHAKES: Final = 64
HANDSHAKE_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 90.0
"""How long a connection lives on which no request begins, and what a client has that sends its
headers, or reads, byte by byte. Longer than Prometheus' default interval of a minute, so that no
scrape meets the end of its connection."""
MAX_LINE_BYTES: Final = 8190
MAX_HEADER_BYTES: Final = 8190
MAX_REQUEST_BYTES: Final = 64 * 1024
"""With all its headers, which cost twice as much memory; bodies have nothing to say here."""
REAP_SECONDS: Final = 1.0
PAUSE_SECONDS: Final = 1.0
"""After a connection that could not be taken, for want of files."""
_BACKLOG: Final = 128


class Client(web.RequestHandler):
    """One connection, which says no more than a request takes."""

    __slots__ = ("_received_bytes", "asked_seconds")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to count."""
        self.note_request()
        super().connection_made(transport)

    def note_request(self) -> None:
        """Remember that a request has come whole now."""
        self.asked_seconds = time.monotonic()
        self._received_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Of headers the library bounds each one and their number, not what they are together."""
        super().data_received(data)
        self._received_bytes += len(data)
        if self._received_bytes > MAX_REQUEST_BYTES and self.transport is not None:
            self.transport.abort()


class Listener:
    """Takes connections while `run` runs, and lets the server speak HTTP on them."""

    def __init__(self, bound: Sequence[socket.socket], server: web.Server) -> None:
        self.tls: ssl.SSLContext | None = None
        """What new connections are made by; None is plain HTTP. Those that exist go on."""
        self._bound = bound
        self._server = server
        # Oldest first.
        self._handshakes: dict[asyncio.Task[None], socket.socket] = {}

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port; of several addresses the first."""
        host, port, *_ = self._bound[0].getsockname()
        return host, port

    def close(self) -> None:
        """Take no connection any more."""
        for bound in self._bound:
            bound.close()

    def end_all(self) -> None:
        """End every connection and every handshake; new ones are made by `tls` as it is now."""
        for task in list(self._handshakes):
            task.cancel()
        for one in self._server.connections:
            if one.transport is not None:
                one.transport.abort()

    async def run(self) -> None:
        """Let in who comes, and end what does not go on, until cancelled; closes at its end."""
        try:
            async with asyncio.TaskGroup() as group:
                for bound in self._bound:
                    group.create_task(self._accept(bound, group))
                while True:
                    await asyncio.sleep(REAP_SECONDS)
                    self._end_idle()
        finally:
            # Not before: the loop still waits for a socket that is being accepted from.
            self.close()

    async def _accept(self, bound: socket.socket, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        is_failing = False
        while True:
            try:
                connection, _ = await loop.sock_accept(bound)
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if not is_failing:
                    log.warning("connections cannot be taken", extra={"problem": str(error)})
                is_failing = True
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            is_failing = False
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

    async def _shake_hands(self, connection: socket.socket) -> None:
        tls = self.tls
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._client,
                connection,
                ssl=tls,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None,
            )
        except OSError:
            # A client that has no TLS, no time or no certificate that is trusted: its affair.
            connection.close()
        except Exception:  # one connection's failure is its own
            log.exception("a connection failed")
            connection.close()
        else:
            if len(self._server.connections) > MAX_CONNECTIONS:
                self._end_idle()

    def _is_over(self, task: asyncio.Task[None]) -> None:
        connection = self._handshakes.pop(task)
        if task.cancelled():
            connection.close()

    def _client(self) -> Client:
        return Client(
            self._server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # there is none
            logger=_server_log,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_HEADER_BYTES,
        )

    def _end_idle(self) -> None:
        now = time.monotonic()
        clients = [one for one in self._server.connections if isinstance(one, Client)]
        clients.sort(key=lambda one: one.asked_seconds)
        too_many = len(clients) - MAX_CONNECTIONS
        for place, client in enumerate(clients):
            is_idle = now - client.asked_seconds > IDLE_SECONDS
            if (is_idle or place < too_many) and client.transport is not None:
                # Not close(), which would wait for a client that does not read.
                client.transport.abort()


async def bound_sockets(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets, one for each address of the host; an empty host is all of them.

    Raises:
        OSError: an address cannot be bound.
    """
    # Any free port must be one port, while all interfaces are two sockets (IPv4 and IPv6).
    everywhere = None if port else "0.0.0.0"
    server = await asyncio.get_running_loop().create_server(
        asyncio.Protocol, host or everywhere, port, start_serving=False
    )
    sockets = [one.dup() for one in server.sockets]
    server.close()
    for one in sockets:
        one.listen(_BACKLOG)
    return sockets


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether aiohttp tells of a failure of ours; it tells of each request that is no HTTP too."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


_server_log.addFilter(_is_ours)
