# SPDX-License-Identifier: Apache-2.0
"""Snapshot and self metrics -> exposition formats.

`exporter.exposition.negotiation` chooses the format, `exporter.exposition.rendering` writes as
prometheus-client would.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client.metrics_core import Metric

from exporter.exposition import metrics
from exporter.exposition.compression import Gzipped, gzipped
from exporter.exposition.negotiation import content_type as chosen
from exporter.exposition.rendering import render

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client.registry import Collector

    from exporter.model import Snapshot

_OPENMETRICS: Final = "application/openmetrics-text"
# Renderings kept per snapshot: a few readers with a few formats and filters each.
_MAX_KEPT_RENDERINGS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Format:
    content_type: str
    names: frozenset[str]
    gzip: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """One answer to a scrape."""

    body: bytes
    content_type: str


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
        self._rendered_snapshot: Snapshot | None = None
        self._renderings: dict[_Format, bytes | Gzipped] = {}
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
        if asked.content_type.startswith(_OPENMETRICS):
            own += b"# EOF\n"
        body = gpus.followed_by(own) if isinstance(gpus, Gzipped) else gpus + own
        return Rendered(body=body, content_type=asked.content_type)

    def prepare(self, snapshot: Snapshot) -> None:
        """Render a new snapshot as the last one was asked for, so that no scrape waits for it."""
        if asked := self._start(snapshot):
            families = self._families(snapshot)
            self._renderings = {key: _render(families, key) for key in asked}

    def _gpus(self, snapshot: Snapshot | None, key: _Format) -> bytes | Gzipped:
        if snapshot is None:
            return _render(_collected(self._slow_metrics), key)
        if snapshot is not self._rendered_snapshot:
            self._start(snapshot)
        body = self._renderings.get(key)
        if body is None:
            body = _render(self._families(snapshot), key)
        if key in self._asked or len(self._asked) < _MAX_KEPT_RENDERINGS:
            self._asked.add(key)
            self._renderings[key] = body
        return body

    def _start(self, snapshot: Snapshot) -> set[_Format]:
        """Forget the last snapshot's renderings; returns how it was asked for."""
        asked, self._asked = self._asked, set()
        self._renderings.clear()
        self._rendered_snapshot = snapshot
        return asked

    def _families(self, snapshot: Snapshot) -> list[Metric]:
        gpus = metrics.families(snapshot, node_name=self._node_name)
        return [*gpus, *_collected(self._slow_metrics)]


def _collected(collectors: Sequence[Collector]) -> Iterable[Metric]:
    return (metric for one in collectors for metric in one.collect())


def _render(families: Iterable[Metric], asked: _Format) -> bytes | Gzipped:
    text = _text(families, asked)
    return gzipped(text) if asked.gzip else text


def _text(families: Iterable[Metric], asked: _Format) -> bytes:
    return render(
        _Families(families, asked.names).collect(),
        openmetrics=asked.content_type.startswith(_OPENMETRICS),
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
