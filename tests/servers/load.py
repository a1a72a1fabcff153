# SPDX-License-Identifier: Apache-2.0
"""Clients that keep a number of requests in flight at a model server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

_AFTER_A_FAILURE_SECONDS = 0.1


@asynccontextmanager
async def requests_in_flight(
    url: str, body: Mapping[str, Any], *, count: int
) -> AsyncIterator[list[str]]:
    """Keep `count` requests in flight until the context ends; then the clients hang up.

    A client whose answer ended or failed asks again, as users do. Yields the failures so far.
    """
    failures: list[str] = []

    async def client(session: aiohttp.ClientSession) -> None:
        while True:
            try:
                async with session.post(url, json=body) as response:
                    response.raise_for_status()
                    async for _ in response.content.iter_any():
                        pass
            except aiohttp.ClientError as error:
                failures.append(str(error)[:200])
                await asyncio.sleep(_AFTER_A_FAILURE_SECONDS)

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    ) as session:
        clients = [asyncio.create_task(client(session)) for _ in range(count)]
        try:
            yield failures
        finally:
            for task in clients:
                task.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
