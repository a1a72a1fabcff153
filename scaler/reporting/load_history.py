# SPDX-License-Identifier: Apache-2.0
"""Pure: the load and the replicas of a Deployment over the last hours, one sample per step.

A step is a number: Unix seconds divided by STEP_SECONDS. Per Deployment 3 kB, and 5 kB per metric.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from scaler.decision.model import Outcome
from scaler.decision.proposals import SATURATED_MILLI, SATURATING_METRICS
from scaler.model import TOTAL_METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaler.decision.model import Decision, MetricProposal
    from scaler.model import Metric

STEP_SECONDS = 30
KEPT_SECONDS = 6 * 3600
STEPS = KEPT_SECONDS // STEP_SECONDS
MAX_TARGETS = 32
"""Changes of a target per metric. Beyond that the oldest are dropped."""
_MAX_COUNT = 0xFFFE
_NO_COUNT = 0xFFFF
_SUM, _COUNTED, _SATURATED = range(3)
_WANTED, _READY = range(2)


class ReplicaChange(NamedTuple):
    """The replica count from `unix_seconds` on; None if it is unknown."""

    unix_seconds: float
    replicas: int | None


class TargetChange(NamedTuple):
    """The target from `step` on; None without one."""

    step: int
    target_milli: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricLoad:
    """One metric over the steps of a PastLoad; None is unknown.

    `demand_milli` is the sum over the pods that counted, and over other Ready pods as if each had
    the mean; of a total it is the total. It was at least that much where a pod was `saturated`.
    """

    metric: Metric
    targets: tuple[TargetChange, ...]
    demand_milli: tuple[int | None, ...]
    mean_milli: tuple[int | None, ...]
    saturated: tuple[bool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PastLoad:
    """Replicas (wanted and Ready) and metrics, one item per step from `first_step` on."""

    first_step: int
    replicas: tuple[int | None, ...]
    ready: tuple[int | None, ...]
    metrics: tuple[MetricLoad, ...]


class _Rings:
    """Arrays of one value for each of the last STEPS steps; a step in between has `unknown`."""

    __slots__ = ("_arrays", "_unknown", "last_step")

    def __init__(self, *kinds: tuple[str, float]) -> None:
        self._unknown = tuple(unknown for _, unknown in kinds)
        self._arrays = tuple(array(code, [unknown]) * STEPS for code, unknown in kinds)
        self.last_step = -STEPS

    def put(self, step: int, *values: float) -> None:
        # Whole slices: a new Deployment skips all steps, and thousands may be new in one loop.
        skipped = min(step - self.last_step, STEPS) - 1
        start = (step - skipped) % STEPS
        until_end = min(skipped, STEPS - start)
        for kept, unknown, value in zip(self._arrays, self._unknown, values, strict=True):
            blank = array(kept.typecode, [unknown])
            kept[start : start + until_end] = blank * until_end
            kept[: skipped - until_end] = blank * (skipped - until_end)
            kept[step % STEPS] = value
        self.last_step = step

    def get(self, kind: int, steps: range) -> list[float]:
        """Return the values of one kind, one of each step."""
        unknown, kept = self._unknown[kind], self._arrays[kind]
        first = max(steps.start, self.last_step - STEPS + 1)
        stop = min(steps.stop, self.last_step + 1)
        if first >= stop:
            return [unknown] * len(steps)
        begin, end = first % STEPS, stop % STEPS
        known = kept[begin:end] if begin < end else kept[begin:] + kept[:end]
        before, after = first - steps.start, steps.stop - stop
        return [*([unknown] * before), *known, *([unknown] * after)]


class _MetricHistory:
    __slots__ = ("_targets", "_values")

    def __init__(self) -> None:
        self._values = _Rings(("f", math.nan), ("H", 0), ("B", 0))
        self._targets: tuple[TargetChange, ...] = ()

    @property
    def last_step(self) -> int:
        return self._values.last_step

    def add(self, step: int, proposal: MetricProposal, replicas: int) -> None:
        values = [value.value_milli for value in proposal.values.values()]
        counted = len(values)
        if proposal.metric in TOTAL_METRICS and values:
            counted = 1 if proposal.target_milli is None else max(1, replicas)
        saturates = proposal.metric in SATURATING_METRICS and values
        saturated = saturates and max(values) >= SATURATED_MILLI
        self._values.put(
            step, sum(values) if values else math.nan, min(counted, _MAX_COUNT), bool(saturated)
        )
        if not self._targets or self._targets[-1].target_milli != proposal.target_milli:
            new = TargetChange(step, proposal.target_milli)
            self._targets = (*self._targets[-(MAX_TARGETS - 1) :], new)

    def load(self, metric: Metric, steps: range, ready: Sequence[int | None]) -> MetricLoad:
        found = self._values.get(_SUM, steps)
        sums = [None if math.isnan(total) else int(total) for total in found]
        counted = [int(pods) for pods in self._values.get(_COUNTED, steps)]
        if metric in TOTAL_METRICS:
            demand = sums
        else:
            demand = [
                None if total is None else total * max(pods, serving or 0) // max(1, pods)
                for total, pods, serving in zip(sums, counted, ready, strict=True)
            ]
        return MetricLoad(
            metric=metric,
            targets=self._targets,
            demand_milli=tuple(demand),
            mean_milli=tuple(
                None if total is None else total // max(1, pods)
                for total, pods in zip(sums, counted, strict=True)
            ),
            saturated=tuple(saturated != 0 for saturated in self._values.get(_SATURATED, steps)),
        )


class LoadHistory:
    """The last KEPT_SECONDS of one Deployment, in arrays of fixed length."""

    __slots__ = ("_counts", "_first_step", "_metrics")

    def __init__(self, step: int) -> None:
        self._first_step = step
        self._counts = _Rings(("H", _NO_COUNT), ("H", _NO_COUNT))
        self._metrics: dict[Metric, _MetricHistory] = {}

    def add(self, step: int, decision: Decision, ready: int | None) -> None:
        """Add the sample of a step; `ready` is the number of Ready replicas, None if unknown.

        One skipped step is filled, because a long interval may pass over it. Older steps stay.
        """
        last = self._counts.last_step
        if step <= last:
            return
        if step == last + 2:
            self._put(step - 1, decision, ready)
        self._put(step, decision, ready)

    def _put(self, step: int, decision: Decision, ready: int | None) -> None:
        self._counts.put(
            step,
            min(replicas_after(decision), _MAX_COUNT),
            _NO_COUNT if ready is None else min(ready, _MAX_COUNT),
        )
        for proposal in decision.proposals:
            history = self._metrics.get(proposal.metric)
            if history is None:
                history = self._metrics[proposal.metric] = _MetricHistory()
            history.add(step, proposal, decision.current_replicas)
        if len(self._metrics) > len(decision.proposals):
            kept = {
                name: one for name, one in self._metrics.items() if step - one.last_step < STEPS
            }
            self._metrics = kept

    def load(self, seconds: int = KEPT_SECONDS) -> PastLoad:
        """Return the last `seconds` of what is kept."""
        steps = self._steps(seconds)
        ready = tuple(_known(count) for count in self._counts.get(_READY, steps))
        return PastLoad(
            first_step=steps.start,
            replicas=tuple(_known(count) for count in self._counts.get(_WANTED, steps)),
            ready=ready,
            metrics=tuple(one.load(metric, steps, ready) for metric, one in self._metrics.items()),
        )

    def replica_changes(self, seconds: int) -> list[ReplicaChange]:
        """Return the changes of the replica count over the last `seconds`, oldest first."""
        steps = self._steps(seconds)
        changes: list[ReplicaChange] = []
        last = None
        for step, count in zip(steps, self._counts.get(_WANTED, steps), strict=True):
            if count != last:
                changes.append(ReplicaChange(step * STEP_SECONDS, _known(count)))
                last = count
        return changes

    def _steps(self, seconds: int) -> range:
        kept = min(STEPS, max(1, seconds // STEP_SECONDS))
        last = self._counts.last_step
        return range(max(self._first_step, last - kept + 1), last + 1)


def replicas_after(decision: Decision) -> int:
    """Return the replica count after a decision."""
    scaled = decision.outcome is Outcome.SCALED
    return decision.desired_replicas if scaled else decision.current_replicas


def _known(count: float) -> int | None:
    return None if count == _NO_COUNT else int(count)
