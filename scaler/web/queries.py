# SPDX-License-Identifier: Apache-2.0
"""Pure: the parameters of the status page's URLs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_ROWS = 50
MAX_DIGITS = 20


class QueryError(ValueError):
    """A URL parameter is invalid; the message says what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuery:
    """Which rows of a list to show: `limit` from `offset` on, of those that `search` finds."""

    search: str = ""
    sort: str
    offset: int = 0
    limit: int = DEFAULT_ROWS

    @property
    def words(self) -> frozenset[str]:
        """What to search for, each on its own."""
        return frozenset(self.search.lower().split())

    def first(self, found: int) -> int:
        """Return the first row to show of `found` rows: beyond the end, that of the last page."""
        return min(self.offset, max(0, (found - 1) // self.limit * self.limit))


def parse_page(params: Mapping[str, str], sorts: Sequence[str], *, most_rows: int) -> PageQuery:
    """Return the query of a URL; the first of `sorts` is the default.

    Raises:
        QueryError: a parameter has a value that is not allowed.
    """
    sort = params.get("sort") or sorts[0]
    if sort not in sorts:
        raise QueryError(f"sort: {sort!r} is not one of {', '.join(sorts)}")
    return PageQuery(
        search=params.get("search", "")[:200],
        sort=sort,
        offset=whole_number(params, "offset", 0, most=10_000_000),
        limit=whole_number(params, "limit", DEFAULT_ROWS, least=1, most=most_rows),
    )


def whole_number(
    params: Mapping[str, str], name: str, default: int, *, least: int = 0, most: int
) -> int:
    """Return the parameter as a number.

    Raises:
        QueryError: it is not a number from `least` to `most`.
    """
    text = params.get(name) or str(default)
    is_number = text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
    if not is_number or not least <= int(text) <= most:
        raise QueryError(f"{name}: {text[:40]!r} is not a whole number from {least} to {most}")
    return int(text)
