# SPDX-License-Identifier: Apache-2.0
"""Pure: the rules that a replay follows: the scaler's own decisions, or the HPA's arithmetic."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from scaler.decision.behavior import DEFAULT_BEHAVIOR, limit_with_behavior
from scaler.decision.decide import decide
from scaler.decision.history import changed, recommended, standing
from scaler.decision.model import ScalingHistory
from scaler.decision.replicas import Tolerance, average_value_replicas, pods_metric_replicas
from scaler.model import (
    TOTAL_METRICS,
    DeploymentState,
    Metric,
    MetricReading,
    MetricTarget,
    PodValue,
    ScalingPolicy,
)
from scaler.policy.schedule import in_force
from scaler.replay.hpa import limit_without_behavior

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from scaler.model import ObjectRef
    from scaler.replay.load import RecordedLoad
    from scaler.replay.model import Recording
    from scaler.replay.pods import Pods, Shape

ALONE: Final = MetricTarget(metric=Metric.QUEUE, average_value_milli=None)


class Asked(NamedTuple):
    """What the metrics ask for before windows and limits; `replicas` is None without values.

    `down_only` is True where a missing value kept the count, as in `Recommendation`.
    """

    replicas: int | None
    down_only: bool = False


class Rules(Protocol):
    """What says how many replicas there should be; it keeps its scaling history itself.

    `raises` is True where a recommendation of the window raises the count as well.
    """

    history: ScalingHistory
    policy: ScalingPolicy
    raises: bool

    def follow_schedule(self, now_seconds: float) -> float:
        """Set the policy of an instant; return until when it is in force, infinity if always."""

    def decide(self, pods: Pods, load: RecordedLoad, now_seconds: float) -> tuple[int, Asked]:
        """Return the count to set now, and the one asked for."""

    def counted(self, shape: Shape) -> Hashable:
        """Return the same for shapes for which the same is asked for at the same values."""


def policy_for(policy: ScalingPolicy, metric: Metric) -> ScalingPolicy:
    """The policy as it acts on one metric.

    Without a pod there are no metrics of pods. Where 0 replicas are allowed, the recorded demand
    stands for the queue or the query that the policy then has.
    Raises ValueError where the policy has no target for the metric.
    """
    targets = tuple(one for one in policy.targets if one.metric is metric)
    if not targets:
        named = ", ".join(one.metric for one in policy.targets) or "none"
        raise ValueError(f"the policy has no target for {metric}; it has {named}")
    activation_milli = policy.activation_milli
    if policy.min_replicas == 0 and metric not in TOTAL_METRICS:
        if metric is Metric.REQUESTS:
            queue = replace(ALONE, average_value_milli=targets[0].average_value_milli)
        else:
            queue, activation_milli = ALONE, 0
        targets = (*targets, queue)
    return replace(
        policy, targets=targets, activation_milli=activation_milli, dry_run=False, paused=False
    )


class OurRules:
    """The scaler's own decisions."""

    raises = False

    def __init__(self, recording: Recording, policy: ScalingPolicy) -> None:
        # A count of 0 that was found is one that the scaler set.
        self.history = ScalingHistory(zeroed_seconds=0.0)
        self._ref = recording.ref
        self._metric = recording.metric
        self._given = policy
        self._begun = recording.begun_unix_seconds
        self.follow_schedule(0.0)

    def follow_schedule(self, now_seconds: float) -> float:
        """Set the policy of an instant; return until when it is in force, infinity if always."""
        found = in_force(self._given, self._begun + now_seconds)
        self.policy = policy_for(found.policy, self._metric)
        return found.until_unix_seconds - self._begun

    def decide(self, pods: Pods, load: RecordedLoad, now_seconds: float) -> tuple[int, Asked]:
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
        readings = self._readings(deployment, pods, load, now_seconds)
        decision = decide(deployment, self.policy, readings, history, now_seconds)
        self.history = decision.history
        newest = decision.history.recommendations[-1:]
        down_only = decision.proposed is not None and newest[0].down_only
        return decision.desired_replicas, Asked(decision.proposed, down_only)

    def counted(self, shape: Shape) -> Hashable:
        """Pods that do not count yet are alike, but that Pending ones stop saturation growth."""
        return shape._replace(fresh=0, loading=shape.fresh + shape.loading), shape.ready > 0

    def _readings(
        self, deployment: DeploymentState, pods: Pods, load: RecordedLoad, now_seconds: float
    ) -> Mapping[Metric, MetricReading]:
        demand = load.demand_milli[load.step(now_seconds)]
        if demand is None:
            return {}

        def reading(metric: Metric, values: dict[ObjectRef, PodValue]) -> MetricReading:
            return MetricReading(metric=metric, values=values)

        def value(milli: int) -> PodValue:
            return PodValue(value_milli=milli, sampled_seconds=now_seconds)

        if load.is_total:
            return {self._metric: reading(self._metric, {self._ref: value(demand)})}
        # The oldest pods come first; those that are Pending show nothing.
        shown = _shown_milli(pods, load, now_seconds)
        of_pods = {milli: value(milli) for milli in shown}
        values = {
            pod.ref: of_pods[milli] for pod, milli in zip(deployment.pods, shown, strict=False)
        }
        readings = {self._metric: reading(self._metric, values)}
        if self.policy.min_replicas == 0:
            waiting = 0 if pods.ready(now_seconds) else demand
            readings[Metric.QUEUE] = reading(Metric.QUEUE, {self._ref: value(waiting)})
        return readings


class HpaRules:
    """The HPA's arithmetic, without `spec.behavior` where the policy has the default one.

    It does not look at readiness, and does not scale to zero or from it.
    """

    def __init__(self, recording: Recording, policy: ScalingPolicy) -> None:
        self._metric = recording.metric
        self._given = policy
        self._begun = recording.begun_unix_seconds
        self.follow_schedule(0.0)
        self.raises = policy.behavior == DEFAULT_BEHAVIOR
        self.history = ScalingHistory()
        [target] = self.policy.targets
        if target.average_value_milli is None:
            raise ValueError(
                f"the HPA needs an average value for {self._metric}; the policy has none"
            )
        self._target_milli = target.average_value_milli

    def follow_schedule(self, now_seconds: float) -> float:
        """Set the policy of an instant, as if somebody kept to the schedule by hand."""
        found = in_force(self._given, self._begun + now_seconds)
        least = max(1, found.policy.min_replicas)
        most = max(1, found.policy.max_replicas)
        policy = replace(found.policy, min_replicas=least, max_replicas=most)
        self.policy = policy_for(policy, self._metric)
        return found.until_unix_seconds - self._begun

    def counted(self, shape: Shape) -> Hashable:
        """Readiness does not count, but what pods show that are not Ready does."""
        return shape.ready, shape.loading, shape.pending

    def decide(self, pods: Pods, load: RecordedLoad, now_seconds: float) -> tuple[int, Asked]:
        """Follow reconcileAutoscaler."""
        policy, current = self.policy, pods.count
        if not policy.min_replicas <= current <= policy.max_replicas:
            desired = min(max(current, policy.min_replicas), policy.max_replicas)
            return self._set(current, desired, now_seconds), Asked(None)
        if not self.history.recommendations:
            # recordInitialRecommendation
            self.history = recommended(self.history, current, policy.behavior, now_seconds)
        asked = self._asked(pods, load, now_seconds)
        if asked is None:
            return current, Asked(None)
        if self.raises:
            desired, _ = limit_without_behavior(
                current_replicas=current,
                proposed_replicas=asked,
                min_replicas=policy.min_replicas,
                max_replicas=policy.max_replicas,
                recommendations=self.history.recommendations,
                now_seconds=now_seconds,
            )
        else:
            desired = limit_with_behavior(
                current_replicas=current,
                proposed_replicas=asked,
                min_replicas=policy.min_replicas,
                max_replicas=policy.max_replicas,
                behavior=policy.behavior,
                history=self.history,
                now_seconds=now_seconds,
            ).replicas
        self.history = recommended(self.history, asked, policy.behavior, now_seconds)
        return self._set(current, desired, now_seconds), Asked(asked)

    def _asked(self, pods: Pods, load: RecordedLoad, now_seconds: float) -> int | None:
        demand = load.demand_milli[load.step(now_seconds)]
        if demand is None:
            return None
        rules = self.policy.behavior
        tolerance = Tolerance(up=rules.scale_up.tolerance, down=rules.scale_down.tolerance)
        if load.is_total:
            return average_value_replicas(
                current_replicas=pods.count,
                target_milli=self._target_milli,
                usage_milli=demand,
                tolerance=tolerance,
            ).replicas
        shown = _shown_milli(pods, load, now_seconds)
        if not shown:
            return None
        return pods_metric_replicas(
            current_replicas=pods.count,
            target_milli=self._target_milli,
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


def _shown_milli(pods: Pods, load: RecordedLoad, now_seconds: float) -> list[int]:
    """What the pods with a running container show, the oldest first: 0 while they load."""
    return [*load.shown_milli(now_seconds), *[0] * pods.shape(now_seconds).loading]
