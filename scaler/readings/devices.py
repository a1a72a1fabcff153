"""Pure: the values of single GPUs -> each pod's value of each metric.

Families go by the exporter's names here, whatever a source calls them.
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
    """By pod and GPU; several where several containers of the pod hold the GPU."""

DUTY_CYCLE = "nvidia_gpu_duty_cycle"
MEMORY_USED = "nvidia_gpu_memory_used_bytes"
MEMORY_TOTAL = "nvidia_gpu_memory_total_bytes"
POWER_USAGE = "nvidia_gpu_power_usage_milliwatts"
TEMPERATURE = "nvidia_gpu_temperature_celsius"
CONTAINER_DUTY_CYCLE = "nvidia_gpu_container_duty_cycle"
CONTAINER_MEMORY_USED = "nvidia_gpu_container_memory_used_bytes"
CONTAINERS_OWN = frozenset({MEMORY_USED, CONTAINER_DUTY_CYCLE, CONTAINER_MEMORY_USED})
"""The families whose series each show a container's own part of a GPU: parts add up."""

BOUNDS: Mapping[str, tuple[float, float]] = {
    DUTY_CYCLE: (0, 100),
    CONTAINER_DUTY_CYCLE: (0, 100),
    MEMORY_USED: (0, 2**50),
    CONTAINER_MEMORY_USED: (0, 2**50),
    MEMORY_TOTAL: (1, 2**50),
    POWER_USAGE: (0, 10_000_000),
    TEMPERATURE: (-100, 250),
}
"""What each family's values can be, in its unit; nothing real comes near them but a percentage."""
OTHER_BOUNDS = (0.0, 2.0**70)
ROUNDING_SHARE = 1e-6
"""How far past its bounds an average of floats may come to lie."""

SATURATED_PERCENT = 99.0
WORKING_PERCENT = 1.0
CREDIBLE_SHARE = 0.5
"""What the parts of a GPU have to add up to, of its duty cycle, to be believed."""

FAMILIES: Mapping[Metric, tuple[str, ...]] = {
    Metric.DUTY_CYCLE: (DUTY_CYCLE,),
    Metric.MEMORY_USED_PERCENT: (MEMORY_USED, MEMORY_TOTAL),
    Metric.MEMORY_USED_BYTES: (MEMORY_USED,),
    Metric.POWER_USAGE_MILLIWATTS: (POWER_USAGE,),
    Metric.TEMPERATURE_CELSIUS: (TEMPERATURE,),
}


PARTS: Mapping[str, str] = {DUTY_CYCLE: CONTAINER_DUTY_CYCLE}
"""The containers' own parts of a family that is the GPU's, of GPUs that are shared."""


def out_of_bounds(family: str, value: float, *, is_part: bool = False) -> str | None:
    """Return why a value cannot be one of its family, None where it can.

    One that `is_part` of the family's sum may be 0 where the family may not.
    """
    lowest, highest = BOUNDS.get(family, OTHER_BOUNDS)
    if is_part:
        lowest = min(lowest, 0.0)
    # What is no number is in no range.
    if lowest <= value <= highest * (1 + ROUNDING_SHARE):
        return None
    return f"{family} {value:g}, which is not from {lowest:g} to {highest:g}"


def pod_values(
    metric: Metric,
    devices: Mapping[str, DeviceValues],
    part_totals: Mapping[str, float] | None = None,
) -> Iterable[tuple[ObjectRef, int, int]]:
    """Yield each pod, its value of `metric` in milli units, and over how many GPUs that is.

    `devices` is by family.

    A pod's value is the mean over its GPUs, the maximum for temperature. Of a GPU that is shared
    its own part counts, where the containers' parts are known. `part_totals` is what the parts of
    a GPU add up to, where `devices` has not all of its pods.
    """
    parts = devices.get(CONTAINER_DUTY_CYCLE, {})
    if part_totals is None:
        part_totals = _totals(parts)
    for pod, by_uuid in devices.get(FAMILIES[metric][0], {}).items():
        if metric in (Metric.MEMORY_USED_BYTES, Metric.MEMORY_USED_PERCENT):
            # Containers of one pod that share a GPU each show their own memory.
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
    """A pod's duty cycle on one GPU, from that of the GPU and the parts of its containers there.

    Parts that are not all there, as under MPS, whose server does the work of all, say nothing. And
    while a GPU is saturated, the part of whoever works on it says what it got and not what it
    wanted: it is then as busy as the GPU is.
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
