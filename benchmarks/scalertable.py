# SPDX-License-Identifier: Apache-2.0
"""How `benchmarks.scaler` reports: a table, the curve over the number of nodes, figures."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.bigcluster import GPUS_PER_NODE, PODS_PER_DEPLOYMENT
from benchmarks.report import Figure, percentile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REQUESTS: Final = ("watch", "lease", "other")
STAGES: Final = ("plan", "read", "decide", "act")
GROWTH_FROM_NODES: Final = 1000
"""Below, what a loop costs whatever its size hides how it grows."""
MOST_GROWTH: Final = 1.05
"""Linear is 1, quadratic is 2; the rest is what figures of a shared machine vary by."""


class _Limits(NamedTuple):
    seconds: float | None = None
    megabytes: float | None = None
    bare: float | None = None
    first: float | None = None


CURVE: Final = Path("benchmarks/curves/scaler.csv")
LIMITS: Final = {5000: _Limits(5.0, 300.0, 2.0, 3.0), 20000: _Limits(megabytes=900.0)}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopCost:
    """What a loop takes, as a row of a file; `bare_seconds` is a bare client's, None if unknown."""

    source: str
    nodes: int
    loop_seconds: float
    rss_megabytes: float
    bare_seconds: float | None = None


@dataclass(slots=True, kw_only=True)
class Measured:
    """Of one cluster size; durations in seconds, `stages` by name in the order of `loops`.

    `started_seconds` is from listening to the end of the first loop, with the watches' lists.
    `bare` is a bare client's median for all pages by clock (wall, cpu); empty for Prometheus.
    """

    source: str
    nodes: int
    started_seconds: float
    first_loop_seconds: float
    loops: list[float]
    stages: dict[str, list[float]]
    cpu_seconds_per_loop: float
    rss_megabytes: float
    requests_per_loop: dict[str, float]
    bare: Mapping[str, float] = field(default_factory=dict)

    @property
    def loop_seconds(self) -> float:
        """The median of the loops."""
        return percentile(self.loops, 50)

    @property
    def pods(self) -> int:
        return self.nodes * GPUS_PER_NODE

    @property
    def deployments(self) -> int:
        return self.pods // PODS_PER_DEPLOYMENT


def costs_of(measured: Sequence[Measured]) -> list[LoopCost]:
    """Return the rows of the file."""
    return [
        LoopCost(
            source=one.source,
            nodes=one.nodes,
            loop_seconds=one.loop_seconds,
            rss_megabytes=one.rss_megabytes,
            bare_seconds=one.bare.get("wall"),
        )
        for one in measured
    ]


def print_curve(measured: Sequence[Measured]) -> None:
    """Print what was measured, and the loop's time over the number of nodes."""
    print(
        f"\n{'source':<10} {'nodes':>6} {'pods':>7} {'deployments':>11} {'start s':>8}"
        f" {'first s':>8} {'loop s':>8}"
        + "".join(f" {stage + ' s':>9}" for stage in STAGES)
        + f" {'CPU s':>7} {'bare s':>7} {'bare CPU':>8} {'ms/node':>8} {'RSS MB':>7}"
        + "".join(f" {kind:>6}" for kind in REQUESTS)
    )
    for one in measured:
        bare = [f"{one.bare[clock]:.2f}" if one.bare else "" for clock in ("wall", "cpu")]
        print(
            f"{one.source:<10} {one.nodes:>6} {one.pods:>7} {one.deployments:>11}"
            f" {one.started_seconds:>8.1f} {one.first_loop_seconds:>8.2f} {one.loop_seconds:>8.2f}"
            + "".join(f" {percentile(one.stages[stage], 50):>9.3f}" for stage in STAGES)
            + f" {one.cpu_seconds_per_loop:>7.2f} {bare[0]:>7} {bare[1]:>8}"
            f" {1000 * one.loop_seconds / one.nodes:>8.3f} {one.rss_megabytes:>7.0f}"
            + "".join(f" {one.requests_per_loop[kind]:>6.2f}" for kind in REQUESTS)
        )
    longest = max(one.loop_seconds for one in measured)
    print("\nseconds per loop over nodes (watch, lease, other above: API requests per loop)")
    for one in measured:
        bar = "#" * max(1, round(60 * one.loop_seconds / longest))
        print(f"{one.source:<10} {one.nodes:>6} {bar} {one.loop_seconds:.2f}")


def figures(measured: Sequence[Measured]) -> list[Figure]:
    """Return the figures of each size, and of the growth with each source."""
    found = [figure for one in measured for figure in _figures(one)]
    for source in dict.fromkeys(one.source for one in measured):
        large = [one for one in measured if one.source == source and one.nodes >= GROWTH_FROM_NODES]
        if len({one.nodes for one in large}) > 1:
            found += _growth(large)
    return found


def _figures(one: Measured) -> list[Figure]:
    limits = LIMITS.get(one.nodes, _Limits())
    what = f"{one.source}, {one.nodes} nodes, {one.deployments} Deployments"
    loop = one.loop_seconds
    rows: list[tuple[str, float, str, float | None]] = [
        (f"read + decide, median of {len(one.loops)} loops", loop, "s", limits.seconds),
        ("read + decide, longest", max(one.loops), "s", None),
        ("read + decide, CPU", one.cpu_seconds_per_loop, "s", None),
        ("first loop / a later one", one.first_loop_seconds / loop, "x", limits.first),
        ("RSS", one.rss_megabytes, "MB", limits.megabytes),
        ("API requests per loop beside watches and Lease", one.requests_per_loop["other"], "", 0),
    ]
    if one.bare:
        cpu = one.cpu_seconds_per_loop / one.bare["cpu"]
        rows += [
            ("read + decide / a bare client's fetch", loop / one.bare["wall"], "x", limits.bare),
            ("the same, CPU", cpu, "x", None),
        ]
    return [
        Figure(bar=f"{what}: {bar}", value=value, unit=unit, limit=limit)
        for bar, value, unit, limit in rows
    ]


def _growth(large: Sequence[Measured]) -> list[Figure]:
    """The power of the number of nodes that the loop grows with."""
    sizes = [math.log(one.nodes) for one in large]
    nodes = sorted(one.nodes for one in large)
    times = {
        "time": ([one.loop_seconds for one in large], MOST_GROWTH),
        "CPU": ([one.cpu_seconds_per_loop for one in large], None),
    }
    return [
        Figure(
            bar=f"{large[0].source}: power of growth, {nodes[0]} to {nodes[-1]} nodes, {what}",
            value=statistics.linear_regression(sizes, [math.log(one) for one in seconds]).slope,
            unit="",
            limit=limit,
        )
        for what, (seconds, limit) in times.items()
    ]
