# SPDX-License-Identifier: Apache-2.0
"""Pure: a model server's page -> its numbers, or the reason why it has none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scaler.model import Metric
from scaler.readings.servers.page_terms import PageTerms, checked
from scaler.readings.servers.samples import (
    AbsentMetricError,
    MetricError,
    check_page,
    has_metric,
)
from scaler.readings.servers.table import BY_NAME, SERVERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scaler.model import MetricSelector
    from scaler.readings.servers.page_terms import RateCounters
    from scaler.readings.servers.table import Measure, ModelServer, Term

MAX_REQUESTS: Final = 1e9
"""No server has more in hand, and times in seconds since 1970 are greater."""
_CACHE_ROUNDING: Final = 1e-3
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
    row, recognised_by = _recognise(body, server)
    values: dict[Metric, float | str]
    if recognised_by is None:
        reason = _UNKNOWN if row is None else _not_of(body, row)
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


def _recognise(body: bytes, server: str | None) -> tuple[ModelServer | None, str | None]:
    """Return the server and the metric that tells it; the metric is None if the page has none."""
    for row in SERVERS if server is None else (BY_NAME[server],):
        for name in row.recognised_by:
            if has_metric(body, name):
                return row, name
    return (None if server is None else BY_NAME[server]), None


def _not_of(body: bytes, row: ModelServer) -> str:
    names = " or ".join(row.recognised_by)
    other, recognised_by_other = _recognise(body, None)
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
    requests = _measured(page, row, row.requests, "requests")
    waiting = _measured(page, row, row.waiting, "waiting requests", none_waits=requests == 0)
    return {
        Metric.REQUESTS: requests,
        Metric.REQUESTS_WAITING: waiting,
        Metric.KV_CACHE_PERCENT: _cache_percent(page, row),
    }


def _measured(
    page: PageTerms, row: ModelServer, measure: Measure, what: str, *, none_waits: bool = False
) -> float | str:
    if isinstance(measure, str):
        return _has_none(row, what, measure)
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
    if isinstance(row.kv_cache, str):
        return _has_none(row, "use of a KV cache", row.kv_cache)
    terms = _alternative(page, row.kv_cache)
    if terms is None:
        return _none_of(row.kv_cache)
    (term,) = terms
    try:
        used = [checked(one.value, term, 1 + _CACHE_ROUNDING) for one in page.samples(term)]
    except MetricError as error:
        return str(error)
    return min(100.0, 100 * math.fsum(used) / len(used)) if used else 0.0


def _has_none(row: ModelServer, what: str, instead: str) -> str:
    return f"{row.title} publishes no {what}: {instead}"


def _alternative(page: PageTerms, measure: Sequence[tuple[Term, ...]]) -> tuple[Term, ...] | None:
    """Return the first alternative of which the page has a metric, or all are 0 without one."""
    for terms in measure:
        if any(map(page.has, terms)) or all(term.absent_is_zero for term in terms):
            return terms
    return None


def _none_of(measure: Sequence[tuple[Term, ...]]) -> str:
    names = dict.fromkeys(term.series.name for terms in measure for term in terms)
    return f"the page has no metric {' or '.join(names)}"
