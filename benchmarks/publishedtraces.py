# SPDX-License-Identifier: Apache-2.0
"""The scaler beside an HPA's chain on published load: `make bench-traces TRACES=FOLDER`.

Every party scales the same model servers (`benchmarks.modelserver`) under the same trace. Targets
of different parties do not compare: one that looks more often asks for more pods at the same
target. So each is run at several targets, and late work is compared at equal GPU hours.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks import modelserver
from benchmarks.modelserver import servers_of
from benchmarks.report import DIRECTORY, Figure, publish
from benchmarks.tracefiles import WHERE_TO_GET, read_folder
from benchmarks.traceparties import (
    ChainParty,
    KnativeParty,
    OracleParty,
    OurParty,
    ordered,
)
from benchmarks.tracerun import Run, run
from benchmarks.tracetable import CHAIN_TARGETS, CURVE, Bar, PartyName, Row, bars, write_rows
from scaler.model import Metric
from scaler.replay.plot import Color, Line, Panel, Size, panels_svg
from scaler.replay.thinning import Point

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from benchmarks.tracefiles import PublishedTrace
    from benchmarks.traceparties import Party

START_SECONDS: Final = (40, 120)
DAYS: Final = 4
OUR_DUTY_TARGETS: Final = range(50, 91, 5)
"""Up to the highest that 10 % of tolerance leaves below 100 %."""
OUR_REQUESTS_TARGETS: Final = (50, 60, 65, 70, 75, 80, 82, 85, 88, 90, 100, 125, 150, 200, 300)
"""A target above 100 % of the slots lets requests wait."""
PLACES: Final = 4
"""A trace of requests has few bursts: it is run from this many places on, and around."""
CURVES_TARGET: Final = 70
CURVES_SECONDS: Final = 86_400
CURVES_PATH: Final = DIRECTORY / "traces.svg"
_COLORS: Final = {
    PartyName.ORACLE: Color.GRAY,
    PartyName.CHAIN: Color.ORANGE,
    PartyName.DUTY: Color.GREEN,
    PartyName.REQUESTS: Color.BLUE,
    PartyName.KNATIVE: Color.PURPLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A trace whose run from the first place on is drawn."""

    title: str
    seconds: int
    runs: dict[PartyName, Run]


def main() -> None:
    """Run every trace of the folder, print the table, draw the curves and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="of CSV files")
    parser.add_argument("--days", type=int, default=DAYS, help="of a trace of rates")
    arguments = parser.parse_args()
    if arguments.folder is None:
        sys.exit(WHERE_TO_GET)
    try:
        traces = [first_days(trace, arguments.days) for trace in read_folder(arguments.folder)]
    except (OSError, ValueError) as error:
        sys.exit(f"{error}")
    print(parameters())
    rows: list[Row] = []
    panels: list[list[Panel]] = []
    for trace in traces:
        drawn = []
        for start_seconds in START_SECONDS:
            found, curves = compare(trace, start_seconds)
            _print_table(found)
            rows += found
            drawn.append(_panel(curves))
        panels.append(drawn)
    write_rows(CURVE, rows)
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    CURVES_PATH.write_text(
        panels_svg(panels, size=Size(), title="Pods under published load"), encoding="utf-8"
    )
    publish("traces", [figure for bar in bars(rows) for figure in _figures(bar)])
    print(f"rows written to {CURVE}, curves drawn to {CURVES_PATH}")


def parameters() -> str:
    """Return what the model servers are."""
    return (
        f"a pod: {modelserver.SLOTS} requests at once, duty cycle = slots in use;"
        f" a request: {modelserver.SECONDS_PER_TOKEN * 1000:g} ms per generated and"
        f" 1 s per {modelserver.PREFILL_TOKENS_PER_SECOND:g} context tokens;"
        f" of rates: {modelserver.FLUID_REQUEST_SECONDS:g} s, and"
        f" {modelserver.FLUID_HIGHEST_PODS} busy pods at the highest;"
        f" late: {modelserver.LATE_SECONDS:g} s more than on an unloaded pod"
    )


def compare(trace: PublishedTrace, start_seconds: int) -> tuple[list[Row], Drawn]:
    """Run a trace under each party, ours until it takes less than the chain."""
    case = _Case(trace, start_seconds)
    case.add(PartyName.ORACLE, 0)
    for target in CHAIN_TARGETS:
        case.add(PartyName.CHAIN, target)
        case.add(PartyName.CHAIN_REQUESTS, target)
        case.add(PartyName.KNATIVE, target)
    cheapest = min(row.gpu_hours for row in case.rows if row.party is PartyName.CHAIN)
    for name, targets in (
        (PartyName.DUTY, OUR_DUTY_TARGETS),
        (PartyName.REQUESTS, OUR_REQUESTS_TARGETS),
    ):
        for target in targets:
            case.add(name, target)
            if case.rows[-1].gpu_hours <= cheapest and target >= max(CHAIN_TARGETS):
                break
    title = f"{trace.name}, pods start in {start_seconds} s, target {CURVES_TARGET} %"
    seconds = min(CURVES_SECONDS, servers_of(trace).seconds)
    return case.rows, Drawn(title=title, seconds=seconds, runs=case.drawn)


class _Case:
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

    def add(self, name: PartyName, target: int) -> None:
        """Run it under one party at one target, from every place on."""
        runs = []
        for trace, needed, load in self._places:
            party = _party(name, target, needed, self._start_seconds)
            first = max(1, math.ceil(load * 100 / target)) if target else 0
            runs.append(
                run(
                    trace,
                    party,
                    start_seconds=self._start_seconds,
                    first_replicas=first or ordered(needed, self._start_seconds)[0][1],
                )
            )
        if name in _COLORS and target in (0, CURVES_TARGET):
            self.drawn[name] = runs[0]
        self.rows.append(
            Row(
                trace=self._name,
                start_seconds=self._start_seconds,
                party=name,
                target_percent=target,
                gpu_hours=_mean([one.gpu_hours for one in runs], 2),
                late_percent=_mean([one.late_percent for one in runs], 3),
                changes=_mean([float(one.changes) for one in runs], 1),
                highest=max(one.highest for one in runs),
            )
        )


def _party(
    name: PartyName, target: int, needed: Sequence[tuple[int, int, int]], start_seconds: int
) -> Party:
    make: dict[PartyName, Callable[[], Party]] = {
        PartyName.CHAIN: lambda: ChainParty(Metric.DUTY_CYCLE, target),
        PartyName.CHAIN_REQUESTS: lambda: ChainParty(Metric.REQUESTS, target),
        PartyName.DUTY: lambda: OurParty(Metric.DUTY_CYCLE, target),
        PartyName.REQUESTS: lambda: OurParty(Metric.REQUESTS, target),
        PartyName.KNATIVE: lambda: KnativeParty(target),
        PartyName.ORACLE: lambda: OracleParty(needed, start_seconds),
    }
    return make[name]()


def first_days(trace: PublishedTrace, days: int) -> PublishedTrace:
    """Return the windows of the first days, and a trace of requests as it is."""
    until = days * 86_400
    windows = tuple(window for window in trace.windows if window.end_seconds <= until)
    return replace(trace, windows=windows)


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


def _mean(values: Sequence[float], digits: int) -> float:
    return round(sum(values) / len(values), digits)


def _print_table(rows: Iterable[Row]) -> None:
    for row in rows:
        print(
            f"{row.trace:<20} {row.start_seconds:>4} s  {row.party:<24} {row.target_percent:>4} %"
            f" {row.gpu_hours:>9.2f} h {row.late_percent:>7.3f} % late {row.changes:>7.1f} changes"
            f" {row.highest:>3} at most",
            flush=True,
        )


def _figures(bar: Bar) -> list[Figure]:
    """The late work at no more GPU hours; where none are as few, the fewest GPU hours."""
    chain = bar.chain
    what = (
        f"{chain.trace}, start {chain.start_seconds} s, chain at {chain.target_percent} %:"
        f" {bar.party}"
    )
    if bar.ours is None:
        return [
            Figure(
                bar=f"{what}, fewest GPU hours",
                value=bar.cheapest.gpu_hours,
                unit="h",
                limit=bar.gpu_limit,
            )
        ]
    return [
        Figure(
            bar=f"{what} at {bar.ours.target_percent} %, late work",
            value=bar.ours.late_percent,
            unit="%",
            limit=bar.late_limit,
        )
    ]


def _panel(drawn: Drawn) -> Panel:
    return Panel(
        title=drawn.title,
        lines=tuple(
            Line(
                name=f"pods, {name}",
                color=color,
                points=[
                    Point(float(second), float(count))
                    for second, count in drawn.runs[name].steps
                    if second < drawn.seconds
                ],
                is_dashed=name is PartyName.CHAIN,
            )
            for name, color in _COLORS.items()
        ),
        seconds=drawn.seconds,
        is_count=True,
    )


if __name__ == "__main__":
    main()
