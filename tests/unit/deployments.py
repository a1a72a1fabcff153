# SPDX-License-Identifier: Apache-2.0
"""Deployments, pods, policies and readings for the tests of decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from scaler.decision.behavior import DEFAULT_BEHAVIOR
from scaler.decision.decide import decide
from scaler.model import (
    Behavior,
    DeploymentState,
    Metric,
    MetricReading,
    MetricTarget,
    ObjectRef,
    PodPhase,
    PodState,
    PodValue,
    PolicyType,
    RatePolicy,
    ScalingPolicy,
    ScalingRules,
    SelectPolicy,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaler.decision.model import Decision

NOW = 10_000.0
WEB = ObjectRef(namespace="prod", name="web")


def pod_ref(number: int) -> ObjectRef:
    return ObjectRef(namespace="prod", name=f"web-{number}")


def ready_pod(number: int, *, age_seconds: float = 1000.0) -> PodState:
    return PodState(
        ref=pod_ref(number),
        uid=f"uid-{number}",
        phase=PodPhase.RUNNING,
        deleting=False,
        ready_since_seconds=NOW - age_seconds,
    )


def ready_pods(count: int) -> tuple[PodState, ...]:
    return tuple(ready_pod(number) for number in range(count))


def other_pod(
    number: int,
    phase: PodPhase = PodPhase.RUNNING,
    *,
    deleting: bool = False,
    unschedulable_age_seconds: float | None = None,
    message: str | None = None,
) -> PodState:
    """A pod that is not Ready, whatever else it is."""
    since = None if unschedulable_age_seconds is None else NOW - unschedulable_age_seconds
    return PodState(
        ref=pod_ref(number),
        uid=f"uid-{number}",
        phase=phase,
        deleting=deleting,
        ready_since_seconds=None,
        unschedulable_since_seconds=since,
        unschedulable_message=message,
    )


def pending_pods(count: int, *, first: int) -> tuple[PodState, ...]:
    return tuple(other_pod(first + number, PodPhase.PENDING) for number in range(count))


def deployment(
    pods: Sequence[PodState], *, replicas: int | None = None, owned_by: str | None = None
) -> DeploymentState:
    return DeploymentState(
        ref=WEB,
        uid="uid-web",
        annotations={},
        spec_replicas=len(pods) if replicas is None else replicas,
        pods=tuple(pods),
        owned_by=owned_by,
    )


def immediate(tolerance: float = 0.1) -> Behavior:
    """No windows and no rate worth the name: what the metrics ask for comes at once."""
    rules = ScalingRules(
        stabilization_window_seconds=0,
        select_policy=SelectPolicy.MAX,
        policies=(RatePolicy(type=PolicyType.PODS, value=1_000_000, period_seconds=1),),
        tolerance=tolerance,
    )
    return Behavior(scale_up=rules, scale_down=rules)


def policy(
    targets: Mapping[Metric, int] | None = None,
    *,
    min_replicas: int = 1,
    max_replicas: int = 100,
    behavior: Behavior = DEFAULT_BEHAVIOR,
    dry_run: bool = False,
    paused: bool = False,
) -> ScalingPolicy:
    """A policy with the given targets in whole units, duty cycle 40 without."""
    return ScalingPolicy(
        min_replicas=min_replicas,
        max_replicas=max_replicas,
        targets=tuple(
            MetricTarget(
                metric=metric,
                average_value_milli=value * 1000,
                query="sum(queue)" if metric is Metric.QUERY else None,
            )
            for metric, value in (targets or {Metric.DUTY_CYCLE: 40}).items()
        ),
        window_seconds=0.0,
        behavior=behavior,
        ready_age_seconds=30.0,
        dry_run=dry_run,
        paused=paused,
    )


def reading(
    values: Sequence[float | None] | Mapping[ObjectRef, float],
    *,
    metric: Metric = Metric.DUTY_CYCLE,
    missing: Mapping[ObjectRef, str] | None = None,
    problem: str | None = None,
) -> dict[Metric, MetricReading]:
    """A reading of pod 0, 1, ... (None: no value), as the mapping that `decide` takes."""
    if isinstance(values, Mapping):
        by_pod = dict(values)
    else:
        numbered = enumerate(values)
        by_pod = {pod_ref(number): value for number, value in numbered if value is not None}
    return {
        metric: MetricReading(
            metric=metric,
            values={
                ref: PodValue(value_milli=int(value * 1000), sampled_seconds=NOW - 1)
                for ref, value in by_pod.items()
            },
            missing=missing or {},
            problem=problem,
        )
    }


def decided(
    pods,
    values,
    *,
    target=60,
    replicas=None,
    metric=Metric.DUTY_CYCLE,
    ref=None,
    pods_per_replica=None,
    max_replicas=100,
) -> Decision:
    """Return the decision on pods with these values; steps are immediate."""
    state = deployment(pods, replicas=replicas)
    state = replace(state, ref=ref or state.ref, pods_per_replica=pods_per_replica)
    rules = policy({metric: target}, behavior=immediate(), max_replicas=max_replicas)
    return decide(state, rules, reading(values, metric=metric), None, NOW)
