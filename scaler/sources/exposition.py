"""Pure: an exporter's text answer -> each pod's value of each metric.

The metric and label names are the whole contract between exporter and scaler (contract 1 of the
design); this module is the scaler's side of it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scaler.model import Metric
from scaler.sources.series import read_samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scaler.model import ObjectRef
    from scaler.sources.series import Series

SNAPSHOT_AGE = "nvidia_gpu_exporter_snapshot_age_seconds"
INTERVAL = "nvidia_gpu_exporter_interval_seconds"
MEMORY_USED = "nvidia_gpu_memory_used_bytes"
MEMORY_TOTAL = "nvidia_gpu_memory_total_bytes"

FAMILIES: Mapping[Metric, tuple[str, ...]] = {
    Metric.DUTY_CYCLE: ("nvidia_gpu_duty_cycle",),
    Metric.MEMORY_USED_PERCENT: (MEMORY_USED, MEMORY_TOTAL),
    Metric.MEMORY_USED_BYTES: (MEMORY_USED,),
    Metric.POWER_USAGE_MILLIWATTS: ("nvidia_gpu_power_usage_milliwatts",),
    Metric.TEMPERATURE_CELSIUS: ("nvidia_gpu_temperature_celsius",),
}


class ExpositionError(ValueError):
    """The text is not an exporter's answer; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodReading:
    """One pod's value of one metric over all GPUs it holds on a node."""

    value_milli: int
    device_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReadings:
    """What one exporter said: the age of its readings and its interval, and values per pod.

    `age_seconds` is None when the exporter has no readings to show. `series` is what makes
    reading its next answer quick.
    """

    age_seconds: float | None
    interval_seconds: float | None
    values: Mapping[Metric, Mapping[ObjectRef, PodReading]]
    series: Mapping[str, Series] = field(compare=False)


def families_for(metrics: Iterable[Metric]) -> tuple[str, ...]:
    """Return the families to ask an exporter for, its age and interval among them."""
    wanted = {family for metric in metrics for family in FAMILIES[metric]}
    return (*sorted(wanted), SNAPSHOT_AGE, INTERVAL)


def read_exposition(
    text: str, metrics: Iterable[Metric], known: Mapping[str, Series] | None = None
) -> NodeReadings:
    """Return the pods' values of `metrics` in an exporter's text exposition (format 0.0.4).

    Non-finite and negative samples are left out: the pod then has no value. `known` is `series`
    of an earlier answer, of whatever exporter.

    Raises:
        ExpositionError: the text does not parse.
    """
    try:
        samples, series = read_samples(text, known or {})
    except (ValueError, KeyError, IndexError) as error:
        msg = f"not a Prometheus text exposition: {error}"
        raise ExpositionError(msg) from error
    devices: dict[str, dict[ObjectRef, dict[str, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    gauges: dict[str, float] = {}
    for one, value in samples:
        if one.name in (SNAPSHOT_AGE, INTERVAL):
            gauges[one.name] = value
        elif one.pod is not None and math.isfinite(value) and value >= 0:
            devices[one.name][one.pod][one.uuid].append(value)
    return NodeReadings(
        age_seconds=gauges.get(SNAPSHOT_AGE),
        interval_seconds=gauges.get(INTERVAL),
        values={metric: dict(_pod_values(metric, devices)) for metric in metrics},
        series=series,
    )


def _pod_values(
    metric: Metric, devices: Mapping[str, Mapping[ObjectRef, Mapping[str, list[float]]]]
) -> Iterable[tuple[ObjectRef, PodReading]]:
    for pod, by_uuid in devices.get(FAMILIES[metric][0], {}).items():
        if metric in (Metric.MEMORY_USED_BYTES, Metric.MEMORY_USED_PERCENT):
            # Containers of one pod that share a GPU each show their own memory.
            per_device = {uuid: sum(values) for uuid, values in by_uuid.items()}
        else:
            per_device = {uuid: max(values) for uuid, values in by_uuid.items()}
        if metric is Metric.MEMORY_USED_PERCENT:
            totals = devices.get(MEMORY_TOTAL, {}).get(pod, {})
            per_device = {
                uuid: 100 * used / max(totals[uuid])
                for uuid, used in per_device.items()
                if totals.get(uuid) and max(totals[uuid]) > 0
            }
        if not per_device:
            continue
        values = per_device.values()
        value = max(values) if metric is Metric.TEMPERATURE_CELSIUS else sum(values) / len(values)
        yield pod, PodReading(value_milli=int(value * 1000), device_count=len(per_device))
