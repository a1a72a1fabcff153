# SPDX-License-Identifier: Apache-2.0
"""Short recordings and policies for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scaler.decision.behavior import DEFAULT_BEHAVIOR
from scaler.model import Metric, MetricTarget, ObjectRef, ScalingPolicy
from scaler.replay.model import RecordedMetric, Recording

if TYPE_CHECKING:
    from collections.abc import Sequence

WEB = ObjectRef(namespace="prod", name="web")


def recording(
    demand: Sequence[int | None],
    *others: RecordedMetric,
    metric: Metric = Metric.DUTY_CYCLE,
    step_seconds: float = 15.0,
    found: int | None = 1,
    **more,
) -> Recording:
    """A recording of a Deployment that had `found` pods all the time."""
    return Recording(
        ref=WEB,
        metrics=(recorded_metric(demand, metric), *others),
        begun_unix_seconds=0.0,
        step_seconds=step_seconds,
        replicas=(found,) * len(demand),
        **more,
    )


def recorded_metric(
    demand: Sequence[int | None], metric: Metric = Metric.DUTY_CYCLE, floor: Sequence[bool] = ()
) -> RecordedMetric:
    """A metric's demand, without floors if none are given."""
    return RecordedMetric(
        metric=metric,
        demand_milli=tuple(demand),
        floor=tuple(floor) or (False,) * len(demand),
    )


def with_first(recording: Recording, **changed) -> Recording:
    """The recording with another first metric."""
    first, *others = recording.metrics
    return replace(recording, metrics=(replace(first, **changed), *others))


def policy(
    metric: Metric, target_milli: int | None, *, more_targets: Sequence[MetricTarget] = (), **more
) -> ScalingPolicy:
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
    return ScalingPolicy(**{**settings, "targets": (target, *more_targets), **more})
