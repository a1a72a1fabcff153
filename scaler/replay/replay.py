# SPDX-License-Identifier: Apache-2.0
"""Pure: a recording under the policies that it is compared with.

The same recording, policy and version give the same result.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from scaler.decision.proposals import SATURATED_MILLI, SATURATING_METRICS
from scaler.replay.accounting import account, busy_pods
from scaler.replay.hpa import HpaRules
from scaler.replay.model import AS_IT_WAS, OURS, Recording, ReplayResult, ReplicaStep
from scaler.replay.rules import OurRules
from scaler.replay.stepping import Stepping

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaler.model import Metric, ScalingPolicy
    from scaler.replay.answers import Learned


HPA_SECONDS = 15.0
"""The default period of the HPA controller."""


def as_it_was(recording: Recording) -> ReplayResult:
    """What the Deployment did itself; saturated is where a pod was."""
    steps: list[ReplicaStep] = []
    for step, replicas in enumerate(recording.replicas):
        if not steps or steps[-1].replicas != replicas:
            steps.append(ReplicaStep(step * recording.step_seconds, replicas))
    pairs = [
        (replicas, saturated)
        for known, replicas, saturated in zip(
            recording.known(), recording.replicas, recording.floors(), strict=True
        )
        if known and replicas is not None
    ]
    known_seconds = len(pairs) * recording.step_seconds
    counts = [one.replicas for one in steps if one.replicas is not None]
    has_top = recording.saturates and pairs
    return ReplayResult(
        policy=AS_IT_WAS,
        target_milli=None,
        gpu_hours=sum(one for one, _ in pairs)
        * recording.gpus_per_replica
        * recording.step_seconds
        / 3600,
        saturated_share=sum(one for _, one in pairs) / len(pairs) if has_top else None,
        changes=sum(a != b for a, b in pairwise(counts)),
        highest_replicas=max(counts, default=0),
        seconds=known_seconds,
        steps=tuple(steps),
    )


def replay(
    recording: Recording,
    policy: ScalingPolicy,
    *,
    start_seconds: float,
    party: str = OURS,
    interval_seconds: float = 2.0,
    capacity_milli: int | None = None,
    learned: Learned | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> ReplayResult:
    """What the scaler would have done, deciding every `interval_seconds`, or the `HPA`, every 15 s.

    Pods serve `start_seconds` after their creation and leave at once. `capacity_milli` is what one
    pod can do of the first metric, by default 99 % of each in percent, and where there is none of
    them, the target of each with its tolerance. A count that is unknown at the begin is the
    minimum. Of the policy, the targets for the recording's metrics count; pause and dry run do not.
    `learned` makes further replays under the same policy faster. `should_stop` is asked at each
    decision that has to be made. The HPA is given the values without the delay of a metrics
    pipeline, and never fewer than one pod.
    Raises ValueError where a metric has no target, for the HPA also without an average value, and
    TimeoutError where it should stop.
    """
    rules = OurRules(recording, policy) if party == OURS else HpaRules(recording, policy)
    steps = Stepping(
        recording,
        rules,
        start_seconds=start_seconds,
        interval_seconds=interval_seconds if party == OURS else HPA_SECONDS,
        learned=learned,
        should_stop=should_stop,
    ).run()
    capacities = _capacities_milli(recording, rules.policy)
    if capacity_milli is not None:
        capacities = {recording.metric: capacity_milli}
    busy = busy_pods(recording.metrics, capacities)
    sums = account(busy, recording.step_seconds, steps, start_seconds=start_seconds)
    return ReplayResult(
        policy=party,
        target_milli=rules.policy.targets[0].average_value_milli,
        gpu_hours=sums.replica_seconds * recording.gpus_per_replica / 3600,
        saturated_share=sums.saturated_seconds / sums.seconds if sums.seconds else None,
        changes=len(steps) - 1,
        highest_replicas=max(one.replicas or 0 for one in steps),
        seconds=sums.seconds,
        steps=steps,
    )


def _capacities_milli(recording: Recording, policy: ScalingPolicy) -> dict[Metric, float]:
    """What one pod can do: the top of metrics in percent, else the targets with their tolerance."""
    tops = {
        one.metric: float(SATURATED_MILLI)
        for one in recording.metrics
        if one.metric in SATURATING_METRICS
    }
    tolerance = policy.behavior.scale_up.tolerance
    return tops or {
        one.metric: one.average_value_milli * (1 + tolerance)
        for one in policy.targets
        if one.average_value_milli is not None
    }
