# SPDX-License-Identifier: Apache-2.0
"""The figures of `make bench-victims` on docs/scaler.md, from the rows that it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.curvefiles import read_rows
from benchmarks.victimstable import CURVE, VictimsOfChoice
from tests.pages.markdown import ROOT, table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def figures() -> str:
    """Each way to choose: busy pods and requests cut off."""
    rows = [
        (row.choice, str(row.victims), f"{row.busy_percent:.0f} %", f"{row.requests_each:.2f}")
        for row in read_rows(ROOT / CURVE, VictimsOfChoice)
    ]
    return table(("pods chosen", "pods removed", "of them busy", "requests cut off per pod"), rows)


PARTS: Final[Mapping[str, Callable[[], str]]] = {"victims": figures}
