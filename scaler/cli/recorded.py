# SPDX-License-Identifier: Apache-2.0
"""Recordings of Deployments from what Prometheus has of them; nothing is ever written.

Prometheus is read chunk by chunk. The Kubernetes API, where there is one, says which Deployments
there are, their annotations and the owners of pods; kube-state-metrics' series, where they are,
the owners of pods that are gone.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scaler.cli.interruption import until
from scaler.cli.recorded_owners import read_cluster, read_kube_state
from scaler.cli.recorded_problems import why_late, why_no_pods_of
from scaler.model import TOTAL_METRICS, Metric
from scaler.readings.devices import FAMILIES
from scaler.readings.prometheus.past_pods import PastMetric, pods_matchers
from scaler.readings.prometheus.past_totals import read_totals
from scaler.readings.prometheus.range_chunks import span
from scaler.readings.prometheus.ranges import PastError, RangeReader
from scaler.readings.prometheus.response import PromqlError
from scaler.replay.gathering import Gathering
from scaler.replay.owners import Owners, Way
from scaler.replay.plans import DemandSource, Given, PlanError, source_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from scaler.cli.simulate import SimulateSettings
    from scaler.cluster.past_workloads import PastWorkloads
    from scaler.model import ObjectRef
    from scaler.readings.prometheus.range_chunks import Span
    from scaler.readings.settings import PrometheusSettings
    from scaler.replay.model import Recording

MOST_NAMED = 3
MODEL_MOMENTS = 4
"""At how many moments the GPU models of pods are read."""


class NoHistoryError(RuntimeError):
    """There is nothing to simulate; the message says what was found, and what to pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedDeployment:
    """A Deployment's annotations, the metric that was read of it, and its recording."""

    given: Given
    source: DemandSource
    recording: Recording


@dataclass(slots=True)
class Recorded:
    """What was read; `problems` say which Deployments are not in it, and why."""

    deployments: list[RecordedDeployment] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


async def read_recorded(
    settings: SimulateSettings,
    prometheus: PrometheusSettings,
    interrupted: asyncio.Event,
    show: Callable[[str, float], None],
) -> Recorded:
    """Return the recordings of the wanted Deployments; an interruption ends the reading early.

    `show` is told what is read, and the share of it that is done.

    Raises:
        NoHistoryError: no Deployment has a history, or none is wanted.
        PastError: Prometheus does not answer, or not with what was asked for.
    """
    try:
        return await _read(settings, prometheus, interrupted, show)
    except PromqlError as error:
        raise PastError(f"Prometheus at {prometheus.url}: {error}") from error


async def _read(
    settings: SimulateSettings,
    prometheus: PrometheusSettings,
    interrupted: asyncio.Event,
    show: Callable[[str, float], None],
) -> Recorded:
    steps = span(
        until_unix_seconds=time.time(),
        seconds=settings.since_seconds,
        step_seconds=settings.step_seconds,
    )
    found = Recorded()
    workloads = await _workloads(settings, found)
    async with RangeReader(prometheus) as reader:
        reading = _Reading(settings, prometheus, reader, steps, workloads, found)
        reading.plan()
        await reading.read_owners()
        for metric in sorted(reading.gpu_metrics()):
            await reading.read_gpus(metric, interrupted, show)
        for ref, one in list(reading.gatherings.items()):
            if one.source.metric in TOTAL_METRICS:
                await reading.read_query(ref, one, interrupted, show)
        if not any(one.has_values for one in reading.gatherings.values()):
            if interrupted.is_set():
                return found
            raise NoHistoryError(await reading.why_empty())
        await reading.finish()
    return found


class _Reading:
    """One run over the history."""

    def __init__(
        self,
        settings: SimulateSettings,
        prometheus: PrometheusSettings,
        reader: RangeReader,
        steps: Span,
        workloads: PastWorkloads,
        found: Recorded,
    ) -> None:
        self._settings = settings
        self._prometheus = prometheus
        self._names = prometheus.names
        self._reader = reader
        self._span = steps
        self._workloads = workloads
        self._found = found
        self._owners = Owners()
        self._starts: dict[ObjectRef, float] = dict(workloads.start_seconds)
        self._refused: set[ObjectRef] = set()
        self.gatherings: dict[ObjectRef, Gathering] = {}
        self._readable = frozenset(
            {one for one, needed in FAMILIES.items() if set(needed) <= self._names.families.keys()}
            | {Metric.QUERY}
        )

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
            self._found.problems.append(f"{ref}: there is no such Deployment")
        for ref in wanted:
            if ref not in workloads.missing:
                self._gathering(ref)
        if wanted and not self.gatherings:
            raise NoHistoryError("; ".join(self._found.problems))

    def gpu_metrics(self) -> set[Metric]:
        """Return the metrics of pods that are read; pods of totals are seen by their duty cycle."""
        metrics = {
            Metric.DUTY_CYCLE if one.source.metric in TOTAL_METRICS else one.source.metric
            for one in self.gatherings.values()
        }
        return metrics | ({Metric.DUTY_CYCLE} if self._settings.is_for_all else set())

    def given(self, ref: ObjectRef) -> Given:
        """Return what is known of a Deployment."""
        return Given(
            ref=ref,
            annotations=self._workloads.annotations.get(ref, {}),
            defaults=self._workloads.defaults.get(ref.namespace, {}),
        )

    async def read_owners(self) -> None:
        """Learn the owners and the starts of pods from the API and kube-state-metrics."""
        self._owners.add_pods(self._workloads.pods, Way.API)
        self._owners.add_replica_sets(self._workloads.replica_sets, Way.API)
        try:
            await read_kube_state(self._reader, self._span, self._owners, self._starts)
        except (PastError, PromqlError) as error:
            self._found.notes.append(f"kube-state-metrics' series are not used: {error}")

    async def read_gpus(
        self, metric: Metric, interrupted: asyncio.Event, show: Callable[[str, float], None]
    ) -> None:
        """Read a metric of pods over all of the time."""
        wanted = () if self._settings.is_for_all else tuple(self.gatherings)
        past = PastMetric(
            metric,
            self._names,
            matchers=self._prometheus.matchers,
            pods=pods_matchers(wanted, self._names),
        )
        queries = past.queries(self._span.fresh_seconds)
        async for chunk in until(interrupted, self._reader.chunks(queries, self._span)):
            for pod, points in (await asyncio.to_thread(past.read, chunk)).items():
                one = self._gathering_of(pod, metric)
                if one is not None:
                    one.add_pod(
                        pod,
                        points.values,
                        gpus=points.gpus,
                        impossible=points.impossible,
                        way=self._owners.way(pod),
                    )
            left = self._span.ended_unix_seconds - chunk.span.ended_unix_seconds
            show(f"Reading {metric}", 1 - left / (self._span.steps * self._span.step_seconds))
        await self._read_models(past)

    async def _read_models(self, past: PastMetric) -> None:
        length = (self._span.steps - 1) * self._span.step_seconds
        with suppress(PastError, PromqlError):  # Without a model there is no price, and no more.
            for moment in range(MODEL_MOMENTS):
                at = self._span.ended_unix_seconds - length * moment / MODEL_MOMENTS
                result = await self._reader.now(past.models_query(), at_unix_seconds=at)
                for pod, model in past.read_models(result):
                    owner = self._owners.of(pod)
                    if owner is not None and owner in self.gatherings:
                        self.gatherings[owner].add_model(pod, model)

    async def read_query(
        self,
        ref: ObjectRef,
        one: Gathering,
        interrupted: asyncio.Event,
        show: Callable[[str, float], None],
    ) -> None:
        """Read a Deployment's own query over all of the time."""
        assert one.source.query is not None
        try:
            async for chunk in until(
                interrupted, self._reader.chunks([one.source.query], self._span)
            ):
                one.add_total(read_totals(chunk.rows[0]))
                left = self._span.ended_unix_seconds - chunk.span.ended_unix_seconds
                share = 1 - left / (self._span.steps * self._span.step_seconds)
                show(f"Reading the query of {ref}", share)
        except PromqlError as error:
            self._refuse(ref, f"its query: {error}")
        except PastError as error:
            if error.status != 400:
                raise
            self._refuse(ref, f"its query: {error}")

    async def why_empty(self) -> str:
        """Return why no Deployment has a history."""
        if self._found.problems:
            return "; ".join(self._found.problems)
        if any(one.source.metric in TOTAL_METRICS for one in self.gatherings.values()):
            return "the query has no value in this time: pass another --query, or a longer --since"
        if any(one.impossible_values for one in self.gatherings.values()):
            return "; ".join(
                _why_no_value(ref, one) for ref, one in list(self.gatherings.items())[:MOST_NAMED]
            )
        whose = ", ".join(str(one) for one in list(self.gatherings)[:MOST_NAMED])
        return await why_no_pods_of(
            self._reader,
            self._prometheus,
            min(self.gpu_metrics()),
            self._span,
            whose or "any Deployment",
        )

    async def finish(self) -> None:
        """Make the recordings, and say which Deployments have none."""
        for pod, seconds in self._starts.items():
            owner = self._owners.of(pod)
            if owner is not None and owner in self.gatherings:
                self.gatherings[owner].add_start(pod, seconds)
        for ref, one in sorted(self.gatherings.items()):
            if ref in self._refused:
                continue
            if not one.has_values:
                self._found.problems.append(_why_no_value(ref, one))
                continue
            recording = one.recording()
            if all(demand is None for demand in recording.demand_milli):
                why = "; ".join(recording.notes)
                self._found.problems.append(
                    f"{ref}: {one.source.metric} gives no demand in this time: {why}"
                )
                continue
            self._found.deployments.append(
                RecordedDeployment(given=self.given(ref), source=one.source, recording=recording)
            )
        with suppress(PastError, PromqlError):
            late = await why_late(
                self._reader, self._prometheus, min(self.gpu_metrics()), self._span
            )
            self._found.notes += [late] if late else []

    def _gathering_of(self, pod: ObjectRef, metric: Metric) -> Gathering | None:
        owner = self._owners.of(pod)
        if owner is None or owner.kind:
            return None
        one = self.gatherings.get(owner)
        if one is None and self._settings.is_for_all:
            one = self._gathering(owner)
        if one is None:
            return None
        read = Metric.DUTY_CYCLE if one.source.metric in TOTAL_METRICS else one.source.metric
        return one if read is metric else None

    def _gathering(self, ref: ObjectRef) -> Gathering | None:
        if ref in self._refused:
            return None
        try:
            source = source_of(self.given(ref), self._settings.wishes, self._readable)
        except PlanError as error:
            self._refuse(ref, str(error))
            return None
        one = self.gatherings[ref] = Gathering(
            ref,
            source,
            begun_unix_seconds=self._span.begun_unix_seconds,
            step_seconds=self._span.step_seconds,
            steps=self._span.steps,
        )
        return one

    def _refuse(self, ref: ObjectRef, why: str) -> None:
        self._refused.add(ref)
        self._found.problems.append(f"{ref}: {why}")


def _why_no_value(ref: ObjectRef, one: Gathering) -> str:
    metric = one.source.metric
    if not one.impossible_values:
        return f"{ref}: has no value of {metric} in this time"
    return (
        f"{ref}: all {one.impossible_values} values of {metric} are impossible: see what Prometheus"
        " has of it, and pass another --metric or --prometheus.metrics"
    )


async def _workloads(settings: SimulateSettings, found: Recorded) -> PastWorkloads:
    """Return what the Kubernetes API shows; without one, named Deployments are still read.

    Raises:
        NoHistoryError: only the API could say which Deployments to simulate.
    """
    workloads = await read_cluster(
        settings.kubeconfig,
        settings.context,
        settings.deployments,
        is_for_all=settings.is_for_all,
    )
    problem = "; ".join(workloads.problems)
    is_needed = not settings.deployments and not settings.is_for_all
    if problem and is_needed and not workloads.annotations:
        raise NoHistoryError(
            f"cannot list Deployments: {problem}; pass NAMESPACE/NAME of those to simulate, or"
            " --all"
        )
    if problem:
        found.notes.append(f"The Kubernetes API tells less than it could: {problem}")
    return workloads
