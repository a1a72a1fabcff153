# SPDX-License-Identifier: Apache-2.0
"""Pure: one Deployment's decision, in the HPA's order and words, with every reason."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scaler.decision.behavior import LimitedReplicas, limit_with_behavior
from scaler.decision.conditions import (
    incomplete_message,
    ready_to_scale,
    rescale_cause,
    scaling_active,
    scaling_limited,
    waiting_for_nodes,
    within_range_message,
)
from scaler.decision.drain import drained, with_victims
from scaler.decision.grouping import counted_for, group_pods
from scaler.decision.history import (
    active,
    changed,
    cooldown_restarted,
    held,
    newest_seconds,
    recommended,
    seeded,
    seen,
)
from scaler.decision.inactive import inactive
from scaler.decision.model import (
    AppliedLimit,
    Decision,
    MetricProposal,
    Outcome,
    Reason,
    ScalingHistory,
)
from scaler.decision.proposals import propose
from scaler.decision.replicas import highest_proposal
from scaler.decision.scale_to_zero import with_cooldown
from scaler.model import (
    TOTAL_METRICS,
    AnnotationProblem,
    DeploymentState,
    Metric,
    MetricReading,
    PodState,
    ScalingPolicy,
)
from scaler.quantities import format_replicas

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


NOTHING_SEEN: Mapping[str, float] = {}


def decide(
    deployment: DeploymentState,
    policy: ScalingPolicy | tuple[AnnotationProblem, ...],
    readings: Mapping[Metric, MetricReading],
    history: ScalingHistory | None,
    now_seconds: float,
    idle_since: Mapping[str, float] = NOTHING_SEEN,
) -> Decision:
    """Decide on one Deployment; the same inputs always give the same decision.

    `history` is None where the scaler sees the Deployment for the first time (a start, a
    takeover): the count found is then the first recommendation, so nothing scales down sooner
    than the stabilization window. The same holds after any hold. Keep `Decision.history` once the
    decision is applied, else its `undone` form. `idle_since` is since when pods have been idle, by
    uid. Source: the order of reconcileAutoscaler.
    """
    known = history if history is not None else ScalingHistory()
    # While a clock goes backwards, time stands still.
    now_seconds = max(now_seconds, newest_seconds(known))
    known = seen(known, deployment, now_seconds)
    left_alone = inactive(deployment, policy, known, now_seconds)
    if left_alone is not None:
        return left_alone
    assert isinstance(policy, ScalingPolicy)
    known = seeded(known, deployment.spec_replicas, policy.behavior, now_seconds)
    decision = _outside_range(deployment, policy, cooldown_restarted(known), now_seconds)
    if decision is None:
        decision = _follow_metrics(deployment, policy, readings, known, now_seconds, idle_since)
    return with_victims(decision, deployment, policy, readings, idle_since)


def _outside_range(
    deployment: DeploymentState, policy: ScalingPolicy, history: ScalingHistory, now_seconds: float
) -> Decision | None:
    """A count outside min and max goes straight back, without metrics, windows or rate limits."""
    current_replicas = deployment.spec_replicas
    entry = None if policy.scheduled is None else policy.scheduled.entry
    scheduled = "" if entry is None else f" that the schedule sets ({entry})"
    if current_replicas > policy.max_replicas:
        desired_replicas, cause = policy.max_replicas, "above Spec.MaxReplicas"
        reason, bound = (
            Reason.TOO_MANY_REPLICAS,
            f"more than the maximum {policy.max_replicas}{scheduled}",
        )
    elif current_replicas < policy.min_replicas:
        desired_replicas, cause = policy.min_replicas, "below Spec.MinReplicas"
        reason, bound = (
            Reason.TOO_FEW_REPLICAS,
            f"less than the minimum {policy.min_replicas}{scheduled}",
        )
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
            ready_to_scale(()),
            scaling_limited((limit,), deployment.pods, now_seconds),
        ),
        history=history,
    )
    return _with_change(decision, policy)


def _follow_metrics(
    deployment: DeploymentState,
    policy: ScalingPolicy,
    readings: Mapping[Metric, MetricReading],
    history: ScalingHistory,
    now_seconds: float,
    idle_since: Mapping[str, float],
) -> Decision:
    current_replicas = deployment.spec_replicas
    groups = group_pods(
        deployment.pods, ready_age_seconds=policy.ready_age_seconds, now_seconds=now_seconds
    )
    proposals: tuple[MetricProposal, ...] = ()
    for target in policy.targets:
        counted, counted_groups = counted_for(target.metric, deployment), groups
        if counted is not deployment:
            counted_groups = group_pods(
                counted.pods, ready_age_seconds=policy.ready_age_seconds, now_seconds=now_seconds
            )
        reading = readings.get(target.metric)
        proposals += (propose(counted, policy, target, reading, counted_groups),)
    proposed = highest_proposal([proposal.replicas for proposal in proposals], current_replicas)
    history = active(history, policy, proposed, now_seconds)
    if proposed is None:
        return _held_without_metrics(deployment, policy, proposals, history, now_seconds)

    # A missing value keeps the current count; no metric proposed it.
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
    limited = with_cooldown(limited, policy, history, current_replicas, now_seconds)
    limited, history = drained(
        limited, deployment, policy, readings, history, idle_since, now_seconds
    )
    used = ", ".join(item.metric for item in proposals if item.replicas is not None)
    decision = Decision(
        ref=deployment.ref,
        current_replicas=current_replicas,
        desired_replicas=limited.replicas,
        outcome=Outcome.UNCHANGED,
        reason=Reason.DESIRED_WITHIN_RANGE,
        message=within_range_message(proposals, policy, current_replicas),
        at_seconds=now_seconds,
        policy=policy,
        proposals=proposals,
        proposed=proposed,
        limits=limited.limits,
        conditions=(
            ready_to_scale(limited.limits),
            scaling_active(
                True,
                "ValidMetricFound",
                f"the desired replica count {proposed} was computed from {used}",
            ),
            scaling_limited(limited.limits, deployment.pods, now_seconds),
        ),
        history=recommended(history, proposed, policy.behavior, now_seconds, down_only=kept),
    )
    if limited.replicas != current_replicas:
        cause = rescale_cause(proposals, proposed, limited.replicas > current_replicas)
        scaled = replace(
            decision,
            outcome=Outcome.SCALED,
            reason=Reason.SUCCESSFUL_RESCALE,
            message=f"New size: {limited.replicas}; reason: {cause}",
        )
        return _with_change(scaled, policy)
    return _explained_unchanged(decision, limited, deployment.pods, now_seconds)


def _held_without_metrics(
    deployment: DeploymentState,
    policy: ScalingPolicy,
    proposals: tuple[MetricProposal, ...],
    history: ScalingHistory,
    now_seconds: float,
) -> Decision:
    """Hold: no metric is usable, or the usable ones propose less while another is unknown."""
    failed = [proposal for proposal in proposals if proposal.replicas is None]
    reason = (
        Reason.FAILED_GET_EXTERNAL_METRIC if _all_totals(failed) else Reason.FAILED_GET_PODS_METRIC
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
            ready_to_scale(()),
            scaling_active(False, reason, texts),
            scaling_limited((), deployment.pods, now_seconds),
        ),
        history=held(history),
    )


def _explained_unchanged(
    decision: Decision,
    limited: LimitedReplicas,
    pods: Sequence[PodState],
    now_seconds: float,
) -> Decision:
    """An unchanged count with the reason that people look for first."""
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
                message=incomplete_message(incomplete[0], decision.current_replicas),
            )
    if waiting := waiting_for_nodes(pods, now_seconds):
        reason, message = waiting
        return replace(decision, reason=reason, message=message)
    if limited.limits:
        last = limited.limits[-1]
        return replace(decision, reason=last.reason, message=last.message)
    return decision


def _with_change(decision: Decision, policy: ScalingPolicy) -> Decision:
    """A change with its event in the history, or only its report in a dry run."""
    if policy.dry_run:
        return replace(
            decision,
            outcome=Outcome.DRY_RUN,
            reason=Reason.DRY_RUN,
            message=f"dry run, nothing was changed; {decision.message}",
        )
    history = changed(
        decision.history,
        decision.current_replicas,
        decision.desired_replicas,
        policy.behavior,
        decision.at_seconds,
    )
    return replace(decision, history=history)


def _all_totals(proposals: Sequence[MetricProposal]) -> bool:
    return all(proposal.metric in TOTAL_METRICS for proposal in proposals)
