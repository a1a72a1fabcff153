# SPDX-License-Identifier: Apache-2.0
"""A proxy between one scaler and the API server, to be there at a moment that no test could hit."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp import web

from tests.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from datetime import datetime

    from tests.cluster.controlplane import ControlPlane

PASSED_ON: Final = ("Authorization", "Accept", "Content-Type")


class Between:
    """Passes every request on to the API server and its answer back, as they come."""

    def __init__(self, server: str, http: aiohttp.ClientSession) -> None:
        self._server = server
        self._http = http
        self.time: datetime | None = None
        """What the API server's clock shows to the scaler, None for its own time."""
        self._before_scale: dict[str, Callable[[], Awaitable[object]]] = {}
        self._open: set[asyncio.Task[object]] = set()

    def before_next_scale(self, path: str, act: Callable[[], Awaitable[object]]) -> None:
        """Have `act` done when the next PATCH of the scale of `path` is here, not yet passed on."""
        self._before_scale[f"{path}/scale"] = act

    def cut(self) -> None:
        """Break off every answer under way, as a load balancer does that is restarted."""
        for task in self._open:
            task.cancel()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass one request on."""
        if request.method == "PATCH" and request.path in self._before_scale:
            await self._before_scale.pop(request.path)()
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            return await self._pass_on(request)
        finally:
            self._open.discard(task)

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        async with self._http.request(
            request.method,
            self._server + request.raw_path,
            data=await request.read(),
            headers={name: request.headers[name] for name in PASSED_ON if name in request.headers},
        ) as answer:
            passed = web.StreamResponse(status=answer.status)
            passed.content_type = answer.content_type
            if self.time is not None:
                passed.headers["Date"] = format_datetime(self.time, usegmt=True)
            await passed.prepare(request)
            try:
                async for chunk in answer.content.iter_any():
                    await passed.write(chunk)
            finally:
                # A watch is left in the middle: nobody waits until TLS has said goodbye.
                if answer.connection is not None and answer.connection.transport is not None:
                    answer.connection.transport.abort()
            return passed


@asynccontextmanager
async def running_between(plane: ControlPlane) -> AsyncIterator[tuple[Between, str]]:
    """Run the proxy while the context lasts; yields it with the URL that leads through it."""
    tls = ssl.create_default_context(cafile=plane.files.ca)
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
        ) as http,
        serving((between := Between(plane.url, http)).handle) as url,
    ):
        yield between, url
