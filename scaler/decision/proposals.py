"""Pure: one Deployment's pods and one metric's reading to what that metric asks for.

The arithmetic is `scaler.decision.replicas`; what this module adds are the deliberate differences
from the HPA: who counts as ready, what missing data may do, growth at saturation and counting in
rollouts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaler.decision.replicas import (
    Tolerance,
    average_value_replicas,
    clamp_int64,
    mean_milli,
    pods_metric_replicas,
)
from scaler.model import (
    DeploymentState,
    LeftOutPod,
    Metric,
    MetricProposal,
    MetricReading,
    MetricTarget,
    PodPhase,
    PodState,
    PodValue,
    ScalingPolicy,
)
from scaler.quantities import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scaler.model import ObjectRef

SATURATED_MILLI = 99_000
SATURATING_METRICS = frozenset({Metric.DUTY_CYCLE, Metric.MEMORY_USED_PERCENT})
SATURATION_GROWTH_FACTOR = 2
SETTLING_SECONDS = 10.0
"""Until then a value still tells of what was before Ready: the exporter's window by default."""
SETTLING_SHARE = 1 / 3
"""Of the ready age, which is set longer where pods warm up for longer after they are Ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodGroups:
    """A Deployment's own pods by how they count, whatever the metric.

    `serving` have been Ready for the ready age; `young` for less, yet long enough for their values
    to be about serving; `unready` are Pending, not Ready or Ready for a moment (capacity asked for
    that does not serve yet), `pending` how many of them have no running container;
    `ignored` are ending or have ended.
    """

    serving: tuple[PodState, ...]
    young: tuple[LeftOutPod, ...]
    unready: tuple[LeftOutPod, ...]
    pending: int
    ignored: tuple[LeftOutPod, ...]


def group_pods(
    pods: Iterable[PodState], *, ready_age_seconds: float, now_seconds: float
) -> PodGroups:
    """Sort pods by how they count.

    Differs from the HPA's groupPods in that readiness counts for every metric, not for cpu alone,
    and that a Succeeded pod is ignored as a Failed one is.
    """
    serving: list[PodState] = []
    young: list[LeftOutPod] = []
    unready: list[LeftOutPod] = []
    ignored: list[LeftOutPod] = []
    pending = 0
    settled_seconds = max(SETTLING_SECONDS, SETTLING_SHARE * ready_age_seconds)
    for pod in pods:
        age_seconds = _ready_age_seconds(pod, now_seconds)
        if pod.deleting:
            ignored.append(LeftOutPod(pod=pod.ref, reason="is being deleted"))
        elif pod.phase in (PodPhase.FAILED, PodPhase.SUCCEEDED):
            ignored.append(LeftOutPod(pod=pod.ref, reason=f"has ended ({pod.phase})"))
        elif age_seconds is None:
            pending += pod.phase is PodPhase.PENDING
            reason = f"{_unready_reason(pod, now_seconds)}: counts as 0 on the way up"
            unready.append(LeftOutPod(pod=pod.ref, reason=reason))
        elif age_seconds >= ready_age_seconds:
            serving.append(pod)
        elif age_seconds >= settled_seconds:
            reason = f"{_young_reason(age_seconds, ready_age_seconds)}: counts on the way up only"
            young.append(LeftOutPod(pod=pod.ref, reason=reason))
        else:
            reason = f"{_young_reason(age_seconds, ready_age_seconds)}: counts as 0 on the way up"
            unready.append(LeftOutPod(pod=pod.ref, reason=reason))
    return PodGroups(
        serving=tuple(serving),
        young=tuple(young),
        unready=tuple(unready),
        pending=pending,
        ignored=tuple(ignored),
    )


def _ready_age_seconds(pod: PodState, now_seconds: float) -> float | None:
    """How long a pod has been Ready, None where it is not."""
    if pod.phase is PodPhase.PENDING or pod.ready_since_seconds is None:
        return None
    # The instant comes from another machine's clock: one in the future is an age of 0.
    return max(0.0, now_seconds - pod.ready_since_seconds)


def _unready_reason(pod: PodState, now_seconds: float) -> str:
    if pod.phase is not PodPhase.PENDING:
        return "not Ready"
    if pod.unschedulable_since_seconds is None:
        return "Pending"
    age = format_duration(now_seconds - pod.unschedulable_since_seconds)
    return f"Pending, unschedulable for {age}"


def _young_reason(age_seconds: float, ready_age_seconds: float) -> str:
    return (
        f"Ready for {format_duration(age_seconds)}, less than the ready age of"
        f" {format_duration(ready_age_seconds)}"
    )


def propose(
    deployment: DeploymentState,
    policy: ScalingPolicy,
    target: MetricTarget,
    reading: MetricReading | None,
    groups: PodGroups,
) -> MetricProposal:
    """What one metric asks for; a proposal without `replicas` says in `problem` why not."""
    if reading is None:
        return _unusable(target, groups, "nothing was read for this metric")
    if reading.problem is not None:
        return _unusable(target, groups, reading.problem)
    tolerance = Tolerance(
        up=policy.behavior.scale_up.tolerance, down=policy.behavior.scale_down.tolerance
    )
    if target.metric is Metric.QUERY:
        return _propose_total(deployment, policy, target, reading, tolerance)
    return _propose_per_pod(deployment, target, reading, tolerance, groups)


def _propose_total(
    deployment: DeploymentState,
    policy: ScalingPolicy,
    target: MetricTarget,
    reading: MetricReading,
    tolerance: Tolerance,
) -> MetricProposal:
    """A query's value is the Deployment's total, as with an External metric's AverageValue.

    Where 0 replicas are allowed, the activation threshold alone decides between none and some.
    """
    value = reading.values.get(deployment.ref)
    if value is None:
        problem = reading.missing.get(deployment.ref, "the query returned no value")
        return _unusable(target, None, problem)
    asked = average_value_replicas(
        current_replicas=deployment.spec_replicas,
        target_milli=target.average_value_milli,
        usage_milli=clamp_int64(value.value_milli),
        tolerance=tolerance,
    )
    replicas = asked.replicas
    if policy.min_replicas == 0:
        replicas = max(1, replicas) if value.value_milli > policy.activation_milli else 0
    return MetricProposal(
        metric=target.metric,
        target_milli=target.average_value_milli,
        replicas=replicas,
        mean_milli=asked.usage_milli,
        values={deployment.ref: value},
    )


def _propose_per_pod(
    deployment: DeploymentState,
    target: MetricTarget,
    reading: MetricReading,
    tolerance: Tolerance,
    groups: PodGroups,
) -> MetricProposal:
    current_replicas, target_milli = deployment.spec_replicas, target.average_value_milli
    values: dict[ObjectRef, PodValue] = {}
    missing: list[LeftOutPod] = []
    for pod in groups.serving:
        value = reading.values.get(pod.ref)
        if value is None:
            reason = reading.missing.get(pod.ref, "no fresh value")
            missing.append(LeftOutPod(pod=pod.ref, reason=reason))
        elif value.sampled_seconds < (pod.ready_since_seconds or 0.0):
            # What it did until then was to load.
            reason = "the last value is of before it was Ready"
            missing.append(LeftOutPod(pod=pod.ref, reason=reason))
        else:
            values[pod.ref] = value
    if not values:
        return _unusable(target, groups, _no_values_problem(groups, missing), missing)

    values_milli = [clamp_int64(value.value_milli) for value in values.values()]
    mean = mean_milli(values_milli)
    ratio = mean / target_milli
    young_milli = _young_values(reading, groups) if ratio > 1.0 else []
    # One that still tells of its warm-up asks for no more than those that serve for longer.
    counted_milli = [*values_milli, *(min(value, mean) for value in young_milli)]
    asked = pods_metric_replicas(
        current_replicas=current_replicas,
        target_milli=target_milli,
        values_milli=counted_milli,
        ready_count=len(counted_milli),
        unready_count=len(groups.unready) + len(groups.young) - len(young_milli),
        missing_count=len(missing),
        tolerance=tolerance,
    )
    serving_count = len(groups.serving) + len(young_milli)
    replicas = _without_surge(asked.replicas, ratio, current_replicas, serving_count)
    growth = _saturation_growth(
        target.metric, [*values_milli, *young_milli], current_replicas, groups, missing
    )
    saturated = growth > replicas
    replicas = max(replicas, growth)
    held = bool(missing) and replicas < current_replicas
    return MetricProposal(
        metric=target.metric,
        target_milli=target_milli,
        replicas=current_replicas if held else replicas,
        mean_milli=mean,
        values=values,
        left_out=(*missing, *groups.young, *groups.unready, *groups.ignored),
        complete=not missing,
        unheld_replicas=replicas if held else None,
        saturated=saturated,
    )


def _without_surge(replicas: int, ratio: float, current_replicas: int, serving_count: int) -> int:
    """The HPA's count without what a rollout's surge or gap of pods puts into it.

    The HPA multiplies by the pods that it finds, so pods above `spec.replicas` raise the count,
    which brings more surge (kubernetes#72775), and too few lower it although the mean is above
    the target. Pods above the current count therefore do not multiply, and no proposal goes
    against its own ratio.
    """
    if ratio < 1.0:
        return min(replicas, current_replicas)
    if serving_count > current_replicas:
        replicas = min(replicas, math.ceil(ratio * current_replicas))
    return max(replicas, current_replicas)


def _young_values(reading: MetricReading, groups: PodGroups) -> list[int]:
    found = (reading.values.get(pod.pod) for pod in groups.young)
    return [clamp_int64(value.value_milli) for value in found if value is not None]


def _saturation_growth(
    metric: Metric,
    values_milli: list[int],
    current_replicas: int,
    groups: PodGroups,
    missing: list[LeftOutPod],
) -> int:
    """Twice the pods that serve where every one is saturated, else 0.

    A saturated value is only a floor of the demand: target 80 would grow 1, 2, 3, 4, 5, 7, 9. The
    factor is the HPA's scaleUpLimitFactor; the behavior's policies still limit what comes of it.
    Pods that load are among the twice, so that it cannot run to the maximum meanwhile; Pending
    ones stop it, since there may be no GPU for them.
    """
    if metric not in SATURATING_METRICS or groups.pending or missing:
        return 0
    if min(values_milli) < SATURATED_MILLI:
        return 0
    # Pods above the current count are a rollout's surge.
    return SATURATION_GROWTH_FACTOR * min(len(values_milli), current_replicas)


def _no_values_problem(groups: PodGroups, missing: list[LeftOutPod]) -> str:
    if missing:
        first = missing[0]
        return f"no serving pod has a fresh value ({first.pod.name}: {first.reason})"
    if waiting := len(groups.young) + len(groups.unready):
        return f"no pod serves yet ({waiting} Pending or not Ready for long enough)"
    return "the Deployment has no serving pods"


def _unusable(
    target: MetricTarget,
    groups: PodGroups | None,
    problem: str,
    missing: Iterable[LeftOutPod] = (),
) -> MetricProposal:
    left_out = (*groups.young, *groups.unready, *groups.ignored) if groups is not None else ()
    return MetricProposal(
        metric=target.metric,
        target_milli=target.average_value_milli,
        replicas=None,
        mean_milli=None,
        values={},
        left_out=(*missing, *left_out),
        complete=False,
        problem=problem,
    )
