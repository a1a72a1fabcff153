# SPDX-License-Identifier: Apache-2.0
"""The scaler beside an HPA's chain on published load: `make bench-traces TRACES=FOLDER`.

Every party scales the same model servers (`benchmarks.modelserver`) under the same trace. Targets
of different parties do not compare: one that looks more often asks for more pods at the same
target. So each is run at several targets, and late work is compared at equal GPU hours.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks import modelserver
from benchmarks.modelserver import servers_of
from benchmarks.report import DIRECTORY, Figure, publish
from benchmarks.tracecase import CURVES_TARGET, Case
from benchmarks.tracefiles import WHERE_TO_GET, read_folder
from benchmarks.tracetable import CURVE, Bar, PartyName, Row, bars, calm_bars, write_rows
from scaler.replay.curves import Point
from scaler.replay.plot import Color, Line, Panel, Size, panels_svg

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.tracefiles import PublishedTrace
    from benchmarks.tracerun import Run

START_SECONDS: Final = (40, 120)
DAYS: Final = 14
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
    start_seconds: int
    seconds: int
    runs: dict[PartyName, Run]


def main() -> None:
    """Run every trace of the folder, print the table, draw the curves and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="of CSV files")
    parser.add_argument(
        "--days", type=int, default=DAYS, help="of a trace of rates, from its begin (%(default)s)"
    )
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
    cases = [(trace, start_seconds) for trace in traces for start_seconds in START_SECONDS]
    with ProcessPoolExecutor() as pool:
        for found, drawn in pool.map(compare, *zip(*cases, strict=True)):
            _print_table(found)
            rows += found
            if drawn.start_seconds == START_SECONDS[0]:
                panels.append([])
            panels[-1].append(_panel(drawn))
    write_rows(CURVE, rows)
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    CURVES_PATH.write_text(
        panels_svg(panels, size=Size(), title="Pods under published load"), encoding="utf-8"
    )
    publish(
        "traces",
        [figure for bar in (*bars(rows), *calm_bars(rows)) for figure in _figures(bar)],
    )
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
    """Run a trace under each party; where a bar is missed, also what else there could be."""
    case = Case(trace, start_seconds)
    case.add_all()
    if trace.requests and not all(bar.is_met for bar in bars(case.rows)):
        case.add_for_bursts()
    title = f"{trace.name}, pods start in {start_seconds} s, target {CURVES_TARGET} %"
    seconds = min(CURVES_SECONDS, servers_of(trace).seconds)
    drawn = Drawn(title=title, start_seconds=start_seconds, seconds=seconds, runs=case.drawn)
    return case.rows, drawn


def first_days(trace: PublishedTrace, days: int) -> PublishedTrace:
    """Return the windows of the first days, and a trace of requests as it is."""
    until = days * 86_400
    windows = tuple(window for window in trace.windows if window.end_seconds <= until)
    return replace(trace, windows=windows)


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
