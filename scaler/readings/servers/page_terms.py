# SPDX-License-Identifier: Apache-2.0
"""Pure: the terms of a page: sums of series, and rates from the counters of two pages."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from scaler.budgets import METRIC_SERIES
from scaler.readings.servers.samples import AbsentMetricError, MetricError, read_metric, type_of
from scaler.readings.servers.table import Term

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaler.model import MetricSelector
    from scaler.readings.servers.samples import SeriesSample

    _Series = frozenset[tuple[str, str]]
    _Values = dict[_Series, float]

MAX_VALUE: Final = 1e15
MAX_COUNTER: Final = 2.0**64
MIN_RATE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RateCounters:
    """The counters of one page at a time, and the rates per second that led to them.

    `values` are by name and labels, the last ones of each series; a series without any counts
    from 0.
    """

    at_seconds: float
    values: Mapping[str, Mapping[_Series, float]]
    rates: Mapping[Term, float] = field(default_factory=dict)


class PageTerms:
    """A page's terms; each metric is read once, and its counters are kept for the next page."""

    def __init__(self, body: bytes, before: RateCounters | None, at_seconds: float) -> None:
        self._body = body
        self._before = before
        self._at_seconds = at_seconds
        self._read: dict[str, list[SeriesSample] | MetricError | None] = {}
        self._counted: dict[str, _Values] = {}
        self._rates: dict[Term, float] = {}

    def has(self, term: Term) -> bool:
        """Return whether the page has any line of the metric, readable or not."""
        if term.series.name not in self._read:
            try:
                self._read[term.series.name] = read_metric(self._body, term.series.name)
            except MetricError as error:
                self._read[term.series.name] = error
        return self._read[term.series.name] is not None

    def samples(self, term: Term) -> list[SeriesSample]:
        """Return the samples that count, none for a metric whose type alone is on the page.

        Raises:
            MetricError: the samples cannot be read, or are missing where that does not mean 0.
        """
        series = term.series
        read = self._read[series.name] if self.has(term) else None
        if isinstance(read, MetricError):
            raise read
        if read is None:
            if term.absent_is_zero:
                return []
            raise AbsentMetricError(f"the page has no metric {series.name}")
        chosen = [one for one in read if _counts(one, term)]
        if read and not chosen and not term.absent_is_zero:
            raise AbsentMetricError(f"no series of the page is {series}")
        return chosen

    def chosen_value(self, series: MetricSelector) -> float:
        """Return the sum of series that a user has named.

        Raises:
            AbsentMetricError: there is none.
            MetricError: a series has no usable value, or is a counter without a rate.
        """
        value = self.value(Term(series=series), MAX_VALUE)
        if not series.is_rate and type_of(self._body, series.name) == "counter":
            raise MetricError(f"{series.name} is a counter, which only grows: write rate({series})")
        return value

    def value(self, term: Term, most: float) -> float:
        """Return the sum of the term's series.

        Raises:
            AbsentMetricError: there is none.
            MetricError: a series has no usable value.
        """
        samples = self.samples(term)
        if term.series.is_rate:
            total = self._rate(term, samples) * term.unit
        else:
            highest: _Values = {}
            for one in samples:
                value = checked(one.value, term, most)
                same = frozenset(pair for pair in one.labels.items() if pair[0] not in term.same)
                highest[same] = max(highest.get(same, 0.0), value)
            total = sum(highest.values()) * term.unit
        return checked(total, term, most)

    def counters(self) -> RateCounters:
        """Return what the next page needs; counters younger than a second stay."""
        if self._before is not None and self._is_too_soon(self._before):
            return self._before
        past = {} if self._before is None else self._before.values
        values = {
            name: _with_missing(now, past.get(name, {})) for name, now in self._counted.items()
        }
        return RateCounters(at_seconds=self._at_seconds, values=values, rates=self._rates)

    def _rate(self, term: Term, samples: list[SeriesSample]) -> float:
        now = {
            frozenset(one.labels.items()): checked(one.value, term, MAX_COUNTER) for one in samples
        }
        self._counted.setdefault(term.series.name, {}).update(now)
        before = self._before
        if before is not None and self._is_too_soon(before) and term in before.rates:
            return before.rates[term]
        past = before.values.get(term.series.name) if before is not None else None
        if before is None or past is None or self._is_too_soon(before):
            msg = f"the rate of {term.series.name} needs two readings, and this is the first"
            raise MetricError(msg)
        # A counter that fell was reset, and one that is new was 0.
        increase = sum(
            value - past[key] if value >= past.get(key, math.inf) else value
            for key, value in now.items()
        )
        self._rates[term] = increase / (self._at_seconds - before.at_seconds)
        return self._rates[term]

    def _is_too_soon(self, before: RateCounters) -> bool:
        return self._at_seconds - before.at_seconds < MIN_RATE_SECONDS


def _with_missing(now: Mapping[_Series, float], past: Mapping[_Series, float]) -> _Values:
    """Return the counters with those that are missing now, the oldest left out beyond the limit.

    Where one comes back, what it had counted before is not new.
    """
    missing = [(series, value) for series, value in past.items() if series not in now]
    surplus = max(0, len(missing) + len(now) - METRIC_SERIES)
    return dict(missing[surplus:]) | dict(now)


def _counts(sample: SeriesSample, term: Term) -> bool:
    labels = sample.labels
    return all(labels.get(name, "") == value for name, value in term.series.labels) and not any(
        labels.get(name) == value for name, value in term.without
    )


def checked(value: float, term: Term, most: float) -> float:
    """Return the value.

    Raises:
        MetricError: it is no number, or not within 0 to `most`.
    """
    if not 0 <= value <= most:
        kind = "not a number" if math.isnan(value) else "negative" if value < 0 else "too large"
        raise MetricError(f"the value of {term.series.name} is {kind}")
    return value
