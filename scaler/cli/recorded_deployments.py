# SPDX-License-Identifier: Apache-2.0
"""Which Deployments' past is read, what is read of each, and the recordings made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaler.model import SERVER_METRICS, Metric
from scaler.readings.devices import FAMILIES
from scaler.replay.gathering import Gathering, NoDemandError
from scaler.replay.plans import DemandSource, Given, PlanError, sources_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from scaler.cli.simulate import SimulateSettings
    from scaler.cluster.past_workloads import PastWorkloads
    from scaler.model import ObjectRef
    from scaler.readings.prometheus.names import MetricNames
    from scaler.readings.prometheus.range_chunks import Span
    from scaler.replay.model import Recording

MOST_NAMED = 3


class NoHistoryError(RuntimeError):
    """There is nothing to simulate; the message says what was found, and what to pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedDeployment:
    """A Deployment's annotations, its recording, and where each metric of it is from."""

    given: Given
    sources: tuple[DemandSource, ...]
    recording: Recording


class Gatherings:
    """What is gathered of each Deployment; `problems` say which have no recording, and why."""

    def __init__(
        self, settings: SimulateSettings, workloads: PastWorkloads, names: MetricNames, steps: Span
    ) -> None:
        self._settings = settings
        self._workloads = workloads
        self._span = steps
        self._refused: set[ObjectRef] = set()
        self._readable = frozenset(
            {one for one, needed in FAMILIES.items() if set(needed) <= names.families.keys()}
            | {Metric.QUERY}
            | SERVER_METRICS
        )
        self.of: dict[ObjectRef, Gathering] = {}
        self.problems: list[str] = []

    def plan(self) -> None:
        """Choose the Deployments and what is read of each; raises NoHistoryError."""
        settings, workloads = self._settings, self._workloads
        wanted: Collection[ObjectRef] = settings.deployments
        if not wanted and not settings.is_for_all:
            wanted = workloads.opted_in()
            if not wanted:
                raise NoHistoryError(
                    "no Deployment has the annotation gpu-scaler/enabled: pass NAMESPACE/NAME of"
                    " those to simulate, or --all"
                )
        for ref in workloads.missing:
            self.problems.append(f"{ref}: there is no such Deployment")
        for ref in wanted:
            if ref not in workloads.missing:
                self._begin(ref)
        if wanted and not self.of:
            raise NoHistoryError("; ".join(self.problems))

    def gpu_metrics(self) -> set[Metric]:
        """Return the metrics of pods' GPUs that are read."""
        metrics = self._pod_metrics() - SERVER_METRICS
        return metrics | ({Metric.DUTY_CYCLE} if self._settings.is_for_all else set())

    def server_metrics(self) -> set[Metric]:
        """Return the metrics of pods' model servers that are read."""
        return self._pod_metrics() & SERVER_METRICS

    def _pod_metrics(self) -> set[Metric]:
        return {metric for one in self.of.values() for metric in one.pod_metrics}

    def with_queries(self) -> list[tuple[ObjectRef, Gathering]]:
        """Return the Deployments whose own query is read."""
        return [item for item in self.of.items() if item[1].query is not None]

    def of_owner(self, owner: ObjectRef | None, metric: Metric) -> Gathering | None:
        """Return where a metric of a pod with this owner belongs, None if it is not wanted."""
        if owner is None or owner.kind:
            return None
        one = self.of.get(owner)
        if one is None and self._settings.is_for_all:
            one = self._begin(owner)
        return one if one is not None and metric in one.pod_metrics else None

    def has_other_values(self, metric: Metric) -> bool:
        """Whether a Deployment has a value of another metric than this one."""
        return any(one.has_other_values(metric) for one in self.of.values())

    def refuse(self, metric: Metric, why: str) -> None:
        """Leave a metric of pods out of all Deployments."""
        for one in self.of.values():
            one.refuse(metric, why)

    @property
    def is_empty(self) -> bool:
        """Whether no Deployment has a value."""
        return not any(one.has_values for one in self.of.values())

    def why_empty(self) -> str | None:
        """Return why no Deployment has a value, None if only Prometheus can tell."""
        if self.problems:
            return "; ".join(self.problems)
        named = list(self.of.items())[:MOST_NAMED]
        told = [
            f"{ref}: {one.why_no_value(source.metric)}"
            for ref, one in named
            for source in one.sources
            if one.has_problem(source.metric)
        ]
        if told:
            return "; ".join(told)
        if self.with_queries():
            return "the query has no value in this time: pass another --query, or a longer --since"
        return None

    def recorded(self) -> list[RecordedDeployment]:
        """Return the recordings, and add to `problems` which Deployments have none."""
        found = []
        for ref, one in sorted(self.of.items()):
            try:
                recording = one.recording()
            except NoDemandError as error:
                self.problems.append(f"{ref}: {error}")
                continue
            metrics = [one.metric for one in recording.metrics]
            wishes, first = self._settings.wishes, one.sources[0].metric
            if metrics[0] is not first and (wishes.targets or wishes.metric):
                self.problems.append(f"{ref}: {one.why_no_value(first)}")
                continue
            sources = tuple(source for source in one.sources if source.metric in metrics)
            found.append(
                RecordedDeployment(given=self._given(ref), sources=sources, recording=recording)
            )
        return found

    def _given(self, ref: ObjectRef) -> Given:
        return Given(
            ref=ref,
            annotations=self._workloads.annotations.get(ref, {}),
            defaults=self._workloads.defaults.get(ref.namespace, {}),
        )

    def _begin(self, ref: ObjectRef) -> Gathering | None:
        if ref in self._refused:
            return None
        try:
            sources = sources_of(self._given(ref), self._settings.wishes, self._readable)
        except PlanError as error:
            self._refused.add(ref)
            self.problems.append(f"{ref}: {error}")
            return None
        one = self.of[ref] = Gathering(ref, sources, self._span)
        return one
