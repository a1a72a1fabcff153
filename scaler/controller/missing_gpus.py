# SPDX-License-Identifier: Apache-2.0
"""Pure: pods whose values cover fewer GPUs than before.

The series of a GPU disappear when it falls off the bus or hangs in the driver. The mean over the
others says nothing about its load. A pod keeps its GPUs for as long as it lives.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from scaler.model import SERVER_METRICS, TOTAL_METRICS, Metric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaler.model import DeploymentState, MetricReading, ObjectRef

OF_NO_GPU = SERVER_METRICS | TOTAL_METRICS
_Counts: TypeAlias = "defaultdict[Metric, dict[str, int]]"
"""GPUs by metric and uid of the pod."""


class MissingGpus:
    """Remembers the most GPUs that each pod's value of each metric has covered."""

    def __init__(self) -> None:
        self._most: _Counts = defaultdict(dict)
        self._seen: _Counts = defaultdict(dict)

    def without_partial(
        self, deployment: DeploymentState, readings: Mapping[Metric, MetricReading]
    ) -> Mapping[Metric, MetricReading]:
        """Return the readings without the values of pods that miss a GPU."""
        return {
            metric: reading if metric in OF_NO_GPU else self._checked(deployment, metric, reading)
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
                fewer[pod.ref] = f"{metric} covers {count} of the pod's GPUs, {most} before"
        if not fewer:
            return reading
        values = {pod: value for pod, value in reading.values.items() if pod not in fewer}
        return replace(reading, values=values, missing={**reading.missing, **fewer})
