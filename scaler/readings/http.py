# SPDX-License-Identifier: Apache-2.0
"""Connections of the readers, and long computations beside the event loop."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Self, TypeVar

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from yarl import URL

    from toolkit.http_credentials import Granted

T = TypeVar("T")


class HttpClient:
    """Has up to `connections` (0: any number), open within its async context; keeps no cookies."""

    def __init__(
        self, *, connections: int, headers: Mapping[str, str], decompress: bool = True
    ) -> None:
        self._connections = connections
        self._headers = {"User-Agent": f"gpu-scaler/{version('gpu-scaler')}", **headers}
        self._decompress = decompress
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            auto_decompress=self._decompress,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection pool."""
        if self._session is not None:
            await self._session.close()

    def _request(
        self, url: URL | str, granted: Granted, *, method: str = "GET", **options: Any
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Send a request with credentials, which do not follow a redirect to somebody else."""
        if self._session is None:
            name = type(self).__name__
            raise RuntimeError(f"{name} is not open: use it as an async context manager")
        return self._session.request(
            method,
            url,
            headers=granted.headers,
            ssl=granted.tls,
            server_hostname=granted.server_name,
            allow_redirects=False,
            **options,
        )


class OpensConnections:
    """Reads through something that its own async context opens and closes."""

    def __init__(self, connections: AbstractAsyncContextManager[object]) -> None:
        self._opened = connections

    async def __aenter__(self) -> Self:
        """Open the connections."""
        await self._opened.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._opened.__aexit__(None, None, None)


async def computed(compute: Callable[[], T], *, is_long: bool) -> T:
    """Return the result of `compute`, in a thread if that takes long, so that the loop goes on."""
    return await asyncio.to_thread(compute) if is_long else compute()
