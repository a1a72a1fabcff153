"""Pure: what one Deployment needs now, in the HPA's order and words, with every reason for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scaler.decision import scale_to_zero
from scaler.decision.behavior import (
    LimitedReplicas,
    limit_with_behavior,
    newest_seconds,
    with_change,
    with_first_recommendation,
    with_recommendation,
)
from scaler.decision.gpu_requests import names_gpu
from scaler.decision.grouping import group_pods
from scaler.decision.inactive import inactive
from scaler.decision.model import (
    AppliedLimit,
    Condition,
    ConditionType,
    Decision,
    MetricProposal,
    Outcome,
    Reason,
    ScalingHistory,
)
from scaler.decision.proposals import propose
from scaler.decision.replicas import highest_proposal
from scaler.model import (
    AnnotationProblem,
    DeploymentState,
    Metric,
    MetricReading,
    PodPhase,
    PodState,
    ScalingPolicy,
)
from scaler.quantities import format_duration, format_replicas, format_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STABILIZED_REASONS = frozenset({Reason.SCALE_UP_STABILIZED, Reason.SCALE_DOWN_STABILIZED})


def decide(
    deployment: DeploymentState,
    policy: ScalingPolicy | tuple[AnnotationProblem, ...],
    readings: Mapping[Metric, MetricReading],
    history: ScalingHistory | None,
    now_seconds: float,
) -> Decision:
    """Decide on one Deployment; the same inputs always give the same decision.

    `history` is None where the scaler sees the Deployment for the first time (a start, a
    takeover): the count found is then the first recommendation, so nothing scales down sooner
    than the stabilization window. So it is after a hold of any kind. Keep `Decision.history` once
    the decision was carried out, and the one given where carrying it out failed. Source: the order
    of reconcileAutoscaler.
    """
    known = history if history is not None else ScalingHistory()
    # A clock that goes backwards would age nothing and forget nothing: time stands still instead.
    now_seconds = max(now_seconds, newest_seconds(known))
    known = scale_to_zero.with_seen_count(known, deployment, now_seconds)
    if known.held:
        known = scale_to_zero.without_idleness(known)
    left_alone = inactive(deployment, policy, known, now_seconds)
    if left_alone is not None:
        return left_alone
    assert isinstance(policy, ScalingPolicy)
    known = with_first_recommendation(known, deployment.spec_replicas, policy.behavior, now_seconds)
    outside = _outside_range(deployment, policy, scale_to_zero.without_idleness(known), now_seconds)
    if outside is not None:
        return outside
    return _follow_metrics(deployment, policy, readings, known, now_seconds)


def _outside_range(
    deployment: DeploymentState, policy: ScalingPolicy, history: ScalingHistory, now_seconds: float
) -> Decision | None:
    """Outside min and max goes straight back: no metrics, no stabilization, no rate limits."""
    current_replicas = deployment.spec_replicas
    if current_replicas > policy.max_replicas:
        desired_replicas, cause = policy.max_replicas, "above Spec.MaxReplicas"
        reason, bound = Reason.TOO_MANY_REPLICAS, f"more than the maximum {policy.max_replicas}"
    elif current_replicas < policy.min_replicas:
        desired_replicas, cause = policy.min_replicas, "below Spec.MinReplicas"
        reason, bound = Reason.TOO_FEW_REPLICAS, f"less than the minimum {policy.min_replicas}"
    else:
        return None
    message = f"the replica count {current_replicas} is {bound}"
    limit = AppliedLimit(
        reason=reason,
        message=message,
        replicas_before=current_replicas,
        replicas_after=desired_replicas,
    )
    decision = Decision(
        ref=deployment.ref,
        current_replicas=current_replicas,
        desired_replicas=desired_replicas,
        outcome=Outcome.SCALED,
        reason=Reason.SUCCESSFUL_RESCALE,
        message=f"New size: {desired_replicas}; reason: Current number of replicas {cause}",
        at_seconds=now_seconds,
        policy=policy,
        limits=(limit,),
        conditions=(
            _ready_to_scale(()),
            _scaling_limited((limit,), deployment.pods, now_seconds),
        ),
        history=history,
    )
    return _carried_out(decision, policy)


def _follow_metrics(
    deployment: DeploymentState,
    policy: ScalingPolicy,
    readings: Mapping[Metric, MetricReading],
    history: ScalingHistory,
    now_seconds: float,
) -> Decision:
    current_replicas = deployment.spec_replicas
    groups = group_pods(
        deployment.pods, ready_age_seconds=policy.ready_age_seconds, now_seconds=now_seconds
    )
    proposals = tuple(
        propose(deployment, policy, target, readings.get(target.metric), groups)
        for target in policy.targets
    )
    proposed = highest_proposal([proposal.replicas for proposal in proposals], current_replicas)
    history = scale_to_zero.with_activity(history, policy, proposed, now_seconds)
    if proposed is None:
        return _held_without_metrics(deployment, policy, proposals, history, now_seconds)

    # The count where a value is missing, which nothing has asked for.
    kept = proposed == current_replicas and not all(item.complete for item in proposals)
    limited = limit_with_behavior(
        current_replicas=current_replicas,
        proposed_replicas=proposed,
        min_replicas=policy.min_replicas,
        max_replicas=policy.max_replicas,
        behavior=policy.behavior,
        history=history,
        now_seconds=now_seconds,
    )
    limited = scale_to_zero.with_cooldown(limited, policy, history, current_replicas, now_seconds)
    used = ", ".join(item.metric for item in proposals if item.replicas is not None)
    decision = Decision(
        ref=deployment.ref,
        current_replicas=current_replicas,
        desired_replicas=limited.replicas,
        outcome=Outcome.UNCHANGED,
        reason=Reason.DESIRED_WITHIN_RANGE,
        message=_within_range_message(proposals, policy, current_replicas),
        at_seconds=now_seconds,
        policy=policy,
        proposals=proposals,
        proposed=proposed,
        limits=limited.limits,
        conditions=(
            _ready_to_scale(limited.limits),
            _condition(
                ConditionType.SCALING_ACTIVE,
                True,
                "ValidMetricFound",
                f"the desired replica count {proposed} was computed from {used}",
            ),
            _scaling_limited(limited.limits, deployment.pods, now_seconds),
        ),
        history=with_recommendation(
            history, proposed, policy.behavior, now_seconds, down_only=kept
        ),
    )
    if limited.replicas != current_replicas:
        cause = _rescale_cause(proposals, proposed, limited.replicas > current_replicas)
        scaled = replace(
            decision,
            outcome=Outcome.SCALED,
            reason=Reason.SUCCESSFUL_RESCALE,
            message=f"New size: {limited.replicas}; reason: {cause}",
        )
        return _carried_out(scaled, policy)
    return _explained_unchanged(decision, limited, deployment.pods, now_seconds)


def _held_without_metrics(
    deployment: DeploymentState,
    policy: ScalingPolicy,
    proposals: tuple[MetricProposal, ...],
    history: ScalingHistory,
    now_seconds: float,
) -> Decision:
    """Nothing can be computed, or only less than now while some metric is unknown."""
    failed = [proposal for proposal in proposals if proposal.replicas is None]
    reason = (
        Reason.FAILED_GET_EXTERNAL_METRIC if _all_queries(failed) else Reason.FAILED_GET_PODS_METRIC
    )
    texts = "; ".join(f"{proposal.metric}: {proposal.problem}" for proposal in failed)
    message = f"held at {format_replicas(deployment.spec_replicas)}: {texts}"
    return Decision(
        ref=deployment.ref,
        current_replicas=deployment.spec_replicas,
        desired_replicas=deployment.spec_replicas,
        outcome=Outcome.HELD,
        reason=reason,
        message=message,
        at_seconds=now_seconds,
        policy=policy,
        proposals=proposals,
        conditions=(
            _ready_to_scale(()),
            _condition(ConditionType.SCALING_ACTIVE, False, reason, texts),
            _scaling_limited((), deployment.pods, now_seconds),
        ),
        history=replace(history, held=True),
    )


def _explained_unchanged(
    decision: Decision,
    limited: LimitedReplicas,
    pods: Sequence[PodState],
    now_seconds: float,
) -> Decision:
    """An unchanged count with the one reason that a person looks for first."""
    unheld = max(
        proposal.replicas if proposal.unheld_replicas is None else proposal.unheld_replicas
        for proposal in decision.proposals
        if proposal.replicas is not None
    )
    if unheld < decision.current_replicas:
        incomplete = [item for item in decision.proposals if item.unheld_replicas is not None]
        if incomplete:
            return replace(
                decision,
                outcome=Outcome.HELD,
                reason=Reason.INCOMPLETE_METRICS,
                message=_incomplete_message(incomplete[0], decision.current_replicas),
            )
    if waiting := _waiting_for_nodes(pods, now_seconds):
        reason, message = waiting
        return replace(decision, reason=reason, message=message)
    if limited.limits:
        last = limited.limits[-1]
        return replace(decision, reason=last.reason, message=last.message)
    return decision


def _carried_out(decision: Decision, policy: ScalingPolicy) -> Decision:
    """A change with its event in the history, or the mere report of one in a dry run."""
    if policy.dry_run:
        return replace(
            decision,
            outcome=Outcome.DRY_RUN,
            reason=Reason.DRY_RUN,
            message=f"dry run, nothing is changed; {decision.message}",
        )
    history = with_change(
        decision.history,
        decision.current_replicas,
        decision.desired_replicas,
        policy.behavior,
        decision.at_seconds,
    )
    return replace(decision, history=history)


def _rescale_cause(proposals: Sequence[MetricProposal], proposed: int, up: bool) -> str:
    if not up:
        return "All metrics below target"
    highest = next(item for item in proposals if item.replicas == proposed)
    if proposed == 1 and (highest.mean_milli or 0) <= highest.target_milli:
        # The first replica, which comes before the target is reached.
        return f"{highest.metric} above the activation threshold"
    return f"{highest.metric} above target"


def _within_range_message(
    proposals: Sequence[MetricProposal], policy: ScalingPolicy, current_replicas: int
) -> str:
    values = ", ".join(
        f"{item.metric} {format_value(item.metric, item.mean_milli)}"
        f"/{format_value(item.metric, item.target_milli)}"
        for item in proposals
        if item.mean_milli is not None
    )
    for item in proposals:
        if item.waits_for is not None and item.above_target(policy.behavior.scale_up.tolerance):
            return (
                f"{values}; the {format_replicas(current_replicas)} asked for will do once"
                f" {item.waits_for}"
            )
    return f"the desired count {current_replicas} is within the acceptable range: {values}"


def _incomplete_message(proposal: MetricProposal, current_replicas: int) -> str:
    # Pods that miss a value come first among those left out; the rest are not serving.
    first = proposal.left_out[0]
    return (
        f"held at {format_replicas(current_replicas)}: {proposal.metric} asks for"
        f" {proposal.unheld_replicas}, but not every serving pod has a fresh value"
        f" ({first.pod.name}: {first.reason})"
    )


def _ready_to_scale(limits: Sequence[AppliedLimit]) -> Condition:
    for limit in limits:
        if limit.reason in STABILIZED_REASONS:
            return _condition(ConditionType.ABLE_TO_SCALE, True, limit.reason, limit.message)
    return _condition(
        ConditionType.ABLE_TO_SCALE, True, "ReadyForNewScale", "the replica count may be changed"
    )


def _scaling_limited(
    limits: Sequence[AppliedLimit], pods: Sequence[PodState], now_seconds: float
) -> Condition:
    """What keeps the count from the desired one; a cluster without GPUs before any setting."""
    if waiting := _waiting_for_nodes(pods, now_seconds):
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


def _waiting_for_nodes(pods: Sequence[PodState], now_seconds: float) -> tuple[Reason, str] | None:
    """Reason and sentence for pods that the scheduler finds no place for, None without such."""
    waiting = [
        (pod.unschedulable_since_seconds, pod.unschedulable_message)
        for pod in pods
        if pod.phase is PodPhase.PENDING
        and not pod.deleting
        and pod.unschedulable_since_seconds is not None
    ]
    if not waiting:
        return None
    for_gpus = [item for item in waiting if _names_gpu(item[1])]
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


def _names_gpu(message: str | None) -> bool:
    """Whether the scheduler's text is about GPUs; no text is no other reason either."""
    return message is None or names_gpu(message)


def _all_queries(proposals: Sequence[MetricProposal]) -> bool:
    return all(proposal.metric is Metric.QUERY for proposal in proposals)


def _condition(type_: ConditionType, status: bool, reason: str, message: str) -> Condition:
    return Condition(type=type_, status=status, reason=reason, message=message)
