# SPDX-License-Identifier: Apache-2.0
"""Which pages of pods' model servers Prometheus has scraped, and why one has no value."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from scaler.cli.recorded_owners import days_of
from scaler.model import SERVER_METRICS
from scaler.readings.prometheus.past_pods import pods_matchers
from scaler.readings.prometheus.past_servers import (
    POD_LABELS,
    PastServers,
    chosen_measure,
    pages_query,
    read_pages,
    server_measure,
    server_of,
)
from scaler.readings.servers.table import BY_NAME, SERVERS, NotPublishedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaler.model import Metric, ObjectRef
    from scaler.readings.prometheus.past_servers import PastMeasure, ScrapedPage
    from scaler.readings.prometheus.range_chunks import Span
    from scaler.readings.prometheus.ranges import RangeReader
    from scaler.replay.gathering import Gathering
    from scaler.replay.plans import DemandSource

_OWN_NAMES = frozenset(name for row in SERVERS for name in row.recognised_by)


class ScrapedServers:
    """The pages of the pods of some Deployments, once found."""

    def __init__(
        self,
        reader: RangeReader,
        wanted: dict[ObjectRef, Gathering],
        known: Callable[[ObjectRef], Gathering | None],
    ) -> None:
        """`known` returns what is gathered of a pod's Deployment, if it is wanted."""
        self._reader = reader
        self._wanted = {ref: one for ref, one in wanted.items() if one.pod_metrics & SERVER_METRICS}
        self._known = known
        self._labels = POD_LABELS[0]
        self._names: defaultdict[ScrapedPage, set[str]] = defaultdict(set)

    async def find(self, steps: Span) -> None:
        """Find the pages, by the labels that name their pods; raises PastError and PromqlError."""
        names = _OWN_NAMES.union(
            source.selector.name
            for one in self._wanted.values()
            for source in one.sources
            if source.selector is not None
        )
        for labels in POD_LABELS:
            self._labels = labels
            matchers = (*self._pods(), *self._reader.settings.common_matchers)
            for at, seconds in days_of(steps):
                query = pages_query(sorted(names), labels, matchers=matchers, seconds=seconds)
                result = await self._reader.now(query, at_unix_seconds=at)
                for page, name in read_pages(result, labels):
                    self._names[page].add(name)
            if self._names:
                return
        self._labels = POD_LABELS[0]

    def past(self, metric: Metric) -> PastServers:
        """Return how to read a metric of these pages."""
        measures = {
            page: measure
            for page in self._names
            if (measure := self._measure(page, metric)) is not None
        }
        return PastServers(
            measures,
            self._labels,
            matchers=(*self._pods(), *self._reader.settings.common_matchers),
        )

    def refuse_missing(self, metric: Metric) -> None:
        """Say of each Deployment why it has no page with the metric."""
        for one in self._wanted.values():
            source = one.source_of(metric)
            if source is not None and not one.has_any(metric):
                one.refuse(metric, self._why_none(one, source))

    def _pods(self) -> tuple[str, ...]:
        return pods_matchers(
            tuple(self._wanted),
            namespace_label=self._labels.namespace,
            pod_label=self._labels.pod,
        )

    def _measure(self, page: ScrapedPage, metric: Metric) -> PastMeasure | None:
        one = self._known(page.pod)
        source = None if one is None else one.source_of(metric)
        if source is None:
            return None
        names = self._names[page]
        if source.selector is not None:
            return chosen_measure(source.selector) if source.selector.name in names else None
        row = server_of(names, source.server)
        try:
            return None if row is None else server_measure(row, metric)
        except NotPublishedError:
            return None

    def _why_none(self, one: Gathering, source: DemandSource) -> str:
        pages = [names for page, names in self._names.items() if self._known(page.pod) is one]
        if source.selector is not None:
            if any(source.selector.name in names for names in pages):
                return f"no series of its pods is {source.selector}"
            return _unscraped(f"series {source.selector.name}")
        row = next(filter(None, (server_of(names, source.server) for names in pages)), None)
        if row is not None:
            try:
                terms = server_measure(row, source.metric).terms()
            except NotPublishedError as error:
                return str(error)
            wanted = " or ".join(dict.fromkeys(str(term.series) for term in terms))
            return f"its pods have metrics of {row.title}, but no {wanted}"
        title = "a model server" if source.server is None else BY_NAME[source.server].title
        others = sorted({other.title for names in pages if (other := server_of(names, None))})
        if others:
            return (
                f"its pods have metrics of {', '.join(others)}, not of {title}: correct or remove"
                " gpu-scaler/server"
            )
        return _unscraped(f"metrics of {title}")


def _unscraped(what: str) -> str:
    return (
        f"Prometheus has no {what} whose labels namespace and pod name its pods: have it scrape"
        " the pods' metrics pages, for example with a PodMonitor"
    )
