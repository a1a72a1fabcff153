# SPDX-License-Identifier: Apache-2.0
"""Short recordings and policies for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaler.decision.behavior import DEFAULT_BEHAVIOR
from scaler.model import Metric, MetricTarget, ObjectRef, ScalingPolicy
from scaler.replay.model import Recording

if TYPE_CHECKING:
    from collections.abc import Sequence

WEB = ObjectRef(namespace="prod", name="web")


def recording(
    demand: Sequence[int | None],
    *,
    metric: Metric = Metric.DUTY_CYCLE,
    step_seconds: float = 15.0,
    found: int | None = 1,
    **more,
) -> Recording:
    """A recording of a Deployment that had `found` pods all the time."""
    return Recording(
        ref=WEB,
        metric=metric,
        begun_unix_seconds=0.0,
        step_seconds=step_seconds,
        demand_milli=tuple(demand),
        floor=(False,) * len(demand),
        replicas=(found,) * len(demand),
        **more,
    )


def policy(metric: Metric, target_milli: int | None, **more) -> ScalingPolicy:
    """A policy with all defaults otherwise."""
    settings = {
        "min_replicas": 1,
        "max_replicas": 20,
        "window_seconds": 0.0,
        "behavior": DEFAULT_BEHAVIOR,
        "ready_age_seconds": 30.0,
        "dry_run": False,
        "paused": False,
    }
    target = MetricTarget(metric=metric, average_value_milli=target_milli)
    return ScalingPolicy(**{**settings, "targets": (target,), **more})
