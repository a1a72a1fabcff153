# SPDX-License-Identifier: Apache-2.0
"""Pure: the demand of a Deployment by one metric, rebuilt from what its pods showed over time.

The demand of a step is the sum over the pods. A pod of which nothing is known in a step, although
it was there before and after, makes that step unknown: a gap is never 0. A saturated pod shows only
a part of its demand, so that the sum is a floor.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from scaler.decision.proposals import SATURATED_MILLI, SATURATING_METRICS
from scaler.quantities import measured_milli
from scaler.replay.model import RecordedMetric

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scaler.model import Metric, ObjectRef
    from scaler.readings.prometheus.range_chunks import Span

MAX_STEPS: Final = 1_000_000
LONGEST_STEP_SECONDS: Final = 3600.0
"""Of coarser values a decision every few seconds would say nothing."""
MAX_PODS: Final = 20_000
"""Pods of one Deployment over the whole time; of further ones nothing is used."""
MAX_VALUE: Final = 1e15
"""In the metric's unit: a thousand times the memory of the largest GPU, in bytes."""
BRIDGED_STEPS: Final = 2
"""Over fewer steps without a sample the one before stands: scrapes are never quite regular."""
GONE_SECONDS: Final = 600.0
"""A pod without samples for longer was not there; a StatefulSet's comes back under its name."""


HIGHEST_PERCENT: Final = 100.0001
"""Rounding may put a mean this far above 100."""
_HIGHEST_RATE_PERCENT: Final = 110.0
"""Of a counter, whose scrapes are never quite regular."""
COUNTER_CHANGES: Final = 60
"""A total with fewer changes may grow by chance."""
COUNTER_FALLS_SHARE: Final = 0.02
"""The part of its changes that may be resets."""


@dataclass(slots=True)
class _PodTrack:
    """The newest of a pod: its last sample, and the last step with its value."""

    seconds: float = -math.inf
    sample: float = 0.0
    step: int | None = None
    milli: int = 0


def seems_to_count(demand_milli: Iterable[int | None]) -> bool:
    """Whether a total only grows, but for a few resets: a counter, whose rate is the load.

    A load falls about as often as it rises.
    """
    known = [one for one in demand_milli if one is not None]
    changes = [after > before for before, after in pairwise(known) if after != before]
    return len(changes) >= COUNTER_CHANGES and changes.count(False) <= (
        COUNTER_FALLS_SHARE * len(changes)
    )


class BuiltDemand(NamedTuple):
    """A metric's demand, the pods that showed it, None where unknown, and sentences about gaps."""

    metric: RecordedMetric
    replicas: tuple[int | None, ...]
    notes: tuple[str, ...]


class DemandBuilder:
    """Adds up pods' samples of a metric, one Deployment and chunk after the other.

    Values are in the metric's unit; those of a counter only grow and become an increase per second.
    Memory grows with the steps and by little for each pod, not with the samples.
    Raises ValueError for a step or a number of steps that is impossible.
    """

    def __init__(self, metric: Metric, span: Span, *, is_counter: bool = False) -> None:
        steps = span.steps
        if not (span.step_seconds > 0 and 0 < steps <= MAX_STEPS):
            raise ValueError(
                f"{steps} steps of {span.step_seconds:g} s: allowed are 1 to {MAX_STEPS} steps of"
                " more than 0 s"
            )
        self._metric = metric
        self._span = span
        self._is_counter = is_counter
        self._highest = 100 if metric in SATURATING_METRICS else MAX_VALUE
        self._sums = [0] * steps
        self._counts = array("L", [0]) * steps
        self._lacking = bytearray(steps)
        self._saturated = bytearray(steps)
        self._pods: dict[ObjectRef, _PodTrack] = {}
        self._total = _PodTrack()
        self._has_total = False
        self._found: Counter[str] = Counter()

    def add(self, pod: ObjectRef, samples: Iterable[tuple[float, float]]) -> None:
        """Add samples of a pod, (unix seconds, value) in the order of time."""
        known = self._pods.get(pod)
        if known is None:
            if len(self._pods) >= MAX_PODS:
                self._found["pod"] += 1
                return
            known = self._pods[pod] = _PodTrack()
        self._add(known, samples, saturates=self._metric in SATURATING_METRICS)

    def add_total(self, samples: Iterable[tuple[float, float]]) -> None:
        """Add samples of the total, in the order of time; what pods there were is unknown then."""
        self._has_total = True
        self._add(self._total, samples, saturates=False)

    def built(self) -> BuiltDemand:
        """Return what was found so far."""
        demand: list[int | None] = []
        replicas: list[int | None] = []
        floor: list[bool] = []
        for sum_, pods, lacking, saturated in zip(
            self._sums, self._counts, self._lacking, self._saturated, strict=True
        ):
            is_known = pods > 0 and not lacking
            demand.append(sum_ if is_known else None)
            floor.append(bool(is_known and saturated))
            replicas.append(None if self._has_total else (pods + lacking) or None)
        recorded = RecordedMetric(
            metric=self._metric, demand_milli=tuple(demand), floor=tuple(floor)
        )
        return BuiltDemand(recorded, tuple(replicas), self._notes())

    def _add(
        self, track: _PodTrack, samples: Iterable[tuple[float, float]], *, saturates: bool
    ) -> None:
        step, values = None, list[float]()
        for seconds, sample in samples:
            value = self._value(track, seconds, sample)
            if value is None:
                continue
            if saturates and value > HIGHEST_PERCENT:
                if not (self._is_counter and value <= _HIGHEST_RATE_PERCENT):
                    self._found["impossible"] += 1
                    continue
                value = 100.0
            in_step = math.floor(
                (seconds - self._span.begun_unix_seconds) / self._span.step_seconds
            )
            if not 0 <= in_step < self._span.steps:
                self._found["outside"] += 1
                continue
            if in_step != step:
                self._close(track, step, values, saturates=saturates)
                step, values = in_step, []
            values.append(value)
        self._close(track, step, values, saturates=saturates)

    def _value(self, track: _PodTrack, seconds: float, sample: float) -> float | None:
        """The value that a sample gives, None where it gives none."""
        if not (math.isfinite(seconds) and 0 <= sample <= MAX_VALUE):
            self._found["impossible"] += 1
            return None
        age_seconds = seconds - track.seconds
        if age_seconds <= 0:
            self._found["duplicate" if age_seconds == 0 else "late"] += 1
            return None
        before, track.sample, track.seconds = track.sample, sample, seconds
        if not self._is_counter:
            return sample
        if age_seconds > GONE_SECONDS:
            return None
        if sample < before:
            # A counter that begins again has counted this much since.
            self._found["reset"] += 1
            before = 0.0
        return (sample - before) / age_seconds

    def _close(
        self, track: _PodTrack, step: int | None, values: Sequence[float], *, saturates: bool
    ) -> None:
        """Add a pod's step: the mean of its samples there."""
        if step is None:
            return
        if track.step is not None and step <= track.step:
            # The chunk before had samples of this step already.
            self._found["late"] += len(values)
            return
        since = step if track.step is None else track.step + 1
        if step - since < BRIDGED_STEPS:
            for bridged in range(since, step):
                self._count(bridged, track.milli, saturates=saturates)
        elif (step - since) * self._span.step_seconds < GONE_SECONDS:
            self._found["gap"] += step - since
            for lacking in range(since, step):
                self._lacking[lacking] = min(255, self._lacking[lacking] + 1)
        track.step, track.milli = step, measured_milli(math.fsum(values) / len(values))
        self._count(step, track.milli, saturates=saturates)

    def _count(self, step: int, milli: int, *, saturates: bool) -> None:
        self._sums[step] += milli
        self._counts[step] += 1
        if saturates and milli >= SATURATED_MILLI:
            self._saturated[step] = 1

    def _notes(self) -> tuple[str, ...]:
        texts = {
            "gap": "steps of pods without a sample between others: the demand is unknown then",
            "duplicate": "samples of a pod at the same time as another: the first counts",
            "late": "samples older than those before them: left out",
            "impossible": f"samples negative, not a number or above {self._highest:g}: left out",
            "outside": "samples outside the time: left out",
            "reset": "resets of a counter: counted on from 0",
            "pod": f"chunks of pods beyond the first {MAX_PODS}: left out",
        }
        return tuple(
            f"{self._found[what]} {text}" for what, text in texts.items() if self._found[what]
        )
