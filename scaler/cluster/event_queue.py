# SPDX-License-Identifier: Apache-2.0
"""The queue of unsent events, shared fairly between namespaces."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sized

T = TypeVar("T")


class EventQueue(Generic[T]):
    """Namespaces take turns, each with its oldest event first.

    When the queue is full, the namespace with the most events in it loses its newest, so that a
    namespace with many events costs the others neither place nor time.
    """

    def __init__(self, most: int) -> None:
        """`most` is the number of events that the queue holds."""
        self._most = most
        self._length = 0
        self._unsent = 0
        self._by_namespace: OrderedDict[str, deque[T]] = OrderedDict()
        self._filled = asyncio.Event()
        self._all_sent = asyncio.Event()
        self._all_sent.set()

    def __len__(self) -> int:
        return self._length

    def put(self, namespace: str, event: T) -> T | None:
        """Add an event; returns the event that was dropped for it, which can be the same one."""
        dropped = None
        if self._length >= self._most:
            longest = largest_share(self._by_namespace, namespace)
            if longest == namespace:
                return event
            dropped = self._by_namespace[longest].pop()
            self._removed(longest)
            self._unsent -= 1
        self._by_namespace.setdefault(namespace, deque()).append(event)
        self._length += 1
        self._unsent += 1
        self._filled.set()
        self._all_sent.clear()
        return dropped

    async def get(self) -> T:
        """Wait for an event and take it; `sent` must follow."""
        await self._filled.wait()
        namespace, events = next(iter(self._by_namespace.items()))
        event = events.popleft()
        self._by_namespace.move_to_end(namespace)
        self._removed(namespace)
        return event

    def sent(self) -> None:
        """Say that an event which was taken needs no more work."""
        self._unsent -= 1
        if not self._unsent:
            self._all_sent.set()

    async def all_sent(self) -> None:
        """Wait until each event of the queue is taken and sent."""
        await self._all_sent.wait()

    def _removed(self, namespace: str) -> None:
        self._length -= 1
        if not self._by_namespace[namespace]:
            del self._by_namespace[namespace]
        if not self._length:
            self._filled.clear()


def largest_share(by_namespace: Mapping[str, Sized], namespace: str) -> str:
    """Return the namespace that would hold the most after one more of `namespace`.

    It is `namespace` itself if several would hold the most.
    """
    longest = max(by_namespace, key=lambda name: len(by_namespace[name]))
    own = len(by_namespace.get(namespace, ()))
    return namespace if own + 1 >= len(by_namespace[longest]) else longest
