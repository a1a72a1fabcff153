# SPDX-License-Identifier: Apache-2.0
"""Who scales the model servers by what it sees: the scaler, the HPA, Knative.

Each is asked every `period_seconds` and sees what was there `age_seconds` before.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from benchmarks.modelserver import SLOTS
from scaler.decision.behavior import DEFAULT_BEHAVIOR
from scaler.decision.decide import decide
from scaler.decision.model import Decision, Reason, Recommendation, ScalingHistory
from scaler.decision.replicas import Tolerance, pods_metric_replicas
from scaler.model import (
    Behavior,
    DeploymentState,
    Metric,
    MetricReading,
    MetricTarget,
    ObjectRef,
    PodPhase,
    PodState,
    PodValue,
    ScalingPolicy,
)
from scaler.readings.window import NEEDED_SHARE, PodWindow
from scaler.replay.hpa import DOWNSCALE_STABILIZATION_SECONDS, limit_without_behavior

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.modelserver import Pod, Reading

MIN_REPLICAS: Final = 1
MAX_REPLICAS: Final = 40
HPA_PERIOD_SECONDS: Final = 15
SCRAPE_AGE_SECONDS: Final = 7
"""How old a value is on average that Prometheus scrapes every 15 s."""
KNATIVE_PERIOD_SECONDS: Final = 2
KNATIVE_STABLE_SECONDS: Final = 60
KNATIVE_PANIC_SECONDS: Final = 6
KNATIVE_PANIC_FACTOR: Final = 2.0
WEB: Final = ObjectRef(namespace="default", name="web")
READY_AGE_SECONDS: Final = 30
_STANDING_REASONS: Final = frozenset(
    {Reason.SCALE_DOWN_STABILIZED, Reason.TOO_FEW_REPLICAS, Reason.TOO_MANY_REPLICAS}
)


class Party(Protocol):
    """Something that says how many replicas there should be."""

    period_seconds: int
    age_seconds: int

    def observe(self, in_hand: float) -> None:
        """Take the requests in all Ready pods, once a second."""

    def replicas(self, reading: Reading) -> int:
        """Return the count to set now."""

    def quiet_until(self, now: int) -> float:
        """Return until when it answers the same to the same; `now` where it may not."""


def target_of(metric: Metric, target_percent: int) -> int:
    """Return a target, in milli units, that asks for the same share of a pod in either metric."""
    share_milli = 1000 * target_percent
    return share_milli * SLOTS // 100 if metric is Metric.REQUESTS else share_milli


def _values_milli(metric: Metric, reading: Reading) -> dict[int, int]:
    values: Mapping[int, float] = (
        reading.in_hand if metric is Metric.REQUESTS else reading.duty_percent
    )
    return {number: int(1000 * value) for number, value in values.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Calm:
    """Settings for bursts: `gpu-scaler/window`, and scaleUp.stabilizationWindowSeconds."""

    window_seconds: int = 0
    up_seconds: int = 0


class OurParty:
    """The scaler's own decisions, every 2 s, with all defaults or calmer."""

    period_seconds = 2
    age_seconds = 0

    def __init__(self, metric: Metric, target_percent: int, calm: Calm | None = None) -> None:
        self._metric = metric
        self._calm = calm
        self._windows: dict[int, PodWindow] = {}
        self._history: ScalingHistory | None = None
        self._quiet_until = 0.0
        target = MetricTarget(metric=metric, average_value_milli=target_of(metric, target_percent))
        self._policy = ScalingPolicy(
            min_replicas=MIN_REPLICAS,
            max_replicas=MAX_REPLICAS,
            targets=(target,),
            window_seconds=0.0 if calm is None else float(calm.window_seconds),
            behavior=DEFAULT_BEHAVIOR if calm is None else _calmer(calm),
            ready_age_seconds=float(READY_AGE_SECONDS),
            dry_run=False,
            paused=False,
        )
        self._refs: dict[int, ObjectRef] = {}

    def observe(self, in_hand: float) -> None:
        """It reads the pods alone."""

    def replicas(self, reading: Reading) -> int:
        """Decide, and remember the decision as carried out."""
        now = float(reading.now)
        values = {
            self._ref(number): PodValue(value_milli=value, sampled_seconds=now)
            for number, value in _values_milli(self._metric, reading).items()
        }
        if self._calm is not None:
            values = self._averaged(reading, values, self._calm.window_seconds)
        decision = decide(
            DeploymentState(
                ref=WEB,
                uid="web",
                annotations={},
                spec_replicas=len(reading.pods),
                pods=tuple(self._state(pod, reading.now) for pod in reading.pods),
            ),
            self._policy,
            {self._metric: MetricReading(metric=self._metric, values=values)},
            self._history,
            now,
        )
        self._history = decision.history
        self._quiet_until = _stands_until(decision)
        return decision.desired_replicas

    def quiet_until(self, now: int) -> float:
        """Return when a recommendation leaves the stabilization window; never with an average."""
        return float(now) if self._calm is not None else max(float(now), self._quiet_until)

    def _averaged(
        self, reading: Reading, values: Mapping[ObjectRef, PodValue], window_seconds: int
    ) -> dict[ObjectRef, PodValue]:
        """Return the means of pods that have been Ready for half the window, and loading pods."""
        averaged = {}
        windows = {}
        for pod in reading.pods:
            value = values.get(self._ref(pod.number))
            if value is None:
                continue
            if not pod.is_ready(reading.now):
                averaged[self._ref(pod.number)] = value
                continue
            window = self._windows.get(pod.number, PodWindow(samples=()))
            window = window.add(value, window_seconds=window_seconds)
            windows[pod.number] = window
            if reading.now - pod.ready_from >= NEEDED_SHARE * window_seconds:
                averaged[self._ref(pod.number)] = window.mean()
        self._windows = windows
        return averaged

    def _state(self, pod: Pod, now: int) -> PodState:
        return PodState(
            ref=self._ref(pod.number),
            uid=str(pod.number),
            phase=PodPhase.RUNNING if pod.runs(now) else PodPhase.PENDING,
            deleting=False,
            ready_since_seconds=float(pod.ready_from) if pod.is_ready(now) else None,
            node_name="node",
        )

    def _ref(self, number: int) -> ObjectRef:
        return self._refs.setdefault(number, ObjectRef(namespace="default", name=f"web-{number}"))


def _calmer(calm: Calm) -> Behavior:
    up = replace(DEFAULT_BEHAVIOR.scale_up, stabilization_window_seconds=calm.up_seconds)
    return replace(DEFAULT_BEHAVIOR, scale_up=up)


def _stands_until(decision: Decision) -> float:
    """Until when the same pods with the same values give the same count."""
    if decision.desired_replicas != decision.current_replicas:
        return 0.0
    if any(limit.reason not in _STANDING_REASONS for limit in decision.limits):
        return 0.0
    return _next_expiry(decision.history.recommendations, decision.proposed)


def _next_expiry(recommendations: Sequence[Recommendation], proposed: int | None) -> float:
    expiries = [
        item.at_seconds + DOWNSCALE_STABILIZATION_SECONDS
        for item in recommendations
        if item.replicas != proposed
    ]
    return min(expiries, default=math.inf)


class ChainParty:
    """An HPA without `spec.behavior` behind Prometheus and its adapter.

    Prometheus scrapes every 15 s and the adapter asks it for each of the HPA's requests. Relisting
    adds nothing: it finds new metrics, and this one is known. Readiness does not matter to an HPA
    for a metric that is not cpu.
    """

    period_seconds = HPA_PERIOD_SECONDS
    age_seconds = SCRAPE_AGE_SECONDS

    def __init__(self, metric: Metric, target_percent: int) -> None:
        self._metric = metric
        self._target_milli = target_of(metric, target_percent)
        self._recommendations: list[Recommendation] = []
        self._quiet_until = 0.0

    def observe(self, in_hand: float) -> None:
        """It sees what Prometheus scraped."""

    def replicas(self, reading: Reading) -> int:
        """Follow reconcileAutoscaler with the pods of now and the values of the scrape."""
        now, current = reading.now, len(reading.pods)
        if not self._recommendations:
            self._recommendations.append(Recommendation(replicas=current, at_seconds=now))
        running = [pod for pod in reading.pods if pod.runs(now)]
        scraped = _values_milli(self._metric, reading)
        values = [scraped[pod.number] for pod in running if pod.number in scraped]
        if not values:
            return current
        proposed = pods_metric_replicas(
            current_replicas=current,
            target_milli=self._target_milli,
            values_milli=values,
            ready_count=len(values),
            unready_count=current - len(running),
            missing_count=len(running) - len(values),
            tolerance=Tolerance(up=0.1, down=0.1),
        ).replicas
        replicas, reasons = limit_without_behavior(
            current_replicas=current,
            proposed_replicas=proposed,
            min_replicas=MIN_REPLICAS,
            max_replicas=MAX_REPLICAS,
            recommendations=self._recommendations,
            now_seconds=now,
        )
        self._recommendations = [
            item
            for item in self._recommendations
            if item.at_seconds > now - DOWNSCALE_STABILIZATION_SECONDS and item.replicas != proposed
        ]
        stands = replicas == current and "ScaleUpLimit" not in reasons
        self._quiet_until = _next_expiry(self._recommendations, proposed) if stands else 0.0
        self._recommendations.append(Recommendation(replicas=proposed, at_seconds=now))
        return replicas

    def quiet_until(self, now: int) -> float:
        """Return when a recommendation leaves the stabilization window."""
        return max(float(now), self._quiet_until)


class KnativeParty:
    """Knative's pod autoscaler on concurrency, as its documentation describes it.

    Every 2 s: the average of a stable window of 60 s over the target. Where the average of the last
    6 s asks for twice the Ready pods it panics: it follows that one and never scales down until the
    stable window has passed without cause.
    """

    period_seconds = KNATIVE_PERIOD_SECONDS
    age_seconds = 0

    def __init__(self, target_percent: int) -> None:
        self._target = target_of(Metric.REQUESTS, target_percent) / 1000
        self._in_hand: deque[float] = deque(maxlen=KNATIVE_STABLE_SECONDS)
        self._panics_since: int | None = None
        self._highest = 0

    def observe(self, in_hand: float) -> None:
        """Average the concurrency of each second."""
        self._in_hand.append(in_hand)

    def replicas(self, reading: Reading) -> int:
        """Return what the stable window asks for, or the panic window's highest."""
        now = reading.now
        if not self._in_hand:
            return len(reading.pods)
        ready = max(1, sum(pod.is_ready(now) for pod in reading.pods))
        recent = list(self._in_hand)[-KNATIVE_PANIC_SECONDS:]
        stable = math.ceil(sum(self._in_hand) / len(self._in_hand) / self._target)
        panic = math.ceil(sum(recent) / len(recent) / self._target)
        if panic / ready >= KNATIVE_PANIC_FACTOR:
            if self._panics_since is None:
                self._highest = len(reading.pods)
            self._panics_since = now
        elif self._panics_since is not None and now - self._panics_since > KNATIVE_STABLE_SECONDS:
            self._panics_since = None
        wanted = stable
        if self._panics_since is not None:
            self._highest = max(self._highest, panic)
            wanted = self._highest
        # It removes at most half of the Ready pods at once (max-scale-down-rate 2).
        wanted = max(wanted, math.floor(ready / 2))
        return min(MAX_REPLICAS, max(MIN_REPLICAS, wanted))

    def quiet_until(self, now: int) -> float:
        """Return infinity once its windows are full of the same and it does not panic."""
        full = len(self._in_hand) == KNATIVE_STABLE_SECONDS
        same = full and all(one == self._in_hand[0] for one in self._in_hand)
        return math.inf if same and self._panics_since is None else now
