# SPDX-License-Identifier: Apache-2.0
"""The figures of `benchmarks.publishedtraces`: rows, their bars, and CSV."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CURVE: Final = Path("benchmarks/curves/traces.csv")
CHAIN_TARGETS: Final = (50, 60, 70, 80)
DUTY_GPU_FACTOR: Final = 1.02
DUTY_LATE_FACTOR: Final = 1.02
REQUESTS_GPU_FACTOR: Final = 1.01
REQUESTS_LATE_FACTOR: Final = 0.7
NO_LATE_PERCENT: Final = 0.01
"""Less late work than this is none."""


class PartyName(StrEnum):
    """Who scales, and by what."""

    CHAIN = "HPA chain, duty cycle"
    CHAIN_REQUESTS = "HPA chain, requests"
    DUTY = "gpu-scaler, duty cycle"
    REQUESTS = "gpu-scaler, requests"
    KNATIVE = "Knative-like, requests"
    ORACLE = "oracle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One trace, start time, party and target; the target is 0 of a party that has none."""

    trace: str
    start_seconds: int
    party: PartyName
    target_percent: int
    gpu_hours: float
    late_percent: float
    changes: float
    highest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """The chain at one target, and what ours did at no more GPU hours.

    `ours` is the row with the least late work of those, None where ours took more at every target;
    `cheapest` is that of the fewest GPU hours.
    """

    chain: Row
    party: PartyName
    ours: Row | None
    cheapest: Row
    gpu_limit: float
    late_limit: float

    @property
    def is_met(self) -> bool:
        """Whether ours was within both limits."""
        return self.ours is not None and self.ours.late_percent <= self.late_limit


def bars(rows: Sequence[Row]) -> list[Bar]:
    """Return both bars of each of the chain's rows on duty cycle."""
    return [
        bar
        for chain in rows
        if chain.party is PartyName.CHAIN
        for bar in (
            _bar(rows, chain, PartyName.DUTY, DUTY_GPU_FACTOR, DUTY_LATE_FACTOR),
            _bar(rows, chain, PartyName.REQUESTS, REQUESTS_GPU_FACTOR, REQUESTS_LATE_FACTOR),
        )
    ]


def _bar(
    rows: Sequence[Row], chain: Row, party: PartyName, gpu_factor: float, late_factor: float
) -> Bar:
    ours = [row for row in of_case(rows, chain.trace, chain.start_seconds) if row.party is party]
    gpu_limit = gpu_factor * chain.gpu_hours
    affordable = [row for row in ours if row.gpu_hours <= gpu_limit]
    return Bar(
        chain=chain,
        party=party,
        ours=min(affordable, key=lambda row: (row.late_percent, row.gpu_hours), default=None),
        cheapest=min(ours, key=lambda row: row.gpu_hours),
        gpu_limit=gpu_limit,
        late_limit=max(NO_LATE_PERCENT, late_factor * chain.late_percent),
    )


def of_case(rows: Iterable[Row], trace: str, start_seconds: int) -> list[Row]:
    """Return the rows of one trace with one start time."""
    return [row for row in rows if (row.trace, row.start_seconds) == (trace, start_seconds)]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write the rows as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [one.name for one in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def read_rows(path: Path) -> list[Row]:
    """Read what `write_rows` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Row(
                trace=row["trace"],
                start_seconds=int(row["start_seconds"]),
                party=PartyName(row["party"]),
                target_percent=int(row["target_percent"]),
                gpu_hours=float(row["gpu_hours"]),
                late_percent=float(row["late_percent"]),
                changes=float(row["changes"]),
                highest=int(row["highest"]),
            )
            for row in csv.DictReader(file)
        ]
