# SPDX-License-Identifier: Apache-2.0
"""The rows that benchmarks write for the pages: CSV files of `benchmarks/curves/`."""

from __future__ import annotations

import csv
from dataclasses import astuple, fields
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_Row = TypeVar("_Row")


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    """Write dataclasses of one type; there is at least one."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(rows[0]))
        writer.writerows(
            [f"{value:.4g}" if isinstance(value, float) else value for value in astuple(row)]
            for row in rows
        )
    print(f"rows written to {path}")


def read_rows(path: Path, type_: type[_Row]) -> tuple[_Row, ...]:
    """Return the rows of a file that `write_rows` wrote; an empty cell has the field's default."""
    with path.open(newline="") as file:
        rows = [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(file)]
    return msgspec.convert(rows, tuple[type_, ...], strict=False)  # type: ignore[valid-type]
