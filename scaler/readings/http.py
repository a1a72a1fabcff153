# SPDX-License-Identifier: Apache-2.0
"""HTTP sessions of the readers, and long computations beside the event loop."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeVar

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")


def new_session(
    *, connections: int, headers: Mapping[str, str], decompress: bool = True
) -> aiohttp.ClientSession:
    """Return a pool of up to `connections` (0: any number) that keeps no cookies."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=60),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"gpu-scaler/{version('gpu-scaler')}", **headers},
        auto_decompress=decompress,
    )


async def computed(compute: Callable[[], T], *, is_long: bool) -> T:
    """Return the result of `compute`, in a thread if that takes long, so that the loop goes on."""
    return await asyncio.to_thread(compute) if is_long else compute()
