# SPDX-License-Identifier: Apache-2.0
"""Asks servers on a schedule of its own, so that nobody who needs values waits for one."""

from __future__ import annotations

import asyncio
import math
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from scaler.readings.servers.lanes import Lane
from scaler.readings.unexpected import unexpected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

QUICK_SECONDS = 0.25
QUICK_PLACES = 64
SLOW_PLACES = 128
LEAD_FACTOR = 1.25
LEAD_SECONDS = 0.15
"""How much longer than the last poll the next one may take."""
QUIET_SECONDS = 0.1
"""No request starts this shortly before or after a read is due, so that answers do not delay it.

Nor this shortly after a pause: the loop decides and acts then.
"""


class Polls:
    """Asks each wanted server once per interval; never twice at the same time.

    Servers that answered quickly are asked just before the next read, so that it sees fresh values;
    with thousands of them that means without a break. Those that failed, were slow or are new are
    asked right after a read, in places of their own.
    """

    def __init__(
        self,
        ask: Callable[[str], Awaitable[bool]],
        *,
        interval_seconds: float,
        quick_places: int = QUICK_PLACES,
        slow_places: int = SLOW_PLACES,
        clock: Callable[[], float],
    ) -> None:
        """`interval_seconds` is how often `want` is called.

        `ask` reads the server with a key and returns whether that succeeded.
        """
        self._ask = ask
        self._interval_seconds = interval_seconds
        self._quiet_seconds = min(QUIET_SECONDS, interval_seconds / 10)
        self._clock = clock
        self._namespaces: Mapping[str, str] = {}
        self._lanes = {True: Lane(quick_places), False: Lane(slow_places)}
        self._quick: set[str] = set()
        self._asked: set[str] = set()
        self._in_flight: set[str] = set()
        self._changed = asyncio.Event()
        self._answered = asyncio.Event()
        self._poll_at_seconds = math.inf
        self._read_at_seconds = -math.inf
        self._paused_until_seconds = -math.inf
        self._polled_at_seconds = 0.0
        self._took_seconds = QUICK_SECONDS

    def want(self, namespaces: Mapping[str, str]) -> None:
        """Say that values of these servers are read now, and again after an interval.

        `namespaces` has the namespace of each key; the same object has not changed.
        """
        now = self._clock()
        if self._poll_at_seconds < math.inf:
            # This read came before the poll for it.
            self._begin_poll(now)
        if namespaces is not self._namespaces:
            self._namespaces = namespaces
            self._quick &= namespaces.keys()
            self._asked &= namespaces.keys()
            for lane in self._lanes.values():
                lane.keep_only(namespaces)
        if not_quick := namespaces.keys() - self._quick - self._in_flight:
            # In their own order.
            for key in filter(not_quick.__contains__, namespaces):
                self._lanes[False].put(namespaces[key], key, first=key not in self._asked)
        lead = min(self._interval_seconds, LEAD_FACTOR * self._took_seconds + LEAD_SECONDS)
        self._read_at_seconds = now + self._interval_seconds
        self._poll_at_seconds = self._read_at_seconds - lead
        self._changed.set()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Start no request within the context and shortly after it, at most for an interval."""
        latest = self._clock() + self._interval_seconds
        self._paused_until_seconds = latest
        try:
            yield
        finally:
            self._paused_until_seconds = min(latest, self._clock() + self._quiet_seconds)
            self._changed.set()

    async def wait_for_all(self) -> None:
        """Wait until each wanted server has been asked; `run` must be running."""
        while self._namespaces.keys() - self._asked:
            self._answered.clear()
            await self._answered.wait()

    async def run(self) -> None:
        """Ask servers until cancelled; owns the requests."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                now = self._clock()
                if now >= self._poll_at_seconds:
                    self._begin_poll(now)
                start_at = self._may_start_at(now)
                if start_at <= now:
                    self._start(group)
                    start_at = math.inf
                wait = min(self._poll_at_seconds, start_at) - now
                with suppress(TimeoutError):
                    async with asyncio.timeout(None if math.isinf(wait) else wait):
                        await self._changed.wait()

    def _may_start_at(self, now: float) -> float:
        """Return when requests may start, `now` or earlier if they may."""
        quiet_until = self._read_at_seconds + self._quiet_seconds
        is_quiet = self._read_at_seconds - self._quiet_seconds < now < quiet_until
        return max(quiet_until if is_quiet else now, self._paused_until_seconds)

    def _begin_poll(self, now: float) -> None:
        self._poll_at_seconds = math.inf
        # What is left of the last poll takes longer than the interval.
        self._took_seconds = 0.0 if self._lanes[True].is_idle else self._interval_seconds
        self._polled_at_seconds = now
        for key in self._quick - self._in_flight:
            self._lanes[True].put(self._namespaces[key], key)

    def _start(self, group: asyncio.TaskGroup) -> None:
        for is_quick, lane in self._lanes.items():
            while (next_one := lane.take()) is not None:
                namespace, key = next_one
                if key in self._in_flight:
                    lane.leave(namespace)
                    continue
                self._in_flight.add(key)
                group.create_task(self._asked_in(lane, key, namespace, is_quick=is_quick))

    async def _asked_in(self, lane: Lane, key: str, namespace: str, *, is_quick: bool) -> None:
        begun, is_good = self._clock(), False
        try:
            is_good = await self._ask(key)
        except Exception as error:  # noqa: BLE001  (it affects only this server)
            unexpected("a model server or queue", error)
        finally:
            lane.leave(namespace)
            self._in_flight.discard(key)
            if key in self._namespaces:
                self._asked.add(key)
            self._changed.set()
            self._answered.set()
        now = self._clock()
        if not is_good or now - begun > QUICK_SECONDS:
            self._quick.discard(key)
        elif key in self._namespaces:
            self._quick.add(key)
            if is_quick:
                self._took_seconds = max(self._took_seconds, now - self._polled_at_seconds)
