# SPDX-License-Identifier: Apache-2.0
"""The figures of `make bench-exporter` on docs/exporter.md, from the rows that it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.collectorstable import ALL, BASE, CURVE, CollectorCost
from benchmarks.curvefiles import read_rows
from tests.pages.markdown import ROOT, table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SELDOM_CALLS: Final[Mapping[str, int]] = {BASE: 1, "memory": 1, "pcie": 2, "nvlink": 72}
"""Calls that are not made in each cycle."""


def costs() -> str:
    """Each collector: calls, series and CPU."""
    rows = [
        (
            one.collector if one.collector in (BASE, ALL) else f"`{one.collector}`",
            _calls(one),
            f"{one.series_per_gpu:.0f}",
            f"{max(0.0, one.reading_milliseconds):.1f} ms",
        )
        for one in read_rows(ROOT / CURVE, CollectorCost)
    ]
    return table(
        ("collector", "NVML calls per GPU and cycle", "series per GPU", "CPU per cycle, 8 GPUs"),
        rows,
    )


def _calls(cost: CollectorCost) -> str:
    each = f"{cost.calls_per_gpu:.0f}"
    seldom = SELDOM_CALLS.get(cost.collector, 0)
    seconds = "2 to 4 s" if cost.collector == BASE else "5 to 10 s"
    if cost.collector == ALL:
        seldom, seconds = sum(SELDOM_CALLS.values()), "2 to 10 s"
    return f"{each}, and {seldom} every {seconds}" if seldom else each


def _rendering(name: str) -> str:
    [cost] = (one for one in read_rows(ROOT / CURVE, CollectorCost) if one.collector == name)
    return f"{cost.rendering_milliseconds:.1f}"


PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "collector-costs": costs,
    "rendering-base": lambda: _rendering(BASE),
    "rendering-all": lambda: _rendering(ALL),
}
