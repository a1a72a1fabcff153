# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C that ends a long reading early, so that what was read can be shown."""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

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


async def unless(interrupted: asyncio.Event, function: Callable[[], _T]) -> _T | None:
    """Return what the function returns in a thread, or None at once when interrupted.

    The thread then ends with the program, even if it waits for input. It may raise what the
    function raises.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def finish(outcome: Callable[[], None]) -> None:
        if not done.done():
            outcome()

    def run() -> None:
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - it is raised by the caller.
            outcome = partial(done.set_exception, error)
        else:
            outcome = partial(done.set_result, result)
        # The loop is closed if nobody waits any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(finish, outcome)

    # Not of asyncio, which waits for its own threads when it ends.
    threading.Thread(target=run, daemon=True).start()
    waiting = asyncio.ensure_future(interrupted.wait())
    waiting.add_done_callback(lambda _: done.cancel())
    try:
        return await done
    except asyncio.CancelledError:
        if interrupted.is_set():
            return None
        raise
    finally:
        waiting.cancel()


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
