"""Pure: which pods' values of one metric count on the way up, and which on the way down.

On the way down counts who serves, and nothing else. On the way up counts whatever may show more
demand, of the busiest pods as many as are asked for: the pods that a rollout has in addition
neither raise the count nor hide the load of those that serve.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scaler.decision.model import LeftOutPod
from scaler.decision.replicas import mean_milli

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scaler.decision.grouping import PodGroups
    from scaler.model import MetricReading, ObjectRef, PodValue

AS_ZERO = "counts as 0 on the way up"
UP_ONLY = "counts on the way up only"


@dataclass(frozen=True, slots=True, kw_only=True)
class OneWay:
    """What counts on one way: values in milli units, and pods asked for that have none.

    `values_milli` are those of `counted`, on the way up followed by those of young pods.
    `missing` serve without a fresh value, `unready` do not serve yet: 0 each on the way up.
    `left_out` are all pods that are not in `counted`.
    """

    counted: Mapping[ObjectRef, PodValue]
    values_milli: Sequence[int]
    missing: int
    unready: int
    left_out: tuple[LeftOutPod, ...]

    @property
    def mean_milli(self) -> int | None:
        """The mean over `counted`, None without any."""
        counted = self.values_milli[: len(self.counted)]
        return mean_milli(counted) if counted else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """One metric's values by the way on which they count.

    `missing` names the pods that serve without a fresh value. `serving_milli` are the values of
    pods that are Ready now, young ones as they are.
    """

    up: OneWay
    down: OneWay
    missing: tuple[LeftOutPod, ...]
    serving_milli: Sequence[int]


def count_values(reading: MetricReading, groups: PodGroups, *, asked_pods: int) -> Counts:
    """Sort a metric's values by the way on which they count; `asked_pods` are asked for."""
    serving: dict[ObjectRef, PodValue] = {}
    missing: list[LeftOutPod] = []
    for pod in groups.serving:
        value = reading.values.get(pod.ref)
        if value is None:
            reason = reading.missing.get(pod.ref, "no fresh value")
            missing.append(LeftOutPod(pod=pod.ref, reason=reason))
        elif value.sampled_seconds < (pod.ready_since_seconds or 0.0):
            # What it did until then was to load.
            reason = "the last sample predates readiness"
            missing.append(LeftOutPod(pod=pod.ref, reason=reason))
        else:
            serving[pod.ref] = value
    down = OneWay(
        counted=serving,
        values_milli=_milli(serving),
        missing=len(missing),
        unready=0,
        left_out=(*missing, *left_out(groups)),
    )
    return Counts(
        up=_up(down, missing, reading, groups, asked_pods),
        down=down,
        missing=tuple(missing),
        serving_milli=[*down.values_milli, *_milli(_found(reading, groups.young))],
    )


def _up(
    down: OneWay,
    missing: Sequence[LeftOutPod],
    reading: MetricReading,
    groups: PodGroups,
    asked_pods: int,
) -> OneWay:
    most = max(1, asked_pods)
    lapsed = _found(reading, groups.lapsed)
    counted = {**down.counted, **lapsed} if lapsed else down.counted
    surplus: list[ObjectRef] = []
    if len(counted) > most:
        ranked = sorted(counted, key=lambda pod: -counted[pod].value_milli)
        surplus = ranked[most:]
        busiest = {*ranked[:most]}
        # In their own order, which people look for.
        counted = {pod: value for pod, value in counted.items() if pod in busiest}
    values_milli = down.values_milli if counted is down.counted else _milli(counted)
    young_milli: list[int] = []
    if counted:
        # One that still tells of its warm-up asks for no more than those that serve for longer.
        mean = mean_milli(values_milli)
        found = [min(value, mean) for value in _milli(_found(reading, groups.young))]
        young_milli = sorted(found, reverse=True)[: most - len(counted)]
    room = most - len(counted) - len(young_milli)
    zeros = len(groups.young) - len(young_milli) + len(groups.lapsed) - len(lapsed)
    zeros += len(groups.unready)
    return OneWay(
        counted=counted,
        values_milli=[*values_milli, *young_milli],
        missing=min(len(missing), room),
        unready=min(zeros, room - min(len(missing), room)),
        left_out=(
            *missing,
            *(_without_value(pod, reading) for pod in groups.lapsed if pod.pod not in lapsed),
            *(_surplus(pod, most) for pod in surplus),
            *_explained(groups.young, UP_ONLY),
            *_explained(groups.unready, AS_ZERO if room else f"not among the {most} asked for"),
            *groups.ignored,
        ),
    )


def left_out(groups: PodGroups) -> tuple[LeftOutPod, ...]:
    """Return the pods that do not serve, and what becomes of each."""
    return (
        *_explained((*groups.lapsed, *groups.young), UP_ONLY),
        *_explained(groups.unready, AS_ZERO),
        *groups.ignored,
    )


def _explained(pods: Iterable[LeftOutPod], how: str) -> Iterable[LeftOutPod]:
    return (replace(pod, reason=f"{pod.reason}: {how}") for pod in pods)


def _found(reading: MetricReading, pods: Sequence[LeftOutPod]) -> dict[ObjectRef, PodValue]:
    found = ((pod.pod, reading.values.get(pod.pod)) for pod in pods)
    return {pod: value for pod, value in found if value is not None}


def _milli(values: Mapping[ObjectRef, PodValue]) -> list[int]:
    return [value.value_milli for value in values.values()]


def _without_value(pod: LeftOutPod, reading: MetricReading) -> LeftOutPod:
    why = reading.missing.get(pod.pod, "no fresh value")
    return replace(pod, reason=f"not Ready, and {why}: {AS_ZERO}")


def _surplus(pod: ObjectRef, most: int) -> LeftOutPod:
    reason = f"not among the busiest {most}, which is how many are asked for"
    return LeftOutPod(pod=pod, reason=reason)
