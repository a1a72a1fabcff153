# SPDX-License-Identifier: Apache-2.0
"""Pure: the samples of a CSV as the recording of a Deployment, and what cannot be one."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from itertools import islice, pairwise
from statistics import median
from typing import TYPE_CHECKING

from scaler.decision.proposals import SATURATING_METRICS
from scaler.model import TOTAL_METRICS, Metric, ObjectRef
from scaler.readings.prometheus.range_chunks import Span
from scaler.replay.csv_text import CsvError
from scaler.replay.demand import (
    HIGHEST_PERCENT,
    LONGEST_STEP_SECONDS,
    MAX_STEPS,
    DemandBuilder,
    seems_to_count,
)
from scaler.replay.model import Recording

if TYPE_CHECKING:
    from scaler.replay.csv_text import CsvSamples

_YEAR_2000 = 946_684_800.0
_FROM_ZERO_SECONDS = 3600.0
"""Times that begin before are counted from the begin of a measurement."""
_MOST_GAPS = 100_000
_UNITS = "Times are RFC 3339, Unix seconds or Unix milliseconds: check their unit"


def step_seconds_of(samples: CsvSamples) -> float:
    """Return the usual time between two samples of one pod, from a second to an hour.

    Raises:
        CsvError: there is only one, or that step is none for the whole time.
    """
    longest = max(samples.series.values(), key=lambda one: len(one.times))
    gaps = (b - a for a, b in pairwise(time for time, _ in longest.samples()) if b > a)
    first = list(islice(gaps, _MOST_GAPS))
    if not first:
        raise CsvError("has a single time; two are the least that a load can be seen in")
    usual = median(first)
    step = float(round(usual))
    if not 1 <= step <= LONGEST_STEP_SECONDS:
        raise CsvError(
            f"has a value every {usual:g} s; allowed is one every 1 s to"
            f" {LONGEST_STEP_SECONDS:g} s. {_UNITS}, or pass --step"
        )
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
    if _FROM_ZERO_SECONDS <= samples.begun_unix_seconds < _YEAR_2000:
        raise CsvError(
            f"begins at {_text(samples.begun_unix_seconds)}, as its times are read. {_UNITS}"
        )
    step = step_seconds or step_seconds_of(samples)
    begun = samples.begun_unix_seconds // step * step
    if metric is None:
        metric = Metric.QUERY if samples.is_total else Metric.DUTY_CYCLE
    if (metric in TOTAL_METRICS) is not samples.is_total:
        if samples.is_total:
            names = ", ".join(sorted(TOTAL_METRICS))
            raise CsvError(f"has no column pod; --metric of a total is one of {names}")
        raise CsvError(f"has a column pod, and --metric {metric} is for a total without one")
    is_percentage = metric in SATURATING_METRICS and not is_counter
    if is_percentage and samples.highest_value > HIGHEST_PERCENT:
        raise CsvError(
            f"has the value {samples.highest_value:g}, and {metric} is a percentage of at most 100:"
            " pass --csv-counter if its values count up, or --metric of what they are"
        )
    steps = int((samples.ended_unix_seconds - begun) // step) + 1
    if steps > MAX_STEPS:
        raise _too_many(samples, step)
    builder = DemandBuilder(metric, Span(begun, step, steps), is_counter=is_counter)
    for pod, series in samples.series.items():
        own = partial(builder.add, ObjectRef(ref.namespace, pod))
        add = builder.add_total if samples.is_total else own
        add(series.samples())
    built = builder.built()
    demand = built.metric.demand_milli
    if demand.count(None) == steps:
        raise CsvError(f"gives no demand: {'; '.join(built.notes)}")
    notes = list(built.notes)
    if samples.assumes_utc:
        notes.append("Times without an offset count as UTC.")
    if samples.is_total and not is_counter and seems_to_count(demand):
        notes.append("The values hardly ever fall: pass --csv-counter if they are a counter's.")
    if is_percentage and 0 < samples.highest_value <= 1:
        notes.append(f"No value is above 1, and {metric} is a percentage: check their unit.")
    return Recording(
        ref=ref,
        metrics=(built.metric,),
        begun_unix_seconds=begun,
        step_seconds=step,
        replicas=built.replicas,
        notes=tuple(notes),
    )


def _text(unix_seconds: float) -> str:
    return datetime.fromtimestamp(unix_seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
