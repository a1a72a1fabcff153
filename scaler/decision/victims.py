# SPDX-License-Identifier: Apache-2.0
"""Pure: which pods a scale-down removes, and why: those that have least to lose.

A ReplicaSet deletes pods without a node first, then Pending ones, then those that are not Ready;
among the others the lowest `controller.kubernetes.io/pod-deletion-cost` decides. So marks can only
choose among Ready pods, and only where nobody else has set a cost. Source: kubernetes
`pkg/controller/controller_utils.go`, `ActivePodsWithRanks.Less`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaler.decision.model import Victim
from scaler.model import Metric, PodPhase
from scaler.quantities import format_duration, format_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scaler.model import DeploymentState, MetricReading, ObjectRef, PodState

IDLE_DUTY_MILLI = 1_000
"""Duty cycle in milli percent up to which a pod does nothing."""
MARK_COST = -1
"""Our deletion cost: below that of pods without one, and above no negative one of somebody else."""
MAX_NAMED = 3
_ENDED = (PodPhase.FAILED, PodPhase.SUCCEEDED)
_PHASES = {PodPhase.PENDING: 0, PodPhase.UNKNOWN: 1, PodPhase.RUNNING: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class PodLoad:
    """What a pod works on, None where it is unknown: requests in hand, duty cycle in percent.

    `idle_since_seconds` is since when it has done nothing, None if it works or was not seen to.
    """

    requests_milli: int | None = None
    duty_milli: int | None = None
    idle_since_seconds: float | None = None

    def is_known(self) -> bool:
        """Whether anything is known."""
        return self.requests_milli is not None or self.duty_milli is not None

    def is_below(self, busy_milli: int) -> bool:
        """Whether it has no request in hand, and a duty cycle below a limit."""
        if self.requests_milli:
            return False
        if self.duty_milli is None:
            return self.requests_milli == 0
        return self.duty_milli < busy_milli


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """The pods that go when `count` go; the ReplicaSet chooses those that `victims` leaves open.

    `idle` is how many of them are below the limit that was asked for. `respected` are the pods with
    a deletion cost of somebody else that keeps them. `problem` is why there is nothing to choose.
    """

    count: int
    victims: tuple[Victim, ...] = ()
    idle: int = 0
    respected: tuple[ObjectRef, ...] = ()
    problem: str | None = None


def chosen(
    deployment: DeploymentState,
    loads: Mapping[ObjectRef, PodLoad],
    *,
    desired_replicas: int,
    busy_milli: int = IDLE_DUTY_MILLI,
    now_seconds: float,
) -> Removal:
    """Return the pods that a scale-down to `desired_replicas` removes."""
    alive = alive_pods(deployment)
    # It also removes what an earlier change has left to remove.
    count = len(alive) - desired_replicas
    if count <= 0:
        return Removal(count=0)
    owners = {one.replica_set for one in alive}
    if None in owners:
        problem = "pods that no ReplicaSet controls cannot be chosen"
        return Removal(count=count, problem=problem)
    if len(owners) > 1:
        problem = "during a rollout the Deployment chooses among its ReplicaSets"
        return Removal(count=count, problem=problem)
    first = sorted((one for one in alive if not _is_serving(one)), key=_unserving_key)
    serving = [one for one in alive if _is_serving(one)]
    low = sorted(
        (one for one in serving if (one.deletion_cost or 0) < 0 and not _is_free(one)),
        key=lambda one: (one.deletion_cost or 0, _load_key(one, loads)),
    )
    free = sorted(
        (one for one in serving if _is_free(one) and _load(one, loads).is_known()),
        key=lambda one: _load_key(one, loads),
    )
    ranked = (*first, *low, *free)[:count]
    idle = sum(not _is_serving(one) or _load(one, loads).is_below(busy_milli) for one in ranked)
    kept = (one.ref for one in serving if not _is_free(one) and (one.deletion_cost or 0) >= 0)
    return Removal(
        count=count,
        victims=tuple(_victim(one, _load(one, loads), now_seconds) for one in ranked),
        idle=idle,
        respected=tuple(sorted(kept)),
    )


def alive_pods(deployment: DeploymentState) -> list[PodState]:
    """Return the pods that a ReplicaSet counts."""
    return [one for one in deployment.pods if not one.deleting and one.phase not in _ENDED]


def removal_text(removal: Removal) -> str:
    """Return what to say of a removal: the first pods with reasons; empty if there is nothing."""
    if removal.problem is not None:
        return removal.problem
    named = [f"{one.pod.name}: {one.why}" for one in removal.victims[:MAX_NAMED]]
    if len(removal.victims) > MAX_NAMED:
        named.append(f"{len(removal.victims) - MAX_NAMED} more")
    parts = [f"removed {'; '.join(named)}"] if named else []
    left = removal.count - len(removal.victims)
    if left:
        what = "1 pod" if left == 1 else f"{left} pods"
        parts.append(f"the ReplicaSet chose {what}, because the load of no other is known")
    if removal.respected:
        names = ", ".join(one.name for one in removal.respected[:MAX_NAMED])
        more = " and others" if len(removal.respected) > MAX_NAMED else ""
        parts.append(f"somebody else's pod-deletion-cost of {names}{more} is respected")
    return "; ".join(parts)


def loads_of(
    readings: Mapping[Metric, MetricReading],
    pods: Iterable[PodState],
    idle_since: Mapping[str, float],
) -> Mapping[ObjectRef, PodLoad]:
    """Return what is known of each pod's load; `idle_since` is by uid."""
    requests, duty = (_values(readings.get(one)) for one in (Metric.REQUESTS, Metric.DUTY_CYCLE))
    return {
        pod.ref: PodLoad(
            requests_milli=requests.get(pod.ref),
            duty_milli=duty.get(pod.ref),
            idle_since_seconds=idle_since.get(pod.uid),
        )
        for pod in pods
    }


def still_idle(
    readings: Mapping[Metric, MetricReading],
    pods: Sequence[PodState],
    before: Mapping[str, float],
    now_seconds: float,
) -> Mapping[str, float]:
    """Return since when each pod has been idle, by uid; a pod whose load is unknown is not."""
    loads = loads_of(readings, pods, before)
    return {
        pod.uid: before.get(pod.uid, now_seconds)
        for pod in pods
        if loads[pod.ref].is_below(IDLE_DUTY_MILLI + 1)
    }


def _victim(pod: PodState, load: PodLoad, now_seconds: float) -> Victim:
    if not _is_serving(pod):
        return Victim(pod=pod.ref, uid=pod.uid, why=_unserving_text(pod))
    why = _load_text(load, now_seconds)
    if _is_free(pod):
        return Victim(pod=pod.ref, uid=pod.uid, why=why, needs_mark=True)
    cost = f"pod-deletion-cost {pod.deletion_cost} set by somebody else"
    return Victim(pod=pod.ref, uid=pod.uid, why=f"{why}, {cost}")


def _values(reading: MetricReading | None) -> Mapping[ObjectRef, int]:
    if reading is None or reading.problem is not None:
        return {}
    return {pod: one.value_milli for pod, one in reading.values.items()}


def _load(pod: PodState, loads: Mapping[ObjectRef, PodLoad]) -> PodLoad:
    return loads.get(pod.ref, PodLoad())


def _is_serving(pod: PodState) -> bool:
    return (
        bool(pod.node_name)
        and pod.phase is PodPhase.RUNNING
        and pod.ready_since_seconds is not None
    )


def _is_free(pod: PodState) -> bool:
    """Whether nobody else has set its deletion cost."""
    return pod.deletion_cost is None or (pod.marked and pod.deletion_cost == MARK_COST)


def _unserving_key(pod: PodState) -> tuple[bool, int, bool, int, str]:
    return (
        bool(pod.node_name),
        _PHASES.get(pod.phase, 1),
        pod.ready_since_seconds is not None,
        pod.deletion_cost or 0,
        pod.ref.name,
    )


def _load_key(pod: PodState, loads: Mapping[ObjectRef, PodLoad]) -> tuple[float, ...]:
    """Fewest requests, then lowest duty cycle, then youngest; what is unknown comes last."""
    load = _load(pod, loads)
    unknown = float("inf")
    return (
        unknown if load.requests_milli is None else load.requests_milli,
        unknown if load.duty_milli is None else load.duty_milli,
        -(pod.ready_since_seconds or 0.0),
    )


def _unserving_text(pod: PodState) -> str:
    if not pod.node_name:
        return "on no node yet"
    return "not Ready" if pod.phase is PodPhase.RUNNING else pod.phase.value


def _load_text(load: PodLoad, now_seconds: float) -> str:
    parts = []
    if load.requests_milli is not None:
        text = format_value(Metric.REQUESTS, load.requests_milli)
        parts.append(f"{text} {'request' if text == '1' else 'requests'} in hand")
    if load.duty_milli is not None:
        parts.append(f"{format_value(Metric.DUTY_CYCLE, load.duty_milli)} %")
    if not parts:
        return "load unknown"
    text = ", ".join(parts)
    if load.idle_since_seconds is not None:
        text += f" for {format_duration(now_seconds - load.idle_since_seconds)}"
    return text
