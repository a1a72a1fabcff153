# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C that ends a long reading early, so that what was read can be shown."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_T = TypeVar("_T")


@asynccontextmanager
async def interruption() -> AsyncIterator[asyncio.Event]:
    """Yield an event that the first SIGINT sets; the second one ends the program as usual."""
    loop = asyncio.get_running_loop()
    interrupted = asyncio.Event()
    before = signal.getsignal(signal.SIGINT)

    def interrupt() -> None:
        interrupted.set()
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)

    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        yield interrupted
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)


async def until(interrupted: asyncio.Event, items: AsyncIterator[_T]) -> AsyncIterator[_T]:
    """Yield the items, and end at once when interrupted."""
    waiting = asyncio.ensure_future(interrupted.wait())
    try:
        while not interrupted.is_set():
            item = asyncio.ensure_future(anext(items))
            try:
                await asyncio.wait({item, waiting}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not item.done():
                    item.cancel()
                    await asyncio.wait({item})
            if interrupted.is_set() and (item.cancelled() or item.exception() is not None):
                return
            try:
                yield item.result()
            except StopAsyncIteration:
                return
    finally:
        waiting.cancel()
