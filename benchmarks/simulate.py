# SPDX-License-Identifier: Apache-2.0
"""A week of 20 Deployments replayed at 4 targets, ours and the HPA's: `make bench-simulate`.

Loads are noisy days with a value every 15 s to 30 s. Those of the first fleet are idle for two
thirds of the time, as a published fleet of image models is; those of the second never are.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from typing import TYPE_CHECKING, Final

from benchmarks.report import Figure, publish
from benchmarks.simulatememory import DEPLOYMENTS as SIMULATED
from benchmarks.simulatememory import peak_megabytes
from scaler.decision.behavior import DEFAULT_BEHAVIOR
from scaler.model import Metric, MetricTarget, ObjectRef, ScalingPolicy
from scaler.replay.answers import Learned
from scaler.replay.load import FULL_MILLI
from scaler.replay.model import HPA, OURS, RecordedMetric, Recording, ReplayResult
from scaler.replay.replay import as_it_was, replay

if TYPE_CHECKING:
    from collections.abc import Callable

SEED: Final = 20_261_130
DEPLOYMENTS: Final = 20
TARGETS: Final = (40, 50, 60, 70)
DAY_SECONDS: Final = 86_400
SECONDS: Final = 7 * DAY_SECONDS
STEPS_SECONDS: Final = (15.0, 20.0, 30.0)
START_SECONDS: Final = 60.0
LIMIT_SECONDS: Final = 60.0
MEMORY_RATIO: Final = 1.5
"""A week has 3.5 times the steps of a day, which is cut finer."""


def main() -> None:
    """Replay both fleets and publish the time that each takes on one core, and the memory."""
    figures = [_figure("idle", _mostly_idle), _figure("busy", _busy)]
    publish("simulate", [*figures, *_memory()])


def _memory() -> list[Figure]:
    """What reading a week and a day of as many Deployments from Prometheus takes."""
    day, week = (asyncio.run(peak_megabytes(since)) for since in ("1d", "7d"))
    what = f"{SIMULATED} Deployments from Prometheus"
    return [
        Figure(bar=f"7 days, {what}: peak memory", value=week, unit="MB", limit=None),
        Figure(bar=f"the same to 1 day, {what}", value=week / day, unit="", limit=MEMORY_RATIO),
    ]


def _figure(fleet: str, load: Callable[[random.Random, float], float]) -> Figure:
    chance = random.Random(SEED)
    recordings = [_recording(number, chance, load) for number in range(DEPLOYMENTS)]
    demands = [demand for one in recordings for demand in one.metrics[0].demand_milli]
    begun, learned = time.process_time(), Learned()
    results = [result for one in recordings for result in _results(one, learned)]
    seconds = time.process_time() - begun
    print(
        f"{fleet}: {demands.count(0) / len(demands):.0%} of {len(demands)} values are 0;"
        f" {sum(one.changes for one in results)} changes in {len(results)} results"
    )
    bar = f"7 days, {DEPLOYMENTS} Deployments, {len(TARGETS)} targets, {fleet} fleet: CPU time"
    return Figure(bar=bar, value=seconds, unit="s", limit=LIMIT_SECONDS)


def _results(recording: Recording, learned: Learned) -> list[ReplayResult]:
    results = [as_it_was(recording)]
    for target in TARGETS:
        policy = _policy(target)
        results += [
            replay(recording, policy, start_seconds=START_SECONDS, party=party, learned=learned)
            for party in (OURS, HPA)
        ]
    return results


def _policy(target_percent: int) -> ScalingPolicy:
    target = MetricTarget(metric=Metric.DUTY_CYCLE, average_value_milli=target_percent * 1000)
    return ScalingPolicy(
        min_replicas=1,
        max_replicas=20,
        targets=(target,),
        window_seconds=0.0,
        behavior=DEFAULT_BEHAVIOR,
        ready_age_seconds=30.0,
        dry_run=False,
        paused=False,
    )


def _recording(
    number: int, chance: random.Random, load: Callable[[random.Random, float], float]
) -> Recording:
    """A week of a Deployment between 1 and 9 busy pods at its peak, at an hour of its own."""
    step_seconds = STEPS_SECONDS[number % len(STEPS_SECONDS)]
    steps = round(SECONDS / step_seconds)
    peak, begin, noise = 1 + 8 * chance.random(), chance.random(), 0.05 + 0.2 * chance.random()

    def value(step: int) -> int:
        busy_pods = peak * load(chance, begin + step * step_seconds / DAY_SECONDS)
        return max(0, round(FULL_MILLI * busy_pods * chance.gauss(1, noise)))

    replicas = math.ceil(peak)
    return Recording(
        ref=ObjectRef(namespace="prod", name=f"model-{number}"),
        metrics=(
            RecordedMetric(
                metric=Metric.DUTY_CYCLE,
                demand_milli=tuple(value(step) for step in range(steps)),
                floor=(False,) * steps,
            ),
        ),
        begun_unix_seconds=0.0,
        step_seconds=step_seconds,
        replicas=(replicas,) * steps,
    )


def _busy(chance: random.Random, days: float) -> float:
    """From 20 % at night to all of the peak by day."""
    return 0.6 - 0.4 * math.cos(2 * math.pi * days)


def _mostly_idle(chance: random.Random, days: float) -> float:
    """Nothing for more than half of the day, then bursts with pauses."""
    by_day = -math.cos(2 * math.pi * days)
    return by_day if by_day > 0.1 and chance.random() < 0.75 else 0.0


if __name__ == "__main__":
    main()
