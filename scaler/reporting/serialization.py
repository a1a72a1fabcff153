# SPDX-License-Identifier: Apache-2.0
"""Pure: decisions as JSON documents, encoded here and decoded by another process.

Times become ages in seconds at the time of the decision. Types that look the same in JSON are the
dataclasses of the models themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from scaler.decision.model import (  # noqa: TC001 - msgspec reads the annotations
    AppliedLimit,
    Condition,
)
from scaler.model import (
    DEFAULT_PATIENCE_SECONDS,
    Metric,
    MetricTarget,
    ScalingRules,
    ScheduledRange,
    Setting,
    workload_ref,
)
from scaler.reporting.decision_runs import MetricMean  # noqa: TC001 - msgspec reads them

if TYPE_CHECKING:
    from scaler.decision.model import Decision, MetricProposal
    from scaler.model import ObjectRef, ScalingPolicy
    from scaler.reporting.decision_runs import DecisionRun

_T = TypeVar("_T")


class PodValueDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One pod's value, with its age when the decision was taken."""

    pod: str
    value_milli: int
    age_seconds: float
    device_count: int


class PodReasonDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A pod, and why its value was not used or the scale-down removes it."""

    pod: str
    reason: str


class ProposalDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What one metric proposes."""

    metric: Metric
    target_milli: int | None
    mean_milli: int | None
    replicas: int | None
    unheld_replicas: int | None
    complete: bool
    saturated: bool
    problem: str | None
    pods: tuple[PodValueDocument, ...]
    left_out: tuple[PodReasonDocument, ...]
    note: str | None = None


class PolicyDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The policy of the annotations, with defaults filled in."""

    min_replicas: int
    max_replicas: int
    activation_milli: int
    cooldown_seconds: float
    window_seconds: float
    ready_age_seconds: float
    dry_run: bool
    paused: bool
    targets: tuple[MetricTarget, ...]
    scale_up: ScalingRules
    scale_down: ScalingRules
    settings: tuple[Setting, ...]
    scheduled: ScheduledRange | None = None
    priority: int = 0
    scale_down_pods: str = "any"
    scale_down_max_busy_milli: int | None = None
    scale_down_patience_seconds: float = DEFAULT_PATIENCE_SECONDS


class ProblemDocument(msgspec.Struct, frozen=True, kw_only=True):
    """An invalid annotation; `namespace` is the Namespace that sets it as a default, else None."""

    annotation: str
    value: str | None
    message: str
    namespace: str | None


class DecisionDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A whole decision. `kind` is like `deployments.apps`, `waits_behind` like `prod/web`.

    `created_unix_seconds` is when the Deployment was created, None if unknown. `outcome` is a
    string, so that `status` can show an outcome that only a newer scaler knows.
    """

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
    policy: PolicyDocument | None
    problems: tuple[ProblemDocument, ...]
    metrics: tuple[ProposalDocument, ...]
    limits: tuple[AppliedLimit, ...]
    conditions: tuple[Condition, ...]
    created_unix_seconds: float | None = None
    waits_behind: str | None = None
    gpu_waits: tuple[str, ...] = ()
    victims: tuple[PodReasonDocument, ...] = ()

    @property
    def ref(self) -> ObjectRef:
        """The workload that is decided on."""
        return workload_ref(self.namespace, f"{self.kind}:{self.name}")


class DecisionRunDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Consecutive equal decisions."""

    begun_unix_seconds: float
    last_unix_seconds: float
    decisions: int
    outcome: str
    reason: str
    message: str
    current_replicas: int
    desired_replicas: int
    means: tuple[MetricMean, ...]


class DecisionsDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What a scaler answers about all Deployments; `decisions` are not decoded yet."""

    decisions: list[dict[str, Any]]
    leading: bool = True
    leader: str | None = None
    identity: str | None = None
    holding: str | None = None
    stopped: str | None = None


def decode(data: Any, type_: type[_T]) -> _T:
    """Return parsed JSON as one of the types above; unknown fields are ignored.

    Raises:
        ValueError: a field is missing, or has a value that this version does not know.
    """
    return msgspec.convert(data, type_)


def decision_run_document(run: DecisionRun) -> DecisionRunDocument:
    """Return the document of a decision run."""
    return msgspec.convert(run, DecisionRunDocument, from_attributes=True)


def decision_document(
    decision: Decision,
    *,
    decided_unix_seconds: float,
    created_unix_seconds: float | None = None,
) -> DecisionDocument:
    """Return the document of a decision; times are by the wall clock."""
    at_seconds = decision.at_seconds
    return DecisionDocument(
        kind=decision.ref.resource,
        namespace=decision.ref.namespace,
        name=decision.ref.name,
        decided_unix_seconds=decided_unix_seconds,
        created_unix_seconds=created_unix_seconds,
        current_replicas=decision.current_replicas,
        desired_replicas=decision.desired_replicas,
        proposed_replicas=decision.proposed,
        outcome=decision.outcome,
        reason=decision.reason,
        message=decision.message,
        policy=None if decision.policy is None else _policy(decision.policy),
        problems=tuple(
            msgspec.convert(item, ProblemDocument, from_attributes=True)
            for item in decision.problems
        ),
        metrics=tuple(_proposal(item, at_seconds) for item in decision.proposals),
        limits=decision.limits,
        conditions=decision.conditions,
        waits_behind=None if decision.waits_behind is None else str(decision.waits_behind),
        gpu_waits=decision.gpu_waits,
        victims=tuple(
            PodReasonDocument(pod=item.pod.name, reason=item.why) for item in decision.victims
        ),
    )


def _proposal(proposal: MetricProposal, at_seconds: float) -> ProposalDocument:
    return ProposalDocument(
        metric=proposal.metric,
        target_milli=proposal.target_milli,
        mean_milli=proposal.mean_milli,
        replicas=proposal.replicas,
        unheld_replicas=proposal.unheld_replicas,
        complete=proposal.complete,
        saturated=proposal.saturated,
        problem=proposal.problem,
        note=proposal.note,
        pods=tuple(
            PodValueDocument(
                pod=ref.name,
                value_milli=value.value_milli,
                age_seconds=max(0.0, at_seconds - value.sampled_seconds),
                device_count=value.device_count,
            )
            for ref, value in sorted(proposal.values.items())
        ),
        left_out=tuple(
            PodReasonDocument(pod=item.pod.name, reason=item.reason) for item in proposal.left_out
        ),
    )


def _policy(policy: ScalingPolicy) -> PolicyDocument:
    return PolicyDocument(
        min_replicas=policy.min_replicas,
        max_replicas=policy.max_replicas,
        activation_milli=policy.activation_milli,
        cooldown_seconds=policy.cooldown_seconds,
        window_seconds=policy.window_seconds,
        ready_age_seconds=policy.ready_age_seconds,
        dry_run=policy.dry_run,
        paused=policy.paused,
        targets=policy.targets,
        scale_up=policy.behavior.scale_up,
        scale_down=policy.behavior.scale_down,
        settings=policy.settings,
        scheduled=policy.scheduled,
        priority=policy.priority,
        scale_down_pods=policy.scale_down_pods,
        scale_down_max_busy_milli=policy.scale_down_max_busy_milli,
        scale_down_patience_seconds=policy.scale_down_patience_seconds,
    )
