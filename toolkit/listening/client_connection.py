"""One client's connection, and what clients do wrong."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from toolkit.listening.sockets import peer_address

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

FAULTS: Final = (HttpProcessingError, web.RequestPayloadError, ConnectionError)
"""No HTTP, a body that is not what its headers say, an end before the answer."""
LOG_SECONDS: Final = 60.0


class ClientFaults:
    """Counts what clients do wrong; the log gets a line a minute of it, whatever they do."""

    def __init__(self, count: Callable[[], None] = lambda: None) -> None:
        self._count = count
        self._unsaid = 0
        self._said_seconds: float | None = None

    def note(self, error: BaseException) -> None:
        """Count one."""
        self._count()
        self._unsaid += 1
        now = time.monotonic()
        if self._said_seconds is not None and now - self._said_seconds < LOG_SECONDS:
            return
        self._said_seconds = now
        log.info(
            "Clients sent invalid requests or disconnected before the answer",
            extra={"count": self._unsaid, "last_error": type(error).__name__},
        )
        self._unsaid = 0


class ServerLog(logging.LoggerAdapter[logging.Logger]):
    """What aiohttp says; what it says of clients' faults is counted instead."""

    def __init__(self, logger: logging.Logger, faults: ClientFaults) -> None:
        super().__init__(logger)
        self._faults = faults

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log it, unless it is a client's fault."""
        error = kwargs.get("exc_info")
        if isinstance(error, FAULTS):
            self._faults.note(error)
        else:
            super().log(level, msg, *args, **kwargs)


class ClientConnection(web.RequestHandler):
    """One connection; it ends when the client says more than a request takes."""

    __slots__ = ("_max_request_bytes", "_received_bytes", "address", "asked_seconds")

    def __init__(self, server: web.Server, *, max_request_bytes: int, **options: Any) -> None:
        """Take `options` as aiohttp's RequestHandler does."""
        super().__init__(server, **options)
        self._max_request_bytes = max_request_bytes
        self.address = ""
        """The client's IP address."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to count."""
        self.note_request()
        self.address = peer_address(transport)
        if isinstance(transport, asyncio.WriteTransport):
            # Whoever writes goes on when all is sent, so that no more than a slice waits here.
            transport.set_write_buffer_limits(high=1, low=0)
        super().connection_made(transport)

    def note_request(self) -> None:
        """Remember that a request begins now (monotonic)."""
        self.asked_seconds = time.monotonic()
        self._received_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Of headers the library bounds each one and their number, not what they are together."""
        super().data_received(data)
        self._received_bytes += len(data)
        if self._received_bytes > self._max_request_bytes:
            self.end()

    def end(self) -> None:
        """End it now; `close` would wait for a client that does not read."""
        if self.transport is not None:
            self.transport.abort()
