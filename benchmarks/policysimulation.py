# SPDX-License-Identifier: Apache-2.0
"""One Deployment under a trace of load, scaled by one policy: a replay, without any waiting.

Requests spread evenly over the ready pods. A pod's GPU is busy for its share of the load, at most
all of the time, and the exporter shows the average of the last 10 s: what is too much cannot be
seen in the value, which is the point of the comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.traces import POD_REQUESTS_PER_SECOND
from scaler.decision.behavior import DEFAULT_BEHAVIOR
from scaler.model import Metric, MetricTarget, ObjectRef, ScalingPolicy
from scaler.replay.accounting import account, busy_pods
from scaler.replay.load import FULL_MILLI
from scaler.replay.model import HPA, RecordedMetric, Recording, ReplayResult
from scaler.replay.replay import replay

if TYPE_CHECKING:
    from benchmarks.traces import Trace

MIN_REPLICAS: Final = 1
MAX_REPLICAS: Final = 20
START_SECONDS: Final = 40.0
EXPORTER_WINDOW_SECONDS: Final = 10.0
WEB: Final = ObjectRef(namespace="default", name="web")


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


def run_hpa(trace: Trace, target_percent: int) -> Run:
    """Run the trace under the HorizontalPodAutoscaler's arithmetic, every 15 s."""
    recording = _recording(trace)
    result = replay(recording, _policy(target_percent), start_seconds=START_SECONDS, party=HPA)
    return _run("HPA", recording, result)


def run_ours(trace: Trace, target_percent: int, *, interval_seconds: float) -> Run:
    """Run the trace under the scaler's own decisions with all defaults."""
    recording = _recording(trace)
    result = replay(
        recording,
        _policy(target_percent),
        start_seconds=START_SECONDS,
        interval_seconds=interval_seconds,
    )
    return _run(f"ours, {interval_seconds:.0f} s", recording, result)


def _policy(target_percent: int) -> ScalingPolicy:
    target = MetricTarget(metric=Metric.DUTY_CYCLE, average_value_milli=target_percent * 1000)
    return ScalingPolicy(
        min_replicas=MIN_REPLICAS,
        max_replicas=MAX_REPLICAS,
        targets=(target,),
        window_seconds=EXPORTER_WINDOW_SECONDS,
        behavior=DEFAULT_BEHAVIOR,
        ready_age_seconds=30.0,
        dry_run=False,
        paused=False,
    )


def _recording(trace: Trace) -> Recording:
    """The trace second by second, as what busy pods would show; it begins with one ready pod."""
    seconds = len(trace.requests_per_second)
    return Recording(
        ref=WEB,
        metrics=(
            RecordedMetric(
                metric=Metric.DUTY_CYCLE,
                demand_milli=tuple(
                    round(FULL_MILLI * load / POD_REQUESTS_PER_SECOND)
                    for load in trace.requests_per_second
                ),
                floor=(False,) * seconds,
            ),
        ),
        begun_unix_seconds=0.0,
        step_seconds=1.0,
        replicas=(1,) * seconds,
    )


def _run(name: str, recording: Recording, result: ReplayResult) -> Run:
    seconds = len(recording.replicas)
    busy = busy_pods(recording.metrics, {Metric.DUTY_CYCLE: FULL_MILLI})
    sums = account(busy, recording.step_seconds, result.steps, start_seconds=START_SECONDS)
    replicas: list[int] = []
    ends = [*(int(one.at_seconds) for one in result.steps[1:]), seconds]
    for step, end in zip(result.steps, ends, strict=True):
        replicas += [step.replicas or 0] * (end - len(replicas))
    return Run(
        policy=name,
        requests=sums.demand * POD_REQUESTS_PER_SECOND,
        saturated_requests=sums.saturated_demand * POD_REQUESTS_PER_SECOND,
        gpu_hours=result.gpu_hours,
        changes=result.changes,
        replicas=tuple(replicas),
    )
