# SPDX-License-Identifier: Apache-2.0
"""Answers that are kept for a while, and shared by all who ask at the same time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

T = TypeVar("T")


class AnswerCache(Generic[T]):
    """Caches the newest `most` answers for `kept_seconds` since they were asked for."""

    def __init__(self, kept_seconds: float, most: int, clock: Callable[[], float]) -> None:
        self._kept_seconds = kept_seconds
        self._most = most
        self._clock = clock
        self._tasks: OrderedDict[Hashable, tuple[float, asyncio.Future[T]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tasks)

    async def get(self, key: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the cached answer, else that of `ask`; errors are not cached."""
        now = self._clock()
        asked, task = self._tasks.get(key, (0.0, None))
        if task is None or now - asked >= self._kept_seconds:
            task = asyncio.ensure_future(ask())
            task.add_done_callback(partial(self._forget_failed, key))
            self._tasks[key] = (now, task)
            self._tasks.move_to_end(key)
            while len(self._tasks) > self._most:
                self._tasks.popitem(last=False)
        # A cancelled caller must not cancel the request for the others.
        return await asyncio.shield(task)

    def _forget_failed(self, key: Hashable, task: asyncio.Future[T]) -> None:
        # The callers may have all gone: then nobody else consumes the error.
        failed = task.cancelled() or task.exception() is not None
        if failed and self._tasks.get(key, (0.0, None))[1] is task:
            del self._tasks[key]
