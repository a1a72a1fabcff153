# SPDX-License-Identifier: Apache-2.0
"""Pure: a model server's page -> its numbers, or the reason why it has none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from scaler.model import Metric
from scaler.readings.servers.page_terms import PageTerms, checked
from scaler.readings.servers.samples import (
    AbsentMetricError,
    MetricError,
    check_page,
    has_metric,
)
from scaler.readings.servers.table import SERVERS, NotPublishedError, recognise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scaler.model import MetricSelector
    from scaler.readings.servers.page_terms import RateCounters
    from scaler.readings.servers.table import ModelServer, Term

MAX_REQUESTS: Final = 1e9
"""No server has more in hand, and times in seconds since 1970 are greater."""
MAX_CACHE_SHARE: Final = 1.001
"""Rounding may put a full cache this far above 1."""
_TITLES: Final = ", ".join(server.title for server in SERVERS)
_UNKNOWN: Final = (
    f"the page has no metric of a known server ({_TITLES}): set gpu-scaler/server or"
    " gpu-scaler/metrics-port to read the page of one, or use gpu-scaler/pod-metric for a metric"
    " of this page"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerValues:
    """What one page says.

    `values` has the server's metrics, in the metric's unit, or the reason why there is no number.
    `recognised_by` is the metric that identified the server. Both are None for an unknown server.
    """

    server: str | None
    recognised_by: str | None
    values: Mapping[Metric, float | str]
    counters: RateCounters


def read_server_page(
    body: bytes,
    *,
    server: str | None,
    pod_metric: MetricSelector | None,
    before: RateCounters | None,
    at_seconds: float,
) -> ServerValues:
    """Return the values of a page of `server`, None to recognise it, and of `pod_metric`.

    `before` are the counters of the page's last reading.

    Raises:
        PageError: the body is not a page of metrics.
    """
    check_page(body)
    page = PageTerms(body, before, at_seconds)
    has = partial(has_metric, body)
    row, recognised_by = recognise(has, server)
    values: dict[Metric, float | str]
    if recognised_by is None:
        reason = _UNKNOWN if row is None else _not_of(has, row)
        values = dict.fromkeys(
            (Metric.REQUESTS, Metric.REQUESTS_WAITING, Metric.KV_CACHE_PERCENT), reason
        )
    else:
        values = _server_values(page, row) if row is not None else {}
    if pod_metric is not None:
        try:
            values[Metric.POD_METRIC] = page.chosen_value(pod_metric)
        except MetricError as error:
            values[Metric.POD_METRIC] = str(error)
    return ServerValues(
        server=row.name if row is not None and recognised_by is not None else None,
        recognised_by=recognised_by,
        values=values,
        counters=page.counters(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSum:
    """The sum of a page's terms, or the `problem`.

    With both, the page has no series of some terms, and the sum is that of the others: as no term
    is negative, the sum of all is at least that.
    """

    value: float | None
    problem: str | None


def read_sum(
    body: bytes, terms: Sequence[MetricSelector], before: RateCounters | None, at_seconds: float
) -> tuple[PageSum, RateCounters]:
    """Return the sum of these metrics of a page.

    Raises:
        PageError: the body is not a page of metrics.
    """
    check_page(body)
    page = PageTerms(body, before, at_seconds)
    total = 0.0
    absent = problem = None
    for selector in terms:
        # All of them are read even if one is missing: rates need each reading.
        try:
            total += page.chosen_value(selector)
        except AbsentMetricError as error:
            absent = absent or str(error)
        except MetricError as error:
            problem = problem or str(error)
    found = PageSum(value=None if problem else total, problem=problem or absent)
    return found, page.counters()


def _not_of(has: Callable[[str], bool], row: ModelServer) -> str:
    names = " or ".join(row.recognised_by)
    other, recognised_by_other = recognise(has, None)
    if other is None:
        return (
            f"the page has no {names}, so it is not of {row.title}: set gpu-scaler/metrics-port to"
            " the port of the server's metrics"
        )
    return (
        f"the page is of {other.title} (it has {recognised_by_other}), not of {row.title}: set"
        f' gpu-scaler/server: "{other.name}", or remove it'
    )


def _server_values(page: PageTerms, row: ModelServer) -> dict[Metric, float | str]:
    requests = _measured(page, row, Metric.REQUESTS)
    waiting = _measured(page, row, Metric.REQUESTS_WAITING, none_waits=requests == 0)
    return {
        Metric.REQUESTS: requests,
        Metric.REQUESTS_WAITING: waiting,
        Metric.KV_CACHE_PERCENT: _cache_percent(page, row),
    }


def _measured(
    page: PageTerms, row: ModelServer, metric: Metric, *, none_waits: bool = False
) -> float | str:
    try:
        measure = row.measure(metric)
    except NotPublishedError as error:
        return str(error)
    terms = _alternative(page, measure)
    if terms is None:
        return 0.0 if none_waits and row.counts_waiting else _none_of(measure)
    total, reason = 0.0, None
    for term in terms:
        # All of them are read even if one is missing: rates need each reading.
        try:
            total += page.value(term, MAX_REQUESTS)
        except MetricError as error:
            reason = reason or str(error)
    return total if reason is None else reason


def _cache_percent(page: PageTerms, row: ModelServer) -> float | str:
    try:
        measure = row.measure(Metric.KV_CACHE_PERCENT)
    except NotPublishedError as error:
        return str(error)
    terms = _alternative(page, measure)
    if terms is None:
        return _none_of(measure)
    (term,) = terms
    try:
        used = [checked(one.value, term, MAX_CACHE_SHARE) for one in page.samples(term)]
    except MetricError as error:
        return str(error)
    return min(100.0, 100 * math.fsum(used) / len(used)) if used else 0.0


def _alternative(page: PageTerms, measure: Sequence[tuple[Term, ...]]) -> tuple[Term, ...] | None:
    """Return the first alternative of which the page has a metric, or all are 0 without one."""
    for terms in measure:
        if any(map(page.has, terms)) or all(term.absent_is_zero for term in terms):
            return terms
    return None


def _none_of(measure: Sequence[tuple[Term, ...]]) -> str:
    names = dict.fromkeys(term.series.name for terms in measure for term in terms)
    return f"the page has no metric {' or '.join(names)}"
