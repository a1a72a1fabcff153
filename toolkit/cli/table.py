# SPDX-License-Identifier: Apache-2.0
"""Pure: tables as kubectl prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLUMN_GAP: Final = "   "


def table_text(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows, the first of them the header, as aligned lines without trailing spaces."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        _COLUMN_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "".join(f"{line.rstrip()}\n" for line in lines)
