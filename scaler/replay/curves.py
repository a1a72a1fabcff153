# SPDX-License-Identifier: Apache-2.0
"""Pure: curves for a drawing: few points without losing a peak, and axes with round numbers."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400
_TIME_STEPS: Final = (
    *(1, 2, 5, 10, 15, 30),
    *(minutes * _MINUTE for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * _HOUR for hours in (1, 2, 3, 6, 12)),
    *(days * _DAY for days in (1, 2, 7, 14, 28)),
)
_RELATIVE_UNITS: Final = ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min"), (1, "s"))
_PREFIXES: Final = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


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


class Tick(NamedTuple):
    """A place on an axis and its label."""

    at: float
    text: str


def value_ticks(most: float, *, intervals: int, is_count: bool) -> list[Tick]:
    """Return ticks from 0 to the first round number that is at least `most`.

    There are at most `intervals` intervals; those of a count are whole numbers.
    """
    least_step = max(most, 1.0 if is_count else 0.0) / intervals or 1.0
    power = 10.0 ** math.floor(math.log10(least_step))
    if is_count and power < 1:
        step = 1.0
    else:
        # 10 always fits; the margin is for the last digit of a division.
        step = next(n * power for n in (1, 2, 5, 10) if n * power >= least_step * (1 - 1e-9))
    last = max(1, math.ceil(most / step - 1e-9))
    return [Tick(number * step, _value_text(number * step)) for number in range(last + 1)]


def _value_text(value: float) -> str:
    if value >= 10_000:
        for factor, prefix in _PREFIXES:
            if value >= factor:
                return f"{value / factor:.6g}{prefix}"
    return f"{value:.6g}"


def time_ticks(seconds: float, *, intervals: int, begun_unix_seconds: float | None) -> list[Tick]:
    """Return ticks within `seconds`, at round times in UTC, or at round times since the begin.

    There are at most `intervals` intervals. `begun_unix_seconds` is None for an axis that begins at
    0; ticks are in seconds from the begin in both cases.
    """
    step = next((one for one in _TIME_STEPS if seconds / one <= intervals), None)
    if step is None:
        step = math.ceil(seconds / intervals / _DAY) * _DAY
    if begun_unix_seconds is None:
        return [
            Tick(number * step, _relative_text(number * step, step))
            for number in range(int(seconds / step) + 1)
        ]
    first = math.ceil(begun_unix_seconds / step)
    last = math.floor((begun_unix_seconds + seconds) / step)
    return [
        Tick(number * step - begun_unix_seconds, _time_text(number * step, step))
        for number in range(first, last + 1)
    ]


def _relative_text(seconds: int, step: int) -> str:
    size, unit = next(one for one in _RELATIVE_UNITS if step % one[0] == 0)
    return f"{seconds // size} {unit}" if seconds else "0"


def _time_text(unix_seconds: int, step: int) -> str:
    time = datetime.fromtimestamp(unix_seconds, UTC)
    if unix_seconds % _DAY == 0:
        return f"{time.day} {time:%b}"
    return f"{time:%H:%M}" if step >= _MINUTE else f"{time:%H:%M:%S}"
