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
from scaler.cli.recorded_deployments import MOST_NAMED, Gatherings, NoHistoryError
from scaler.cli.recorded_owners import read_cluster, read_kube_state
from scaler.cli.recorded_problems import why_late, why_no_pods_of
from scaler.cli.recorded_servers import ScrapedServers
from scaler.model import Metric
from scaler.readings.prometheus.past_pods import PastMetric, pods_matchers
from scaler.readings.prometheus.query_results import read_totals
from scaler.readings.prometheus.range_chunks import span
from scaler.readings.prometheus.ranges import PastError, RangeReader
from scaler.readings.prometheus.response import PromqlError
from scaler.replay.owners import Owners, Way

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaler.cli.recorded_deployments import RecordedDeployment
    from scaler.cli.simulate import SimulateSettings
    from scaler.cluster.past_workloads import PastWorkloads
    from scaler.model import ObjectRef
    from scaler.readings.prometheus.past_servers import PastServers
    from scaler.readings.prometheus.range_chunks import Span
    from scaler.readings.settings import PrometheusSettings
    from scaler.replay.gathering import Gathering

MODEL_MOMENTS = 4
"""At how many moments the GPU models of pods are read."""


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
    steps = span(
        until_unix_seconds=time.time(),
        seconds=settings.since_seconds,
        step_seconds=settings.step_seconds,
    )
    found = Recorded()
    workloads = await _workloads(settings, found)
    gatherings = Gatherings(settings, workloads, prometheus.names, steps)
    found.problems = gatherings.problems
    gatherings.plan()
    try:
        async with RangeReader(prometheus) as reader:
            reading = _Reading(reader, steps, gatherings, interrupted, show)
            found.notes += await reading.read_owners(workloads)
            read: set[Metric] = set()
            # With --all, Deployments and so their metrics are found while the first one is read.
            while unread := gatherings.gpu_metrics() - read:
                metric = min(unread)
                await reading.read_gpus(metric, () if settings.is_for_all else tuple(gatherings.of))
                read.add(metric)
            await reading.read_servers()
            for ref, one in gatherings.with_queries():
                await reading.read_query(ref, one)
            if gatherings.is_empty:
                if interrupted.is_set():
                    return found
                raise NoHistoryError(gatherings.why_empty() or await reading.why_no_pods())
            reading.add_starts()
            found.deployments = gatherings.recorded()
            found.notes += await reading.why_late()
    except PromqlError as error:
        raise PastError(f"Prometheus at {prometheus.url}: {error}") from error
    return found


class _Reading:
    """One run over the history."""

    def __init__(
        self,
        reader: RangeReader,
        steps: Span,
        gatherings: Gatherings,
        interrupted: asyncio.Event,
        show: Callable[[str, float], None],
    ) -> None:
        self._reader = reader
        self._span = steps
        self._gatherings = gatherings
        self._interrupted = interrupted
        self._show = show
        self._owners = Owners()
        self._starts: dict[ObjectRef, float] = {}

    async def read_owners(self, workloads: PastWorkloads) -> list[str]:
        """Learn the owners and the starts of pods; return sentences on what cannot be read."""
        self._owners.add_pods(workloads.pods, Way.API)
        self._owners.add_replica_sets(workloads.replica_sets, Way.API)
        self._starts.update(workloads.start_seconds)
        try:
            await read_kube_state(self._reader, self._span, self._owners, self._starts)
        except (PastError, PromqlError) as error:
            return [f"kube-state-metrics' series are not used: {error}"]
        return []

    async def read_gpus(self, metric: Metric, wanted: tuple[ObjectRef, ...]) -> None:
        """Read a metric of pods over all of the time, of all pods if no Deployment is named."""
        past = self._gpus(metric, wanted)
        if await self._read_pods(metric, past):
            await self._read_models(past)

    async def read_servers(self) -> None:
        """Read the metrics of pods' model servers over all of the time."""
        metrics = sorted(self._gatherings.server_metrics())
        if not metrics or self._interrupted.is_set():
            return
        servers = ScrapedServers(self._reader, self._gatherings.of, self._known)
        try:
            await servers.find(self._span)
        except (PastError, PromqlError) as error:
            for metric in metrics:
                self._refuse(metric, error)
            return
        for metric in metrics:
            is_read = await self._read_pods(metric, servers.past(metric))
            if is_read and not self._interrupted.is_set():
                servers.refuse_missing(metric)
        wanted = tuple(ref for ref, one in self._gatherings.of.items() if not one.counts_gpus)
        if wanted:
            await self._read_models(self._gpus(Metric.DUTY_CYCLE, wanted))

    def _gpus(self, metric: Metric, wanted: tuple[ObjectRef, ...]) -> PastMetric:
        names, matchers = self._reader.settings.names, self._reader.settings.matchers
        pods = pods_matchers(
            wanted, namespace_label=names.namespace_label, pod_label=names.pod_label
        )
        return PastMetric(metric, names, matchers=matchers, pods=pods)

    async def _read_pods(self, metric: Metric, past: PastMetric | PastServers) -> bool:
        """Read a metric of pods over all of the time; return whether it could be read."""
        queries = past.queries(self._span.fresh_seconds)
        try:
            async for chunk in until(self._interrupted, self._reader.chunks(queries, self._span)):
                for pod, points in (await asyncio.to_thread(past.read, chunk)).items():
                    one = self._gatherings.of_owner(self._owners.of(pod), metric)
                    if one is not None:
                        one.add_pod(
                            pod,
                            metric,
                            points.values,
                            gpus=points.gpus,
                            impossible=points.impossible,
                            way=self._owners.way(pod),
                        )
                self._show(f"Reading {metric}", self._span.share_until(chunk.span))
        except (PastError, PromqlError) as error:
            self._refuse(metric, error)
            return False
        return True

    def _refuse(self, metric: Metric, error: PastError | PromqlError) -> None:
        """Leave a metric out; raises the error if no other one has values."""
        # The metrics that were read are of use without this one.
        if not self._gatherings.has_other_values(metric):
            raise error
        self._gatherings.refuse(metric, str(error))

    async def _read_models(self, past: PastMetric) -> None:
        length = self._span.ended_unix_seconds - self._span.begun_unix_seconds
        with suppress(PastError, PromqlError):  # Without a model there is no price, and no more.
            for moment in range(MODEL_MOMENTS):
                at = self._span.ended_unix_seconds - length * moment / MODEL_MOMENTS
                result = await self._reader.now(past.models_query(), at_unix_seconds=at)
                for pod, model, gpus in past.read_models(result):
                    if (one := self._known(pod)) is not None:
                        one.add_gpus(pod, model, gpus)

    async def read_query(self, ref: ObjectRef, one: Gathering) -> None:
        """Read a Deployment's own query over all of the time."""
        assert one.query is not None
        chunks = self._reader.chunks([one.query], self._span)
        try:
            async for chunk in until(self._interrupted, chunks):
                one.add_total(Metric.QUERY, read_totals(chunk.rows[0]))
                self._show(f"Reading the query of {ref}", self._span.share_until(chunk.span))
        except PromqlError as error:
            one.refuse(Metric.QUERY, f"its query: {error}")
        except PastError as error:
            if error.status != 400 and not one.has_values:
                raise
            one.refuse(Metric.QUERY, f"its query: {error}")

    def add_starts(self) -> None:
        """Add how long pods took to start."""
        for pod, seconds in self._starts.items():
            if (one := self._known(pod)) is not None:
                one.add_start(pod, seconds)

    async def why_no_pods(self) -> str:
        """Return why no pod of the Deployments has a series."""
        whose = ", ".join(str(one) for one in list(self._gatherings.of)[:MOST_NAMED])
        metric = min(self._gatherings.gpu_metrics() or {Metric.DUTY_CYCLE})
        return await why_no_pods_of(self._reader, metric, self._span, whose or "any Deployment")

    async def why_late(self) -> list[str]:
        """Return a sentence if Prometheus has not all of the time."""
        metrics = self._gatherings.gpu_metrics()
        with suppress(PastError, PromqlError):
            late = await why_late(self._reader, min(metrics), self._span) if metrics else None
            return [late] if late else []
        return []

    def _known(self, pod: ObjectRef) -> Gathering | None:
        owner = self._owners.of(pod)
        return None if owner is None else self._gatherings.of.get(owner)


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
