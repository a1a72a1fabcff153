# SPDX-License-Identifier: Apache-2.0
"""What each of the exporter's collectors costs, as rows of a file: the figures of its benchmark."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

CURVE: Final = Path("benchmarks/curves/collectors.csv")
BASE, ALL = "base set", "all together"


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorCost:
    """One collector beside the base set, the base set, or all; per cycle, of all GPUs but calls."""

    collector: str
    calls_per_gpu: float
    series_per_gpu: float
    reading_milliseconds: float
    rendering_milliseconds: float


def write_costs(costs: Sequence[CollectorCost]) -> None:
    """Write the rows."""
    with CURVE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(CollectorCost))
        for cost in costs:
            name, *values = asdict(cost).values()
            writer.writerow((name, *(f"{value:.3f}" for value in values)))
    print(f"rows written to {CURVE}")


def read_costs(path: Path) -> tuple[CollectorCost, ...]:
    """Return the rows of a file that `write_costs` wrote."""
    with path.open(newline="") as file:
        return tuple(
            CollectorCost(
                collector=one["collector"],
                calls_per_gpu=float(one["calls_per_gpu"]),
                series_per_gpu=float(one["series_per_gpu"]),
                reading_milliseconds=float(one["reading_milliseconds"]),
                rendering_milliseconds=float(one["rendering_milliseconds"]),
            )
            for one in csv.DictReader(file)
        )
