"""Pure: a Decision as plain data that JSON can hold, for whoever shows it.

Instants become ages in seconds at the moment of the decision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from scaler.model import Behavior, Decision, MetricProposal, ScalingPolicy, ScalingRules
    from scaler.reporting.decision_runs import Episode


class PodValueDict(TypedDict):
    """One pod's value, with its age when the decision was taken."""

    pod: str
    value_milli: int
    age_seconds: float
    device_count: int


class LeftOutPodDict(TypedDict):
    """A pod that was not counted as it is, and why."""

    pod: str
    reason: str


class ProposalDict(TypedDict):
    """What one metric asks for."""

    metric: str
    target_milli: int
    mean_milli: int | None
    replicas: int | None
    unheld_replicas: int | None
    complete: bool
    saturated: bool
    problem: str | None
    pods: list[PodValueDict]
    left_out: list[LeftOutPodDict]


class RatePolicyDict(TypedDict):
    """One rate policy of the behavior."""

    type: str
    value: int
    period_seconds: int


class RulesDict(TypedDict):
    """One direction of the behavior."""

    stabilization_window_seconds: int
    select_policy: str
    tolerance: float
    policies: list[RatePolicyDict]


class TargetDict(TypedDict):
    """One target; `query` is None but for the query."""

    metric: str
    average_value_milli: int
    query: str | None


class SettingDict(TypedDict):
    """An annotation's value as it counts; `origin` is own, namespace or built-in."""

    annotation: str
    value: str
    origin: str


class PolicyDict(TypedDict):
    """What the annotations ask for, defaults filled in."""

    min_replicas: int
    max_replicas: int
    activation_milli: int
    cooldown_seconds: float
    window_seconds: float
    ready_age_seconds: float
    dry_run: bool
    paused: bool
    targets: list[TargetDict]
    scale_up: RulesDict
    scale_down: RulesDict
    settings: list[SettingDict]


class ProblemDict(TypedDict):
    """One wrong annotation; `namespace` is the Namespace that has it as a default, else None."""

    annotation: str
    value: str | None
    message: str
    namespace: str | None


class LimitDict(TypedDict):
    """One step of stabilization or limits that changed the count."""

    reason: str
    message: str
    replicas_before: int
    replicas_after: int


class ConditionDict(TypedDict):
    """One condition in the HPA's words."""

    type: str
    status: bool
    reason: str
    message: str


class DecisionDict(TypedDict):
    """A whole decision; what JSON can hold and nothing else. `kind` is like `deployments.apps`."""

    kind: str
    namespace: str
    name: str
    decided_unix_seconds: float
    current_replicas: int
    desired_replicas: int
    proposed_replicas: int | None
    outcome: str
    reason: str
    message: str
    policy: PolicyDict | None
    problems: list[ProblemDict]
    metrics: list[ProposalDict]
    limits: list[LimitDict]
    conditions: list[ConditionDict]


class MeanDict(TypedDict):
    """A metric's mean and target; `mean_milli` is None where there was no value."""

    metric: str
    mean_milli: int | None
    target_milli: int


class EpisodeDict(TypedDict):
    """Decisions in a row that say the same."""

    begun_unix_seconds: float
    last_unix_seconds: float
    decisions: int
    outcome: str
    reason: str
    message: str
    current_replicas: int
    desired_replicas: int
    means: list[MeanDict]


def episode_to_dict(episode: Episode) -> EpisodeDict:
    """The episode as plain data."""
    return {
        "begun_unix_seconds": episode.begun_unix_seconds,
        "last_unix_seconds": episode.last_unix_seconds,
        "decisions": episode.decisions,
        "outcome": episode.outcome.value,
        "reason": episode.reason,
        "message": episode.message,
        "current_replicas": episode.current_replicas,
        "desired_replicas": episode.desired_replicas,
        "means": [
            {
                "metric": item.metric.value,
                "mean_milli": item.mean_milli,
                "target_milli": item.target_milli,
            }
            for item in episode.means
        ],
    }


def decision_to_dict(decision: Decision, *, decided_unix_seconds: float) -> DecisionDict:
    """The decision as plain data; `decided_unix_seconds` is its instant on the wall clock."""
    return {
        "kind": decision.ref.kind or "deployments.apps",
        "namespace": decision.ref.namespace,
        "name": decision.ref.name,
        "decided_unix_seconds": decided_unix_seconds,
        "current_replicas": decision.current_replicas,
        "desired_replicas": decision.desired_replicas,
        "proposed_replicas": decision.proposed,
        "outcome": decision.outcome.value,
        "reason": decision.reason,
        "message": decision.message,
        "policy": None if decision.policy is None else _policy_to_dict(decision.policy),
        "problems": [
            {
                "annotation": item.annotation,
                "value": item.value,
                "message": item.message,
                "namespace": item.namespace,
            }
            for item in decision.problems
        ],
        "metrics": [_proposal_to_dict(item, decision.at_seconds) for item in decision.proposals],
        "limits": [
            {
                "reason": item.reason,
                "message": item.message,
                "replicas_before": item.replicas_before,
                "replicas_after": item.replicas_after,
            }
            for item in decision.limits
        ],
        "conditions": [
            {
                "type": item.type.value,
                "status": item.status,
                "reason": item.reason,
                "message": item.message,
            }
            for item in decision.conditions
        ],
    }


def _proposal_to_dict(proposal: MetricProposal, at_seconds: float) -> ProposalDict:
    return {
        "metric": proposal.metric.value,
        "target_milli": proposal.target_milli,
        "mean_milli": proposal.mean_milli,
        "replicas": proposal.replicas,
        "unheld_replicas": proposal.unheld_replicas,
        "complete": proposal.complete,
        "saturated": proposal.saturated,
        "problem": proposal.problem,
        "pods": [
            {
                "pod": ref.name,
                "value_milli": value.value_milli,
                "age_seconds": max(0.0, at_seconds - value.sampled_seconds),
                "device_count": value.device_count,
            }
            for ref, value in sorted(proposal.values.items())
        ],
        "left_out": [{"pod": item.pod.name, "reason": item.reason} for item in proposal.left_out],
    }


def _policy_to_dict(policy: ScalingPolicy) -> PolicyDict:
    behavior: Behavior = policy.behavior
    return {
        "min_replicas": policy.min_replicas,
        "max_replicas": policy.max_replicas,
        "activation_milli": policy.activation_milli,
        "cooldown_seconds": policy.cooldown_seconds,
        "window_seconds": policy.window_seconds,
        "ready_age_seconds": policy.ready_age_seconds,
        "dry_run": policy.dry_run,
        "paused": policy.paused,
        "targets": [
            {
                "metric": target.metric.value,
                "average_value_milli": target.average_value_milli,
                "query": target.query,
            }
            for target in policy.targets
        ],
        "scale_up": _rules_to_dict(behavior.scale_up),
        "scale_down": _rules_to_dict(behavior.scale_down),
        "settings": [
            {"annotation": item.annotation, "value": item.value, "origin": item.origin.value}
            for item in policy.settings
        ],
    }


def _rules_to_dict(rules: ScalingRules) -> RulesDict:
    return {
        "stabilization_window_seconds": rules.stabilization_window_seconds,
        "select_policy": rules.select_policy.value,
        "tolerance": rules.tolerance,
        "policies": [
            {"type": item.type.value, "value": item.value, "period_seconds": item.period_seconds}
            for item in rules.policies
        ],
    }
