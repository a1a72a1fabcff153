# SPDX-License-Identifier: Apache-2.0
"""A gateway before model servers: requests wait at it while there is no server, and it counts."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from tests.servers.served import STORY_SECONDS
from tests.serving import serving
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence


class Gateway:
    """`waiting` requests have no server yet, and a server works on those `running`."""

    def __init__(
        self, backends: Callable[[], Sequence[str]], session: aiohttp.ClientSession
    ) -> None:
        """`backends` returns the URLs of the servers that may be asked now."""
        self.waiting = 0
        self.running = 0
        self._backends = backends
        self._session = session

    async def answer(self, request: web.Request) -> web.Response:
        """Answer with the page of metrics, and to all else with what a server says."""
        if request.path == "/metrics":
            return web.Response(text=self._page())
        body = await request.json()
        self.waiting += 1
        try:
            url, *_ = await until(
                self._backends, deadline_seconds=STORY_SECONDS, what="a server for a request"
            )
        finally:
            self.waiting -= 1
        self.running += 1
        try:
            async with self._session.post(url + request.path, json=body) as response:
                return web.Response(status=response.status, body=await response.read())
        finally:
            self.running -= 1

    def _page(self) -> str:
        return (
            "# TYPE gateway_requests_waiting gauge\n"
            f'gateway_requests_waiting{{model="tiny"}} {self.waiting}\n'
            "# TYPE gateway_requests_running gauge\n"
            f'gateway_requests_running{{model="tiny"}} {self.running}\n'
        )


@asynccontextmanager
async def running_gateway(
    backends: Callable[[], Sequence[str]], *, host: str = "127.0.0.1"
) -> AsyncIterator[str]:
    """Run a gateway and yield its URL."""
    async with (
        aiohttp.ClientSession() as session,
        serving(Gateway(backends, session).answer, host=host) as url,
    ):
        yield url
