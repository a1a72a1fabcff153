"""Pure: pods of which fewer GPUs are shown than before.

A GPU that falls off the bus or hangs in the driver takes its series along, and the mean over those
that are left says nothing of what it did. A pod keeps its GPUs for as long as it lives.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaler.model import DeploymentState, Metric, MetricReading, ObjectRef

_Counts: TypeAlias = "defaultdict[Metric, dict[str, int]]"
"""GPUs by metric and uid of the pod."""


class MissingGpus:
    """Remembers how many GPUs each pod's value of each metric has covered at most."""

    def __init__(self) -> None:
        self._most: _Counts = defaultdict(dict)
        self._seen: _Counts = defaultdict(dict)

    def without_partial(
        self, deployment: DeploymentState, readings: Mapping[Metric, MetricReading]
    ) -> Mapping[Metric, MetricReading]:
        """Return the readings without the values of pods that miss a GPU."""
        return {
            metric: self._checked(deployment, metric, reading)
            for metric, reading in readings.items()
        }

    def forget_others(self) -> None:
        """Forget the pods that nobody has asked about since the last call."""
        self._most, self._seen = self._seen, defaultdict(dict)

    def _checked(
        self, deployment: DeploymentState, metric: Metric, reading: MetricReading
    ) -> MetricReading:
        fewer: dict[ObjectRef, str] = {}
        before, seen = self._most[metric], self._seen[metric]
        for pod in deployment.pods:
            value = reading.values.get(pod.ref)
            count = 0 if value is None else value.device_count
            most = seen[pod.uid] = max(count, before.get(pod.uid, 0))
            if 0 < count < most:
                fewer[pod.ref] = f"{metric} is shown of {count} of its GPUs, and was of {most}"
        if not fewer:
            return reading
        values = {pod: value for pod, value in reading.values.items() if pod not in fewer}
        return replace(reading, values=values, missing={**reading.missing, **fewer})
