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
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from scaler.budgets import shown
from scaler.model import TOTAL_METRICS, Metric, ObjectRef
from scaler.replay.demand import MAX_STEPS, DemandBuilder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from scaler.replay.model import Recording

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
        """Yield times and values, in the order of the text."""
        return zip(self.times, self.values, strict=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvSamples:
    """The samples by pod; a total has the one name ""."""

    series: Mapping[str, CsvSeries]
    empty_values: int = 0

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
    empty = 0
    if _is_time(cells[places[0]]):
        empty += _add(found, number, cells, places)
    for rows_read, (number, cells) in enumerate(rows, start=1):
        if rows_read > MAX_ROWS:
            raise CsvError(f"has more than {MAX_ROWS} lines: pass fewer days, or a longer step")
        empty += _add(found, number, cells, places)
    if not found:
        raise CsvError("has no line with a value")
    return CsvSamples(series=found, empty_values=empty)


def step_seconds_of(samples: CsvSamples) -> float:
    """Return the usual time between two samples of one pod, at least a second.

    Raises:
        CsvError: there is only one, or that step is far too short for the whole time.
    """
    longest = max(samples.series.values(), key=lambda one: len(one.times))
    times = sorted(set(longest.times))
    if len(times) < 2:
        raise CsvError("has a single time; two are the least that a load can be seen in")
    step = max(1.0, float(round(median(b - a for a, b in pairwise(times)))))
    if (samples.ended_unix_seconds - samples.begun_unix_seconds) / step > MAX_STEPS:
        raise _too_many(samples, step)
    return step


def _too_many(samples: CsvSamples, step_seconds: float) -> CsvError:
    return CsvError(
        f"has a time from {_text(samples.begun_unix_seconds)} to"
        f" {_text(samples.ended_unix_seconds)}, which are more than {MAX_STEPS} steps of"
        f" {step_seconds:g} s: check its times, or pass a longer --step"
    )


def csv_recording(
    samples: CsvSamples,
    ref: ObjectRef,
    *,
    metric: Metric | None = None,
    step_seconds: float | None = None,
    is_counter: bool = False,
) -> Recording:
    """Return the recording of a Deployment; the metric is the duty cycle, or a query for a total.

    Of a counter, the increase per second counts.

    Raises:
        CsvError: the step cannot be found, or the metric is not one of such values.
    """
    step = step_seconds or step_seconds_of(samples)
    begun = samples.begun_unix_seconds // step * step
    if metric is None:
        metric = Metric.QUERY if samples.is_total else Metric.DUTY_CYCLE
    if (metric in TOTAL_METRICS) is not samples.is_total:
        if samples.is_total:
            names = ", ".join(sorted(TOTAL_METRICS))
            raise CsvError(f"has no column pod; --metric of a total is one of {names}")
        raise CsvError(f"has a column pod, and --metric {metric} is for a total without one")
    steps = int((samples.ended_unix_seconds - begun) // step) + 1
    if steps > MAX_STEPS:
        raise _too_many(samples, step)
    builder = DemandBuilder(
        ref=ref,
        metric=metric,
        begun_unix_seconds=begun,
        step_seconds=step,
        steps=steps,
        is_counter=is_counter,
    )
    for pod, series in samples.series.items():
        if samples.is_total:
            builder.add_total(series.samples())
        else:
            builder.add(ObjectRef(ref.namespace, pod), series.samples())
    return builder.recording()


def _rows(lines: Iterable[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield the number and the cells of each line that is not empty."""
    numbered = iter(_short(lines))
    head = next((line for line in numbered if line.strip()), None)
    if head is None:
        return
    head = head.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    delimiter = max((",", ";", "\t"), key=head.count)

    def every() -> Iterator[str]:
        yield head
        yield from numbered

    reader = csv.reader(every(), delimiter=delimiter)
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
) -> bool:
    """Add a line's sample; return whether its value is empty."""
    time_place, pod_place, value_place = places
    if len(cells) <= max(time_place, value_place, pod_place or 0):
        raise CsvError(f"line {number} has {len(cells)} columns, fewer than the first one")
    time = _unix_seconds(cells[time_place])
    if time is None:
        raise CsvError(
            f"line {number}: {shown(cells[time_place])!r} is not a time such as"
            " 2026-01-31T12:00:00Z, or Unix seconds"
        )
    text = cells[value_place].strip().removesuffix("%").rstrip()
    if text.lower() in ("", "nan", "null", "none"):
        return True
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise CsvError(
            f"line {number}: {shown(cells[value_place])!r} is not a number of 0 or more; leave the"
            " value empty where there is none"
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
    return False


def _is_time(text: str) -> bool:
    return _unix_seconds(text) is not None


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


def _text(unix_seconds: float) -> str:
    return datetime.fromtimestamp(unix_seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
