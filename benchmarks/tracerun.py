# SPDX-License-Identifier: Apache-2.0
"""One trace under one party: who scales, and pods that start and end."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks.modelserver import (
    EXPORTER_WINDOW_SECONDS,
    PLACED_SECONDS,
    Pod,
    first_pod,
    servers_of,
)
from benchmarks.traceparties import READY_AGE_SECONDS

if TYPE_CHECKING:
    from benchmarks.modelserver import Reading, Servers
    from benchmarks.tracefiles import PublishedTrace
    from benchmarks.traceparties import Party


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came of a trace under a party; `steps` are the counts, each from a second on."""

    late_percent: float
    gpu_hours: float
    changes: int
    highest: int
    steps: tuple[tuple[int, int], ...]


def run(
    trace: PublishedTrace,
    party: Party,
    *,
    start_seconds: int,
    first_replicas: int,
    may_skip: bool = True,
) -> Run:
    """Run the trace, beginning with Ready pods.

    Seconds in which nothing changes pass at once unless `may_skip` is False; it is the same.
    """
    fleet = _Fleet(servers_of(trace), start_seconds, first_replicas)
    servers, period = fleet.servers, party.period_seconds
    now, before = 0, None
    scraped: Reading | None = None
    while now < servers.seconds:
        if party.age_seconds and now % period == period - party.age_seconds:
            scraped = servers.reading(now, fleet.pods)
        if now % period == 0:
            reading = scraped or servers.reading(now, fleet.pods)
            reading = replace(reading, now=now, pods=tuple(fleet.pods))
            fleet.scale(party.replicas(reading), now)
            shown = (reading.pods, reading.duty_percent, reading.in_hand)
            if may_skip and shown == before and len(fleet.pods) == len(reading.pods):
                until = min(
                    party.quiet_until(now), servers.steady_until(now), fleet.next_change(now)
                )
                seconds = (math.ceil(until - now) - 1) // period * period if until > now else 0
                if seconds > 0:
                    fleet.hold(seconds)
                    servers.skip(seconds, now)
                    now += seconds
                    before = None
                    continue
            before = shown
        servers.serve(now, fleet.ready(now))
        party.observe(servers.in_hand(now + 1, fleet.ready(now)))
        fleet.hold(1)
        now += 1
    return Run(
        late_percent=100 * servers.late / servers.total,
        gpu_hours=fleet.gpu_seconds / 3600,
        changes=len(fleet.steps) - 1,
        highest=max(count for _, count in fleet.steps),
        steps=tuple(fleet.steps),
    )


class _Fleet:
    """The Deployment's pods; the youngest go first, and finish what they have."""

    def __init__(self, servers: Servers, start_seconds: int, first_replicas: int) -> None:
        self.servers = servers
        self.pods = [first_pod(number) for number in range(first_replicas)]
        self.gpu_seconds = 0.0
        self.steps = [(0, first_replicas)]
        self._start_seconds = start_seconds
        self._made = first_replicas

    def ready(self, now: int) -> list[Pod]:
        return [pod for pod in self.pods if pod.is_ready(now)]

    def hold(self, seconds: int) -> None:
        self.gpu_seconds += seconds * len(self.pods)

    def scale(self, replicas: int, now: int) -> None:
        if replicas == len(self.pods):
            return
        self.steps.append((now, replicas))
        while len(self.pods) < replicas:
            ready_from = now + self._start_seconds
            self.pods.append(Pod(number=self._made, created=now, ready_from=ready_from))
            self._made += 1
        for pod in self.pods[replicas:]:
            self.gpu_seconds += self.servers.drained(pod, now)
        del self.pods[replicas:]

    def next_change(self, now: int) -> float:
        """Return when the next pod changes its state, or what an exporter shows of it."""
        changes = (
            change
            for pod in self.pods
            for change in (
                pod.created + PLACED_SECONDS,
                pod.ready_from,
                pod.ready_from + EXPORTER_WINDOW_SECONDS,
                pod.ready_from + READY_AGE_SECONDS,
            )
        )
        return min((change for change in changes if change > now), default=math.inf)
