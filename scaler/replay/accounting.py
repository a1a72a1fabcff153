# SPDX-License-Identifier: Apache-2.0
"""Pure: what a course of replica counts cost, and how often it was too few."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scaler.model import Metric
    from scaler.replay.model import RecordedMetric, ReplicaStep

LITTLE: Final = 0.5
"""What any number of pods can do, and none cannot."""


class _Stretch(NamedTuple):
    """A time in which neither the count nor the number of Ready pods changes."""

    begin_seconds: float
    end_seconds: float
    replicas: int
    ready: int


class Account(NamedTuple):
    """Sums over the time in which the demand and the count are known.

    `saturated_demand` of `demand` (busy pods times seconds) came while the pods were saturated.
    """

    seconds: float
    replica_seconds: float
    saturated_seconds: float
    demand: float
    saturated_demand: float


def _stretches(
    steps: Sequence[ReplicaStep], until_seconds: float, start_seconds: float
) -> Iterator[_Stretch]:
    """Cut the time where the count changes and where pods become Ready; the youngest leave first.

    The pods of the first step are Ready.
    """
    ready_at: list[float] = []
    for number, (begin, replicas) in enumerate(steps):
        end = steps[number + 1].at_seconds if number + 1 < len(steps) else until_seconds
        assert replicas is not None
        del ready_at[replicas:]
        served_at = begin if number == 0 else begin + start_seconds
        ready_at += [served_at] * (replicas - len(ready_at))
        cuts = sorted({begin, end, *(one for one in ready_at if begin < one < end)})
        for left, right in pairwise(cuts):
            yield _Stretch(left, right, replicas, bisect_right(ready_at, left))


def busy_pods(
    metrics: Sequence[RecordedMetric], capacities_milli: Mapping[Metric, float]
) -> list[float | None]:
    """Return for each step how many pods the demand keeps busy, by the metric that asks for most.

    `capacities_milli` are the demands from which on one pod is saturated; of a metric without one
    it is only known that a demand needs a pod. None where no demand is known.
    """
    found: list[float | None] = [None] * len(metrics[0].demand_milli)
    for one in metrics:
        capacity = capacities_milli.get(one.metric)
        for step, demand in enumerate(one.demand_milli):
            if demand is not None:
                busy = demand / capacity if capacity else LITTLE * (demand > 0)
                before = found[step]
                if before is None or busy > before:
                    found[step] = busy
    return found


def account(
    busy: Sequence[float | None],
    step_seconds: float,
    steps: Sequence[ReplicaStep],
    *,
    start_seconds: float,
) -> Account:
    """Sum up; saturated is where the demand keeps at least the Ready pods busy.

    `steps` are known counts, which pods serve `start_seconds` later.
    """
    sums = [0.0, 0.0, 0.0, 0.0, 0.0]
    for part in _stretches(steps, len(busy) * step_seconds, start_seconds):
        for seconds, demands in _covered(busy, step_seconds, part):
            known = [one for one in demands if one is not None]
            over = [one for one in known if one >= part.ready and one > 0]
            for index, sum_ in enumerate(
                (len(known), len(known) * part.replicas, len(over), sum(known), sum(over))
            ):
                sums[index] += seconds * sum_
    return Account(*sums)


def _covered(
    busy: Sequence[float | None], step_seconds: float, part: _Stretch
) -> Iterator[tuple[float, Sequence[float | None]]]:
    """The demands of a stretch, with the seconds that each of them covers."""
    first = int(part.begin_seconds / step_seconds)
    last = min(int(part.end_seconds / step_seconds), len(busy) - 1)
    if first >= last:
        yield part.end_seconds - part.begin_seconds, busy[first : first + 1]
        return
    yield (first + 1) * step_seconds - part.begin_seconds, busy[first : first + 1]
    yield step_seconds, busy[first + 1 : last]
    yield part.end_seconds - last * step_seconds, busy[last : last + 1]
