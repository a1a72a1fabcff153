# SPDX-License-Identifier: Apache-2.0
"""Serves an application at an address, with TLS and users from a web configuration file."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiohttp import web

from toolkit.listening.listener import opened

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Sequence

    from toolkit.listening.limits import Limits
    from toolkit.listening.listener import Listener
    from toolkit.web.config_file import ConfigFile

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
        self._config: ConfigFile | None = None

    @property
    def config_is_good(self) -> bool | None:
        """Whether the last read of the file succeeded; None without a file."""
        return self._config.is_good if self._config else None

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
            # Those who serve without a file do without the memory of this import.
            from toolkit.web.config_file import ConfigFile  # noqa: PLC0415

            self._config = await ConfigFile.load(self._file, open_paths=PROBE_PATHS)
            app.middlewares.append(self._config.middleware)
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
            if self._config:
                group.create_task(self._config.follow(self._listener))

    def _tls(self) -> ssl.SSLContext | None:
        return self._config.tls if self._config else None
