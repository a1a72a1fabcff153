# SPDX-License-Identifier: Apache-2.0
"""Pure: stabilization windows and rate policies.

Source: kubernetes `pkg/controller/podautoscaler/horizontal.go`. Every instant is seconds on one
monotonic clock; an entry belongs to a window while it is strictly younger than the window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaler.decision.model import AppliedLimit, Reason, Recommendation, ScaleEvent, ScalingHistory
from scaler.model import Behavior, PolicyType, RatePolicy, ScalingRules, SelectPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEFAULT_TOLERANCE = 0.1
DEFAULT_DOWN_WINDOW_SECONDS = 300
DEFAULT_BEHAVIOR = Behavior(
    scale_up=ScalingRules(
        stabilization_window_seconds=0,
        select_policy=SelectPolicy.MAX,
        policies=(
            RatePolicy(type=PolicyType.PERCENT, value=100, period_seconds=15),
            RatePolicy(type=PolicyType.PODS, value=4, period_seconds=15),
        ),
        tolerance=DEFAULT_TOLERANCE,
    ),
    scale_down=ScalingRules(
        stabilization_window_seconds=DEFAULT_DOWN_WINDOW_SECONDS,
        select_policy=SelectPolicy.MAX,
        policies=(RatePolicy(type=PolicyType.PERCENT, value=100, period_seconds=15),),
        tolerance=DEFAULT_TOLERANCE,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitedReplicas:
    """The count after stabilization and limits, with the steps that changed it."""

    replicas: int
    limits: tuple[AppliedLimit, ...]


def limit_with_behavior(
    *,
    current_replicas: int,
    proposed_replicas: int,
    min_replicas: int,
    max_replicas: int,
    behavior: Behavior,
    history: ScalingHistory,
    now_seconds: float,
) -> LimitedReplicas:
    """Stabilize, then limit the rate, then keep within min and max.

    `history` is that of before this proposal. Source: normalizeDesiredReplicasWithBehaviors.
    """
    stabilized = stabilized_replicas(
        current_replicas=current_replicas,
        proposed_replicas=proposed_replicas,
        behavior=behavior,
        recommendations=history.recommendations,
        now_seconds=now_seconds,
    )
    limits = []
    if stabilized != proposed_replicas:
        if proposed_replicas >= current_replicas:
            window = behavior.scale_up.stabilization_window_seconds
            reason, kind = Reason.SCALE_UP_STABILIZED, "lower"
        else:
            window = behavior.scale_down.stabilization_window_seconds
            reason, kind = Reason.SCALE_DOWN_STABILIZED, "higher"
        extreme = "lowest" if kind == "lower" else "highest"
        limits.append(
            AppliedLimit(
                reason=reason,
                message=(
                    f"recent recommendations were {kind} than current one, applying the {extreme}"
                    f" of the last {window} s: {stabilized} instead of {proposed_replicas}"
                ),
                replicas_before=proposed_replicas,
                replicas_after=stabilized,
            )
        )
    rate_limit = _rate_and_range_limit(
        current_replicas=current_replicas,
        desired_replicas=stabilized,
        min_replicas=min_replicas,
        max_replicas=max_replicas,
        behavior=behavior,
        history=history,
        now_seconds=now_seconds,
    )
    if rate_limit is None:
        return LimitedReplicas(replicas=stabilized, limits=tuple(limits))
    return LimitedReplicas(replicas=rate_limit.replicas_after, limits=(*limits, rate_limit))


def stabilized_replicas(
    *,
    current_replicas: int,
    proposed_replicas: int,
    behavior: Behavior,
    recommendations: Sequence[Recommendation],
    now_seconds: float,
) -> int:
    """Up no further than the lowest, down no further than the highest recent recommendation."""
    up_cutoff_seconds = now_seconds - behavior.scale_up.stabilization_window_seconds
    down_cutoff_seconds = now_seconds - behavior.scale_down.stabilization_window_seconds
    up_to = down_to = proposed_replicas
    for item in recommendations:
        if item.at_seconds > up_cutoff_seconds and not item.down_only:
            up_to = min(up_to, item.replicas)
        if item.at_seconds > down_cutoff_seconds:
            down_to = max(down_to, item.replicas)
    return min(max(current_replicas, up_to), down_to)


def _rate_and_range_limit(
    *,
    current_replicas: int,
    desired_replicas: int,
    min_replicas: int,
    max_replicas: int,
    behavior: Behavior,
    history: ScalingHistory,
    now_seconds: float,
) -> AppliedLimit | None:
    """What stands in the way of the desired count (convertDesiredReplicasWithBehaviorRate)."""
    if desired_replicas > current_replicas:
        up_limit = scale_up_limit(current_replicas, behavior.scale_up, history, now_seconds)
        if desired_replicas <= min(up_limit, max_replicas):
            return None
        if max_replicas > up_limit:
            return _too_fast(Reason.SCALE_UP_LIMIT, desired_replicas, up_limit)
        return _out_of_range(Reason.TOO_MANY_REPLICAS, desired_replicas, max_replicas)
    if desired_replicas < current_replicas:
        down_limit = scale_down_limit(current_replicas, behavior.scale_down, history, now_seconds)
        if desired_replicas >= max(down_limit, min_replicas):
            return None
        if min_replicas < down_limit:
            return _too_fast(Reason.SCALE_DOWN_LIMIT, desired_replicas, down_limit)
        return _out_of_range(Reason.TOO_FEW_REPLICAS, desired_replicas, min_replicas)
    return None


def scale_up_limit(
    current_replicas: int, rules: ScalingRules, history: ScalingHistory, now_seconds: float
) -> int:
    """The highest count that the scale-up policies allow now, never below the current one."""

    def allowed(policy: RatePolicy, period_start: int) -> int:
        if policy.type is PolicyType.PODS:
            return period_start + policy.value
        return math.ceil(period_start * (1 + policy.value / 100))

    limits = _policy_limits(current_replicas, rules, history, now_seconds, allowed)
    if not limits:
        return current_replicas
    chosen = min(limits) if rules.select_policy is SelectPolicy.MIN else max(limits)
    return max(chosen, current_replicas)


def scale_down_limit(
    current_replicas: int, rules: ScalingRules, history: ScalingHistory, now_seconds: float
) -> int:
    """The lowest count that the scale-down policies allow now, never above the current one."""

    def allowed(policy: RatePolicy, period_start: int) -> int:
        if policy.type is PolicyType.PODS:
            return period_start - policy.value
        return int(period_start * (1 - policy.value / 100))

    limits = _policy_limits(current_replicas, rules, history, now_seconds, allowed)
    if not limits:
        return current_replicas
    chosen = max(limits) if rules.select_policy is SelectPolicy.MIN else min(limits)
    return min(chosen, current_replicas)


def _policy_limits(
    current_replicas: int,
    rules: ScalingRules,
    history: ScalingHistory,
    now_seconds: float,
    allowed: Callable[[RatePolicy, int], int],
) -> list[int]:
    """What each policy allows; none where the direction is disabled or has no policy."""
    if rules.select_policy is SelectPolicy.DISABLED:
        return []
    limits = []
    for policy in rules.policies:
        added = _changed(history.scale_ups, policy.period_seconds, now_seconds)
        removed = _changed(history.scale_downs, policy.period_seconds, now_seconds)
        limits.append(allowed(policy, current_replicas - added + removed))
    return limits


def _changed(events: Sequence[ScaleEvent], period_seconds: int, now_seconds: float) -> int:
    cutoff_seconds = now_seconds - period_seconds
    return sum(event.change for event in events if event.at_seconds > cutoff_seconds)


def _out_of_range(reason: Reason, desired_replicas: int, bound: int) -> AppliedLimit:
    which = (
        "less than the minimum" if reason is Reason.TOO_FEW_REPLICAS else "more than the maximum"
    )
    return AppliedLimit(
        reason=reason,
        message=f"the desired replica count {desired_replicas} is {which} replica count {bound}",
        replicas_before=desired_replicas,
        replicas_after=bound,
    )


def _too_fast(reason: Reason, desired_replicas: int, allowed: int) -> AppliedLimit:
    direction = "increasing" if reason is Reason.SCALE_UP_LIMIT else "decreasing"
    return AppliedLimit(
        reason=reason,
        message=(
            f"the desired replica count is {direction} faster than the maximum scale rate:"
            f" {desired_replicas} wanted, {allowed} allowed now"
        ),
        replicas_before=desired_replicas,
        replicas_after=allowed,
    )
