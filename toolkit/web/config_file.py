# SPDX-License-Identifier: Apache-2.0
"""A web configuration file in use: loaded at the start and again whenever it changes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from toolkit.web import auth
from toolkit.web.model import WebConfigError, lost_protection

if TYPE_CHECKING:
    import ssl
    from collections.abc import Collection

    from aiohttp.typedefs import Middleware

    from toolkit.listening.listener import Listener

log = logging.getLogger(__name__)


class ConfigFile:
    """The file at `path`, as it was last valid; `is_good` tells whether the last read succeeded."""

    def __init__(self, path: str, loaded: auth.Loaded, *, open_paths: Collection[str]) -> None:
        self._path: Final = path
        self._loaded = loaded
        self._auth: Final = auth.WebAuth(loaded.config, open_paths=open_paths)
        self.is_good = True

    @classmethod
    async def load(cls, path: str, *, open_paths: Collection[str]) -> ConfigFile:
        """Read the file; `open_paths` need no password. Raises WebConfigError."""
        return cls(path, await asyncio.to_thread(auth.load, path), open_paths=open_paths)

    @property
    def tls(self) -> ssl.SSLContext | None:
        """The context for new connections, None for plain HTTP."""
        return self._loaded.tls

    @property
    def middleware(self) -> Middleware:
        """Checks each request's user."""
        return self._auth.handle

    async def follow(self, listener: Listener) -> None:
        """Reload the file on change, until cancelled."""
        while True:
            await asyncio.sleep(auth.POLL_SECONDS)
            await self._reload(listener)

    async def _reload(self, listener: Listener) -> None:
        before = self._loaded
        if self.is_good and not await asyncio.to_thread(auth.has_changed, self._path, before):
            return
        try:
            loaded = await asyncio.to_thread(auth.load, self._path)
            if self.is_good and loaded.stamp == before.stamp:
                return
            lost = lost_protection(before.config, loaded.config)
            if lost is not None:
                raise WebConfigError(
                    [f"{self._path}: {lost} was removed; restart the program to serve without it"]
                )
        except WebConfigError as error:
            if self.is_good:
                log.error(
                    "Cannot reload the web configuration; the previous one stays in use",
                    extra={"error": str(error)},
                )
            self.is_good = False
            return
        self._loaded = loaded
        self.is_good = True
        self._auth.follow(loaded.config)
        if loaded.trust != before.trust:
            # Existing connections were accepted under the previous file.
            listener.end_all()
        log.info("Web configuration reloaded", extra={"file": self._path})
