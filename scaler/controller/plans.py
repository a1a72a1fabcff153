# SPDX-License-Identifier: Apache-2.0
"""Pure: a Deployment with its policy, and the readings that a decision needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from scaler.decision.model import Decision, Outcome, Reason, ScalingHistory
from scaler.model import SERVER_METRICS, Metric, ScaleDownPods, ScalingPolicy
from scaler.readings.source import ReadingRequest

if TYPE_CHECKING:
    from scaler.model import AnnotationProblem, DeploymentState

Policy: TypeAlias = "ScalingPolicy | tuple[AnnotationProblem, ...]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A Deployment with its policy, or with the problems of its annotations."""

    deployment: DeploymentState
    policy: Policy

    def acts(self) -> bool:
        """Whether the scaler may change the count at all."""
        return (
            isinstance(self.policy, ScalingPolicy)
            and not self.policy.paused
            and self.deployment.owned_by is None
        )

    def may_scale_to_zero(self) -> bool:
        """Whether the scaler may scale it to 0, or may have done so under other annotations."""
        return self.deployment.spec_replicas == 0 or (
            isinstance(self.policy, ScalingPolicy) and self.policy.min_replicas == 0
        )

    def request(self, history: ScalingHistory | None) -> ReadingRequest | None:
        """The values that count; at 0 replicas only where the scaler scaled to zero."""
        if not self.acts() or not isinstance(self.policy, ScalingPolicy):
            return None
        if self.deployment.spec_replicas == 0 and not _is_scaled_to_zero(history):
            return None
        return ReadingRequest(
            deployment=self.deployment.ref,
            metrics=self._metrics(self.policy),
            pods=self.deployment.pods,
            window_seconds=self.policy.window_seconds,
            query=next((one.query for one in self.policy.targets if one.query), None),
            server=self.policy.server,
            queue=self.policy.queue,
        )

    def _metrics(self, policy: ScalingPolicy) -> tuple[Metric, ...]:
        """What it scales on, and what says how idle its pods are, if that counts."""
        wanted = [target.metric for target in policy.targets]
        if policy.scale_down_pods is ScaleDownPods.IDLEST:
            if not SERVER_METRICS.isdisjoint(wanted):
                wanted.append(Metric.REQUESTS)
            wanted.append(Metric.DUTY_CYCLE)
        return tuple(dict.fromkeys(wanted))

    def unknown_zero(
        self,
        found: DeploymentState,
        history: ScalingHistory | None,
        problem: str,
        now_seconds: float,
    ) -> Decision | None:
        """The decision on a 0 that nobody can explain; None where that makes no difference."""
        if found.spec_replicas > 0 or _is_scaled_to_zero(history):
            return None
        if not self.acts() or not self.may_scale_to_zero():
            return None
        return Decision(
            ref=found.ref,
            current_replicas=0,
            desired_replicas=0,
            outcome=Outcome.HELD,
            reason=Reason.UNKNOWN_ZERO,
            message=f"held at 0 replicas: cannot tell whether gpu-scaler scaled to zero: {problem}",
            at_seconds=now_seconds,
            policy=self.policy if isinstance(self.policy, ScalingPolicy) else None,
            history=replace(history or ScalingHistory(), held=True),
        )


def same_idle_condition(one: Policy, other: Policy) -> bool:
    """Whether two policies are idle under the same conditions."""
    return (
        isinstance(one, ScalingPolicy)
        and isinstance(other, ScalingPolicy)
        and (one.targets, one.queue, one.activation_milli)
        == (other.targets, other.queue, other.activation_milli)
    )


def _is_scaled_to_zero(history: ScalingHistory | None) -> bool:
    return history is not None and history.scaled_to_zero
