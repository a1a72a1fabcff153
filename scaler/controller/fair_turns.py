# SPDX-License-Identifier: Apache-2.0
"""Work on Deployments within a budget per loop, in which the namespaces take turns.

What does not fit waits for the next loop. So a flood from one namespace delays that namespace only.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from scaler.budgets import SLICE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


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
        for uid in self._in_fair_order(namespaces):
            if left_seconds <= 0:
                break
            if slice_seconds > SLICE_SECONDS:
                await asyncio.sleep(0)
                slice_seconds = 0.0
            begun = self._clock()
            work(uid)
            del self._waiting[uid]
            self._served.pop(namespaces[uid], None)
            self._served[namespaces[uid]] = None
            took = self._clock() - begun
            left_seconds -= took
            slice_seconds += took
        return frozenset(self._waiting)

    def _in_fair_order(self, namespaces: Mapping[str, str]) -> Iterable[str]:
        """Yield one Deployment of each namespace, then the next of each; the last served last."""
        queues: dict[str, list[str]] = {}
        for uid in self._waiting:
            queues.setdefault(namespaces[uid], []).append(uid)
        for queue in queues.values():
            queue.reverse()
        self._served = {name: None for name in self._served if name in queues}
        order = [name for name in queues if name not in self._served] + list(self._served)
        while order:
            for name in order:
                yield queues[name].pop()
            order = [name for name in order if queues[name]]
