# SPDX-License-Identifier: Apache-2.0
"""Pure: a decision's conditions and messages, in the HPA's words where it has some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaler.decision.gpu_requests import insufficient, names_gpu
from scaler.decision.model import AppliedLimit, Condition, ConditionType, MetricProposal, Reason
from scaler.model import PodPhase, PodState, ScalingPolicy
from scaler.quantities import format_duration, format_replicas, value_and_target

if TYPE_CHECKING:
    from collections.abc import Sequence

STABILIZED_REASONS = frozenset({Reason.SCALE_UP_STABILIZED, Reason.SCALE_DOWN_STABILIZED})


def rescale_cause(proposals: Sequence[MetricProposal], proposed: int, up: bool) -> str:
    """The cause of a change in the words of the HPA's SuccessfulRescale event."""
    if not up:
        return "All metrics below target"
    highest = next(item for item in proposals if item.replicas == proposed)
    target_milli = highest.target_milli
    if target_milli is None or (proposed == 1 and (highest.mean_milli or 0) <= target_milli):
        # The first replica is added before the target is reached.
        return f"{highest.metric} above the activation threshold"
    return f"{highest.metric} above target"


def within_range_message(
    proposals: Sequence[MetricProposal], policy: ScalingPolicy, current_replicas: int
) -> str:
    """Every mean beside its target, for a count that stays."""
    values = ", ".join(
        f"{item.metric} {value_and_target(item.metric, item.mean_milli, item.target_milli)}"
        for item in proposals
        if item.mean_milli is not None
    )
    for item in proposals:
        if item.waits_for is not None and item.above_target(policy.behavior.scale_up.tolerance):
            count = format_replicas(current_replicas)
            return f"{values}; {count} will be enough once {item.waits_for}"
    return f"the desired count {current_replicas} is within the acceptable range: {values}"


def incomplete_message(proposal: MetricProposal, current_replicas: int) -> str:
    """Why a lower count is not applied: a serving pod has no fresh value."""
    # Pods that miss a value come first among those left out; the rest are not serving.
    first = proposal.left_out[0]
    return (
        f"held at {format_replicas(current_replicas)}: {proposal.metric} asks for"
        f" {proposal.unheld_replicas}, but not every serving pod has a fresh value"
        f" ({first.pod.name}: {first.reason})"
    )


def scaling_active(status: bool, reason: str, message: str) -> Condition:
    """Whether a replica count could be computed."""
    return _condition(ConditionType.SCALING_ACTIVE, status, reason, message)


def ready_to_scale(limits: Sequence[AppliedLimit]) -> Condition:
    """Whether stabilization keeps the count from changing now."""
    for limit in limits:
        if limit.reason in STABILIZED_REASONS:
            return _condition(ConditionType.ABLE_TO_SCALE, True, limit.reason, limit.message)
    return _condition(
        ConditionType.ABLE_TO_SCALE, True, "ReadyForNewScale", "the replica count can change now"
    )


def scaling_limited(
    limits: Sequence[AppliedLimit], pods: Sequence[PodState], now_seconds: float
) -> Condition:
    """What keeps the count from the desired one: missing nodes first, then limits."""
    if waiting := waiting_for_nodes(pods, now_seconds):
        return _condition(ConditionType.SCALING_LIMITED, True, *waiting)
    for limit in limits:
        if limit.reason not in STABILIZED_REASONS:
            return _condition(ConditionType.SCALING_LIMITED, True, limit.reason, limit.message)
    return _condition(
        ConditionType.SCALING_LIMITED,
        False,
        Reason.DESIRED_WITHIN_RANGE,
        "the desired count is within the acceptable range",
    )


def waiting_for_nodes(pods: Sequence[PodState], now_seconds: float) -> tuple[Reason, str] | None:
    """Reason and message for pods that no node has room for, None without any."""
    waiting = [
        (pod.unschedulable_since_seconds, pod.unschedulable_message)
        for pod in pods
        if pod.phase is PodPhase.PENDING
        and not pod.deleting
        and pod.unschedulable_since_seconds is not None
    ]
    if not waiting:
        return None
    for_gpus = [item for item in waiting if _lacks_gpu(item[1])]
    reason, what = (
        (Reason.INSUFFICIENT_GPU, "a GPU") if for_gpus else (Reason.UNSCHEDULABLE, "a node")
    )
    chosen = for_gpus or waiting
    since_seconds, text = min(chosen, key=lambda item: item[0])
    age = format_duration(now_seconds - since_seconds)
    if len(chosen) == 1:
        message = f"1 pod has waited for {what} for {age}"
    else:
        message = f"{len(chosen)} pods have waited for {what}, the first for {age}"
    return reason, f"{message}: {text}" if text else message


def _lacks_gpu(message: str | None) -> bool:
    """Whether the scheduler's message says that too few GPUs are free."""
    return message is not None and any(map(names_gpu, insufficient(message)))


def _condition(type_: ConditionType, status: bool, reason: str, message: str) -> Condition:
    return Condition(type=type_, status=status, reason=reason, message=message)
