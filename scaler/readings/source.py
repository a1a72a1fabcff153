# SPDX-License-Identifier: Apache-2.0
"""Pure: the requests to a source of metric values, and its answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from scaler.model import NO_SERVER_SETTINGS, PodPhase

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from scaler.model import (
        ExporterEndpoint,
        Metric,
        MetricReading,
        ObjectRef,
        PodState,
        Queue,
        ServerSettings,
    )

NO_GPU_POD = "this pod requests no GPU"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingRequest:
    """What one Deployment needs: these metrics of these pods, averaged over `window_seconds`.

    `query` is its PromQL expression if `Metric.QUERY` is among the metrics, `queue` the page if
    `Metric.QUEUE` is. `server` says where the pods' own pages are.
    """

    deployment: ObjectRef
    metrics: tuple[Metric, ...]
    pods: tuple[PodState, ...]
    window_seconds: float
    query: str | None = None
    server: ServerSettings = NO_SERVER_SETTINGS
    queue: Queue | None = None

    def part(self, metrics: Container[Metric]) -> ReadingRequest | None:
        """Return the request for those of its metrics that are among these, None without any."""
        kept = tuple(one for one in self.metrics if one in metrics)
        if len(kept) == len(self.metrics):
            return self
        return replace(self, metrics=kept) if kept else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceAnswer:
    """The readings for decisions, and statistics of the reads for the source's own metrics.

    `succeeded` and `failed` count the exporters or queries that were read. `max_age_seconds` is the
    age of the oldest sample, None if there was no sample.
    """

    readings: Mapping[ObjectRef, Mapping[Metric, MetricReading]]
    succeeded: int = 0
    failed: int = 0
    max_age_seconds: float | None = None


class Source(Protocol):
    """Where metric values come from."""

    @property
    def answers_queries(self) -> bool:
        """Whether `gpu-scaler/query` can be answered."""

    async def read(
        self, requests: Sequence[ReadingRequest], endpoints: Mapping[str, ExporterEndpoint]
    ) -> SourceAnswer:
        """Return each Deployment's reading of each metric that it asked for.

        `endpoints` maps node names to exporters. Never raises for what fails outside: the values
        are then missing, with the reason.
        """

    def forget(self) -> None:
        """Drop all state: until the next `read` nothing is needed."""


def readable(pods: Iterable[PodState]) -> Iterable[PodState]:
    """Return the pods that can have GPU readings: running ones on a node."""
    return (p for p in pods if p.phase is PodPhase.RUNNING and p.node_name and not p.deleting)
