"""The exporter at its address: by TLS and for users that follow their file, so many at once."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from aiohttp import web

from toolkit.listening.client_connection import ClientFaults
from toolkit.listening.limits import Limits
from toolkit.listening.listener import Listener
from toolkit.listening.sockets import bound_sockets
from toolkit.web import auth
from toolkit.web.model import WebConfigError, lost_protection

if TYPE_CHECKING:
    from collections.abc import Callable

    from toolkit.web.auth import Loaded

log = logging.getLogger(__name__)

PROBE_PATHS: Final = ("/healthz", "/readyz")
LIMITS: Final = Limits(
    # Far more than scrapers have, and far fewer than fit the memory that the DaemonSet is given.
    connections=128,
    # Longer than Prometheus' default interval of a minute, so that no scrape meets the end of its
    # connection.
    idle_seconds=90.0,
    request_bytes=64 * 1024,
    # 20 times what 16 GPUs in 112 MIG instances take, with all collectors.
    unsent_bytes=16 * 1024 * 1024,
)
_SHUTDOWN_SECONDS: Final = 1.0


class BindError(OSError):
    """The address cannot be bound; errno and strerror are the system's."""


class Endpoint:
    """Serves an application at one address; `web_config_file` may be empty."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        web_config_file: str = "",
        max_requests: int = 0,
        on_client_fault: Callable[[], None] = lambda: None,
    ) -> None:
        """`max_requests` at once, 0 for any number; the next one is answered 503."""
        self._host = host
        self._port = port
        self._file = web_config_file
        self._limits = replace(LIMITS, requests=max_requests)
        self._faults = ClientFaults(on_client_fault)
        self._runner: web.AppRunner | None = None
        self._listener: Listener | None = None
        self._loaded: Loaded | None = None
        self._access: auth.WebAuth | None = None
        self.web_config_is_good: bool | None = None
        """Whether the file could be used when it was read last; None without one."""

    async def start(self, app: web.Application) -> tuple[str, int]:
        """Listen and return the address.

        Raises:
            BindError: the address cannot be bound.
            WebConfigError: the file cannot be used.
        """
        if self._file:
            self._loaded = await asyncio.to_thread(auth.load, self._file)
            self._access = auth.WebAuth(self._loaded.config, open_paths=PROBE_PATHS)
            self.web_config_is_good = True
            app.middlewares.append(self._access.handle)
        self._runner = web.AppRunner(app, shutdown_timeout=_SHUTDOWN_SECONDS)
        await self._runner.setup()
        assert self._runner.server is not None
        try:
            bound = await bound_sockets(self._host, self._port)
        except OSError as error:
            raise BindError(*error.args) from error
        self._listener = Listener(
            bound,
            self._runner.server,
            self._limits,
            tls=self._loaded.tls if self._loaded else None,
            faults=self._faults,
        )
        return self._listener.addresses[0]

    async def stop(self) -> None:
        """Close everything once `run` was cancelled; requests under way get a second."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._listener is not None:
            self._listener.close()

    async def run(self) -> None:
        """Take connections and follow the file's changes, until cancelled."""
        assert self._listener is not None, "nothing listens before `start`"
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listener.run())
            while self._file:
                await asyncio.sleep(auth.POLL_SECONDS)
                await self._reload(self._listener)

    async def _reload(self, listener: Listener) -> None:
        before, access = self._loaded, self._access
        assert before is not None
        assert access is not None
        if self.web_config_is_good and not await asyncio.to_thread(
            auth.has_changed, self._file, before
        ):
            return
        try:
            loaded = await asyncio.to_thread(auth.load, self._file)
            if self.web_config_is_good and loaded.stamp == before.stamp:
                return
            lost = lost_protection(before.config, loaded.config)
            if lost is not None:
                raise WebConfigError(
                    [f"{self._file}: {lost} is gone; restart the exporter to serve without it"]
                )
        except WebConfigError as error:
            if self.web_config_is_good:
                log.error(
                    "Web configuration not reloaded; the one before stays in use",
                    extra={"error": str(error)},
                )
            self.web_config_is_good = False
            return
        self._loaded = loaded
        self.web_config_is_good = True
        listener.tls = loaded.tls
        access.follow(loaded.config)
        if not loaded.trusts_as(before):
            # Those that were made by the file before are let in by it no longer.
            listener.end_all()
        log.info("Web configuration reloaded", extra={"file": self._file})
