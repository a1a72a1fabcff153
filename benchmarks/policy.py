# SPDX-License-Identifier: Apache-2.0
"""The scaler's decisions beside the HPA's arithmetic, in simulation: `make bench-policy`.

Both get the same values at no delay, the same target, minimum and maximum; the HPA looks every
15 s as it does by default, the scaler both as often and every 2 s, its own default. What a chain of
scrapes and caches in front of an HPA adds is `make bench-latency`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.policysimulation import Run, run_hpa, run_ours
from benchmarks.report import DIRECTORY, Figure, publish
from benchmarks.traces import POD_REQUESTS_PER_SECOND, Trace, all_traces
from scaler.replay.curves import stepped
from scaler.replay.plot import Color, Line, Panel, Size, panels_svg

if TYPE_CHECKING:
    from collections.abc import Sequence

TARGETS: Final = (40, 60, 80)
CURVES_PATH: Final = DIRECTORY / "policy.svg"
HPA_LINE: Final = "pods, HPA every 15 s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One trace at one target under each policy."""

    trace: Trace
    target_percent: int
    hpa: Run
    same_period: Run
    default: Run

    @property
    def runs(self) -> tuple[Run, Run, Run]:
        """The runs in the order of the table."""
        return self.hpa, self.same_period, self.default


def main() -> None:
    """Simulate every trace at every target, print the table, draw the curves and publish."""
    compared = [compare(trace, target) for trace in all_traces() for target in TARGETS]
    _print_table(compared)
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    CURVES_PATH.write_text(_curves(compared))
    publish("policy", [figure for one in compared for figure in _figures(one)])
    print(f"curves drawn to {CURVES_PATH}")


def compare(trace: Trace, target_percent: int) -> Comparison:
    """Run one trace at one target under the HPA's arithmetic and ours."""
    return Comparison(
        trace=trace,
        target_percent=target_percent,
        hpa=run_hpa(trace, target_percent),
        same_period=run_ours(trace, target_percent, interval_seconds=15.0),
        default=run_ours(trace, target_percent, interval_seconds=2.0),
    )


def _print_table(compared: Sequence[Comparison]) -> None:
    print(
        f"{'trace':<10} {'target':>6} {'policy':<11} {'found all pods saturated':>25}"
        f" {'GPU hours':>10} {'changes':>8}"
    )
    for one in compared:
        for run in one.runs:
            print(
                f"{one.trace.name:<10} {one.target_percent:>6} {run.policy:<11}"
                f" {run.saturated_requests:>16.0f} {run.saturated_percent:>6.1f} %"
                f" {run.gpu_hours:>10.2f} {run.changes:>8}"
            )


def _figures(one: Comparison) -> list[Figure]:
    return [
        Figure(
            bar=f"{one.trace.name}, target {one.target_percent}, {run.policy}: {what}",
            value=value,
            unit=unit,
            limit=bar,
        )
        for run, limit in ((one.same_period, None), (one.default, one.hpa.saturated_requests))
        for what, value, unit, bar in (
            ("saturated", run.saturated_requests, "requests", limit),
            ("GPU hours", run.gpu_hours, "h", None),
            ("changes", float(run.changes), "", None),
        )
    ]


def _curves(compared: Sequence[Comparison]) -> str:
    panels = [_panel(one) for one in compared]
    rows = [panels[n : n + len(TARGETS)] for n in range(0, len(panels), len(TARGETS))]
    return panels_svg(rows, size=Size(), title="The scaler's decisions beside the HPA's arithmetic")


def _panel(one: Comparison) -> Panel:
    requests = one.trace.requests_per_second
    lines: tuple[tuple[str, Color, Sequence[float]], ...] = (
        ("load, in busy pods", Color.GRAY, [load / POD_REQUESTS_PER_SECOND for load in requests]),
        ("pods, ours every 15 s", Color.PURPLE, one.same_period.replicas),
        ("pods, ours every 2 s", Color.GREEN, one.default.replicas),
        (HPA_LINE, Color.ORANGE, one.hpa.replicas),
    )
    return Panel(
        title=f"{one.trace.name}, target {one.target_percent} %",
        lines=tuple(
            Line(name=name, color=color, points=stepped(values), is_dashed=name == HPA_LINE)
            for name, color, values in lines
        ),
        seconds=len(requests),
    )


if __name__ == "__main__":
    main()
