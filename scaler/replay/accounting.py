# SPDX-License-Identifier: Apache-2.0
"""Pure: what a course of replica counts cost, and how often it was too few."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scaler.replay.model import Recording, ReplicaStep


class Stretch(NamedTuple):
    """A time in which neither the count nor the number of Ready pods changes."""

    begin_seconds: float
    end_seconds: float
    replicas: int | None
    ready: int


class Account(NamedTuple):
    """Sums over the time in which the demand and the count are known.

    `saturated_demand` of `demand` (milli units times seconds) came while the pods were saturated.
    """

    seconds: float
    replica_seconds: float
    saturated_seconds: float
    demand: float
    saturated_demand: float


def stretches(
    steps: Sequence[ReplicaStep], *, until_seconds: float, start_seconds: float
) -> Iterator[Stretch]:
    """Cut the time where the count changes and where pods become Ready; the youngest leave first.

    The pods of the first step are Ready.
    """
    ready_at: list[float] = []
    for number, (begin, replicas) in enumerate(steps):
        end = steps[number + 1].at_seconds if number + 1 < len(steps) else until_seconds
        if replicas is None:
            if end > begin:
                yield Stretch(begin, end, None, 0)
            continue
        del ready_at[replicas:]
        served_at = begin if number == 0 else begin + start_seconds
        ready_at += [served_at] * (replicas - len(ready_at))
        cuts = sorted({begin, end, *(one for one in ready_at if begin < one < end)})
        for left, right in pairwise(cuts):
            yield Stretch(left, right, replicas, bisect_right(ready_at, left))


def account(
    recording: Recording, parts: Iterator[Stretch], capacity_milli: float | None
) -> Account:
    """Sum up; `capacity_milli` is the demand from which on one pod is saturated, None if unknown.

    Demand without a Ready pod is saturated whatever a pod can do.
    """
    sums = [0.0, 0.0, 0.0, 0.0, 0.0]
    for part in parts:
        if part.replicas is None:
            continue
        if part.ready == 0:
            top = 0.0
        else:
            top = float("inf") if capacity_milli is None else part.ready * capacity_milli
        for seconds, demands in _covered(recording, part):
            known = [one for one in demands if one is not None]
            over = [one for one in known if one >= top and one > 0]
            for index, sum_ in enumerate(
                (len(known), len(known) * part.replicas, len(over), sum(known), sum(over))
            ):
                sums[index] += seconds * sum_
    return Account(*sums)


def _covered(recording: Recording, part: Stretch) -> Iterator[tuple[float, Sequence[int | None]]]:
    """The demands of a stretch, with the seconds that each of them covers."""
    step_seconds, demand = recording.step_seconds, recording.demand_milli
    first = int(part.begin_seconds / step_seconds)
    last = min(int(part.end_seconds / step_seconds), len(demand) - 1)
    if first >= last:
        yield part.end_seconds - part.begin_seconds, demand[first : first + 1]
        return
    yield (first + 1) * step_seconds - part.begin_seconds, demand[first : first + 1]
    yield step_seconds, demand[first + 1 : last]
    yield part.end_seconds - last * step_seconds, demand[last : last + 1]
