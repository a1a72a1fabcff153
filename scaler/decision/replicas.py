# SPDX-License-Identifier: Apache-2.0
"""Pure: metric values and pod counts to desired replicas, as the HorizontalPodAutoscaler does it.

Source: kubernetes `pkg/controller/podautoscaler/replica_calculator.go`. Everything is in integer
milli units, means truncate towards zero as int64 division does, and ratios are float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_INT32 = 2**31 - 1
MAX_INT64 = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far the ratio of usage to target may be from 1 without a change; 0.1 = 10 %."""

    up: float
    down: float

    def allows(self, ratio: float) -> bool:
        """Whether the ratio is close enough to 1, bounds included (KEP-4951)."""
        return 1.0 - self.down <= ratio <= 1.0 + self.up


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricReplicas:
    """What one metric proposes; `usage_milli` is the value that a status shows."""

    replicas: int
    usage_milli: int


def mean_milli(values_milli: Sequence[int]) -> int:
    """The mean, truncated towards zero; `values_milli` must not be empty."""
    return clamp_int64(_divide(sum(values_milli), len(values_milli)))


def clamp_int64(value: int) -> int:
    """The value within the range of the milli units of the HPA."""
    return max(-MAX_INT64, min(value, MAX_INT64))


def pods_metric_replicas(
    *,
    current_replicas: int,
    target_milli: int,
    values_milli: Sequence[int],
    ready_count: int,
    unready_count: int,
    missing_count: int,
    tolerance: Tolerance,
    pods_per_replica: int = 1,
) -> MetricReplicas:
    """Replicas for an average value per pod (calcPlainMetricReplicas).

    `values_milli` are the samples left after those of unready and ignored pods were dropped, at
    least one; the HPA counts `ready_count` pods, which differs from their number when the metrics
    API knows pods that the selector does not. When scaling up, missing and unready pods count as 0;
    when scaling down, missing pods count as at the target. Raises ValueError without samples.
    """
    if not values_milli:
        raise ValueError("did not receive metrics for targeted pods (pods might be unready)")
    usage_milli = mean_milli(values_milli)
    ratio = usage_milli / target_milli
    pads_unready = unready_count > 0 and ratio > 1.0

    def asks(replicas: int) -> MetricReplicas:
        return MetricReplicas(replicas=replicas, usage_milli=usage_milli)

    if not pads_unready and missing_count == 0:
        if tolerance.allows(ratio):
            return asks(current_replicas)
        return asks(_ceil(ratio * (ready_count / pods_per_replica)))

    padded_sum, padded_count = sum(values_milli), len(values_milli)
    if ratio < 1.0:
        padded_sum += missing_count * target_milli
        padded_count += missing_count
    elif ratio > 1.0:
        padded_count += missing_count
    if pads_unready:
        padded_count += unready_count

    padded_ratio = _divide(padded_sum, padded_count) / target_milli
    if tolerance.allows(padded_ratio) or (ratio - 1.0) * (padded_ratio - 1.0) < 0:
        return asks(current_replicas)
    replicas = _ceil(padded_ratio * (padded_count / pods_per_replica))
    if padded_ratio < 1.0:
        return asks(min(replicas, current_replicas))
    return asks(max(replicas, current_replicas))


def average_value_replicas(
    *,
    current_replicas: int,
    target_milli: int,
    usage_milli: int,
    tolerance: Tolerance,
) -> MetricReplicas:
    """Replicas for an Object or External metric with a target of type AverageValue.

    `usage_milli` is the total; `usage_milli` of the answer is per current replica, rounded up.
    """
    usage_milli = clamp_int64(usage_milli)
    if current_replicas == 0:
        return MetricReplicas(replicas=_ceil(usage_milli / target_milli), usage_milli=usage_milli)
    ratio = usage_milli / (target_milli * current_replicas)
    replicas = current_replicas
    if not tolerance.allows(ratio):
        replicas = _ceil(usage_milli / target_milli)
    return MetricReplicas(
        replicas=replicas,
        usage_milli=clamp_int64(math.ceil(usage_milli / current_replicas)),
    )


def highest_proposal(proposals: Sequence[int | None], current_replicas: int) -> int | None:
    """The highest proposal, or None where the metrics together may not be followed.

    None in `proposals` is a metric that could not be computed. One such metric blocks going
    below `current_replicas`, all of them block everything (computeReplicasForMetrics).
    """
    valid = [replicas for replicas in proposals if replicas is not None]
    if not valid:
        return None
    highest = max(valid)
    if len(valid) < len(proposals) and highest < current_replicas:
        return None
    return highest


def _divide(dividend: int, divisor: int) -> int:
    """Integer division as Go does it: truncated towards zero; the divisor is positive."""
    quotient = abs(dividend) // divisor
    return quotient if dividend >= 0 else -quotient


def _ceil(value: float) -> int:
    return max(-MAX_INT32, min(math.ceil(value), MAX_INT32))
