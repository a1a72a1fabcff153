"""The listening end: sockets, TLS that follows its files, and clients that are not waited for."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from exporter import webaccess
from exporter.webconfig import WebConfigError

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from exporter.webaccess import Loaded

log = logging.getLogger(__name__)
_server_log: Final = logging.getLogger(f"{__name__}.server")

IDLE_SECONDS: Final = 90.0
"""How long a connection lives on which no request begins, and what a client has that sends its
headers, or reads, byte by byte. Longer than Prometheus' default interval of a minute, so that no
scrape meets the end of its connection."""
HANDSHAKE_SECONDS: Final = 10.0
"""How long a client may take to agree on TLS; until then it is none of the connections below."""
MAX_CONNECTIONS: Final = 250
"""Far more than scrapers have, and far fewer than the files that a process may open."""
MAX_LINE_BYTES: Final = 8190
MAX_HEADER_BYTES: Final = 8190
PROBE_PATHS: Final = ("/healthz", "/readyz")
_BACKLOG: Final = 128
_SHUTDOWN_SECONDS: Final = 1.0
REAP_SECONDS: Final = 1.0


class Endpoint:
    """Serves an application at one address; `web_config_file` may be empty."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        web_config_file: str = "",
        max_requests: int = 0,
    ) -> None:
        """`max_requests` at once, 0 for any number; the next one is answered 503."""
        # Any free port must be one port, while all interfaces are two sockets (IPv4 and IPv6).
        self._host = host or (None if port else "0.0.0.0")
        self._port = port
        self._file = web_config_file
        self._max_requests = max_requests
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._loaded: Loaded | None = None
        self._access: webaccess.Access | None = None
        self._requests = 0
        self._seen: dict[object, float] = {}
        self.web_config_is_good: bool | None = None
        """Whether the file could be used when it was read last; None without one."""

    async def start(self, app: web.Application) -> tuple[str, int]:
        """Listen and return the address.

        Raises:
            OSError: the address cannot be bound.
            WebConfigError: the file cannot be used.
        """
        if self._file:
            self._loaded = await asyncio.to_thread(webaccess.load, self._file)
            self._access = webaccess.Access(self._loaded.config, open_paths=PROBE_PATHS)
            self.web_config_is_good = True
            app.middlewares.append(self._access.handle)
        app.middlewares.insert(0, self._limited)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_server_log,
            shutdown_timeout=_SHUTDOWN_SECONDS,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_HEADER_BYTES,
        )
        await self._runner.setup()
        await self._listen(self._loaded)
        assert self._server is not None
        bound_host, self._port = self._server.sockets[0].getsockname()[:2]
        return bound_host, self._port

    async def stop(self) -> None:
        """Close everything; requests under way get a second."""
        if self._server is not None:
            self._server.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def follow(self) -> None:
        """Follow the file's changes and end idle connections, until cancelled."""
        next_look = 0.0
        while True:
            await asyncio.sleep(REAP_SECONDS)
            self._end_idle()
            if self._file and time.monotonic() >= next_look:
                next_look = time.monotonic() + webaccess.POLL_SECONDS
                await self._reload()

    async def _reload(self) -> None:
        before, access = self._loaded, self._access
        assert before is not None
        assert access is not None
        if self.web_config_is_good and not await asyncio.to_thread(
            webaccess.has_changed, self._file, before
        ):
            return
        try:
            loaded = await asyncio.to_thread(webaccess.load, self._file)
            if self.web_config_is_good and loaded.stamp == before.stamp:
                return
            await self._listen(loaded)
        except (WebConfigError, OSError) as error:
            if self.web_config_is_good:
                log.error(
                    "web configuration not reloaded; the one before stays in use",
                    extra={"problem": str(error)},
                )
            self.web_config_is_good = False
            return
        self._loaded = loaded
        self.web_config_is_good = True
        access.config = loaded.config
        log.info("web configuration reloaded", extra={"file": self._file})

    async def _listen(self, loaded: Loaded | None) -> None:
        """Take new connections by this TLS context; those that exist go on."""
        assert self._runner is not None
        assert self._runner.server is not None
        tls = loaded.tls if loaded else None
        before = self._server
        self._server = await asyncio.get_running_loop().create_server(
            self._runner.server,
            self._host,
            self._port,
            ssl=tls,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None,
            backlog=_BACKLOG,
            # Both generations listen for a moment, so that nobody is refused.
            reuse_port=bool(self._file) or None,
        )
        if before is not None:
            before.close()

    @web.middleware
    async def _limited(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._seen[request.protocol] = time.monotonic()
        if self._max_requests and self._requests >= self._max_requests:
            return web.Response(
                status=503,
                text=f"{self._max_requests} requests are answered already; try again later\n",
            )
        self._requests += 1
        try:
            return await handler(request)
        finally:
            self._requests -= 1

    def _end_idle(self) -> None:
        assert self._runner is not None
        server = self._runner.server
        now = time.monotonic()
        connections = list(server.connections) if server is not None else []  # the oldest first
        self._seen = {one: self._seen.get(one, now) for one in connections}
        longest_first = sorted(connections, key=lambda one: self._seen[one])
        too_many = len(connections) - MAX_CONNECTIONS
        for place, connection in enumerate(longest_first):
            is_idle = now - self._seen[connection] > IDLE_SECONDS
            transport = connection.transport
            if (is_idle or place < too_many) and transport is not None:
                # Not close(), which would wait for a client that does not read.
                transport.abort()


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether aiohttp tells of a failure of ours; it tells of each request that is no HTTP too."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


_server_log.addFilter(_is_ours)
