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
    FIXED = "a fixed count"
    FOLLOWED = "reactive in hindsight"
    DUTY_CALM = "gpu-scaler for bursts, duty cycle"
    REQUESTS_CALM = "gpu-scaler for bursts, requests"


HINDSIGHT: Final = (PartyName.FIXED, PartyName.FOLLOWED)
"""Picked after the run: the best of many for each of the chain's targets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One trace, start time, party and target; the target is 0 of a party that has none.

    Of a party in `HINDSIGHT` there are many with target 0; `write_rows` keeps all.
    """

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
    return _bars_of(rows, (PartyName.DUTY, PartyName.REQUESTS))


def calm_bars(rows: Sequence[Row]) -> list[Bar]:
    """Return the same bars for the settings for bursts, where those were run."""
    return _bars_of(rows, (PartyName.DUTY_CALM, PartyName.REQUESTS_CALM))


def within_hours(rows: Sequence[Row], chain: Row, party: PartyName) -> Row | None:
    """Return the party's row with the least late work that takes no more than the chain."""
    limit = REQUESTS_GPU_FACTOR * chain.gpu_hours
    return _least_late(_of_party(rows, chain, party), limit)


def _bars_of(rows: Sequence[Row], parties: tuple[PartyName, ...]) -> list[Bar]:
    return [
        _bar(rows, chain, party)
        for chain in rows
        if chain.party is PartyName.CHAIN
        for party in parties
        if _of_party(rows, chain, party)
    ]


def _bar(rows: Sequence[Row], chain: Row, party: PartyName) -> Bar:
    ours = _of_party(rows, chain, party)
    is_by_duty = party in (PartyName.DUTY, PartyName.DUTY_CALM)
    gpu_factor = DUTY_GPU_FACTOR if is_by_duty else REQUESTS_GPU_FACTOR
    late_factor = DUTY_LATE_FACTOR if is_by_duty else REQUESTS_LATE_FACTOR
    gpu_limit = gpu_factor * chain.gpu_hours
    return Bar(
        chain=chain,
        party=party,
        ours=_least_late(ours, gpu_limit),
        cheapest=min(ours, key=lambda row: row.gpu_hours),
        gpu_limit=gpu_limit,
        late_limit=max(NO_LATE_PERCENT, late_factor * chain.late_percent),
    )


def _of_party(rows: Sequence[Row], chain: Row, party: PartyName) -> list[Row]:
    return [row for row in of_case(rows, chain.trace, chain.start_seconds) if row.party is party]


def _least_late(rows: Sequence[Row], gpu_limit: float) -> Row | None:
    affordable = [row for row in rows if row.gpu_hours <= gpu_limit]
    return min(affordable, key=lambda row: (row.late_percent, row.gpu_hours), default=None)


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
