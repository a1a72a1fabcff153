# SPDX-License-Identifier: Apache-2.0
"""Snapshot and self metrics -> exposition formats.

`exporter.exposition.negotiation` chooses the format, `exporter.exposition.rendering` writes as
prometheus-client would.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from prometheus_client.metrics_core import Metric

from exporter.exposition import metrics
from exporter.exposition.compression import Gzipped, gzipping
from exporter.exposition.negotiation import content_type as chosen
from exporter.exposition.rendering import header, lines, render

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from prometheus_client.registry import Collector

    from exporter.model import Snapshot

T = TypeVar("T")

_OPENMETRICS: Final = "application/openmetrics-text"
# Renderings kept per snapshot: a few readers with a few formats and filters each.
_MAX_KEPT_RENDERINGS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Format:
    content_type: str
    names: frozenset[str]
    gzip: bool

    @property
    def is_openmetrics(self) -> bool:
        return self.content_type.startswith(_OPENMETRICS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """One answer to a scrape."""

    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _FamilyText:
    """A family of the GPUs, as text; `names` are those by which it can be asked for."""

    names: frozenset[str]
    header: str
    openmetrics_header: str
    lines: str

    @classmethod
    def of(cls, one: metrics.FamilySeries) -> _FamilyText:
        family = one.family
        name, kind, text = metrics.metric_name(family), family.type.value, family.help
        return cls(
            names=frozenset({name, family.name}),
            header=header(name, kind, text, openmetrics=False),
            openmetrics_header=header(name, kind, text, openmetrics=True),
            lines=lines(family.name, one.series),
        )


class _Rendering:
    """One snapshot's text, and whole bodies of it by format."""

    def __init__(
        self, snapshot: Snapshot, families: Sequence[_FamilyText], slow: Sequence[Metric]
    ) -> None:
        self.snapshot = snapshot
        self._families = families
        self._slow = slow
        self.bodies: dict[_Format, bytes | Gzipped] = {}

    def body(self, asked: _Format) -> Generator[None, None, bytes | Gzipped]:
        """Return the body in a format, in steps."""
        parts: list[str] = []
        for one in self._families:
            if not asked.names or asked.names & one.names:
                parts += one.openmetrics_header if asked.is_openmetrics else one.header, one.lines
        text = "".join(parts).encode() + _text(self._slow, asked)
        yield
        return (yield from gzipping(text)) if asked.gzip else text


class Exposition:
    """Renders the GPUs' families once per snapshot and format, the self metrics at every scrape.

    `slow_metrics` are self metrics that take long to read: they are rendered with the GPUs'.
    """

    def __init__(
        self,
        *,
        node_name: str,
        self_metrics: Sequence[Collector],
        slow_metrics: Sequence[Collector] = (),
    ) -> None:
        self._node_name = node_name
        self._self_metrics = self_metrics
        self._slow_metrics = slow_metrics
        self._current: _Rendering | None = None
        self._asked: set[_Format] = set()

    def render(
        self,
        snapshot: Snapshot | None,
        *,
        accept: str = "",
        names: Iterable[str] = (),
        gzip: bool = False,
    ) -> Rendered:
        """Render in the format that `accept` (the HTTP header) prefers.

        `names` limits the answer to these families or series; none means all.
        """
        asked = _Format(content_type=chosen(accept), names=frozenset(names), gzip=gzip)
        gpus = self._gpus(snapshot, asked)
        own = _text(_collected(self._self_metrics), asked)
        if asked.is_openmetrics:
            own += b"# EOF\n"
        body = gpus.followed_by(own) if isinstance(gpus, Gzipped) else gpus + own
        return Rendered(body=body, content_type=asked.content_type)

    @property
    def is_asked(self) -> bool:
        """Whether anybody has asked since the last snapshot that was prepared."""
        return bool(self._asked)

    def prepare(self, snapshot: Snapshot) -> Iterator[None]:
        """Render a snapshot as the last one was asked for, so that no scrape waits for it.

        Between the steps, each of about a millisecond, the last one can be rendered still.
        """
        asked, self._asked = self._asked, set()
        rendering = yield from self._rendered(snapshot)
        for one in asked:
            rendering.bodies[one] = yield from rendering.body(one)
        self._current = rendering

    def _gpus(self, snapshot: Snapshot | None, asked: _Format) -> bytes | Gzipped:
        if snapshot is None:
            text = _text(_collected(self._slow_metrics), asked)
            return _finished(gzipping(text)) if asked.gzip else text
        current = self._current
        if current is None or current.snapshot is not snapshot:
            self._asked = set()
            current = self._current = _finished(self._rendered(snapshot))
        body = current.bodies.get(asked)
        if body is None:
            body = _finished(current.body(asked))
        if asked in self._asked or len(self._asked) < _MAX_KEPT_RENDERINGS:
            self._asked.add(asked)
            current.bodies[asked] = body
        return body

    def _rendered(self, snapshot: Snapshot) -> Generator[None, None, _Rendering]:
        families = []
        for one in metrics.family_series(snapshot, node_name=self._node_name):
            families.append(_FamilyText.of(one))
            yield
        return _Rendering(snapshot, families, list(_collected(self._slow_metrics)))


def _finished(steps: Generator[None, None, T]) -> T:
    """Return what comes of the steps, all taken at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def _collected(collectors: Sequence[Collector]) -> Iterable[Metric]:
    return (metric for one in collectors for metric in one.collect())


def _text(families: Iterable[Metric], asked: _Format) -> bytes:
    return render(
        _Families(families, asked.names).collect(),
        openmetrics=asked.is_openmetrics,
    )


class _Families:
    """A collector over given families, limited to the wanted names.

    A name is a family's or a single series' (`..._count` of a histogram). prometheus-client's
    restricted registry knows only the latter and changes the order of families from one scrape to
    the next.
    """

    def __init__(self, families: Iterable[Metric], wanted: frozenset[str]) -> None:
        self._families = families
        self._wanted = wanted

    def collect(self) -> Iterable[Metric]:
        for family in self._families:
            if not self._wanted or family.name in self._wanted:
                yield family
                continue
            samples = [sample for sample in family.samples if sample.name in self._wanted]
            if samples:
                part = Metric(family.name, family.documentation, family.type)
                part.samples = samples
                yield part
