# SPDX-License-Identifier: Apache-2.0
"""Pure: which pods' values of one metric count when scaling up, and which when scaling down.

When scaling down, only pods that serve count. When scaling up, every value that may show more
demand counts, of no more pods than the replica count requests: the surge pods of a rollout neither
raise the count nor hide the load of the pods that serve.
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

AS_ZERO = "counts as 0 when scaling up"
UP_ONLY = "counts only when scaling up"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSamples:
    """One metric's values by the state of their pods, each in milli units as it was read.

    `missing` names the pods that serve without a fresh value, `lapsed_missing` those that served
    before and have none.
    """

    serving: Mapping[ObjectRef, PodValue]
    lapsed: Mapping[ObjectRef, PodValue]
    young: Mapping[ObjectRef, PodValue]
    missing: tuple[LeftOutPod, ...]
    lapsed_missing: tuple[LeftOutPod, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What counts in one direction: values, and how many pods without one count beside them.

    `values_milli` are those of `pods`, when scaling up followed by those of young pods.
    `missing` pods serve without a fresh value, `unready` pods do not serve yet.
    `left_out` are all pods that are not in `pods`.
    """

    pods: Mapping[ObjectRef, PodValue]
    values_milli: Sequence[int]
    missing: int
    unready: int
    left_out: tuple[LeftOutPod, ...]

    @property
    def mean_milli(self) -> int | None:
        """The mean over `pods`, None without any."""
        counted = self.values_milli[: len(self.pods)]
        return mean_milli(counted) if counted else None


def sample_pods(reading: MetricReading, groups: PodGroups) -> PodSamples:
    """Sort a metric's values by the state of their pods."""
    serving: dict[ObjectRef, PodValue] = {}
    missing: list[LeftOutPod] = []
    for pod in groups.serving:
        value = reading.values.get(pod.ref)
        if value is None:
            missing.append(LeftOutPod(pod=pod.ref, reason=_why_missing(pod.ref, reading)))
        elif value.sampled_seconds < (pod.ready_since_seconds or 0.0):
            # The pod was still loading when the exporter took the sample.
            reason = "the last sample predates readiness"
            missing.append(LeftOutPod(pod=pod.ref, reason=reason))
        else:
            serving[pod.ref] = value
    lapsed = _found(reading, groups.lapsed)
    return PodSamples(
        serving=serving,
        lapsed=lapsed,
        young=_found(reading, groups.young),
        missing=tuple(missing),
        lapsed_missing=tuple(
            replace(pod, reason=f"not Ready, and {_why_missing(pod.pod, reading)}: {AS_ZERO}")
            for pod in groups.lapsed
            if pod.pod not in lapsed
        ),
    )


def counted_down(samples: PodSamples, groups: PodGroups) -> Counted:
    """What counts when scaling down: the pods that serve."""
    return Counted(
        pods=samples.serving,
        values_milli=_milli(samples.serving.values()),
        missing=len(samples.missing),
        unready=0,
        left_out=(*samples.missing, *left_out(groups)),
    )


def counted_up(samples: PodSamples, groups: PodGroups, *, requested_pods: int) -> Counted:
    """What counts when scaling up: as many pods as are requested, whatever a rollout adds."""
    places = max(1, requested_pods)
    pods, surplus = _busiest(samples, places)
    values_milli = _milli(pods.values())
    young_milli = _young_in(places - len(pods), samples, values_milli)
    free = places - len(pods) - len(young_milli)
    missing, unready = _zeros_in(free, samples, groups, young=len(young_milli))
    return Counted(
        pods=pods,
        values_milli=[*values_milli, *young_milli],
        missing=missing,
        unready=unready,
        left_out=(
            *samples.missing,
            *samples.lapsed_missing,
            *(_surplus(pod, places) for pod in surplus),
            *_explained(groups.young, UP_ONLY),
            *_explained(groups.unready, AS_ZERO if free else f"beyond the {places} requested pods"),
            *groups.ignored,
        ),
    )


def _busiest(
    samples: PodSamples, places: int
) -> tuple[Mapping[ObjectRef, PodValue], Sequence[ObjectRef]]:
    """First surge rule: of the pods that serve or served before, the busiest count.

    Idle surge pods would hide the load of the others. Returns those that count and the rest.
    """
    pods = {**samples.serving, **samples.lapsed} if samples.lapsed else samples.serving
    if len(pods) <= places:
        return pods, ()
    ranked = sorted(pods, key=lambda pod: -pods[pod].value_milli)
    busiest = {*ranked[:places]}
    # In the order of the pods, which people look for.
    return {pod: value for pod, value in pods.items() if pod in busiest}, ranked[places:]


def _young_in(places: int, samples: PodSamples, values_milli: Sequence[int]) -> Sequence[int]:
    """Second surge rule: the places left go to young pods, none with more than the mean.

    A value that still includes the warm-up asks for no more than those of older pods.
    """
    if not values_milli:
        return ()
    mean = mean_milli(values_milli)
    young_milli = [min(value, mean) for value in _milli(samples.young.values())]
    return sorted(young_milli, reverse=True)[:places]


def _zeros_in(
    places: int, samples: PodSamples, groups: PodGroups, *, young: int
) -> tuple[int, int]:
    """Third surge rule: the places left then go to pods that count as 0, missing ones first.

    A surge pod beyond those places would lower the mean of pods that were never requested.
    `young` is how many young pods count with a value. Returns the missing and the unready.
    """
    missing = min(len(samples.missing), places)
    unready = len(groups.young) - young + len(samples.lapsed_missing) + len(groups.unready)
    return missing, min(unready, places - missing)


def left_out(groups: PodGroups) -> tuple[LeftOutPod, ...]:
    """Return the pods that do not serve, and how each counts."""
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


def _milli(values: Iterable[PodValue]) -> list[int]:
    return [value.value_milli for value in values]


def _why_missing(pod: ObjectRef, reading: MetricReading) -> str:
    return reading.missing.get(pod, "no fresh value")


def _surplus(pod: ObjectRef, places: int) -> LeftOutPod:
    reason = f"not among the {places} busiest pods ({places} are requested)"
    return LeftOutPod(pod=pod, reason=reason)
