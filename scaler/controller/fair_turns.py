# SPDX-License-Identifier: Apache-2.0
"""Work on Deployments within a budget per loop, in which the namespaces take turns.

What does not fit waits for the next loop. So a flood from one namespace delays that namespace only.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from typing import TYPE_CHECKING, TypeVar

from scaler.budgets import SLICE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

T = TypeVar("T")


class FairTurns:
    """Works on Deployments for `seconds` of a loop, on at least one."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.thread_time) -> None:
        """`clock` counts processor time, so that a busy machine delays nobody."""
        self._seconds = seconds
        self._clock = clock
        self._waiting: dict[str, None] = {}
        self._served: dict[str, None] = {}

    async def take(
        self, namespaces: Mapping[str, str], work: Callable[[str], object]
    ) -> frozenset[str]:
        """Call `work` with one uid after another; return those that wait for the next loop.

        `namespaces` are those of all Deployments that need work, by uid.
        """
        # Those that already wait keep their places, the longest wait first.
        self._waiting = {
            **{uid: None for uid in self._waiting if uid in namespaces},
            **dict.fromkeys(uid for uid in namespaces if uid not in self._waiting),
        }
        left_seconds, slice_seconds = self._seconds, 0.0
        queues: defaultdict[str, list[str]] = defaultdict(list)
        for uid in self._waiting:
            queues[namespaces[uid]].append(uid)
        for uid in in_turns(queues, self._served):
            if slice_seconds > SLICE_SECONDS:
                await asyncio.sleep(0)
                slice_seconds = 0.0
            begun = self._clock()
            work(uid)
            del self._waiting[uid]
            took = self._clock() - begun
            left_seconds -= took
            slice_seconds += took
            if left_seconds <= 0:
                break
        return frozenset(self._waiting)


def in_turns(queues: Mapping[str, Iterable[T]], served: dict[str, None]) -> Iterator[T]:
    """Yield an item of each queue, then the next of each; the queue that was served last is last.

    `served` are the names of the queues in the order in which they were served, which is kept up.
    """
    for gone in served.keys() - queues.keys():
        del served[gone]
    order = deque([*(name for name in queues if name not in served), *served])
    left = {name: deque(items) for name, items in queues.items()}
    while order:
        name = order.popleft()
        served.pop(name, None)
        served[name] = None
        yield left[name].popleft()
        if left[name]:
            order.append(name)
