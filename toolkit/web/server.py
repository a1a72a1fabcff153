# SPDX-License-Identifier: Apache-2.0
"""Serves an application at an address, with TLS and users from a web configuration file."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiohttp import web

from toolkit.listening.listener import opened
from toolkit.web import auth
from toolkit.web.model import WebConfigError, lost_protection

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Sequence

    from toolkit.listening.limits import Limits
    from toolkit.listening.listener import Listener
    from toolkit.web.auth import Loaded

log = logging.getLogger(__name__)

PROBE_PATHS: Final = ("/healthz", "/readyz")
_SHUTDOWN_SECONDS: Final = 1.0


def probe_answer(problem: str | None, *, more: str = "") -> web.Response:
    """Return the response to a probe: 200 with ok and `more`, or 503 with the problem."""
    if problem is None:
        return web.Response(text=f"ok\n{more}")
    return web.Response(status=503, text=f"{problem}\n")


class WebServer:
    """Serves an application at one address; `config_file` may be empty.

    `opened` binds the address, `run` accepts connections.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        limits: Limits,
        config_file: str = "",
        on_client_fault: Callable[[], None] = lambda: None,
    ) -> None:
        self._host = host
        self._port = port
        self._limits = limits
        self._file = config_file
        self._on_client_fault = on_client_fault
        self._listener: Listener | None = None
        self._loaded: Loaded | None = None
        self._auth: auth.WebAuth | None = None
        self.config_is_good: bool | None = None
        """Whether the last read of the file succeeded; None without a file."""

    @property
    def scheme(self) -> str:
        """The scheme of new connections: http or https."""
        return "http" if self._tls() is None else "https"

    @property
    def addresses(self) -> Sequence[tuple[str, int]]:
        """The hosts and ports that the server listens on; empty outside of `opened`."""
        return () if self._listener is None else self._listener.addresses

    @asynccontextmanager
    async def opened(self, app: web.Application) -> AsyncIterator[None]:
        """Bind the address while the context lasts; at its end, open requests get one second.

        Raises:
            BindError: the address cannot be bound.
            WebConfigError: the file is invalid or cannot be read.
        """
        if self._file:
            self._loaded = await asyncio.to_thread(auth.load, self._file)
            self._auth = auth.WebAuth(self._loaded.config, open_paths=PROBE_PATHS)
            self.config_is_good = True
            app.middlewares.append(self._auth.handle)
        try:
            async with opened(
                web.AppRunner(app, shutdown_timeout=_SHUTDOWN_SECONDS),
                self._host,
                self._port,
                self._limits,
                tls=self._tls,
                on_client_fault=self._on_client_fault,
            ) as self._listener:
                yield
        finally:
            self._listener = None

    async def run(self) -> None:
        """Accept connections and reload the file on change, until cancelled."""
        assert self._listener is not None, "nothing listens outside of `opened`"
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listener.run())
            while self._file:
                await asyncio.sleep(auth.POLL_SECONDS)
                await self._reload(self._listener)

    def _tls(self) -> ssl.SSLContext | None:
        return self._loaded.tls if self._loaded else None

    async def _reload(self, listener: Listener) -> None:
        before = self._loaded
        assert before is not None
        assert self._auth is not None
        if self.config_is_good and not await asyncio.to_thread(
            auth.has_changed, self._file, before
        ):
            return
        try:
            loaded = await asyncio.to_thread(auth.load, self._file)
            if self.config_is_good and loaded.stamp == before.stamp:
                return
            lost = lost_protection(before.config, loaded.config)
            if lost is not None:
                raise WebConfigError(
                    [f"{self._file}: {lost} was removed; restart the program to serve without it"]
                )
        except WebConfigError as error:
            if self.config_is_good:
                log.error(
                    "Cannot reload the web configuration; the previous one stays in use",
                    extra={"error": str(error)},
                )
            self.config_is_good = False
            return
        self._loaded = loaded
        self.config_is_good = True
        self._auth.follow(loaded.config)
        if not loaded.trusts_as(before):
            # Existing connections were accepted under the previous file.
            listener.end_all()
        log.info("Web configuration reloaded", extra={"file": self._file})
