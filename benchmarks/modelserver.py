# SPDX-License-Identifier: Apache-2.0
"""A plain model of model servers in pods: slots, what waits for them, and a duty cycle.

A pod serves up to `slots` requests at once (continuous batching), each as fast as if it were
alone, and the others wait in that pod in their order. The duty cycle is the share of the slots in
use: it ends at 100 %, whatever waits. Every request goes to the Ready pod that has the fewest.

`RequestServers` follows each request. `FluidServers` is for traces that are rates: load is a
number of busy pods, spread evenly, and so is what waits.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.tracefiles import PublishedTrace, Request

SLOTS: Final = 8
PREFILL_TOKENS_PER_SECOND: Final = 5000.0
SECONDS_PER_TOKEN: Final = 0.05
FLUID_REQUEST_SECONDS: Final = 10.0
"""How long an unloaded pod takes for a request of a trace without tokens."""
FLUID_HIGHEST_PODS: Final = 12
"""A trace of rates is scaled until its highest window keeps this many pods busy."""
PLACED_SECONDS: Final = 2
"""How long a new pod is Pending."""
EXPORTER_WINDOW_SECONDS: Final = 10
LATE_SECONDS: Final = 5.0
"""A request that takes this much longer than on an unloaded pod is late."""
FIRST_SECONDS: Final = 600
_ALWAYS_READY: Final = -3600


@dataclass(slots=True, eq=False)
class Pod:
    """A pod by its number and the second in which it was created."""

    number: int
    created: int
    ready_from: int
    slots: list[float] = field(default_factory=lambda: [0.0] * SLOTS)
    ends: list[float] = field(default_factory=list)
    busy: dict[int, float] = field(default_factory=dict)

    def runs(self, now: int) -> bool:
        """Whether its container runs; it may still be loading."""
        return now >= self.created + PLACED_SECONDS

    def is_ready(self, now: int) -> bool:
        """Whether it serves."""
        return now >= self.ready_from

    def in_hand(self, now: float) -> int:
        """The requests that it serves and that wait in it."""
        while self.ends and self.ends[0] <= now:
            heapq.heappop(self.ends)
        return len(self.ends)

    def take(self, at: float, seconds: float) -> float:
        """Take a request, and return how long it waits."""
        begin = max(at, self.slots[0])
        end = begin + seconds
        heapq.heapreplace(self.slots, end)
        heapq.heappush(self.ends, end)
        second = int(begin)
        while second < end:
            used = min(end, second + 1) - max(begin, second)
            self.busy[second] = self.busy.get(second, 0.0) + used
            second += 1
        return begin - at


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What can be seen of the pods at `now`: duty cycles in percent, requests, by pod number.

    Both are of the pods that run; one that loads is idle and has no requests.
    """

    now: int
    pods: tuple[Pod, ...]
    duty_percent: dict[int, float]
    in_hand: dict[int, float]


class Servers(Protocol):
    """The servers in the pods, second by second."""

    seconds: int
    total: float
    late: float

    def serve(self, now: int, ready: Sequence[Pod]) -> None:
        """Let a second pass in which these pods are Ready."""

    def reading(self, now: int, pods: Sequence[Pod]) -> Reading:
        """Return what an exporter and the pods' pages show."""

    def in_hand(self, now: int, pods: Sequence[Pod]) -> float:
        """Return the requests in all of these pods."""

    def skip(self, seconds: int, now: int) -> None:
        """Let steady seconds pass at once."""

    def drained(self, pod: Pod, now: int) -> float:
        """Return how long a pod that gets no more requests still works."""

    def steady_until(self, now: int) -> int:
        """Return until when nothing changes while the same pods are Ready; `now` if it does."""

    def needed(self) -> list[tuple[int, int, int]]:
        """Return how many pods nobody would wait with: from a second, to a second, the number."""

    def first_load(self) -> float:
        """Return how many pods the first minutes keep busy."""


def servers_of(trace: PublishedTrace) -> Servers:
    """Return servers with all of the trace still to come."""
    return RequestServers(trace) if trace.requests else FluidServers(trace)


def first_pod(number: int) -> Pod:
    """Return a pod that has been there for long."""
    return Pod(number=number, created=_ALWAYS_READY, ready_from=_ALWAYS_READY)


def service_seconds(request: Request) -> float:
    """Return what a request takes on an unloaded pod."""
    prefill = request.context_tokens / PREFILL_TOKENS_PER_SECOND
    return prefill + request.generated_tokens * SECONDS_PER_TOKEN


class RequestServers:
    """Servers that take each request; `total` and `late` are numbers of requests."""

    def __init__(self, trace: PublishedTrace) -> None:
        self._requests = trace.requests
        self._next = 0
        self.seconds = math.ceil(trace.requests[-1].at_seconds + 1)
        self.total = float(len(trace.requests))
        self.late = 0.0

    def serve(self, now: int, ready: Sequence[Pod]) -> None:
        """Give the requests of this second to the pods with the fewest."""
        while self._next < len(self._requests):
            request = self._requests[self._next]
            if request.at_seconds >= now + 1:
                return
            self._next += 1
            at = request.at_seconds
            pod = min(ready, key=lambda one: (one.in_hand(at), one.number))
            waited = pod.take(at, service_seconds(request))
            self.late += waited > LATE_SECONDS

    def reading(self, now: int, pods: Sequence[Pod]) -> Reading:
        """Return the slots in use, averaged over the exporter's window, and the requests."""
        window = range(max(0, now - EXPORTER_WINDOW_SECONDS), now)
        seconds = max(1, len(window))
        running = [pod for pod in pods if pod.runs(now)]
        return Reading(
            now=now,
            pods=tuple(pods),
            duty_percent={
                pod.number: min(
                    100.0,
                    100 * sum(pod.busy.get(one, 0.0) for one in window) / (seconds * SLOTS),
                )
                for pod in running
            },
            in_hand={pod.number: float(pod.in_hand(now)) for pod in running},
        )

    def in_hand(self, now: int, pods: Sequence[Pod]) -> float:
        """Return the requests in all of these pods."""
        return float(sum(pod.in_hand(now) for pod in pods))

    def skip(self, seconds: int, now: int) -> None:
        """Requests are never steady."""
        raise AssertionError((seconds, now))

    def drained(self, pod: Pod, now: int) -> float:
        """Return how long until the pod's last request ends."""
        return max(0.0, max(pod.ends, default=0.0) - now)

    def steady_until(self, now: int) -> int:
        """Return `now`: the next request may come at any time."""
        return now

    def needed(self) -> list[tuple[int, int, int]]:
        """Return the slots that the highest number of requests at once in a second needs."""
        ends: list[float] = []
        needed = []
        waiting = iter((*self._requests, None))
        request = next(waiting)
        for second in range(self.seconds):
            most = _in_flight(ends, second)
            while request is not None and request.at_seconds < second + 1:
                _in_flight(ends, request.at_seconds)
                heapq.heappush(ends, request.at_seconds + service_seconds(request))
                most = max(most, len(ends))
                request = next(waiting)
            needed.append((second, second + 1, math.ceil(most / SLOTS)))
        return needed

    def first_load(self) -> float:
        """Return the work of the first requests."""
        first = (one for one in self._requests if one.at_seconds < FIRST_SECONDS)
        return sum(map(service_seconds, first)) / FIRST_SECONDS / SLOTS


def _in_flight(ends: list[float], now: float) -> int:
    while ends and ends[0] <= now:
        heapq.heappop(ends)
    return len(ends)


class FluidServers:
    """Servers under a rate; `total` and `late` are in seconds of a busy pod."""

    def __init__(self, trace: PublishedTrace) -> None:
        highest = max(window.requests_per_second for window in trace.windows)
        self._loads = [
            (window.end_seconds, FLUID_HIGHEST_PODS * window.requests_per_second / highest)
            for window in trace.windows
        ]
        self._window = 0
        self.seconds = self._loads[-1][0]
        begins = [0, *(end for end, _ in self._loads)]
        self.total = sum(
            load * (end - begin) for begin, (end, load) in zip(begins, self._loads, strict=False)
        )
        self.late = 0.0
        self._last_load = 0.0
        self._waiting = 0.0
        self._come = 0.0
        self._come_by = deque([0.0] * (int(LATE_SECONDS) + 2), maxlen=int(LATE_SECONDS) + 2)
        self._shares = deque([0.0] * EXPORTER_WINDOW_SECONDS, maxlen=EXPORTER_WINDOW_SECONDS)

    def serve(self, now: int, ready: Sequence[Pod]) -> None:
        """Serve what came and what waits, as far as the pods can."""
        self._last_load = load = self._load(now)
        self._come += load
        self._come_by.append(self._come)
        served = min(self._waiting + load, float(len(ready)))
        self._waiting = max(0.0, self._waiting + load - served)
        self._shares.append(served / len(ready))
        # Of what came LATE_SECONDS ago, in their order, this much is not yet served.
        served_by_now = self._come - self._waiting
        self.late += max(0.0, self._come_by[1] - max(self._come_by[0], served_by_now))

    def skip(self, seconds: int, now: int) -> None:
        """Let steady seconds pass at once."""
        self._come += self._load(now) * seconds
        self._come_by.extend([self._come] * len(self._come_by))

    def reading(self, now: int, pods: Sequence[Pod]) -> Reading:
        """Return the same of every pod, less the time in which it loaded."""
        running = [pod for pod in pods if pod.runs(now)]
        ready = [pod for pod in running if pod.is_ready(now)]
        in_hand = self.in_hand(now, ready) / len(ready)
        shares = list(self._shares)
        whole = 100 * sum(shares) / len(shares)
        duty = {}
        for pod in running:
            served = now - pod.ready_from
            if served >= len(shares):
                duty[pod.number] = whole
            else:
                duty[pod.number] = 100 * sum(shares[len(shares) - max(0, served) :]) / len(shares)
        return Reading(
            now=now,
            pods=tuple(pods),
            duty_percent=duty,
            in_hand={pod.number: in_hand if pod.is_ready(now) else 0.0 for pod in running},
        )

    def in_hand(self, now: int, pods: Sequence[Pod]) -> float:
        """Return the slots in use and what waits, in requests."""
        in_use = self._shares[-1] * SLOTS * sum(pod.is_ready(now) for pod in pods)
        return in_use + self._waiting * SLOTS / FLUID_REQUEST_SECONDS

    def drained(self, pod: Pod, now: int) -> float:
        """Return 0: what a pod had goes to the others."""
        return 0.0

    def steady_until(self, now: int) -> int:
        """Return when the rate changes, once the exporter's window shows this one alone."""
        shares = self._shares
        if self._waiting or any(share != shares[0] for share in shares):
            return now
        if self._load(now) != self._last_load:
            return now
        return self._loads[self._window][0]

    def needed(self) -> list[tuple[int, int, int]]:
        """Return the pods that each window's rate keeps busy."""
        begins = [0, *(end for end, _ in self._loads)]
        return [
            (begin, end, math.ceil(load))
            for begin, (end, load) in zip(begins, self._loads, strict=False)
        ]

    def first_load(self) -> float:
        """Return the first window's load."""
        return self._loads[0][1]

    def _load(self, now: int) -> float:
        while now >= self._loads[self._window][0]:
            self._window += 1
        return self._loads[self._window][1]
