"""One client's connection, and what clients do wrong."""

from __future__ import annotations

import asyncio
import contextlib
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
FAULT_SECONDS: Final = 0.5
"""For so long an invalid request has no answer: whoever sends one after the other is slowed."""


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


def forget_frames(error: BaseException | None) -> None:
    """Take the traceback off an error that a client caused, and off those that led to it.

    Frames hold the connection, which holds the error: garbage that only the collector finds. Of
    thousands at once it took half a second, in which nobody was answered.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


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
            forget_frames(error)
        else:
            super().log(level, msg, *args, **kwargs)


class ClientConnection(web.RequestHandler):
    """One connection; it ends when the client says more than a request takes."""

    __slots__ = (
        "_lost",
        "_max_request_bytes",
        "_received_bytes",
        "address",
        "asked_seconds",
        "is_faulty",
    )

    def __init__(self, server: web.Server, *, max_request_bytes: int, **options: Any) -> None:
        """Take `options` as aiohttp's RequestHandler does."""
        super().__init__(server, **options)
        self._max_request_bytes = max_request_bytes
        self.address = ""
        """The client's IP address."""
        self.is_faulty = False
        """Whether its last request is invalid."""
        self._lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to count."""
        self.note_request()
        self.address = peer_address(transport)
        if isinstance(transport, asyncio.WriteTransport):
            # Whoever writes goes on when all is sent, so that no more than a slice waits here.
            transport.set_write_buffer_limits(high=1, low=0)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wait no longer for what an invalid request waits for."""
        self._lost.set()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to a request that is no HTTP, or that we failed to answer."""
        self.is_faulty = isinstance(exc, FAULTS)
        return super().handle_error(request, status, exc, message)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Answer; of an invalid request the connection alone waits, and ends."""
        if self.is_faulty:
            resp.force_close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), FAULT_SECONDS)
        resp, is_reset = await super().finish_response(request, resp, start_time)
        # Nobody reads the rest of an invalid request.
        return resp, is_reset or self.is_faulty

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
