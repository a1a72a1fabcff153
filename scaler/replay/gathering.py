# SPDX-License-Identifier: Apache-2.0
"""Pure: gathers what chunks of the past say of one Deployment, and makes its recording."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from scaler.model import SERVER_METRICS, TOTAL_METRICS, Metric
from scaler.quantities import format_share
from scaler.replay.demand import BuiltDemand, DemandBuilder, seems_to_count
from scaler.replay.model import RecordedMetric, Recording
from scaler.replay.owners import Way

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaler.model import ObjectRef
    from scaler.readings.prometheus.range_chunks import Span
    from scaler.replay.plans import DemandSource

_MANY = 10
_WORTH_SAYING = 0.01
"""A smaller part of the time without one of several metrics is not worth a sentence."""
_UNKNOWN = -1
_EXPRESSIONS = {
    Metric.QUERY: ("The query", "rate(NAME[1m])"),
    Metric.POD_METRIC: ("gpu-scaler/pod-metric", "rate(NAME)"),
}
"""What people write, and how they write the rate of a counter there."""


class NoDemandError(ValueError):
    """No metric of a Deployment has a demand; the message says why."""


class Gathering:
    """What is known so far of one Deployment, over equal steps of time.

    `sources` are its metrics; the targets of the first are compared. `pod_metrics` are those of
    which pods' values are wanted: a Deployment with totals only has its pods counted by their duty
    cycle.
    """

    def __init__(self, ref: ObjectRef, sources: Sequence[DemandSource], span: Span) -> None:
        self.sources = tuple(sources)
        of_pods = {one.metric for one in sources} - TOTAL_METRICS
        self.pod_metrics = frozenset(of_pods or {Metric.DUTY_CYCLE})
        self._ref = ref
        self._span = span
        self._counts = array("l", [_UNKNOWN]) * (0 if of_pods else span.steps)
        self._builders = {one.metric: DemandBuilder(one.metric, span) for one in sources}
        self._ways: dict[ObjectRef, Way | None] = {}
        self._gpus: Counter[int] = Counter()
        self._models: Counter[str] = Counter()
        self._starts: dict[ObjectRef, float] = {}
        self._impossible: Counter[Metric] = Counter()
        self._with_values: set[Metric] = set()
        self._refused: dict[Metric, str] = {}

    @property
    def query(self) -> str | None:
        """The query for the whole Deployment, None if it has none."""
        return next((one.query for one in self.sources if one.query is not None), None)

    @property
    def counts_gpus(self) -> bool:
        """Whether the values of its pods say how many GPUs they have."""
        return not self.pod_metrics <= SERVER_METRICS

    @property
    def has_values(self) -> bool:
        """Whether any metric has a value."""
        return bool(self._with_values)

    def has_other_values(self, metric: Metric) -> bool:
        """Whether another metric than this one has a value."""
        return bool(self._with_values - {metric})

    def source_of(self, metric: Metric) -> DemandSource | None:
        """Return where a metric is from, None if it is not wanted."""
        return next((one for one in self.sources if one.metric is metric), None)

    def has_any(self, metric: Metric) -> bool:
        """Whether a metric has a value, possible or not."""
        return metric in self._with_values or self._impossible[metric] > 0

    def has_problem(self, metric: Metric) -> bool:
        """Whether more is known of a metric than that it has no value."""
        return metric in self._refused or self._impossible[metric] > 0

    def add_pod(
        self,
        pod: ObjectRef,
        metric: Metric,
        values: Sequence[tuple[float, float]],
        *,
        gpus: int | None,
        impossible: int = 0,
        way: Way | None = None,
    ) -> None:
        """Add a pod's values of a chunk, of one of the `pod_metrics`."""
        self._ways.setdefault(pod, way)
        if gpus is not None:
            self._gpus[gpus] += len(values)
        if impossible:
            self._impossible[metric] += impossible
        if metric in self._builders:
            self._builders[metric].add(pod, values)
            if values:
                self._with_values.add(metric)
            return
        for unix_seconds, _ in values:
            step = round((unix_seconds - self._span.begun_unix_seconds) / self._span.step_seconds)
            if 0 <= step < len(self._counts):
                self._counts[step] = max(self._counts[step], 0) + 1

    def add_total(self, metric: Metric, values: Sequence[tuple[float, float]]) -> None:
        """Add values of a metric of the whole Deployment."""
        self._builders[metric].add_total(values)
        if values:
            self._with_values.add(metric)

    def add_gpus(self, pod: ObjectRef, model: str | None, gpus: int) -> None:
        """Add how many GPUs of a model a pod had."""
        if pod not in self._ways:
            return
        if model is not None:
            self._models[model] += 1
        if not self.counts_gpus:
            self._gpus[gpus] += 1

    def add_start(self, pod: ObjectRef, seconds: float) -> None:
        """Add how long a pod took from its creation until it was first Ready."""
        known = self._starts.get(pod)
        self._starts[pod] = seconds if known is None else min(known, seconds)

    def refuse(self, metric: Metric, why: str) -> None:
        """Leave a metric out; the recording says so."""
        self._refused[metric] = why

    def why_no_value(self, metric: Metric) -> str:
        """Return why a metric has no value."""
        if metric in self._refused:
            return self._refused[metric]
        if not self._impossible[metric]:
            return f"has no value of {metric} in this time"
        return (
            f"all {self._impossible[metric]} values of {metric} are impossible: see what Prometheus"
            " has of it, and pass another --metric or --prometheus.metrics"
        )

    def recording(self) -> Recording:
        """Return the recording, from the first step with a demand to the last one.

        A metric without any demand is left out, and a note says why.

        Raises:
            NoDemandError: no metric has a demand.
        """
        every = [builder.built() for builder in self._builders.values()]
        missing = {one.metric.metric: why for one in every if (why := self._why_no_demand(one))}
        built = [one for one in every if one.metric.metric not in missing]
        if not built:
            raise NoDemandError("; ".join(missing.values()))
        of_pods = [one.replicas for one in built if one.metric.metric not in TOTAL_METRICS]
        if of_pods:
            replicas = of_pods[0]
        elif self._counts:
            replicas = tuple(None if one == _UNKNOWN else one for one in self._counts)
        else:
            replicas = built[0].replicas
        metrics, idle_steps = _with_idle_steps(tuple(one.metric for one in built), replicas)
        common_gpus = self._gpus.most_common(1)
        common_model = self._models.most_common(1)
        notes = [f"{metric} is not simulated: {why}." for metric, why in missing.items()]
        for one in built:
            whose = f"{one.metric.metric}: " if len(every) > 1 else ""
            notes += [whose + note for note in one.notes]
        if idle_steps:
            notes.append(
                f"{idle_steps} steps have no pod and a total of 0: the pods' metrics count as 0."
            )
        recording = trimmed(
            Recording(
                ref=self._ref,
                metrics=metrics,
                begun_unix_seconds=self._span.begun_unix_seconds,
                step_seconds=self._span.step_seconds,
                replicas=replicas,
                gpus_per_replica=max(1, common_gpus[0][0]) if common_gpus else 1,
                gpu_model=common_model[0][0] if common_model else None,
                start_seconds=median(self._starts.values()) if self._starts else None,
            )
        )
        return replace(recording, notes=(*notes, *self._notes(recording)))

    def _why_no_demand(self, built: BuiltDemand) -> str | None:
        metric = built.metric.metric
        if metric in self._refused or metric not in self._with_values:
            return self.why_no_value(metric)
        if built.metric.known_share:
            return None
        return f"{metric} gives no demand in this time: {'; '.join(built.notes)}"

    def _notes(self, found: Recording) -> list[str]:
        notes = []
        guessed = sum(way is Way.NAME for way in self._ways.values())
        if guessed:
            notes.append(
                f"{guessed} of its {len(self._ways)} pods are known to be its own only by the form"
                " of their names."
            )
        if impossible := self._impossible.total():
            notes.append(f"{impossible} impossible values are left out.")
        if len(self._gpus) > 1:
            kinds = ", ".join(str(one) for one in sorted(self._gpus)[:_MANY])
            notes.append(f"Its pods had different numbers of GPUs ({kinds}); the commonest counts.")
        if self._ways and not self._gpus:
            notes.append("Its pods have no series of a GPU: each counts as one GPU.")
        if not self._ways:
            notes.append("Its replica count is unknown: no pod of it has a series of a GPU.")
        for one in found.metrics:
            if one.metric in _EXPRESSIONS and seems_to_count(one.demand_milli):
                what, rate = _EXPRESSIONS[one.metric]
                notes.append(f"{what} hardly ever falls: of a counter, pass the rate, as {rate}.")
            unknown = 1 - one.known_share
            if len(found.metrics) > 1 and unknown >= _WORTH_SAYING:
                notes.append(
                    f"{one.metric} is unknown for {format_share(unknown)} of the time: meanwhile"
                    " the other metrics only add pods, as with a value that gpu-scaler lacks."
                )
        return notes


def _with_idle_steps(
    metrics: tuple[RecordedMetric, ...], replicas: Sequence[int | None]
) -> tuple[tuple[RecordedMetric, ...], int]:
    """Return the metrics with 0 where no pod was there and the total is 0, and how often that is.

    Without it, a Deployment that was scaled to zero would look as if its pods had no values.
    """
    total = next((one.demand_milli for one in metrics if one.metric in TOTAL_METRICS), None)
    if total is None or len(metrics) == 1:
        return metrics, 0
    is_idle = [pods is None and one == 0 for pods, one in zip(replicas, total, strict=True)]
    filled = tuple(
        replace(
            one,
            demand_milli=tuple(
                0 if demand is None and idle else demand
                for demand, idle in zip(one.demand_milli, is_idle, strict=True)
            ),
        )
        for one in metrics
    )
    return filled, sum(is_idle)


def trimmed(recording: Recording) -> Recording:
    """Return the recording without the steps before its first and after its last demand."""
    known = recording.known()
    if True not in known:
        return recording
    first, end = known.index(True), len(known) - known[::-1].index(True)
    return replace(
        recording,
        begun_unix_seconds=recording.begun_unix_seconds + first * recording.step_seconds,
        metrics=tuple(
            replace(one, demand_milli=one.demand_milli[first:end], floor=one.floor[first:end])
            for one in recording.metrics
        ),
        replicas=recording.replicas[first:end],
    )
