# SPDX-License-Identifier: Apache-2.0
"""Pure: the Deployments that the scaler leaves alone, whatever their metrics say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaler.budgets import MESSAGE_BYTES, clipped, size_bytes
from scaler.decision.conditions import scaling_active
from scaler.decision.history import held
from scaler.decision.model import Decision, Outcome, Reason
from scaler.model import ScalingPolicy
from scaler.quantities import format_replicas

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaler.decision.model import ScalingHistory
    from scaler.model import AnnotationProblem, DeploymentState

_ROOM_BYTES = MESSAGE_BYTES - 100
"""Without the text before the problems and the count of those not named."""


def inactive(
    deployment: DeploymentState,
    policy: ScalingPolicy | tuple[AnnotationProblem, ...],
    history: ScalingHistory,
    now_seconds: float,
) -> Decision | None:
    """The decision where the scaler does not act at all, whatever the metrics say."""
    outcome = Outcome.REFUSED
    problems: tuple[AnnotationProblem, ...] = ()
    if deployment.out_of_contact is not None:
        outcome, reason = Outcome.HELD, Reason.OUT_OF_CONTACT
        message = (
            f"held at {format_replicas(deployment.spec_replicas)}: cannot watch"
            f" {deployment.out_of_contact}"
        )
    elif policy == ():
        outcome, reason = Outcome.HELD, Reason.WAITING_FOR_ITS_TURN
        message = (
            f"held at {format_replicas(deployment.spec_replicas)}: too many annotations or"
            " schedules changed at once; those of this Deployment are read in a later loop"
        )
    elif not isinstance(policy, ScalingPolicy):
        problems = policy
        reason = Reason.INVALID_ANNOTATION
        message = f"not scaled until the annotations are corrected: {_problems_text(policy)}"
    elif policy.paused:
        outcome, reason = Outcome.PAUSED, Reason.PAUSED
        message = (
            f"paused at {format_replicas(deployment.spec_replicas)}: gpu-scaler/paused is true"
        )
    elif deployment.owned_by is not None:
        reason = Reason.TARGETED_BY_OTHER_CONTROLLER
        message = (
            f"{deployment.owned_by} scales this Deployment too; gpu-scaler does not scale it until"
            " one of the two is removed"
        )
    elif deployment.spec_replicas == 0 and not history.scaled_to_zero:
        outcome, reason = Outcome.DISABLED, Reason.SCALING_DISABLED
        message = (
            "scaling is disabled since the replica count of the target is zero, and gpu-scaler did"
            " not set it; set replicas to 1 or more to resume"
        )
    else:
        return None
    return Decision(
        ref=deployment.ref,
        current_replicas=deployment.spec_replicas,
        desired_replicas=deployment.spec_replicas,
        outcome=outcome,
        reason=reason,
        message=message,
        at_seconds=now_seconds,
        policy=policy if isinstance(policy, ScalingPolicy) else None,
        problems=problems,
        conditions=(scaling_active(False, reason, message),),
        history=held(history),
    )


def _problems_text(problems: Sequence[AnnotationProblem]) -> str:
    """Name as many problems as fit, at least the first, and count the others."""
    named: list[str] = []
    left_bytes = _ROOM_BYTES
    unnamed = sum(problem.stands_for or 1 for problem in problems)
    for problem in problems:
        text = clipped(f"{problem.annotation}: {problem.message}", _ROOM_BYTES)
        left_bytes -= size_bytes(text) + 2
        if problem.stands_for or (named and left_bytes < 0):
            break
        named.append(text)
        unnamed -= 1
    more = [f"and {unnamed} more"] if unnamed else []
    return "; ".join([*named, *more])
