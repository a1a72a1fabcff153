# SPDX-License-Identifier: Apache-2.0
"""One published trace with one start time: every party, each at targets that compare."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from benchmarks.modelserver import servers_of
from benchmarks.traceparties import Calm, ChainParty, KnativeParty, OurParty
from benchmarks.traceplans import PlanParty, all_followed, fixed, ordered
from benchmarks.tracerun import run
from benchmarks.tracetable import (
    CHAIN_TARGETS,
    PartyName,
    Row,
    bars,
    calm_bars,
    of_case,
    within_hours,
)
from scaler.model import Metric

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from benchmarks.tracefiles import PublishedTrace
    from benchmarks.traceparties import Party
    from benchmarks.traceplans import Needed, Plan
    from benchmarks.tracerun import Run
    from benchmarks.tracetable import Bar

PLACES: Final = 4
"""A trace of requests has few bursts: it is run from this many places on, and around."""
CURVES_TARGET: Final = 70
TARGETS: Final = {
    # Up to the highest that 10 % of tolerance leaves below 100 %.
    PartyName.DUTY: range(50, 91, 5),
    # A target above 100 % of the slots lets requests wait.
    PartyName.REQUESTS: (50, 60, 65, 70, 75, 80, 82, 85, 88, 90, 100, 125, 150, 200, 300),
    # Averages of bursts and silence are low.
    PartyName.DUTY_CALM: range(24, 61, 3),
    PartyName.REQUESTS_CALM: range(14, 46, 3),
}
CALM: Final = {
    PartyName.DUTY_CALM: Calm(window_seconds=60),
    PartyName.REQUESTS_CALM: Calm(window_seconds=60, up_seconds=120),
}
"""What docs/decision-quality.md advises for bursts with silence between."""
NARROWED_TARGETS: Final = 5
"""Between targets no further apart than this, those with the chain's GPU hours are looked for."""


class Case:
    """One trace with one start time."""

    def __init__(self, trace: PublishedTrace, start_seconds: int) -> None:
        self.rows: list[Row] = []
        self.drawn: dict[PartyName, Run] = {}
        self._name = trace.name
        self._start_seconds = start_seconds
        self._places = [
            (place, servers_of(place).needed(), servers_of(place).first_load())
            for place in from_places(trace)
        ]

    def add_all(self) -> None:
        """Run the parties, ours until it takes less than the chain."""
        self.add(PartyName.ORACLE, 0)
        for target in CHAIN_TARGETS:
            self.add(PartyName.CHAIN, target)
            self.add(PartyName.CHAIN_REQUESTS, target)
            self.add(PartyName.KNATIVE, target)
        self._add_ours(PartyName.DUTY, min_target=max(CHAIN_TARGETS))
        self._add_ours(PartyName.REQUESTS, min_target=max(CHAIN_TARGETS))
        self.narrow(bars)

    def add_for_bursts(self) -> None:
        """Run ours with the settings for bursts, and the best of what there could be."""
        self._add_ours(PartyName.DUTY_CALM)
        self._add_ours(PartyName.REQUESTS_CALM)
        self.narrow(calm_bars)
        self._add_best(PartyName.FIXED, self._fixed())
        self._add_best(PartyName.FOLLOWED, self._followed())

    def add(self, name: PartyName, target: int) -> None:
        """Run it under one party at one target, from every place on."""
        runs = []
        for trace, needed, load in self._places:
            first = max(1, math.ceil(load * 100 / target)) if target else 0
            runs.append(
                run(
                    trace,
                    _party(name, target, needed, self._start_seconds),
                    start_seconds=self._start_seconds,
                    first_replicas=first or ordered(needed, self._start_seconds)[0][1],
                )
            )
        if target in (0, CURVES_TARGET):
            self.drawn[name] = runs[0]
        self.rows.append(self._row(name, target, runs))

    def narrow(self, judge: Callable[[Sequence[Row]], list[Bar]]) -> None:
        """Where a bar is missed, halve the step of the targets around the chain's GPU hours."""
        for missed in [bar for bar in judge(self.rows) if not bar.is_met]:
            while (target := _between(self.rows, missed)) is not None:
                self.add(missed.party, target)

    def _chains(self) -> list[Row]:
        return [row for row in self.rows if row.party is PartyName.CHAIN]

    def _add_ours(self, name: PartyName, *, min_target: int = 0) -> None:
        cheapest = min(row.gpu_hours for row in self._chains())
        for target in TARGETS[name]:
            self.add(name, target)
            if self.rows[-1].gpu_hours <= cheapest and target >= min_target:
                break

    def _add_best(self, name: PartyName, rows: Iterable[Row]) -> None:
        """Keep the best at each of the chain's GPU hours."""
        tried = [*self._chains(), *rows]
        best = [within_hours(tried, chain, name) for chain in self._chains()]
        self.rows += dict.fromkeys(row for row in best if row is not None)

    def _fixed(self) -> Iterable[Row]:
        dearest = max(row.gpu_hours for row in self._chains())
        hours, count = 0.0, 0
        while hours <= dearest:
            count += 1
            row = self._planned(PartyName.FIXED, [fixed(count)] * len(self._places))
            hours = row.gpu_hours
            yield row

    def _followed(self) -> Iterable[Row]:
        plans = [all_followed(needed, load) for _, needed, load in self._places]
        for of_places in zip(*plans, strict=True):
            yield self._planned(PartyName.FOLLOWED, of_places)

    def _planned(self, name: PartyName, plans: Sequence[Plan]) -> Row:
        """Run a plan for each place."""
        runs = [
            run(
                trace,
                PlanParty(plan),
                start_seconds=self._start_seconds,
                first_replicas=plan[0][1],
            )
            for (trace, _, _), plan in zip(self._places, plans, strict=True)
        ]
        return self._row(name, 0, runs)

    def _row(self, name: PartyName, target: int, runs: Sequence[Run]) -> Row:
        return Row(
            trace=self._name,
            start_seconds=self._start_seconds,
            party=name,
            target_percent=target,
            gpu_hours=_mean([one.gpu_hours for one in runs], 2),
            late_percent=_mean([one.late_percent for one in runs], 3),
            changes=_mean([float(one.changes) for one in runs], 1),
            highest=max(one.highest for one in runs),
        )


def from_places(trace: PublishedTrace) -> list[PublishedTrace]:
    """Return a trace of requests from several places on, each around to where it began."""
    if not trace.requests:
        return [trace]
    length = servers_of(trace).seconds
    return [
        replace(
            trace,
            requests=tuple(
                sorted(
                    request._replace(
                        at_seconds=(request.at_seconds - length * place / PLACES) % length
                    )
                    for request in trace.requests
                )
            ),
        )
        for place in range(PLACES)
    ]


def _between(rows: Sequence[Row], missed: Bar) -> int | None:
    """Return the target halfway between the last above the limit of GPU hours and the next."""
    chain = missed.chain
    hours = {
        row.target_percent: row.gpu_hours
        for row in of_case(rows, chain.trace, chain.start_seconds)
        if row.party is missed.party
    }
    for low, high in pairwise(sorted(hours)):
        is_around = hours[low] > missed.gpu_limit >= hours[high]
        if is_around and 1 < high - low <= NARROWED_TARGETS:
            return (low + high) // 2
    return None


def _party(name: PartyName, target: int, needed: Needed, start_seconds: int) -> Party:
    make: dict[PartyName, Callable[[], Party]] = {
        PartyName.CHAIN: lambda: ChainParty(Metric.DUTY_CYCLE, target),
        PartyName.CHAIN_REQUESTS: lambda: ChainParty(Metric.REQUESTS, target),
        PartyName.DUTY: lambda: OurParty(Metric.DUTY_CYCLE, target),
        PartyName.REQUESTS: lambda: OurParty(Metric.REQUESTS, target),
        PartyName.DUTY_CALM: lambda: OurParty(Metric.DUTY_CYCLE, target, CALM[name]),
        PartyName.REQUESTS_CALM: lambda: OurParty(Metric.REQUESTS, target, CALM[name]),
        PartyName.KNATIVE: lambda: KnativeParty(target),
        PartyName.ORACLE: lambda: PlanParty(ordered(needed, start_seconds)),
    }
    return make[name]()


def _mean(values: Sequence[float], digits: int) -> float:
    return round(sum(values) / len(values), digits)
