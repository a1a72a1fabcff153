# SPDX-License-Identifier: Apache-2.0
"""What scale-downs hit, as rows of a file: the figures of `make bench-victims`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.curvefiles import write_rows
from benchmarks.report import Figure, publish

if TYPE_CHECKING:
    from collections.abc import Sequence

CURVE: Final = Path("benchmarks/curves/victims.csv")
AT_RANDOM: Final = "at random"
REPLICA_SET: Final = "as the ReplicaSet chooses"
IDLEST: Final = "the idlest"
MOST_SHARE: Final = 2 / 3


@dataclass(slots=True, kw_only=True)
class Victims:
    """What the scale-downs of one Deployment hit.

    `random_busy` and `random_requests` are what pods chosen at random would have had on average.
    """

    count: int = 0
    busy: int = 0
    requests: int = 0
    random_busy: float = 0.0
    random_requests: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VictimsOfChoice:
    """One way to choose; `requests_each` are those that a removed pod had in hand."""

    choice: str
    victims: int
    busy_percent: float
    requests_each: float


def rows_of(unmarked: Victims, idlest: Victims) -> tuple[VictimsOfChoice, ...]:
    """Return the three ways; chance is that of the moments at which the idlest went."""
    return (
        _row(AT_RANDOM, idlest.count, idlest.random_busy, idlest.random_requests),
        _row(REPLICA_SET, unmarked.count, unmarked.busy, unmarked.requests),
        _row(IDLEST, idlest.count, idlest.busy, idlest.requests),
    )


def report(rows: Sequence[VictimsOfChoice]) -> None:
    """Publish the figures and write the rows."""
    by_choice = {row.choice: row for row in rows}
    share = by_choice[IDLEST].busy_percent / by_choice[AT_RANDOM].busy_percent
    publish(
        "victims",
        [
            *(_figure(f"busy pods removed, {row.choice}", row.busy_percent, "%") for row in rows),
            *(
                _figure(f"requests cut off per pod removed, {row.choice}", row.requests_each, "")
                for row in rows
            ),
            *(_figure(f"pods removed, {row.choice}", row.victims, "") for row in rows),
            Figure(
                bar="busy pods removed, the idlest, as a share of at random",
                value=share,
                unit="",
                limit=MOST_SHARE,
            ),
        ],
    )
    write_rows(CURVE, rows)


def _row(choice: str, victims: int, busy: float, requests: float) -> VictimsOfChoice:
    return VictimsOfChoice(
        choice=choice,
        victims=victims,
        busy_percent=100 * busy / victims,
        requests_each=requests / victims,
    )


def _figure(bar: str, value: float, unit: str) -> Figure:
    return Figure(bar=bar, value=value, unit=unit, limit=None)
