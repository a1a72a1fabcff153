# SPDX-License-Identifier: Apache-2.0
"""Pure: a scale-down removes the idlest pods, and waits for them, but not for ever."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scaler.decision.behavior import LimitedReplicas
from scaler.decision.model import AppliedLimit, Decision, Reason, ScalingHistory
from scaler.decision.victims import IDLE_DUTY_MILLI, Removal, chosen, loads_of, removal_text
from scaler.model import ScaleDownPods
from scaler.quantities import format_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaler.model import DeploymentState, Metric, MetricReading, ScalingPolicy


def drained(
    limited: LimitedReplicas,
    deployment: DeploymentState,
    policy: ScalingPolicy,
    readings: Mapping[Metric, MetricReading],
    history: ScalingHistory,
    idle_since: Mapping[str, float],
    now_seconds: float,
) -> tuple[LimitedReplicas, ScalingHistory]:
    """The count after limits, kept while the pods that would go are too busy, and the history."""
    busy_milli, current_replicas = policy.scale_down_max_busy_milli, deployment.spec_replicas
    if busy_milli is None or limited.replicas >= current_replicas:
        return limited, _not_waiting(history)
    removal = _removal(deployment, policy, readings, idle_since, limited.replicas, now_seconds)
    if removal is None or removal.problem is not None or removal.idle >= removal.count:
        return limited, _not_waiting(history)
    since = history.draining_since_seconds
    if since is None:
        since = now_seconds
        history = replace(history, draining_since_seconds=since)
    patience_seconds = policy.scale_down_patience_seconds
    if now_seconds - since >= patience_seconds:
        return limited, history
    limit = AppliedLimit(
        reason=Reason.WAITING_FOR_IDLE_PODS,
        message=(
            f"scales down by {removal.count} once as many pods are idle ({removal.idle} now): no"
            f" request in hand, below {busy_milli / 1000:g} % (gpu-scaler/scale-down-max-busy);"
            f" has waited for {format_duration(now_seconds - since)} of at most"
            f" {format_duration(patience_seconds)} (gpu-scaler/scale-down-patience)"
        ),
        replicas_before=limited.replicas,
        replicas_after=current_replicas,
    )
    held = LimitedReplicas(replicas=current_replicas, limits=(*limited.limits, limit))
    return held, history


def with_victims(
    decision: Decision,
    deployment: DeploymentState,
    policy: ScalingPolicy,
    readings: Mapping[Metric, MetricReading],
    idle_since: Mapping[str, float],
) -> Decision:
    """The decision with the pods that a scale-down removes, if the policy chooses them."""
    if decision.desired_replicas >= decision.current_replicas:
        return decision
    removal = _removal(
        deployment,
        policy,
        readings,
        idle_since,
        decision.desired_replicas,
        decision.at_seconds,
    )
    text = "" if removal is None else removal_text(removal)
    if removal is None or not text:
        return decision
    return replace(
        decision,
        message=f"{decision.message}; {text}",
        victims=removal.victims,
        removal=text,
    )


def _removal(
    deployment: DeploymentState,
    policy: ScalingPolicy,
    readings: Mapping[Metric, MetricReading],
    idle_since: Mapping[str, float],
    desired_replicas: int,
    now_seconds: float,
) -> Removal | None:
    if policy.scale_down_pods is ScaleDownPods.ANY:
        return None
    busy_milli = policy.scale_down_max_busy_milli
    return chosen(
        deployment,
        loads_of(readings, deployment.pods, idle_since),
        desired_replicas=desired_replicas,
        busy_milli=IDLE_DUTY_MILLI if busy_milli is None else busy_milli,
        now_seconds=now_seconds,
    )


def _not_waiting(history: ScalingHistory) -> ScalingHistory:
    if history.draining_since_seconds is None:
        return history
    return replace(history, draining_since_seconds=None)
