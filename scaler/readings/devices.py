# SPDX-License-Identifier: Apache-2.0
"""Pure: compute each pod's value of each metric from the values of single GPUs.

Families have the exporter's names here, whatever the source calls them.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from scaler.model import Metric
from scaler.quantities import measured_milli

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scaler.model import ObjectRef

    DeviceValues = Mapping[ObjectRef, Mapping[str, Sequence[float]]]
    """By pod and GPU; several values if several containers of the pod use the GPU."""

DUTY_CYCLE = "nvidia_gpu_duty_cycle"
MEMORY_USED = "nvidia_gpu_memory_used_bytes"
MEMORY_TOTAL = "nvidia_gpu_memory_total_bytes"
POWER_USAGE = "nvidia_gpu_power_usage_milliwatts"
TEMPERATURE = "nvidia_gpu_temperature_celsius"
CONTAINER_DUTY_CYCLE = "nvidia_gpu_container_duty_cycle"
CONTAINER_MEMORY_USED = "nvidia_gpu_container_memory_used_bytes"
CONTAINERS_OWN = frozenset({MEMORY_USED, CONTAINER_DUTY_CYCLE, CONTAINER_MEMORY_USED})
"""Families with one series per container for its own part of a GPU; the parts add up."""

BOUNDS: Mapping[str, tuple[float, float]] = {
    DUTY_CYCLE: (0, 100),
    CONTAINER_DUTY_CYCLE: (0, 100),
    MEMORY_USED: (0, 2**50),
    CONTAINER_MEMORY_USED: (0, 2**50),
    MEMORY_TOTAL: (1, 2**50),
    POWER_USAGE: (0, 10_000_000),
    TEMPERATURE: (-100, 250),
}
"""The range of each family's values, in its unit; only percentages ever come near it."""
OTHER_BOUNDS = (0.0, 2.0**70)
ROUNDING_SHARE = 1e-6
"""How far rounding may put an average past its bounds."""

SATURATED_PERCENT = 99.0
WORKING_PERCENT = 1.0
CREDIBLE_SHARE = 0.5
"""Share of a GPU's duty cycle that its parts must add up to, or they are ignored."""

FAMILIES: Mapping[Metric, tuple[str, ...]] = {
    Metric.DUTY_CYCLE: (DUTY_CYCLE,),
    Metric.MEMORY_USED_PERCENT: (MEMORY_USED, MEMORY_TOTAL),
    Metric.MEMORY_USED_BYTES: (MEMORY_USED,),
    Metric.POWER_USAGE_MILLIWATTS: (POWER_USAGE,),
    Metric.TEMPERATURE_CELSIUS: (TEMPERATURE,),
}


PARTS: Mapping[str, str] = {DUTY_CYCLE: CONTAINER_DUTY_CYCLE}
"""For a family of the whole GPU, the family with the containers' parts of shared GPUs."""


def out_of_bounds(family: str, value: float, *, is_part: bool = False) -> str | None:
    """Return why a value is impossible for its family, or None.

    A value that `is_part` of the family's sum may be 0 even if the family may not.
    """
    lowest, highest = BOUNDS.get(family, OTHER_BOUNDS)
    if is_part:
        lowest = min(lowest, 0.0)
    # NaN is in no range.
    if lowest <= value <= highest * (1 + ROUNDING_SHARE):
        return None
    return f"{family} {value:g}, which is outside {lowest:g} to {highest:g}"


def pod_values(
    metric: Metric,
    devices: Mapping[str, DeviceValues],
    part_totals: Mapping[str, float] | None = None,
) -> Iterable[tuple[ObjectRef, int, int]]:
    """Yield each pod, its value of `metric` in milli units, and its number of GPUs.

    `devices` is by family.

    A pod's value is the mean over its GPUs, or the maximum for temperature. On a shared GPU the
    pod's own part counts if the containers' parts are known. `part_totals` is the sum of each GPU's
    parts, needed if `devices` does not have all of its pods.
    """
    parts = devices.get(CONTAINER_DUTY_CYCLE, {})
    if part_totals is None:
        part_totals = _totals(parts)
    for pod, by_uuid in devices.get(FAMILIES[metric][0], {}).items():
        if metric in (Metric.MEMORY_USED_BYTES, Metric.MEMORY_USED_PERCENT):
            # Containers of one pod that share a GPU each have their own memory.
            per_device = {uuid: sum(values) for uuid, values in by_uuid.items()}
        else:
            per_device = {uuid: max(values) for uuid, values in by_uuid.items()}
        if metric is Metric.DUTY_CYCLE and pod in parts:
            per_device = {
                uuid: _own_percent(values, parts[pod].get(uuid, ()), part_totals.get(uuid, 0.0))
                for uuid, values in by_uuid.items()
            }
        if metric is Metric.MEMORY_USED_PERCENT:
            totals = devices.get(MEMORY_TOTAL, {}).get(pod, {})
            per_device = {
                uuid: min(100.0, 100 * used / max(totals[uuid]))
                for uuid, used in per_device.items()
                if totals.get(uuid) and max(totals[uuid]) > 0
            }
        if not per_device:
            continue
        found = per_device.values()
        value = max(found) if metric is Metric.TEMPERATURE_CELSIUS else sum(found) / len(found)
        yield pod, measured_milli(value), len(per_device)


def _own_percent(device: Sequence[float], parts: Sequence[float], total: float) -> float:
    """Return a pod's duty cycle on one GPU, from the GPU's and the parts of the pod's containers.

    Incomplete parts are ignored, as under MPS, where the server does all work. While a GPU is
    saturated, a part shows what a container got and not what it needed, so the GPU's value counts.
    """
    device_percent = max(device)
    if len(parts) < len(device) or total < CREDIBLE_SHARE * device_percent:
        return device_percent
    own = min(sum(parts), 100.0)
    if device_percent >= SATURATED_PERCENT and own >= WORKING_PERCENT:
        return device_percent
    return own


def _totals(parts: DeviceValues) -> Mapping[str, float]:
    totals: defaultdict[str, float] = defaultdict(float)
    for by_uuid in parts.values():
        for uuid, values in by_uuid.items():
            totals[uuid] += sum(values)
    return totals
