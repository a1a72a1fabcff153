# SPDX-License-Identifier: Apache-2.0
"""Pure: fewer points for a drawing, without losing a peak."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Point(NamedTuple):
    """The value from `at` on, until the next point; None where it is unknown."""

    at: float
    value: float | None


def stepped(values: Iterable[float | None], step: float = 1.0) -> list[Point]:
    """Return the points at which evenly spaced values change."""
    points: list[Point] = []
    for number, value in enumerate(values):
        if not points or points[-1].value != value:
            points.append(Point(number * step, value))
    return points


def thinned(points: Sequence[Point], *, extent: float, columns: int) -> list[Point]:
    """Return at most four points per column: the first, the lowest, the highest and the last.

    `points` are in order of `at`, from 0 to `extent`. A gap that begins and ends within a column
    closes.
    """
    if len(points) <= 4 * columns:
        return list(points)
    kept: list[Point] = []
    begin = 0
    for column in range(1, columns + 1):
        limit = extent * column / columns
        end = begin
        # What is at the end of the extent belongs to the last column.
        while end < len(points) and (points[end].at < limit or column == columns):
            end += 1
        kept += _extremes(points, begin, end)
        begin = end
    return kept


def _extremes(points: Sequence[Point], begin: int, end: int) -> list[Point]:
    if begin == end:
        return []
    places = {begin, end - 1}
    known = [(value, n) for n in range(begin, end) if (value := points[n].value) is not None]
    if known:
        places |= {min(known)[1], max(known)[1]}
    return [points[place] for place in sorted(places)]


def merged_spans(marked: Sequence[bool], *, step: float, columns: int) -> list[tuple[float, float]]:
    """Return begin and end of the stretches of marked steps, widened to whole columns.

    So even a short one can be seen, and there are no more than columns.
    """
    count = len(marked)
    spans: list[tuple[int, int]] = []
    for number, is_marked in enumerate(marked):
        if not is_marked:
            continue
        begin = number * columns // count
        end = -(-(number + 1) * columns // count)
        if spans and begin <= spans[-1][1]:
            begin = spans.pop()[0]
        spans.append((begin, end))
    width = count * step / columns
    return [(begin * width, end * width) for begin, end in spans]
