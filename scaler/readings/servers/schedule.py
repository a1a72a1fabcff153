"""Asks pods on a schedule of its own, so that nobody who needs values waits for a pod."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from scaler.readings.servers.lanes import Lane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from scaler.readings.servers.reader import ServerPage
    from scaler.readings.store import Demand

QUICK_SECONDS = 0.25
QUICK_PLACES = 64
SLOW_PLACES = 128
LEAD_FACTOR = 1.25
LEAD_SECONDS = 0.15
"""How much longer than the last poll the next one may take."""
QUIET_SECONDS = 0.1
"""No request starts this shortly before or after a read is due, so that answers do not delay it."""


class ServerPolls:
    """Asks each wanted pod once per interval; never twice at the same time.

    Pods that answered quickly are asked just before the next read, so that it sees fresh values;
    with thousands of pods that means without a break. Those that failed, were slow or are new are
    asked right after a read, in places of their own.
    """

    def __init__(
        self,
        demand: Demand[ServerPage],
        *,
        interval_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`interval_seconds` is how often `want` is called."""
        self._demand = demand
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._namespaces: Mapping[str, str] = {}
        self._lanes = {True: Lane(QUICK_PLACES), False: Lane(SLOW_PLACES)}
        self._quick: set[str] = set()
        self._in_flight: set[str] = set()
        self._changed = asyncio.Event()
        self._answered = asyncio.Event()
        self._poll_at_seconds = math.inf
        self._read_at_seconds = -math.inf
        self._paused_until_seconds = -math.inf
        self._polled_at_seconds = 0.0
        self._took_seconds = QUICK_SECONDS

    def want(self, namespaces: Mapping[str, str]) -> None:
        """Say that values are read now, and again after an interval: of these pods' UIDs."""
        now = self._clock()
        if self._poll_at_seconds < math.inf:
            # This read came before the poll for it.
            self._begin_poll(now)
        self._namespaces = namespaces
        self._quick &= namespaces.keys()
        for lane in self._lanes.values():
            lane.keep_only(namespaces)
        for pod, namespace in namespaces.items():
            if pod not in self._quick and pod not in self._in_flight:
                is_new = self._demand.latest(pod) is None
                self._lanes[False].put(namespace, pod, first=is_new)
        lead = min(self._interval_seconds, LEAD_FACTOR * self._took_seconds + LEAD_SECONDS)
        self._read_at_seconds = now + self._interval_seconds
        self._poll_at_seconds = self._read_at_seconds - lead
        self._changed.set()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Start no request within the context, at most for an interval."""
        self._paused_until_seconds = self._clock() + self._interval_seconds
        try:
            yield
        finally:
            self._paused_until_seconds = -math.inf
            self._changed.set()

    async def wait_for_all(self) -> None:
        """Wait until each wanted pod has been asked; `run` must be running."""
        while any(self._demand.latest(pod) is None for pod in self._namespaces):
            self._answered.clear()
            await self._answered.wait()

    async def run(self) -> None:
        """Ask pods until cancelled; owns the requests."""
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
        quiet = min(QUIET_SECONDS, self._interval_seconds / 10)
        quiet_until = self._read_at_seconds + quiet
        is_quiet = self._read_at_seconds - quiet < now < quiet_until
        return max(quiet_until if is_quiet else now, self._paused_until_seconds)

    def _begin_poll(self, now: float) -> None:
        self._poll_at_seconds = math.inf
        # What is left of the last poll takes longer than the interval.
        self._took_seconds = 0.0 if self._lanes[True].is_idle else self._interval_seconds
        self._polled_at_seconds = now
        for pod in self._quick - self._in_flight:
            self._lanes[True].put(self._namespaces[pod], pod)

    def _start(self, group: asyncio.TaskGroup) -> None:
        for is_quick, lane in self._lanes.items():
            while (next_one := lane.take()) is not None:
                namespace, pod = next_one
                if pod in self._in_flight:
                    lane.leave(namespace)
                    continue
                self._in_flight.add(pod)
                group.create_task(self._ask(pod, namespace, is_quick=is_quick))

    async def _ask(self, pod: str, namespace: str, *, is_quick: bool) -> None:
        begun = self._clock()
        try:
            page = await self._demand.page(pod)
        finally:
            self._lanes[is_quick].leave(namespace)
            self._in_flight.discard(pod)
            self._changed.set()
            self._answered.set()
        now = self._clock()
        if page.problem is not None or now - begun > QUICK_SECONDS:
            self._quick.discard(pod)
        elif pod in self._namespaces:
            self._quick.add(pod)
            if is_quick:
                self._took_seconds = max(self._took_seconds, now - self._polled_at_seconds)
