# SPDX-License-Identifier: Apache-2.0
"""Pure: model servers' metrics in the past: queries from the table of servers, and their answers.

Prometheus has the series of a page with the labels of its target beside those of the page. Where
both have a label, the page's is renamed to `exported_...`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from scaler.budgets import shown_name
from scaler.model import Metric, ObjectRef
from scaler.model.policy import escaped
from scaler.readings.prometheus.past_pods import PodPoints, number
from scaler.readings.prometheus.range_chunks import promql_duration
from scaler.readings.prometheus.response import rows_of
from scaler.readings.servers.page import MAX_CACHE_SHARE, MAX_REQUESTS
from scaler.readings.servers.page_terms import MAX_VALUE
from scaler.readings.servers.table import Term, recognise

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scaler.model import MetricSelector
    from scaler.readings.prometheus.range_chunks import PastRow, RangeChunk
    from scaler.readings.prometheus.response import Result
    from scaler.readings.servers.table import ModelServer


class TargetPodLabels(NamedTuple):
    """The labels of a target that name its pod."""

    namespace: str
    pod: str


POD_LABELS: Final = (
    TargetPodLabels("namespace", "pod"),
    TargetPodLabels("kubernetes_namespace", "kubernetes_pod_name"),
)
"""Those of PodMonitors and ServiceMonitors, and those of older examples with annotations."""
TARGET_LABELS: Final = ("job", "instance", "prometheus_replica")
"""They tell apart the pages of a pod, and what two scrape alike."""
_RENAMED: Final = frozenset(
    {"namespace", "pod", "container", "endpoint", "service", "job", "instance", "node"}
)
"""Labels that a target may have too."""

_Points = dict[float, float]


class ScrapedPage(NamedTuple):
    """A page of a pod, with the values of `TARGET_LABELS`."""

    pod: ObjectRef
    target: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PastMeasure:
    """What counts of a page, as in the table of servers: alternatives, of which the first counts.

    With `is_share` it is the mean of the series, in percent. Where no alternative is there and
    `requests` are 0, none waits.
    """

    alternatives: tuple[tuple[Term, ...], ...]
    most: float = MAX_REQUESTS
    is_share: bool = False
    requests: tuple[tuple[Term, ...], ...] = ()

    def terms(self) -> Iterator[Term]:
        """Yield all terms that are asked for."""
        for terms in (*self.alternatives, *self.requests):
            yield from terms


class _TermQuery(NamedTuple):
    """A query: a term, whether its mean counts, and whether the page's labels are renamed."""

    term: Term
    is_share: bool
    is_renamed: bool


def server_measure(row: ModelServer, metric: Metric) -> PastMeasure:
    """Return what counts as a metric of this server; raises NotPublishedError."""
    is_share = metric is Metric.KV_CACHE_PERCENT
    none_waits = metric is Metric.REQUESTS_WAITING and row.counts_waiting
    return PastMeasure(
        alternatives=row.measure(metric),
        most=MAX_CACHE_SHARE if is_share else MAX_REQUESTS,
        is_share=is_share,
        requests=row.measure(Metric.REQUESTS) if none_waits else (),
    )


def chosen_measure(selector: MetricSelector) -> PastMeasure:
    """Return what counts as `gpu-scaler/pod-metric`."""
    return PastMeasure(alternatives=((Term(series=selector),),), most=MAX_VALUE)


def pages_query(
    names: Sequence[str], labels: TargetPodLabels, *, matchers: Sequence[str], seconds: float
) -> str:
    """Return the query for the pods' pages of the last `seconds` with metrics of these names."""
    chosen = ", ".join((f'__name__=~"{"|".join(names)}"', f'{labels.pod}!=""', *matchers))
    past = f"last_over_time({{{chosen}}}[{promql_duration(seconds)}])"
    return f"group by ({', '.join((*labels, *TARGET_LABELS, '__name__'))}) ({past})"


def read_pages(result: Result, labels: TargetPodLabels) -> Iterator[tuple[ScrapedPage, str]]:
    """Yield pages, each with a metric that it had; raises PromqlError."""
    with rows_of(result, "vector") as rows:
        for row in rows:
            texts = {name: shown_name(text) for name, text in row.get("metric", {}).items()}
            page = _page(texts, labels)
            if page is not None and "__name__" in texts:
                yield page, texts["__name__"]


def server_of(names: set[str], server: str | None) -> ModelServer | None:
    """Return the server of a page that had these metrics, None if it is not of `server`."""
    row, recognised_by = recognise(names.__contains__, server)
    return row if recognised_by is not None else None


class PastServers:
    """What to ask for the measures of some pages, and how to read it."""

    def __init__(
        self,
        measures: Mapping[ScrapedPage, PastMeasure],
        labels: TargetPodLabels,
        *,
        matchers: Sequence[str],
    ) -> None:
        """`matchers` select these pages and few others."""
        self.measures = measures
        self._asked = tuple(
            dict.fromkeys(
                _TermQuery(term, one.is_share, is_renamed)
                for one in measures.values()
                for term in one.terms()
                for is_renamed in (False, True)
                if not is_renamed or any(name in _RENAMED for name, _ in term.series.labels)
            )
        )
        self._labels = labels
        self._by = ", ".join((*labels, *TARGET_LABELS))
        self._pods = (f'{labels.pod}!=""', *matchers)

    def queries(self, fresh_seconds: float) -> tuple[str, ...]:
        """Return the queries for samples that are at most this old."""
        return tuple(self._query(one, fresh_seconds) for one in self._asked)

    def read(self, chunk: RangeChunk) -> Mapping[ObjectRef, PodPoints]:
        """Return the values of each pod in the answers to `queries`: of several pages the most."""
        pages: defaultdict[ScrapedPage, dict[Term, _Points]] = defaultdict(dict)
        for asked, rows in zip(self._asked, chunk.rows, strict=True):
            term = asked.term
            for row in rows:
                page = _page(row.labels, self._labels)
                if page is not None and page in self.measures:
                    pages[page].setdefault(term, {}).update(_points(row, term.unit))
        pods: dict[ObjectRef, _Points] = {}
        impossible: defaultdict[ObjectRef, int] = defaultdict(int)
        for page, points in pages.items():
            measure = self.measures[page]
            values, left_out = _possible(_measured(measure, points), measure)
            impossible[page.pod] += left_out
            known = pods.setdefault(page.pod, values)
            if known is not values:
                for time, value in values.items():
                    known[time] = max(known.get(time, value), value)
        return {
            pod: PodPoints(values=sorted(values.items()), gpus=None, impossible=impossible[pod])
            for pod, values in pods.items()
        }

    def _query(self, asked: _TermQuery, fresh_seconds: float) -> str:
        term = asked.term
        series = _selector(asked, self._pods)
        samples = series
        if term.series.is_rate:
            # Of the last two samples, as between two readings of a page.
            samples = f"irate({series}[{promql_duration(2 * fresh_seconds)}])"
        samples = f"{samples} and {_is_fresh(series, fresh_seconds)}"
        if term.same:
            samples = f"max without ({', '.join(term.same)}) ({samples})"
        total = f"{'avg' if asked.is_share else 'sum'} by ({self._by}) ({samples})"
        if term.absent_is_zero:
            up = f"up{{{', '.join(self._pods)}}}"
            is_up = f"{up} == 1 and {_is_fresh(up, fresh_seconds)}"
            total = f"({total} or 0 * max by ({self._by}) ({is_up}))"
        return f"{total} unless on ({self._by}) {series} < 0"


def _is_fresh(series: str, fresh_seconds: float) -> str:
    return f"time() - timestamp({series}) < {fresh_seconds:g}"


def _selector(asked: _TermQuery, matchers: Sequence[str]) -> str:
    """Return the selector of a term's series."""
    own = [
        f'{f"exported_{name}" if asked.is_renamed and name in _RENAMED else name}="{escaped(text)}"'
        for name, text in asked.term.series.labels
    ]
    without = [
        f'{label}!="{escaped(text)}"'
        for name, text in asked.term.without
        for label in ((name, f"exported_{name}") if name in _RENAMED else (name,))
    ]
    return f"{asked.term.series.name}{{{', '.join((*own, *without, *matchers))}}}"


def _page(labels: Mapping[str, str], names: TargetPodLabels) -> ScrapedPage | None:
    namespace, pod = labels.get(names.namespace), labels.get(names.pod)
    if not namespace or not pod:
        return None
    return ScrapedPage(
        ObjectRef(namespace, pod), tuple(labels.get(one, "") for one in TARGET_LABELS)
    )


def _points(row: PastRow, unit: float) -> _Points:
    return {time: number(text) * unit for time, text in row.points}


def _measured(measure: PastMeasure, points: Mapping[Term, _Points]) -> _Points:
    found: _Points = {}
    if measure.requests:
        requests = _first_alternative(measure.requests, points)
        found = {time: 0.0 for time, value in requests.items() if value == 0}
    return found | _first_alternative(measure.alternatives, points)


def _first_alternative(
    alternatives: Sequence[tuple[Term, ...]], points: Mapping[Term, _Points]
) -> _Points:
    """Return at each time the sum of the first alternative of which a term is there."""
    found: _Points = {}
    for terms in reversed(alternatives):
        first, *others = (points.get(term, {}) for term in terms)
        total = first
        for other in others:
            total = {time: value + other[time] for time, value in total.items() if time in other}
        if found:
            partly = {time for one in (first, *others) for time in one}
            found = {time: value for time, value in found.items() if time not in partly}
        found = found | total if found else total
    return found


def _possible(values: _Points, measure: PastMeasure) -> tuple[_Points, int]:
    """Return the values that a page may have, and how many others there are."""
    possible = {time: value for time, value in values.items() if 0 <= value <= measure.most}
    left_out = len(values) - len(possible)
    if measure.is_share:
        possible = {time: min(100.0, 100 * value) for time, value in possible.items()}
    return possible, left_out
