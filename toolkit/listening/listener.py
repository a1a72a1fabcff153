# SPDX-License-Identifier: Apache-2.0
"""Accepts connections within limits; a slow TLS handshake or client never blocks the others.

A TLS connection takes 0.3 MB from the moment it is accepted. So handshakes have a limit of their
own. Beyond it the oldest one is ended, because an honest client finishes within milliseconds.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from toolkit.listening.client_connection import (
    ClientConnection,
    ClientFaults,
    ServerLog,
    forget_frames,
)
from toolkit.listening.local_sockets import clean_up, name_of
from toolkit.listening.request_limits import Answering
from toolkit.listening.sockets import bound_sockets, host_of, why_not_bound

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import AsyncIterator, Callable, Sequence

    from aiohttp import web

    from toolkit.listening.limits import Limits

log = logging.getLogger(__name__)

REAP_SECONDS: Final = 1.0
"""The shortest time between two looks for idle connections."""
PAUSE_SECONDS: Final = 1.0
"""Pause after a connection that could not be accepted, for lack of file descriptors."""
QUIET_SECONDS: Final = 60.0
"""A repeated event is logged once; it counts as new after this long without it."""


class BindError(Exception):
    """The address cannot be bound; the message is the system's reason."""


class Listener:
    """Accepts connections while `run` runs, and passes them to the HTTP server."""

    def __init__(
        self,
        bound: Sequence[socket.socket],
        server: web.Server,
        limits: Limits,
        *,
        host: str = "",
        tls: Callable[[], ssl.SSLContext | None],
        faults: ClientFaults,
    ) -> None:
        """`host` is that of `bound`; `tls` of a new connection returns None for plain HTTP."""
        self._host = host
        self._tls = tls
        self._bound = bound
        self._server = server
        self._limits = limits
        self._most, self._most_handshakes = _within_files(limits)
        self._logger = ServerLog(log, faults)
        server.request_handler = Answering(server.request_handler, limits, faults).handle
        # Oldest first, with the address of each.
        self._handshakes: dict[asyncio.Task[None], tuple[socket.socket, str]] = {}
        self._logged_seconds: dict[str, float] = {}

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each socket."""
        return [name_of(one) for one in self._bound]

    def close(self) -> None:
        """Stop accepting connections."""
        if all(bound.fileno() >= 0 for bound in self._bound):
            # While nobody else can have taken a path: whoever waits for it does so right after.
            clean_up(self._host)
        for bound in self._bound:
            bound.close()

    def end_all(self) -> None:
        """End all connections and handshakes; new ones use what `tls` returns then."""
        for task in self._handshakes:
            task.cancel()
        for client in self._clients():
            client.end()

    async def run(self) -> None:
        """Accept connections and end idle ones until cancelled, then close the sockets."""
        try:
            async with asyncio.TaskGroup() as group:
                for bound in self._bound:
                    group.create_task(self._accept(bound, group))
                while True:
                    seconds = max(self._end_idle(), REAP_SECONDS)
                    await asyncio.sleep(seconds)
        finally:
            # Not earlier: the event loop still waits on a socket that is being accepted from.
            self.close()

    async def _accept(self, bound: socket.socket, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, name = await loop.sock_accept(bound)
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._tell("Cannot accept connections", str(error))
                # Possibly out of file descriptors: end connections of the address with the most.
                open_now = len(self._server.connections)
                self._end_silent((open_now + 1) // 2)
                await asyncio.sleep(0 if open_now else PAUSE_SECONDS)
                continue
            task = group.create_task(self._shake_hands(connection))
            self._handshakes[task] = connection, host_of(name)
            task.add_done_callback(self._is_over)
            await self._make_room()

    def _tell(self, event: str, error: str) -> None:
        now = time.monotonic()
        if now - self._logged_seconds.get(event, -QUIET_SECONDS) >= QUIET_SECONDS:
            log.warning(event, extra={"error": error})
        self._logged_seconds[event] = now

    async def _make_room(self) -> None:
        if len(self._handshakes) > self._most_handshakes:
            by_address = Counter(address for _, address in self._handshakes.values())
            oldest = max(self._handshakes, key=lambda task: by_address[self._handshakes[task][1]])
            oldest.cancel()
            await asyncio.wait([oldest])
        else:
            # Many new connections must not delay requests on existing ones.
            await asyncio.sleep(0)

    async def _shake_hands(self, connection: socket.socket) -> None:
        tls = self._tls()
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._client,
                connection,
                ssl=tls,
                ssl_handshake_timeout=self._limits.handshake_seconds if tls else None,
            )
        except OSError as error:
            # The client's fault: no TLS, a timeout, or a certificate that is not trusted.
            forget_frames(error)
            connection.close()
        except Exception:  # a failing connection must not end the listener
            log.exception("A connection failed")
            connection.close()
        else:
            too_many = len(self._server.connections) - self._most
            if too_many > 0:
                self._tell("Closing connections because too many are open", f"limit: {self._most}")
                self._end_silent(too_many)

    def _is_over(self, task: asyncio.Task[None]) -> None:
        connection, _ = self._handshakes.pop(task)
        if task.cancelled():
            connection.close()

    def _client(self) -> ClientConnection:
        return ClientConnection(
            self._server,
            max_request_bytes=self._limits.request_bytes,
            loop=asyncio.get_running_loop(),
            access_log=None,
            logger=self._logger,
            max_line_size=self._limits.line_bytes,
            max_field_size=self._limits.line_bytes,
            max_headers=self._limits.headers,
        )

    def _clients(self) -> list[ClientConnection]:
        return [one for one in self._server.connections if isinstance(one, ClientConnection)]

    def _end_idle(self) -> float:
        """End the connections that are idle; return the seconds until another can be."""
        idle_before = time.monotonic() - self._limits.idle_seconds
        next_seconds = self._limits.idle_seconds
        for client in self._clients():
            remaining = client.asked_seconds - idle_before
            if remaining < 0:
                client.end()
            else:
                next_seconds = min(next_seconds, remaining)
        return next_seconds

    def _end_silent(self, number: int) -> None:
        """End `number` connections, each the longest silent one of the address with the most."""
        clients = sorted(self._clients(), key=lambda one: one.asked_seconds)
        by_address = Counter(one.address for one in clients)
        for _ in range(min(number, len(clients))):
            # max returns the first of equals, which has been silent longest.
            victim = max(clients, key=lambda one: by_address[one.address])
            clients.remove(victim)
            by_address[victim.address] -= 1
            victim.end()


@asynccontextmanager
async def opened(
    runner: web.BaseRunner,
    host: str,
    port: int,
    limits: Limits,
    *,
    tls: Callable[[], ssl.SSLContext | None] = lambda: None,
    on_client_fault: Callable[[], None] = lambda: None,
) -> AsyncIterator[Listener]:
    """Bind the address while the context lasts; the listener's `run` accepts clients.

    An empty host means all addresses of the machine. End the listener's `run` before the context.

    Raises:
        BindError: the address cannot be bound.
    """
    await runner.setup()
    try:
        try:
            bound = await bound_sockets(host, port)
        except OSError as error:
            raise BindError(why_not_bound(error)) from error
        assert runner.server is not None
        faults = ClientFaults(on_client_fault)
        listener = Listener(bound, runner.server, limits, host=host, tls=tls, faults=faults)
        try:
            yield listener
        finally:
            listener.close()
    finally:
        await runner.cleanup()


def _within_files(limits: Limits) -> tuple[int, int]:
    """Return how many connections and handshakes leave files for the program's own work."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return limits.connections, limits.handshakes
    return min(limits.connections, files // 2), min(limits.handshakes, files // 4)
