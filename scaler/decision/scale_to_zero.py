# SPDX-License-Identifier: Apache-2.0
"""Pure: the cooldown before a Deployment scales to zero.

A Deployment with `gpu-scaler/min-replicas` 0 scales to 0 once its query has been at or
below `gpu-scaler/activation-threshold` for all of `gpu-scaler/cooldown`, and back above it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaler.decision.behavior import LimitedReplicas
from scaler.decision.model import AppliedLimit, Reason, ScalingHistory
from scaler.quantities import format_duration

if TYPE_CHECKING:
    from scaler.model import ScalingPolicy


def with_cooldown(
    limited: LimitedReplicas,
    policy: ScalingPolicy,
    history: ScalingHistory,
    current_replicas: int,
    now_seconds: float,
) -> LimitedReplicas:
    """The count after limits, where the last replica stays until the cooldown has passed.

    At 0 there is none to keep: a cooldown never adds one.
    """
    if limited.replicas > 0 or current_replicas == 0 or policy.min_replicas > 0:
        return limited
    if history.active_seconds is None:
        return limited
    idle_seconds = now_seconds - history.active_seconds
    if idle_seconds >= policy.cooldown_seconds:
        return limited
    limit = AppliedLimit(
        reason=Reason.COOLING_DOWN,
        message=(
            f"scales to 0 after {format_duration(policy.cooldown_seconds)} idle"
            f" (gpu-scaler/cooldown), idle for {format_duration(idle_seconds)} so far"
        ),
        replicas_before=limited.replicas,
        replicas_after=1,
    )
    return LimitedReplicas(replicas=1, limits=(*limited.limits, limit))
