# SPDX-License-Identifier: Apache-2.0
"""A made-up week of a Deployment, and what the policies would have done with it."""

from __future__ import annotations

import math
import random
from typing import Final

from scaler.decision.behavior import DEFAULT_BEHAVIOR
from scaler.model import Metric, MetricTarget, ObjectRef, ScalingPolicy
from scaler.replay.documents import Simulation
from scaler.replay.model import HPA, RecordedMetric, Recording
from scaler.replay.recommendation import recommended
from scaler.replay.replay import as_it_was, replay

STEP_SECONDS: Final = 60.0
MINUTES: Final = 7 * 24 * 60
MONDAY_UNIX_SECONDS: Final = 1_773_014_400.0
START_SECONDS: Final = 90.0
PODS: Final = 4
TARGETS: Final = (50_000, 70_000)


def simulated_week() -> Simulation:
    """Return four pods under the load of working days, with a burst on Thursday morning."""
    recording = _recording()
    results = [as_it_was(recording)]
    for target_milli in TARGETS:
        policy = _policy(target_milli)
        results += [
            replay(recording, policy, start_seconds=START_SECONDS),
            replay(recording, policy, start_seconds=START_SECONDS, party=HPA),
        ]
    return Simulation(
        recording=recording,
        results=tuple(results),
        recommendation=recommended(recording, results, _policy(TARGETS[0]), max_saturated=0.01),
    )


def _policy(target_milli: int) -> ScalingPolicy:
    return ScalingPolicy(
        min_replicas=1,
        max_replicas=8,
        targets=(MetricTarget(metric=Metric.DUTY_CYCLE, average_value_milli=target_milli),),
        window_seconds=0.0,
        behavior=DEFAULT_BEHAVIOR,
        ready_age_seconds=30.0,
        dry_run=False,
        paused=False,
    )


def _recording() -> Recording:
    chance = random.Random(7)
    most = PODS * 100.0
    asked = [_percent(minute, chance) for minute in range(MINUTES)]
    return Recording(
        ref=ObjectRef("prod", "chat"),
        metrics=(
            RecordedMetric(
                metric=Metric.DUTY_CYCLE,
                demand_milli=tuple(round(min(percent, most) * 1000) for percent in asked),
                floor=tuple(percent >= most for percent in asked),
            ),
        ),
        begun_unix_seconds=MONDAY_UNIX_SECONDS,
        step_seconds=STEP_SECONDS,
        replicas=(PODS,) * MINUTES,
        start_seconds=START_SECONDS,
    )


def _percent(minute: int, chance: random.Random) -> float:
    day, hour = divmod(minute / 60, 24)
    if day == 3 and 10 <= hour < 11.5:
        return 450.0
    peak = 240.0 if day < 5 else 90.0
    work = math.sin((hour - 7) / 14 * math.pi) if 7 < hour < 21 else 0.0
    return 6.0 + peak * work * chance.uniform(0.8, 1.15)
