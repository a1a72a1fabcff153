# SPDX-License-Identifier: Apache-2.0
"""Pure: the limits of a HorizontalPodAutoscaler without `spec.behavior`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaler.decision.model import Recommendation

DOWNSCALE_STABILIZATION_SECONDS: Final = 300
SCALE_UP_LIMIT_FACTOR: Final = 2
SCALE_UP_LIMIT_MINIMUM: Final = 4


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
