# SPDX-License-Identifier: Apache-2.0
"""Pure: samples in CSV text, as a spreadsheet or a script wrote them.

The columns are time, pod and value, or time and value for a total of the Deployment. Times are RFC
3339 or Unix seconds or milliseconds; without an offset they are UTC.
"""

from __future__ import annotations

import csv
import math
from array import array
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, pairwise
from typing import TYPE_CHECKING

from scaler.budgets import shown
from scaler.replay.demand import MAX_VALUE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

MAX_ROWS = 10_000_000
MAX_PODS = 10_000
MAX_LINE_CHARACTERS = 64 * 2**10
TIME_NAMES = ("time", "timestamp", "ts", "date", "datetime")
POD_NAMES = ("pod", "pod_name", "podname", "exported_pod", "instance")
VALUE_NAMES = ("value", "val", "duty_cycle", "utilization", "gpu_utilization", "requests")
_MILLISECONDS_FROM = 1e11
"""Unix seconds are below this until the year 5138, milliseconds above it since 1973."""
_UNIX_SECONDS = (0.0, 253_402_300_800.0)


class CsvError(ValueError):
    """The text is no such CSV; the message says what was found, and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvColumns:
    """The names of the columns, None to recognise them."""

    time: str | None = None
    pod: str | None = None
    value: str | None = None


@dataclass(slots=True)
class CsvSeries:
    """The samples of one pod or of the total: Unix seconds, and values."""

    times: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def samples(self) -> Iterator[tuple[float, float]]:
        """Yield times and values in the order of time, and of the text where times are equal."""
        times = self.times
        if all(a <= b for a, b in pairwise(times)):
            return zip(times, self.values, strict=True)
        order = sorted(range(len(times)), key=times.__getitem__)
        return ((times[place], self.values[place]) for place in order)


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvSamples:
    """The samples by pod; a total has the one name ""."""

    series: Mapping[str, CsvSeries]
    assumes_utc: bool = False
    """Whether a time has no offset."""

    @property
    def is_total(self) -> bool:
        """Whether the values are of the whole Deployment."""
        return self.series.keys() == {""}

    @property
    def begun_unix_seconds(self) -> float:
        """The time of the first sample."""
        return min(min(one.times) for one in self.series.values())

    @property
    def ended_unix_seconds(self) -> float:
        """The time of the last sample."""
        return max(max(one.times) for one in self.series.values())

    @property
    def highest_value(self) -> float:
        """The highest value of all samples."""
        return max(max(one.values) for one in self.series.values())


def read_csv(lines: Iterable[str], columns: CsvColumns) -> CsvSamples:
    """Return the samples in lines of CSV, with or without names in the first line.

    An empty value or NaN is a time without a sample.

    Raises:
        CsvError: it has no such columns, or a line that is wrong.
    """
    rows = _rows(lines)
    first = next(rows, None)
    if first is None:
        raise CsvError("is empty")
    number, cells = first
    places = _places(cells, columns)
    found: dict[str, CsvSeries] = {}
    if _is_time(cells[places[0]]):
        _add(found, number, cells, places)
    for rows_read, (number, cells) in enumerate(rows, start=1):
        if rows_read > MAX_ROWS:
            raise CsvError(f"has more than {MAX_ROWS} lines: pass fewer days, or a longer step")
        _add(found, number, cells, places)
    if not found:
        raise CsvError("has no line with a value")
    return CsvSamples(series=found, assumes_utc=_has_no_offset(cells[places[0]]))


def _rows(lines: Iterable[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield the number and the cells of each line that is not empty."""
    numbered = iter(_short(lines))
    head = next((line for line in numbered if line.strip()), None)
    if head is None:
        return
    head = head.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    delimiter = max((",", ";", "\t"), key=head.count)

    reader = csv.reader(chain([head], numbered), delimiter=delimiter)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise CsvError(f"line {reader.line_num} is not CSV: {error}") from error


def _short(lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_LINE_CHARACTERS:
            raise CsvError(f"line {number} has more than {MAX_LINE_CHARACTERS} characters")
        yield line


def _places(cells: Sequence[str], columns: CsvColumns) -> tuple[int, int | None, int]:
    """Return where time, pod (None for a total) and value stand."""
    names = [cell.strip() for cell in cells]
    if _is_time(names[0]) and columns == CsvColumns():
        if len(names) not in (2, 3):
            raise CsvError(
                f"line 1 has {len(names)} columns and no names; without names they are time, value,"
                " or time, pod, value"
            )
        return (0, None, 1) if len(names) == 2 else (0, 1, 2)
    time = _place(names, "time", columns.time, TIME_NAMES)
    pod = _place(names, "pod", columns.pod, POD_NAMES)
    value = _place(names, "value", columns.value, VALUE_NAMES)
    if value is None:
        others = [place for place in range(len(names)) if place not in (time, pod)]
        value = others[0] if len(others) == 1 else None
    if time is None or value is None:
        missing = "time" if time is None else "value"
        raise CsvError(
            f"has no column {missing} among {_listed(names)}: name it, as in"
            f" --csv-columns {missing}=NAME"
        )
    return time, pod, value


def _place(names: Sequence[str], what: str, given: str | None, known: Sequence[str]) -> int | None:
    if given is not None:
        if given not in names:
            raise CsvError(f"has no column {given!r} for the {what}; it has {_listed(names)}")
        return names.index(given)
    lower = [name.lower().replace(" ", "_") for name in names]
    return next((lower.index(name) for name in known if name in lower), None)


def _listed(names: Sequence[str]) -> str:
    return shown(", ".join(repr(name) for name in names))


def _add(
    found: dict[str, CsvSeries],
    number: int,
    cells: Sequence[str],
    places: tuple[int, int | None, int],
) -> None:
    """Add a line's sample, if its value is not empty."""
    time_place, pod_place, value_place = places
    if len(cells) <= max(time_place, value_place, pod_place or 0):
        raise CsvError(f"line {number} has {len(cells)} columns, fewer than the first one")
    time = _unix_seconds(cells[time_place])
    if time is None:
        raise CsvError(
            f"line {number}: {shown(cells[time_place])!r} is not a time such as"
            " 2026-01-31T12:00:00Z, Unix seconds or Unix milliseconds"
        )
    text = cells[value_place].strip().removesuffix("%").rstrip()
    if text.lower() in ("", "nan", "null", "none"):
        return
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MAX_VALUE:
        raise CsvError(
            f"line {number}: {shown(cells[value_place])!r} is not a number from 0 to"
            f" {MAX_VALUE:g}; leave the value empty where there is none"
        )
    pod = "" if pod_place is None else cells[pod_place].strip()
    if pod_place is not None and not pod:
        raise CsvError(f"line {number} names no pod")
    series = found.get(pod)
    if series is None:
        if len(found) >= MAX_PODS:
            raise CsvError(f"names more than {MAX_PODS} pods")
        series = found[pod] = CsvSeries()
    series.times.append(time)
    series.values.append(value)


def _is_time(text: str) -> bool:
    return _unix_seconds(text) is not None


def _has_no_offset(text: str) -> bool:
    try:
        return datetime.fromisoformat(text.strip()).tzinfo is None
    except ValueError:
        return False


def _unix_seconds(text: str) -> float | None:
    try:
        seconds = float(text)
        if seconds >= _MILLISECONDS_FROM:
            seconds /= 1000
    except ValueError:
        try:
            when = datetime.fromisoformat(text.strip())
        except ValueError:
            return None
        seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    lowest, highest = _UNIX_SECONDS
    return seconds if lowest <= seconds < highest else None
