"""The base set's families, and how readings become families of any kind; pure.

The base set is all gauges; `exporter.exposition.families` has the extended ones. A value of None
yields no series, so nothing is ever published in place of an unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from exporter.exposition.families import EXTENDED_FAMILIES
from exporter.exposition.rendering import Labels
from exporter.model import AllocateMode, MetricType, Row, Scope, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporter.model import Device, ExtendedFamily, Sample


class LabelName(str):
    """A label name that sorts by its place in the contract.

    prometheus-client sorts the labels of every series; with these names it keeps the order that
    readers of `nvidia_gpu_*` are used to.
    """

    __slots__ = ("place",)

    place: int

    def __new__(cls, name: str, place: int) -> LabelName:
        """Return the name with its place, counted from 0."""
        label = super().__new__(cls, name)
        label.place = place
        return label

    def __lt__(self, other: str) -> bool:
        """Compare by place; with a plain string by text."""
        return self.place < other.place if isinstance(other, LabelName) else str(self) < other


LABELS: Final = tuple(
    LabelName(name, place)
    for place, name in enumerate(
        (
            "minor_number",
            "uuid",
            "name",
            "node_name",
            "namespace_name",
            "pod_name",
            "container_name",
            "allocate_mode",
        )
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One family with a series for each row; `source` is the NVML function behind it."""

    name: str
    help: str
    source: str
    value: Callable[[Row], float | None]


def _memory_used_bytes(row: Row) -> float | None:
    # Readers of allocate_mode="share" take this value as the container's own and add the containers
    # up. The device's value is a container's own only while that container is alone on the device;
    # with several, repeating it would count the memory once for each of them.
    if row.allocate_mode is AllocateMode.SHARE and row.holder_count > 1:
        return row.own_memory_used_bytes
    return row.reading.memory_used_bytes


FAMILIES: Final = (
    Family(
        name="nvidia_gpu_duty_cycle",
        help="Percentage of the averaging window in which a kernel ran on the GPU.",
        source="nvmlDeviceGetSamples, nvmlDeviceGetUtilizationRates",
        value=lambda row: row.reading.duty_cycle_percent,
    ),
    Family(
        name="nvidia_gpu_memory_total_bytes",
        help="Total memory of the GPU or MIG instance.",
        source="nvmlDeviceGetMemoryInfo",
        value=lambda row: row.reading.memory_total_bytes,
    ),
    Family(
        name="nvidia_gpu_memory_used_bytes",
        help="Memory in use on the GPU or MIG instance; on a GPU that several containers share, "
        "the container's own, absent if unknown.",
        source="nvmlDeviceGetMemoryInfo",
        value=_memory_used_bytes,
    ),
    Family(
        name="nvidia_gpu_power_usage_milliwatts",
        help="Power usage of the board.",
        source="nvmlDeviceGetPowerUsage",
        value=lambda row: row.reading.power_usage_milliwatts,
    ),
    Family(
        name="nvidia_gpu_temperature_celsius",
        help="Temperature of the GPU.",
        source="nvmlDeviceGetTemperature",
        value=lambda row: row.reading.temperature_celsius,
    ),
    Family(
        name="nvidia_gpu_fanspeed_percent",
        help="Fan speed as a percentage of its maximum; absent on boards without a fan.",
        source="nvmlDeviceGetFanSpeed",
        value=lambda row: row.reading.fan_speed_percent,
    ),
)


# The labels that stay with a device whoever holds it.
_DEVICE_LABELS: Final = LABELS[:4]
_NODE_LABEL: Final = LABELS[3]
_OWN_LABELS: Final = {
    family.name: tuple(
        LabelName(name, place) for place, name in enumerate(family.labels, len(LABELS))
    )
    for family in EXTENDED_FAMILIES
}
_SUFFIXES: Final = {MetricType.GAUGE: "", MetricType.COUNTER: "_total", MetricType.INFO: "_info"}


def families(snapshot: Snapshot, *, node_name: str) -> Iterator[Metric]:
    """Yield the families of one snapshot; those without any series are left out."""
    count = GaugeMetricFamily(
        "nvidia_gpu_num_devices",
        "Number of GPUs that the driver shows.",
        labels=["node_name"],
    )
    count.add_metric([node_name], snapshot.readings.device_count)
    yield count
    labelled = [(row, _labels(row, node_name)) for row in snapshot.rows]
    for family in FAMILIES:
        metric = GaugeMetricFamily(family.name, family.help)
        for row, labels in labelled:
            value = family.value(row)
            if value is not None:
                metric.add_sample(family.name, labels, value)
        if metric.samples:
            yield metric
    yield from _extended(snapshot, labelled, node_name)


def _extended(
    snapshot: Snapshot, labelled: list[tuple[Row, Labels]], node_name: str
) -> Iterator[Metric]:
    metrics = {family.name: _empty(family) for family in EXTENDED_FAMILIES}

    def add(sample: Sample, labels: Labels) -> None:
        name = sample.family.name
        own = _own_labels(name, sample.labels)
        metrics[name].add_sample(name, labels.followed_by(own), sample.value)

    for sample in snapshot.readings.node:
        add(sample, Labels({_NODE_LABEL: node_name}))
    for reading in snapshot.readings.devices:
        for sample in reading.extended:
            if sample.family.scope is Scope.DEVICE:
                values = _device_values(reading.device, node_name)
                add(sample, Labels(dict(zip(_DEVICE_LABELS, values, strict=True))))
    for row, labels in labelled:
        for sample in (*row.reading.extended, *row.extended):
            if sample.family.scope is Scope.HOLDER:
                add(sample, labels)
    yield from (metric for metric in metrics.values() if metric.samples)


@lru_cache(maxsize=4096)
def _own_labels(family_name: str, values: tuple[str, ...]) -> Labels:
    return Labels(dict(zip(_OWN_LABELS[family_name], values, strict=True)))


def _empty(family: ExtendedFamily) -> Metric:
    name = family.name.removesuffix(_SUFFIXES[family.type])
    return Metric(name, family.help, family.type.value)


def _device_values(device: Device, node_name: str) -> tuple[str, str, str, str]:
    minor_number = "" if device.minor_number is None else str(device.minor_number)
    return minor_number, device.uuid, device.name, node_name


def _labels(row: Row, node_name: str) -> Labels:
    container = row.container
    values = (
        *_device_values(row.reading.device, node_name),
        container.namespace_name if container else "",
        container.pod_name if container else "",
        container.container_name if container else "",
        row.allocate_mode.value,
    )
    return Labels(dict(zip(LABELS, values, strict=True)))
