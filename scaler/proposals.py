"""Pure: one Deployment's pods and one metric's reading to what that metric asks for.

The arithmetic is `scaler.replicas`; what this module adds are the deliberate differences from the
HPA: who counts as ready, what missing data may do, growth at saturation and counting in rollouts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
from scaler.replicas import (
    Tolerance,
    average_value_replicas,
    clamp_int64,
    pods_metric_replicas,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scaler.model import ObjectRef

SATURATED_MILLI = 99_000
SATURATING_METRICS = frozenset({Metric.DUTY_CYCLE, Metric.MEMORY_USED_PERCENT})
SATURATION_GROWTH_FACTOR = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PodGroups:
    """A Deployment's own pods by how they count, whatever the metric.

    `serving` have been Ready for the ready age; `unready` are Pending, not Ready or Ready for less
    (capacity asked for that does not serve yet); `ignored` are ending or have ended.
    """

    serving: tuple[PodState, ...]
    unready: tuple[LeftOutPod, ...]
    ignored: tuple[LeftOutPod, ...]


def group_pods(
    pods: Iterable[PodState], *, ready_age_seconds: float, now_seconds: float
) -> PodGroups:
    """Sort pods by how they count.

    Differs from the HPA's groupPods in that readiness counts for every metric, not for cpu alone,
    and that a Succeeded pod is ignored as a Failed one is.
    """
    serving: list[PodState] = []
    unready: list[LeftOutPod] = []
    ignored: list[LeftOutPod] = []
    for pod in pods:
        if pod.deleting:
            ignored.append(LeftOutPod(pod=pod.ref, reason="is being deleted"))
        elif pod.phase in (PodPhase.FAILED, PodPhase.SUCCEEDED):
            ignored.append(LeftOutPod(pod=pod.ref, reason=f"has ended ({pod.phase})"))
        elif reason := _unready_reason(pod, ready_age_seconds, now_seconds):
            unready.append(LeftOutPod(pod=pod.ref, reason=reason))
        else:
            serving.append(pod)
    return PodGroups(serving=tuple(serving), unready=tuple(unready), ignored=tuple(ignored))


def _unready_reason(pod: PodState, ready_age_seconds: float, now_seconds: float) -> str | None:
    if pod.phase is PodPhase.PENDING:
        if pod.unschedulable_since_seconds is None:
            return "Pending: counts as 0 on the way up"
        age = format_duration(now_seconds - pod.unschedulable_since_seconds)
        return f"Pending, unschedulable for {age}: counts as 0 on the way up"
    if pod.ready_since_seconds is None:
        return "not Ready: counts as 0 on the way up"
    # The instant comes from another machine's clock: one in the future is an age of 0.
    age_seconds = max(0.0, now_seconds - pod.ready_since_seconds)
    if age_seconds < ready_age_seconds:
        return (
            f"Ready for {format_duration(age_seconds)}, less than the ready age of"
            f" {format_duration(ready_age_seconds)}: counts as 0 on the way up"
        )
    return None


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
        return _propose_total(deployment, target, reading, tolerance)
    return _propose_per_pod(deployment, target, reading, tolerance, groups)


def _propose_total(
    deployment: DeploymentState, target: MetricTarget, reading: MetricReading, tolerance: Tolerance
) -> MetricProposal:
    """A query's value is the Deployment's total, as with an External metric's AverageValue."""
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
    return MetricProposal(
        metric=target.metric,
        target_milli=target.average_value_milli,
        replicas=asked.replicas,
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
        else:
            values[pod.ref] = value
    if not values:
        return _unusable(target, groups, _no_values_problem(groups, missing), missing)

    values_milli = [clamp_int64(value.value_milli) for value in values.values()]
    asked = pods_metric_replicas(
        current_replicas=current_replicas,
        target_milli=target_milli,
        values_milli=values_milli,
        ready_count=len(values),
        unready_count=len(groups.unready),
        missing_count=len(missing),
        tolerance=tolerance,
    )
    ratio = asked.usage_milli / target_milli
    replicas = _without_surge(asked.replicas, ratio, current_replicas, len(groups.serving))
    growth = _saturation_growth(target.metric, values_milli, current_replicas, groups, missing)
    saturated = growth > replicas
    replicas = max(replicas, growth)
    held = bool(missing) and replicas < current_replicas
    return MetricProposal(
        metric=target.metric,
        target_milli=target_milli,
        replicas=current_replicas if held else replicas,
        mean_milli=asked.usage_milli,
        values=values,
        left_out=(*missing, *groups.unready, *groups.ignored),
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


def _saturation_growth(
    metric: Metric,
    values_milli: list[int],
    current_replicas: int,
    groups: PodGroups,
    missing: list[LeftOutPod],
) -> int:
    """Twice the pods where every pod is saturated, else 0.

    A saturated value is only a floor of the demand: target 80 would grow 1, 2, 3, 4, 5, 7, 9. The
    factor is the HPA's scaleUpLimitFactor; the behavior's policies still limit what comes of it.
    Capacity that was asked for and does not serve yet stops it, or it would run to the maximum
    while models load or while no GPU is free.
    """
    if metric not in SATURATING_METRICS or groups.unready or missing:
        return 0
    if len(groups.serving) < current_replicas or min(values_milli) < SATURATED_MILLI:
        return 0
    return SATURATION_GROWTH_FACTOR * current_replicas


def _no_values_problem(groups: PodGroups, missing: list[LeftOutPod]) -> str:
    if missing:
        first = missing[0]
        return f"no serving pod has a fresh value ({first.pod.name}: {first.reason})"
    if groups.unready:
        return f"no pod serves yet ({len(groups.unready)} Pending or not Ready for long enough)"
    return "the Deployment has no serving pods"


def _unusable(
    target: MetricTarget,
    groups: PodGroups | None,
    problem: str,
    missing: Iterable[LeftOutPod] = (),
) -> MetricProposal:
    left_out = (*groups.unready, *groups.ignored) if groups is not None else ()
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
