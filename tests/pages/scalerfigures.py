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
    head = ("nodes", "loop from exporters", "memory", "loop from Prometheus", "memory")
    costs = {(one.source, one.nodes): one for one in read_rows(ROOT / CURVE, LoopCost)}
    return table(
        head,
        [
            (
                str(nodes),
                *(
                    text
                    for source in ("exporters", "prometheus")
                    for text in (
                        f"{costs[source, nodes].loop_seconds:.2f} s",
                        f"{costs[source, nodes].rss_megabytes:.0f} MB",
                    )
                ),
            )
            for nodes in SHOWN_NODES
        ],
    )


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
