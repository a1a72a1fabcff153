"""One Deployment under a trace of load, scaled by one policy; simulated, without any waiting.

Requests spread evenly over the ready pods. A pod's GPU is busy for its share of the load, at most
all of the time, and the exporter shows the average of the last 10 s: what is too much cannot be
seen in the value, which is the point of the comparison.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from benchmarks.hpa import limit_without_behavior
from benchmarks.traces import POD_REQUESTS_PER_SECOND
from scaler.decision.behavior import DEFAULT_BEHAVIOR
from scaler.decision.decide import decide
from scaler.decision.model import Recommendation, ScalingHistory
from scaler.decision.replicas import Tolerance, pods_metric_replicas
from scaler.model import (
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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.traces import Trace

MIN_REPLICAS: Final = 1
MAX_REPLICAS: Final = 20
PLACED_AFTER_SECONDS: Final = 2
READY_AFTER_SECONDS: Final = 40
"""A pod's start: 2 s until it runs, the rest for loading its model with an idle GPU."""
EXPORTER_WINDOW_SECONDS: Final = 10
WEB: Final = ObjectRef(namespace="default", name="web")


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod by its number and the second in which it was created."""

    number: int
    created: int

    def runs(self, now: int) -> bool:
        """Whether its container runs; it may still be loading."""
        return now >= self.created + PLACED_AFTER_SECONDS

    def is_ready(self, now: int) -> bool:
        """Whether it serves."""
        return now >= self.created + READY_AFTER_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a policy is shown: every pod, and the duty cycle (percent) of those that run."""

    now: int
    pods: tuple[Pod, ...]
    duty_percent: dict[int, float]


class Policy(Protocol):
    """Something that says how many replicas there should be."""

    name: str
    loop_seconds: int

    def replicas(self, seen: Seen) -> int:
        """Return the count to set now."""


@dataclass(slots=True)
class HpaPolicy:
    """The HorizontalPodAutoscaler on a Pods metric, without `spec.behavior`, every 15 s."""

    target_percent: int
    name: str = "HPA"
    loop_seconds: int = 15
    _recommendations: list[Recommendation] = field(default_factory=list)

    def replicas(self, seen: Seen) -> int:
        """Follow reconcileAutoscaler; readiness does not matter for a metric that is not cpu."""
        current = len(seen.pods)
        if not self._recommendations:
            self._recommendations.append(Recommendation(replicas=current, at_seconds=seen.now))
        running = [pod for pod in seen.pods if pod.runs(seen.now)]
        values = [int(seen.duty_percent[pod.number] * 1000) for pod in running]
        if not values:
            return current
        asked = pods_metric_replicas(
            current_replicas=current,
            target_milli=self.target_percent * 1000,
            values_milli=values,
            ready_count=len(running),
            unready_count=current - len(running),
            missing_count=0,
            tolerance=Tolerance(up=0.1, down=0.1),
        ).replicas
        replicas, _ = limit_without_behavior(
            current_replicas=current,
            proposed_replicas=asked,
            min_replicas=MIN_REPLICAS,
            max_replicas=MAX_REPLICAS,
            recommendations=self._recommendations,
            now_seconds=seen.now,
        )
        self._recommendations = [
            one for one in self._recommendations if one.at_seconds > seen.now - 300
        ]
        self._recommendations.append(Recommendation(replicas=asked, at_seconds=seen.now))
        return replicas


class OurPolicy:
    """The scaler's own decisions with all defaults, every `loop_seconds`."""

    def __init__(self, target_percent: int, *, name: str, loop_seconds: int) -> None:
        self.name = name
        self.loop_seconds = loop_seconds
        self._history: ScalingHistory | None = None
        target = MetricTarget(metric=Metric.DUTY_CYCLE, average_value_milli=target_percent * 1000)
        self._policy = ScalingPolicy(
            min_replicas=MIN_REPLICAS,
            max_replicas=MAX_REPLICAS,
            targets=(target,),
            window_seconds=0.0,
            behavior=DEFAULT_BEHAVIOR,
            ready_age_seconds=30.0,
            dry_run=False,
            paused=False,
        )

    def replicas(self, seen: Seen) -> int:
        """Decide, and remember the decision as carried out."""
        now = float(seen.now)
        pods = tuple(_state(pod, seen.now) for pod in seen.pods)
        values = {
            _ref(number): PodValue(value_milli=int(value * 1000), sampled_seconds=now)
            for number, value in seen.duty_percent.items()
        }
        decision = decide(
            DeploymentState(
                ref=WEB,
                uid="web",
                annotations={},
                spec_replicas=len(pods),
                pods=pods,
            ),
            self._policy,
            {Metric.DUTY_CYCLE: MetricReading(metric=Metric.DUTY_CYCLE, values=values)},
            self._history,
            now,
        )
        self._history = decision.history
        return decision.desired_replicas


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came of a trace under a policy; `replicas[n]` is the count of second n."""

    policy: str
    requests: float
    saturated_requests: float
    gpu_hours: float
    changes: int
    replicas: tuple[int, ...]

    @property
    def saturated_percent(self) -> float:
        """The share of all requests that found every pod saturated."""
        return 100 * self.saturated_requests / self.requests


def simulate(trace: Trace, policy: Policy) -> Run:
    """Run the trace from one ready pod on."""
    pods = [Pod(0, -3600)]
    made, changes, saturated = 1, 0, 0.0
    replicas: list[int] = []
    busy_sums = [0.0]
    for now, load in enumerate(trace.requests_per_second):
        ready = sum(pod.is_ready(now) for pod in pods)
        share = load / (ready * POD_REQUESTS_PER_SECOND) if ready else float(load > 0)
        if share >= 1:
            saturated += load
        busy_sums.append(busy_sums[-1] + min(100.0, 100 * share))
        replicas.append(len(pods))
        if now % policy.loop_seconds:
            continue
        seen = Seen(now=now, pods=tuple(pods), duty_percent=_duty_percent(pods, now, busy_sums))
        wanted = policy.replicas(seen)
        changes += wanted != len(pods)
        while len(pods) < wanted:
            pods.append(Pod(made, now))
            made += 1
        # The youngest go first, as with a ReplicaSet.
        del pods[wanted:]
    return Run(
        policy=policy.name,
        requests=sum(trace.requests_per_second),
        saturated_requests=saturated,
        gpu_hours=sum(replicas) / 3600,
        changes=changes,
        replicas=tuple(replicas),
    )


def _duty_percent(pods: Sequence[Pod], now: int, busy_sums: Sequence[float]) -> dict[int, float]:
    """What the exporter shows: the average of the last 10 s, idle while a pod loaded."""
    shown = {}
    for pod in pods:
        if pod.runs(now):
            served_since = max(
                0, pod.created + READY_AFTER_SECONDS, now + 1 - EXPORTER_WINDOW_SECONDS
            )
            busy = busy_sums[now + 1] - busy_sums[min(served_since, now + 1)]
            seconds = min(now + 1, EXPORTER_WINDOW_SECONDS)
            shown[pod.number] = busy / seconds
    return shown


def _state(pod: Pod, now: int) -> PodState:
    ready_since = float(pod.created + READY_AFTER_SECONDS) if pod.is_ready(now) else None
    return PodState(
        ref=_ref(pod.number),
        uid=str(pod.number),
        phase=PodPhase.RUNNING if pod.runs(now) else PodPhase.PENDING,
        deleting=False,
        ready_since_seconds=ready_since,
        node_name="node",
    )


def _ref(number: int) -> ObjectRef:
    return ObjectRef(namespace="default", name=f"web-{number}")
