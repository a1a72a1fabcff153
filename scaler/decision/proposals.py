# SPDX-License-Identifier: Apache-2.0
"""Pure: one Deployment's pods and one metric's reading to what that metric asks for.

The arithmetic is `scaler.decision.replicas`, the pods that count are `scaler.decision.counting`;
what this module adds are what missing data may do and growth at saturation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scaler.decision.counting import counted_down, counted_up, left_out, sample_pods
from scaler.decision.gpu_requests import NO_GPU
from scaler.decision.grouping import pods_per_replica
from scaler.decision.model import LeftOutPod, MetricProposal
from scaler.decision.replicas import (
    Tolerance,
    average_value_replicas,
    clamp_int64,
    mean_milli,
    pods_metric_replicas,
)
from scaler.model import (
    SERVER_METRICS,
    TOTAL_METRICS,
    DeploymentState,
    Metric,
    MetricReading,
    MetricTarget,
    ScalingPolicy,
)

if TYPE_CHECKING:
    from scaler.decision.counting import Counted, PodSamples
    from scaler.decision.grouping import PodGroups
    from scaler.model import PodValue

SATURATED_MILLI = 99_000
SATURATING_METRICS = frozenset(
    {Metric.DUTY_CYCLE, Metric.MEMORY_USED_PERCENT, Metric.KV_CACHE_PERCENT}
)
SATURATION_GROWTH_FACTOR = 2


def propose(
    deployment: DeploymentState,
    policy: ScalingPolicy,
    target: MetricTarget,
    reading: MetricReading | None,
    groups: PodGroups,
) -> MetricProposal:
    """What one metric asks for; a proposal without `replicas` says in `problem` why not."""
    if reading is None:
        return _unusable(target, groups, "no reading for this metric")
    if reading.problem is not None:
        return _unusable(target, groups, reading.problem)
    tolerance = Tolerance(
        up=policy.behavior.scale_up.tolerance, down=policy.behavior.scale_down.tolerance
    )
    if target.metric in TOTAL_METRICS:
        return _propose_total(deployment, policy, target, reading, tolerance)
    assert target.average_value_milli is not None
    requested = _Requested(
        replicas=deployment.spec_replicas,
        pods_per_replica=pods_per_replica(deployment),
        target_milli=target.average_value_milli,
        tolerance=tolerance,
    )
    return _propose_per_pod(deployment, target, reading, requested, groups)


def _propose_total(
    deployment: DeploymentState,
    policy: ScalingPolicy,
    target: MetricTarget,
    reading: MetricReading,
    tolerance: Tolerance,
) -> MetricProposal:
    """A query's or a queue's value is the Deployment's total, as with an External metric.

    Its target is an AverageValue. Where 0 replicas are allowed, the activation threshold alone
    decides between none and some.
    """
    value = reading.values.get(deployment.ref)
    unknown = reading.missing.get(deployment.ref)
    if value is None:
        problem = unknown or f"the {target.metric} returned no value"
        return _unusable(target, None, problem)
    proposal = _of_total(deployment, policy, target, value, tolerance)
    if unknown is None:
        return replace(proposal, note=reading.note)
    # What is known is a floor of the demand: it asks for more pods, and never for fewer.
    if (proposal.replicas or 0) > deployment.spec_replicas:
        return replace(proposal, note=f"at least this value: {unknown}")
    return _unusable(target, None, unknown)


def _of_total(
    deployment: DeploymentState,
    policy: ScalingPolicy,
    target: MetricTarget,
    value: PodValue,
    tolerance: Tolerance,
) -> MetricProposal:
    is_active = value.value_milli > policy.activation_milli
    if target.average_value_milli is None:
        return MetricProposal(
            metric=target.metric,
            target_milli=None,
            replicas=1 if is_active or policy.min_replicas > 0 else 0,
            mean_milli=clamp_int64(value.value_milli),
            values={deployment.ref: value},
        )
    computed = average_value_replicas(
        current_replicas=deployment.spec_replicas,
        target_milli=target.average_value_milli,
        usage_milli=clamp_int64(value.value_milli),
        tolerance=tolerance,
    )
    replicas = computed.replicas
    if policy.min_replicas == 0:
        replicas = max(1, replicas) if is_active else 0
    return MetricProposal(
        metric=target.metric,
        target_milli=target.average_value_milli,
        replicas=replicas,
        mean_milli=computed.usage_milli,
        values={deployment.ref: value},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Requested:
    """What the Deployment requests now, and its target per pod."""

    replicas: int
    pods_per_replica: int
    target_milli: int
    tolerance: Tolerance

    @property
    def pods(self) -> int:
        return self.replicas * self.pods_per_replica


def _propose_per_pod(
    deployment: DeploymentState,
    target: MetricTarget,
    reading: MetricReading,
    requested: _Requested,
    groups: PodGroups,
) -> MetricProposal:
    target_milli = requested.target_milli
    samples = sample_pods(reading, groups)
    up = counted_up(samples, groups, requested_pods=requested.pods)
    down = counted_down(samples, groups)
    if up.mean_milli is None:
        problem = _no_values_problem(target.metric, deployment, groups, samples.missing)
        return _unusable(target, groups, problem, samples.missing, reading.note)
    # Idle pods that are not Ready now do not make those that serve less busy.
    shown = up if up.mean_milli > target_milli else down
    if shown.mean_milli is None:
        problem = "no pod is Ready now; pods that served before count only when scaling up"
        return _unusable(target, groups, problem, samples.missing, reading.note)

    growth = 0
    if shown.mean_milli > target_milli:
        replicas = _higher(up, requested)
        growth = _saturation_growth(target.metric, samples, groups, requested)
    else:
        replicas = _lower(down, requested)
        if groups.lapsed:
            # Overloaded pods keep the count up and never bring it down, whatever a rollout adds.
            every = counted_up(samples, groups, requested_pods=len(deployment.pods))
            kept = _lower(replace(every, missing=down.missing, unready=0), requested)
            if kept > replicas:
                replicas, shown = kept, every
    saturated, replicas = growth > replicas, max(replicas, growth)
    held = bool(samples.missing) and replicas < requested.replicas
    return MetricProposal(
        metric=target.metric,
        target_milli=target_milli,
        replicas=requested.replicas if held else replicas,
        mean_milli=shown.mean_milli,
        values=shown.pods,
        left_out=shown.left_out,
        complete=not samples.missing,
        missing_pods=len(samples.missing),
        unheld_replicas=replicas if held else None,
        saturated=saturated,
        waits_for=_waits_for(samples, groups, requested.pods - len(shown.pods)),
        note=reading.note,
    )


def _arithmetic(counted: Counted, requested: _Requested) -> int:
    return pods_metric_replicas(
        current_replicas=requested.replicas,
        target_milli=requested.target_milli,
        values_milli=counted.values_milli,
        ready_count=len(counted.values_milli),
        unready_count=counted.unready,
        missing_count=counted.missing,
        tolerance=requested.tolerance,
        pods_per_replica=requested.pods_per_replica,
    ).replicas


def _higher(up: Counted, requested: _Requested) -> int:
    """The replicas proposed where the mean is above the target: never fewer than now.

    The HPA multiplies by the pods that it finds: too few of them would lower the count.
    """
    return max(_arithmetic(up, requested), requested.replicas) if requested.replicas else 0


def _lower(counted: Counted, requested: _Requested) -> int:
    """The replicas proposed where the mean is not above the target: never more than now.

    Surge pods of a rollout bring the others no nearer to a scale-down.
    """
    busiest, most = counted.values_milli, max(1, requested.pods)
    if len(busiest) > most:
        busiest = sorted(busiest, reverse=True)[:most]
    if requested.tolerance.allows(mean_milli(busiest) / requested.target_milli):
        return requested.replicas
    return min(_arithmetic(counted, requested), requested.replicas)


def _saturation_growth(
    metric: Metric, samples: PodSamples, groups: PodGroups, requested: _Requested
) -> int:
    """Replicas for twice the pods that serve where every one is saturated, else 0.

    A saturated value is only a floor of the demand: target 80 would grow 1, 2, 3, 4, 5, 7, 9. The
    factor is the HPA's scaleUpLimitFactor; the behavior's policies still limit what comes of it.
    Pods that still load are part of that, so the count cannot run to the maximum meanwhile.
    Requested pods that are Pending stop the growth, since there may be no GPU for them.
    """
    if metric not in SATURATING_METRICS or samples.missing:
        return 0
    ready = [*samples.serving.values(), *samples.young.values()]
    if not ready or any(value.value_milli < SATURATED_MILLI for value in ready):
        return 0
    if groups.pending and len(ready) < requested.pods:
        return 0
    # Pods above the current count are a rollout's surge.
    pods = SATURATION_GROWTH_FACTOR * min(len(ready), requested.pods)
    return math.ceil(pods / requested.pods_per_replica)


def _waits_for(samples: PodSamples, groups: PodGroups, awaited: int) -> str | None:
    """What has to happen before all requested pods count, None where they do."""
    if awaited <= 0:
        return None
    if samples.missing:
        return "every pod has a fresh value"
    if groups.lapsed:
        return "all pods are Ready again"
    return "the new pod counts" if awaited == 1 else f"the {awaited} new pods count"


def _no_values_problem(
    metric: Metric,
    deployment: DeploymentState,
    groups: PodGroups,
    missing: tuple[LeftOutPod, ...],
) -> str:
    living = {pod.pod for pod in (*groups.lapsed, *groups.young, *groups.unready)}
    living |= {pod.ref for pod in groups.serving}
    needs_gpu = metric not in SERVER_METRICS and bool(living)
    if needs_gpu and all(pod.requests_gpu is False for pod in deployment.pods if pod.ref in living):
        return NO_GPU
    if missing:
        first = missing[0]
        return f"no serving pod has a fresh value ({first.pod.name}: {first.reason})"
    if waiting := len(living):
        return f"no pod serves yet ({waiting} Pending or not Ready for long enough)"
    return "the Deployment has no serving pods"


def _unusable(
    target: MetricTarget,
    groups: PodGroups | None,
    problem: str,
    missing: tuple[LeftOutPod, ...] = (),
    note: str | None = None,
) -> MetricProposal:
    return MetricProposal(
        metric=target.metric,
        target_milli=target.average_value_milli,
        replicas=None,
        mean_milli=None,
        values={},
        left_out=(*missing, *(left_out(groups) if groups is not None else ())),
        complete=False,
        missing_pods=len(missing),
        problem=problem,
        note=note,
    )
