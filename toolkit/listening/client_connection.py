# SPDX-License-Identifier: Apache-2.0
"""One client's connection, and the faults that clients cause."""

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
"""Invalid HTTP, a body that does not match its headers, a disconnect before the response."""
LOG_SECONDS: Final = 60.0
FAULT_SECONDS: Final = 0.5
"""Delay before an invalid request is answered; it slows down clients that send many."""


class ClientFaults:
    """Counts clients' faults and logs at most one line about them per minute."""

    def __init__(self, count: Callable[[], None] = lambda: None) -> None:
        self._count = count
        self._unsaid = 0
        self._logged_seconds: float | None = None

    def note(self, error: BaseException) -> None:
        """Count one fault."""
        self._count()
        self._unsaid += 1
        now = time.monotonic()
        if self._logged_seconds is not None and now - self._logged_seconds < LOG_SECONDS:
            return
        self._logged_seconds = now
        log.info(
            "Clients sent invalid requests or disconnected before the answer",
            extra={"count": self._unsaid, "last_error": type(error).__name__},
        )
        self._unsaid = 0


def forget_frames(error: BaseException | None) -> None:
    """Remove the tracebacks from an error that a client caused, and from its causes.

    Frames reference the connection, which references the error: a cycle that only the garbage
    collector frees. With thousands at once, a collection blocked the event loop for half a second.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


class ServerLog(logging.LoggerAdapter[logging.Logger]):
    """Logs aiohttp's messages, but counts those about clients' faults instead."""

    def __init__(self, logger: logging.Logger, faults: ClientFaults) -> None:
        super().__init__(logger)
        self._faults = faults

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log the message unless a client caused it."""
        error = kwargs.get("exc_info")
        if isinstance(error, FAULTS):
            self._faults.note(error)
            forget_frames(error)
        else:
            super().log(level, msg, *args, **kwargs)


class ClientConnection(web.RequestHandler):
    """One connection; it ends when a client sends more bytes than a request may have."""

    __slots__ = (
        "_lost",
        "_max_request_bytes",
        "_received_bytes",
        "address",
        "asked_seconds",
        "is_faulty",
    )

    def __init__(self, server: web.Server, *, max_request_bytes: int, **options: Any) -> None:
        """Pass `options` to aiohttp's RequestHandler."""
        super().__init__(server, **options)
        self._max_request_bytes = max_request_bytes
        self.address = ""
        """The client's IP address."""
        self.is_faulty = False
        """Whether the last request was invalid."""
        self._lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start counting the request's bytes and time."""
        self.note_request()
        self.address = peer_address(transport)
        if isinstance(transport, asyncio.WriteTransport):
            # A writer continues once everything is sent, so at most one slice is buffered here.
            transport.set_write_buffer_limits(high=1, low=0)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the delay of an invalid request."""
        self._lost.set()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the response to invalid HTTP, or to a request whose handler failed."""
        self.is_faulty = isinstance(exc, FAULTS)
        return super().handle_error(request, status, exc, message)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the response; after an invalid request, delay it and end the connection."""
        if self.is_faulty:
            resp.force_close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), FAULT_SECONDS)
        resp, is_reset = await super().finish_response(request, resp, start_time)
        # The rest of an invalid request is not read.
        return resp, is_reset or self.is_faulty

    def note_request(self) -> None:
        """Record that a request begins now (monotonic)."""
        self.asked_seconds = time.monotonic()
        self._received_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Limit the size of all headers together: aiohttp limits only each one and their number."""
        super().data_received(data)
        self._received_bytes += len(data)
        if self._received_bytes > self._max_request_bytes:
            self.end()

    def end(self) -> None:
        """Abort the connection; `close` would wait for a client that does not read."""
        if self.transport is not None:
            self.transport.abort()
