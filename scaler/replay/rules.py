# SPDX-License-Identifier: Apache-2.0
"""Pure: the rules that a replay follows, and those of the scaler: its own decisions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from scaler.decision.decide import decide
from scaler.decision.history import standing
from scaler.decision.model import ScalingHistory
from scaler.decision.replicas import highest_proposal
from scaler.model import (
    TOTAL_METRICS,
    DeploymentState,
    MetricReading,
    PodValue,
    ScalingPolicy,
)
from scaler.policy.schedule import in_force

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from scaler.decision.model import Decision
    from scaler.model import ObjectRef
    from scaler.replay.load import RecordedLoad
    from scaler.replay.model import RecordedMetric, Recording
    from scaler.replay.pods import Pods, Shape


class Asked(NamedTuple):
    """What a metric, or all together, ask for before windows and limits; None without values.

    `down_only` is True where a missing value kept the count, as in `Recommendation`.
    """

    replicas: int | None
    down_only: bool = False


UNKNOWN: Final = Asked(None)


class Rules(ABC):
    """What says how many replicas there should be; it keeps its scaling history itself.

    `metrics` are those of the recording that count; the policy's targets are in their order.
    `raises` is True where a recommendation of the window raises the count as well.
    Raises ValueError where the policy has no target for a metric.
    """

    history = ScalingHistory()
    raises = False
    least_replicas = 0

    def __init__(self, recording: Recording, policy: ScalingPolicy) -> None:
        self.metrics = recording.metrics
        self._given = policy
        self._begun = recording.begun_unix_seconds
        self.follow_schedule(0.0)

    def follow_schedule(self, now_seconds: float) -> float:
        """Set the policy of an instant; return until when it is in force, infinity if always."""
        found = in_force(self._given, self._begun + now_seconds)
        self.policy = _policy_for(found.policy, self.metrics, self.least_replicas)
        return found.until_unix_seconds - self._begun

    @abstractmethod
    def decide(
        self, pods: Pods, loads: Sequence[RecordedLoad], now_seconds: float
    ) -> tuple[int, tuple[Asked, ...]]:
        """Return the count to set now, and what each metric asks for; none if none was asked."""

    @abstractmethod
    def joined(self, asked: Sequence[Asked], replicas: int) -> Asked:
        """Return what metrics ask for together, with so many replicas now."""

    @abstractmethod
    def counted(self, shape: Shape) -> Hashable:
        """Return the same for shapes for which the same is asked for at the same values."""


def _policy_for(
    policy: ScalingPolicy, metrics: Sequence[RecordedMetric], least: int
) -> ScalingPolicy:
    """Return the policy as it acts on these metrics, with a target of each in their order.

    Without a pod there are no metrics of pods, so that it keeps one where no metric is a total.
    """
    by_metric = {one.metric: one for one in policy.targets}
    for one in metrics:
        if one.metric not in by_metric:
            named = ", ".join(by_metric) or "none"
            raise ValueError(f"the policy has no target for {one.metric}; it has {named}")
    if not any(one.metric in TOTAL_METRICS for one in metrics):
        least = 1
    return replace(
        policy,
        targets=tuple(by_metric[one.metric] for one in metrics),
        min_replicas=max(least, policy.min_replicas),
        max_replicas=max(least, policy.max_replicas),
        dry_run=False,
        paused=False,
    )


class OurRules(Rules):
    """The scaler's own decisions."""

    def __init__(self, recording: Recording, policy: ScalingPolicy) -> None:
        super().__init__(recording, policy)
        # A count of 0 that was found is one that the scaler set.
        self.history = ScalingHistory(zeroed_seconds=0.0)
        self._ref = recording.ref

    def decide(
        self, pods: Pods, loads: Sequence[RecordedLoad], now_seconds: float
    ) -> tuple[int, tuple[Asked, ...]]:
        """Decide as the loop does, and remember the decision as carried out."""
        deployment = DeploymentState(
            ref=self._ref,
            uid="",
            annotations={},
            spec_replicas=pods.count,
            pods=pods.states(now_seconds),
            pods_per_replica=1,
        )
        history = standing(self.history, self.policy.behavior, now_seconds)
        readings = {}
        for load in loads:
            values = self._values(deployment, pods, load, now_seconds)
            if values is not None:
                readings[load.metric] = MetricReading(metric=load.metric, values=values)
        decision = decide(deployment, self.policy, readings, history, now_seconds)
        self.history = decision.history
        return decision.desired_replicas, self._asked(decision)

    def joined(self, asked: Sequence[Asked], replicas: int) -> Asked:
        """Return what metrics ask for together, as `decide` joins their proposals."""
        if len(asked) == 1:
            return asked[0]
        proposed = highest_proposal([one.replicas for one in asked], replicas)
        kept = proposed == replicas and any(one.replicas is None or one.down_only for one in asked)
        return Asked(proposed, kept)

    def counted(self, shape: Shape) -> Hashable:
        """Pods that do not count yet are alike, but that Pending ones stop saturation growth."""
        return shape._replace(fresh=0, loading=shape.fresh + shape.loading), shape.ready > 0

    def _asked(self, decision: Decision) -> tuple[Asked, ...]:
        """What each metric asks for, from its proposal."""
        current = decision.current_replicas
        if not decision.proposals:
            unchanged = decision.desired_replicas == current
            return (UNKNOWN,) * len(self.metrics) if unchanged else ()
        # An incomplete proposal is never below the count.
        return tuple(
            Asked(one.replicas, not one.complete and one.replicas == current)
            for one in decision.proposals
        )

    def _values(
        self, deployment: DeploymentState, pods: Pods, load: RecordedLoad, now_seconds: float
    ) -> dict[ObjectRef, PodValue] | None:
        """What a metric shows, None where its demand is unknown."""
        demand = load.demand_milli[load.step(now_seconds)]
        if demand is None:
            return None
        if load.is_total:
            return {self._ref: PodValue(value_milli=demand, sampled_seconds=now_seconds)}
        # The oldest pods come first; those that are Pending show nothing.
        shown = shown_milli(pods, load, now_seconds)
        by_milli = {
            milli: PodValue(value_milli=milli, sampled_seconds=now_seconds) for milli in shown
        }
        return {
            pod.ref: by_milli[milli] for pod, milli in zip(deployment.pods, shown, strict=False)
        }


def shown_milli(pods: Pods, load: RecordedLoad, now_seconds: float) -> list[int]:
    """Return what the pods with a running container show, the oldest first: 0 while they load."""
    return [*load.shown_milli(now_seconds), *[0] * pods.shape(now_seconds).loading]
