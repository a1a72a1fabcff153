# SPDX-License-Identifier: Apache-2.0
"""Pure: the arithmetic of the HorizontalPodAutoscaler, as the rules of a replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scaler.decision.behavior import DEFAULT_BEHAVIOR, limit_with_behavior
from scaler.decision.history import changed, recommended
from scaler.decision.replicas import (
    Tolerance,
    average_value_replicas,
    highest_proposal,
    pods_metric_replicas,
)
from scaler.replay.rules import Asked, Rules, shown_milli

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from scaler.decision.model import Recommendation
    from scaler.model import ScalingPolicy
    from scaler.replay.load import RecordedLoad
    from scaler.replay.model import Recording
    from scaler.replay.pods import Pods, Shape

DOWNSCALE_STABILIZATION_SECONDS: Final = 300
SCALE_UP_LIMIT_FACTOR: Final = 2
SCALE_UP_LIMIT_MINIMUM: Final = 4


class HpaRules(Rules):
    """The HPA's arithmetic, without `spec.behavior` where the policy has the default one.

    It does not look at readiness, and does not scale to zero or from it. Somebody keeps to the
    schedule by hand.
    Raises ValueError also where a target has no average value.
    """

    least_replicas = 1

    def __init__(self, recording: Recording, policy: ScalingPolicy) -> None:
        super().__init__(recording, policy)
        self.raises = policy.behavior == DEFAULT_BEHAVIOR
        for target in self.policy.targets:
            if target.average_value_milli is None:
                raise ValueError(
                    f"the HPA needs an average value for {target.metric}; the policy has none"
                )

    def counted(self, shape: Shape) -> Hashable:
        """Readiness does not count, but what pods show that are not Ready does."""
        return shape.ready, shape.loading, shape.pending

    def joined(self, asked: Sequence[Asked], replicas: int) -> Asked:
        """Follow computeReplicasForMetrics."""
        return Asked(highest_proposal([one.replicas for one in asked], replicas))

    def decide(
        self, pods: Pods, loads: Sequence[RecordedLoad], now_seconds: float
    ) -> tuple[int, tuple[Asked, ...]]:
        """Follow reconcileAutoscaler."""
        policy, current = self.policy, pods.count
        if not policy.min_replicas <= current <= policy.max_replicas:
            desired = min(max(current, policy.min_replicas), policy.max_replicas)
            return self._set(current, desired, now_seconds), ()
        if not self.history.recommendations:
            # recordInitialRecommendation
            self.history = recommended(self.history, current, policy.behavior, now_seconds)
        found = tuple(
            Asked(self._asked(pods, load, target.average_value_milli or 0, now_seconds))
            for load, target in zip(loads, policy.targets, strict=True)
        )
        asked = self.joined(found, current).replicas
        if asked is None:
            return current, found
        bounds = {
            "current_replicas": current,
            "proposed_replicas": asked,
            "min_replicas": policy.min_replicas,
            "max_replicas": policy.max_replicas,
        }
        if self.raises:
            recommendations = self.history.recommendations
            desired, _ = limit_without_behavior(
                **bounds, recommendations=recommendations, now_seconds=now_seconds
            )
        else:
            desired = limit_with_behavior(
                **bounds, behavior=policy.behavior, history=self.history, now_seconds=now_seconds
            ).replicas
        self.history = recommended(self.history, asked, policy.behavior, now_seconds)
        return self._set(current, desired, now_seconds), found

    def _asked(
        self, pods: Pods, load: RecordedLoad, target_milli: int, now_seconds: float
    ) -> int | None:
        demand = load.demand_milli[load.step(now_seconds)]
        if demand is None:
            return None
        rules = self.policy.behavior
        tolerance = Tolerance(up=rules.scale_up.tolerance, down=rules.scale_down.tolerance)
        if load.is_total:
            return average_value_replicas(
                current_replicas=pods.count,
                target_milli=target_milli,
                usage_milli=demand,
                tolerance=tolerance,
            ).replicas
        shown = shown_milli(pods, load, now_seconds)
        if not shown:
            return None
        return pods_metric_replicas(
            current_replicas=pods.count,
            target_milli=target_milli,
            values_milli=shown,
            ready_count=len(shown),
            unready_count=pods.count - len(shown),
            missing_count=0,
            tolerance=tolerance,
        ).replicas

    def _set(self, current: int, desired: int, now_seconds: float) -> int:
        if desired != current:
            self.history = changed(
                self.history, current, desired, self.policy.behavior, now_seconds
            )
        return desired


def limit_without_behavior(
    *,
    current_replicas: int,
    proposed_replicas: int,
    min_replicas: int,
    max_replicas: int,
    recommendations: Sequence[Recommendation],
    now_seconds: float,
) -> tuple[int, tuple[str, ...]]:
    """Return the count after stabilization and limits, with the reasons that apply.

    Source: normalizeDesiredReplicas and convertDesiredReplicasWithRules.
    """
    cutoff_seconds = now_seconds - DOWNSCALE_STABILIZATION_SECONDS
    recent = [item.replicas for item in recommendations if item.at_seconds > cutoff_seconds]
    stabilized = max([proposed_replicas, *recent])
    reasons = () if stabilized == proposed_replicas else ("ScaleDownStabilized",)
    up_limit = max(SCALE_UP_LIMIT_FACTOR * current_replicas, SCALE_UP_LIMIT_MINIMUM)
    if stabilized < min_replicas:
        return min_replicas, (*reasons, "TooFewReplicas")
    if stabilized > min(up_limit, max_replicas):
        if max_replicas > up_limit:
            return up_limit, (*reasons, "ScaleUpLimit")
        return max_replicas, (*reasons, "TooManyReplicas")
    return stabilized, reasons
