# SPDX-License-Identifier: Apache-2.0
"""The figures of `make bench-scaler` on docs/scaler.md and docs/comparison.md, from its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.curvefiles import read_rows
from benchmarks.scalertable import CURVE, LoopCost
from tests.pages.markdown import ROOT, table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SHOWN_NODES: Final = (500, 5000)


def loops() -> str:
    """Time and memory of a loop with each source."""
    head = (
        "nodes",
        "loop from exporters",
        "bare client",
        "memory",
        "loop from Prometheus",
        "memory",
    )
    costs = {(one.source, one.nodes): one for one in read_rows(ROOT / CURVE, LoopCost)}
    rows = []
    for nodes in SHOWN_NODES:
        exporters, prometheus = costs["exporters", nodes], costs["prometheus", nodes]
        rows.append(
            (
                str(nodes),
                f"{exporters.loop_seconds:.2f} s",
                f"{exporters.bare_seconds:.2f} s",
                f"{exporters.rss_megabytes:.0f} MB",
                f"{prometheus.loop_seconds:.2f} s",
                f"{prometheus.rss_megabytes:.0f} MB",
            )
        )
    return table(head, rows)


def _largest(source: str) -> str:
    nodes = SHOWN_NODES[-1]
    [cost] = (
        one
        for one in read_rows(ROOT / CURVE, LoopCost)
        if (one.source, one.nodes) == (source, nodes)
    )
    return f"{cost.loop_seconds:.1f}"


PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "scaler-loops": loops,
    "scaler-loop-exporters": lambda: _largest("exporters"),
    "scaler-loop-prometheus": lambda: _largest("prometheus"),
}
