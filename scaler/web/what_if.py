# SPDX-License-Identifier: Apache-2.0
"""Pure: "what if" on a Deployment's page: another target or behavior over the load that it had."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from scaler.decision.grouping import pods_per_replica
from scaler.model import Metric, ScalingPolicy
from scaler.policy.annotations import BEHAVIOR, SCHEDULE, target_annotation
from scaler.policy.parse import parse_policy
from scaler.replay.model import AS_IT_WAS, RecordedMetric, Recording
from scaler.replay.replay import as_it_was, replay
from scaler.reporting.load_history import STEP_SECONDS
from scaler.web.load_view import parse_seconds
from scaler.web.queries import QueryError
from scaler.web.wording import METRIC_LABELS, number_and_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

    from scaler.model import DeploymentState
    from scaler.replay.model import ReplayResult
    from scaler.reporting.load_history import PastLoad
    from scaler.reporting.status_store import DecisionRecord

MAX_REPLICAS = 1000
"""A replay has one object per pod."""
DEFAULT_START_SECONDS = 60.0
LEAST_START_SECONDS = STEP_SECONDS / 2
"""A start within one step is taken for half of it."""
IN_FORCE = "settings in force"
WHAT_IF = "what if"


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIfQuery:
    """The texts of annotations to try; None leaves the one in force, "" takes it away."""

    metric: Metric
    target: str | None
    behavior: str | None
    seconds: int


class WhatIfResult(TypedDict):
    """One curve and its sums; `points` are at Unix seconds, and `target` has its unit.

    `saturated` is the share of the time in saturation or, where it is not known what a pod can do,
    above the target; None if unknown.
    """

    name: str
    target: str | None
    gpu_hours: float
    saturated: float | None
    changes: int
    highest: int
    points: list[tuple[float, int | None]]


class WhatIfDict(TypedDict):
    """All curves, and what they assume; `seconds` is the time with known values.

    `share_label` says what the share of each result is.
    """

    metric: str
    label: str
    share_label: str
    seconds: float
    floor: float | None
    assumptions: list[str]
    results: list[WhatIfResult]


class Trial(NamedTuple):
    """The input of a replay: what happened, the policy in force, and another one.

    `not_kept` are the metrics with a target of which nothing is known.
    """

    recording: Recording
    in_force: ScalingPolicy
    tried: ScalingPolicy
    start_seconds: float
    not_kept: tuple[Metric, ...]


def parse_what_if(params: Mapping[str, str]) -> WhatIfQuery:
    """Return the query of a URL.

    Raises:
        QueryError: a parameter has a value that is not allowed.
    """
    metric = params.get("metric", "")
    if metric not in set(Metric):
        raise QueryError(f"metric: {metric[:40]!r} is not one of {', '.join(Metric)}")
    return WhatIfQuery(
        metric=Metric(metric),
        target=params.get("target"),
        behavior=params.get("behavior"),
        seconds=parse_seconds(params),
    )


def trial(
    query: WhatIfQuery, deployment: DeploymentState, record: DecisionRecord, load: PastLoad
) -> Trial | tuple[str, ...]:
    """Return the input of a replay, or what is wrong in the words of `gpu-scaler check`.

    Raises:
        QueryError: there is nothing to replay.
    """
    in_force = record.decision.policy
    if in_force is None:
        raise QueryError("the Deployment has no valid policy in force")
    texts = ((target_annotation(query.metric), query.target), (BEHAVIOR, query.behavior))
    changes = {name: text for name, text in texts if text is not None}
    tried = parse_policy(
        _changed(deployment.annotations, changes),
        # As `check` does.
        query_supported=True,
        defaults=None if deployment.defaults is None else _changed(deployment.defaults, changes),
        namespace=deployment.ref.namespace,
    )
    if not isinstance(tried, ScalingPolicy):
        return tuple(f"{problem.annotation}: {problem.message}" for problem in tried)
    both = {one.metric for one in tried.targets} & {one.metric for one in in_force.targets}
    recording = _recording(query.metric, both, deployment, record, load)
    counts = [count for count in load.replicas if count is not None]
    if max(counts) > MAX_REPLICAS:
        raise QueryError(f"more than {MAX_REPLICAS} replicas are not replayed here")
    # The policy of a decision has the range of its moment.
    in_force = replace(
        in_force,
        min_replicas=tried.min_replicas,
        max_replicas=tried.max_replicas,
        schedule=tried.schedule,
    )
    return Trial(
        recording=recording,
        in_force=_limited(query.metric, in_force),
        tried=_limited(query.metric, tried),
        start_seconds=measured_start_seconds(load) or DEFAULT_START_SECONDS,
        not_kept=tuple(
            target.metric
            for target in tried.targets
            if target.metric not in {one.metric for one in recording.metrics}
        ),
    )


def _changed(annotations: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """Return annotations with some texts replaced; an empty text takes one away."""
    kept = {name: text for name, text in annotations.items() if name not in changes}
    return kept | {name: text for name, text in changes.items() if text}


def _limited(metric: Metric, policy: ScalingPolicy) -> ScalingPolicy:
    """Return the policy with at most as many replicas as are replayed."""
    if not any(
        target.metric is metric and target.average_value_milli is not None
        for target in policy.targets
    ):
        raise QueryError(f"the Deployment has no target for {metric}")
    return replace(
        policy,
        min_replicas=min(policy.min_replicas, MAX_REPLICAS),
        max_replicas=min(policy.max_replicas, MAX_REPLICAS),
        schedule=tuple(
            replace(
                entry,
                min_replicas=_replayed(entry.min_replicas),
                max_replicas=_replayed(entry.max_replicas),
            )
            for entry in policy.schedule
        ),
    )


def _replayed(replicas: int | None) -> int | None:
    return None if replicas is None else min(replicas, MAX_REPLICAS)


def _recording(
    metric: Metric,
    targeted: AbstractSet[Metric],
    deployment: DeploymentState,
    record: DecisionRecord,
    load: PastLoad,
) -> Recording:
    """Return what was kept of this metric, and of the others that have a target."""
    kept = [
        RecordedMetric(metric=one.metric, demand_milli=one.demand_milli, floor=one.saturated)
        for one in load.metrics
        if one.metric in {metric, *targeted}
        and any(demand is not None for demand in one.demand_milli)
    ]
    # In the order of their names, but for the one to try.
    kept.sort(key=lambda one: (one.metric is not metric, one.metric))
    if not kept or kept[0].metric is not metric:
        raise QueryError(f"no value of {metric} has been kept yet")
    devices = [
        value.device_count
        for proposal in record.decision.proposals
        for value in proposal.values.values()
    ]
    return Recording(
        ref=deployment.ref,
        metrics=tuple(kept),
        begun_unix_seconds=load.first_step * STEP_SECONDS,
        step_seconds=STEP_SECONDS,
        replicas=load.replicas,
        gpus_per_replica=max(devices, default=1) * pods_per_replica(deployment),
    )


def measured_start_seconds(load: PastLoad) -> float | None:
    """Return the median time from a higher count until as many are Ready, None without any."""
    found = []
    before: int | None = None
    for step, wanted in enumerate(load.replicas):
        if wanted is not None and before is not None and wanted > before:
            ready = next(
                (
                    later - step
                    for later, count in enumerate(load.ready[step:], step)
                    if count is not None and count >= wanted
                ),
                None,
            )
            if ready is not None:
                found.append(ready * STEP_SECONDS)
        before = wanted
    return max(LEAST_START_SECONDS, float(median(found))) if found else None


def what_if(given: Trial, interval_seconds: float, should_stop: Callable[[], bool]) -> WhatIfDict:
    """Return what happened, and what both policies would have done.

    Takes about 0.1 s of CPU for 6 hours, and some seconds for hundreds of replicas. Raises
    TimeoutError where `should_stop` says so.
    """
    recording = given.recording
    results = [_result(AS_IT_WAS, as_it_was(recording), recording)]
    for name, policy in ((IN_FORCE, given.in_force), (WHAT_IF, given.tried)):
        done = replay(
            recording,
            policy,
            start_seconds=given.start_seconds,
            interval_seconds=interval_seconds,
            should_stop=should_stop,
        )
        results.append(_result(name, done, recording))
    gpus, label = recording.gpus_per_replica, METRIC_LABELS[recording.metric]
    others = [METRIC_LABELS[one.metric] for one in recording.metrics[1:]]
    not_kept = [METRIC_LABELS[one] for one in given.not_kept]
    scheduled = [f"minimum and maximum follow {SCHEDULE}"] if given.tried.schedule else []
    return {
        "metric": recording.metric,
        "label": label,
        "share_label": "Saturated" if recording.saturates else "Above target",
        "seconds": sum(recording.known()) * recording.step_seconds,
        "floor": recording.floor_share(),
        "assumptions": [
            f"a new pod serves after {given.start_seconds:g} s",
            f"a replica has {gpus} {'GPU' if gpus == 1 else 'GPUs'}",
            *scheduled,
            *([f"{' and '.join(others)} keeps its target and counts too"] if others else []),
            *([f"{' and '.join(not_kept)} does not count: no value is kept"] if not_kept else []),
        ],
        "results": results,
    }


def _result(name: str, done: ReplayResult, recording: Recording) -> WhatIfResult:
    target = None
    if done.target_milli is not None:
        number, unit = number_and_unit(recording.metric, done.target_milli)
        target = f"{number} {unit}".strip()
    begun = recording.begun_unix_seconds
    return {
        "name": name,
        "target": target,
        "gpu_hours": round(done.gpu_hours, 2),
        "saturated": done.saturated_share,
        "changes": done.changes,
        "highest": done.highest_replicas,
        "points": [(begun + step.at_seconds, step.replicas) for step in done.steps],
    }
