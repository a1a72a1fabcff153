# SPDX-License-Identifier: Apache-2.0
"""Pure: gathers what chunks of the past say of one Deployment, and makes its recording."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from scaler.model import TOTAL_METRICS, Metric
from scaler.replay.demand import DemandBuilder, seems_to_count
from scaler.replay.owners import Way

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaler.model import ObjectRef
    from scaler.replay.model import Recording
    from scaler.replay.plans import DemandSource

_MANY = 10
_UNKNOWN = -1


class Gathering:
    """What is known so far of one Deployment, over equal steps of time."""

    def __init__(
        self,
        ref: ObjectRef,
        source: DemandSource,
        *,
        begun_unix_seconds: float,
        step_seconds: float,
        steps: int,
    ) -> None:
        self.source = source
        self._ref = ref
        self._begun_unix_seconds = begun_unix_seconds
        self._step_seconds = step_seconds
        self._is_total = source.metric in TOTAL_METRICS
        self._counts = array("l", [_UNKNOWN]) * (steps if self._is_total else 0)
        self._builder = DemandBuilder(
            ref=ref,
            metric=source.metric,
            begun_unix_seconds=begun_unix_seconds,
            step_seconds=step_seconds,
            steps=steps,
        )
        self._ways: dict[ObjectRef, Way | None] = {}
        self._gpus: Counter[int] = Counter()
        self._models: Counter[str] = Counter()
        self._starts: dict[ObjectRef, float] = {}
        self.impossible_values = 0
        self.has_values = False

    def add_pod(
        self,
        pod: ObjectRef,
        values: Sequence[tuple[float, float]],
        *,
        gpus: int,
        impossible: int = 0,
        way: Way | None = None,
    ) -> None:
        """Add a pod's values of a chunk: the metric's, or for a total any that show the pod."""
        self._ways.setdefault(pod, way)
        self._gpus[gpus] += len(values)
        self.impossible_values += impossible
        if not self._is_total:
            self._builder.add(pod, values)
            self.has_values = self.has_values or bool(values)
            return
        for unix_seconds, _ in values:
            step = round((unix_seconds - self._begun_unix_seconds) / self._step_seconds)
            if 0 <= step < len(self._counts):
                self._counts[step] = max(self._counts[step], 0) + 1

    def add_total(self, values: Sequence[tuple[float, float]]) -> None:
        """Add values of the whole Deployment."""
        self._builder.add_total(values)
        self.has_values = self.has_values or bool(values)

    def add_model(self, pod: ObjectRef, model: str) -> None:
        """Add the model of a GPU of a pod."""
        if pod in self._ways:
            self._models[model] += 1

    def add_start(self, pod: ObjectRef, seconds: float) -> None:
        """Add how long a pod took from its creation until it was first Ready."""
        known = self._starts.get(pod)
        self._starts[pod] = seconds if known is None else min(known, seconds)

    def recording(self) -> Recording:
        """Return the recording, from the first step with a demand to the last one."""
        common_gpus = self._gpus.most_common(1)
        common_model = self._models.most_common(1)
        found = self._builder.recording(
            gpus_per_replica=max(1, common_gpus[0][0]) if common_gpus else 1,
            gpu_model=common_model[0][0] if common_model else None,
            start_seconds=median(self._starts.values()) if self._starts else None,
        )
        if self._is_total:
            counts = tuple(None if one == _UNKNOWN else one for one in self._counts)
            found = replace(found, replicas=counts)
        return trimmed(replace(found, notes=(*found.notes, *self._notes(found))))

    def _notes(self, found: Recording) -> list[str]:
        notes = []
        guessed = sum(way is Way.NAME for way in self._ways.values())
        if guessed:
            notes.append(
                f"{guessed} of its {len(self._ways)} pods are known to be its own only by the form"
                " of their names."
            )
        if self.impossible_values:
            notes.append(f"{self.impossible_values} impossible values are left out.")
        if len(self._gpus) > 1:
            kinds = ", ".join(str(one) for one in sorted(self._gpus)[:_MANY])
            notes.append(f"Its pods had different numbers of GPUs ({kinds}); the commonest counts.")
        if self._is_total and not self._ways:
            notes.append("Its replica count is unknown: no pod of it has a series of a GPU.")
        if found.metric is Metric.QUERY and seems_to_count(found.demand_milli):
            notes.append(
                "The query hardly ever falls: of a counter, pass the rate, as rate(NAME[1m])."
            )
        return notes


def trimmed(recording: Recording) -> Recording:
    """Return the recording without the steps before its first and after its last demand."""
    known = [step for step, demand in enumerate(recording.demand_milli) if demand is not None]
    if not known:
        return recording
    first, end = known[0], known[-1] + 1
    return replace(
        recording,
        begun_unix_seconds=recording.begun_unix_seconds + first * recording.step_seconds,
        demand_milli=recording.demand_milli[first:end],
        floor=recording.floor[first:end],
        replicas=recording.replicas[first:end],
    )
