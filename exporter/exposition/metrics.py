# SPDX-License-Identifier: Apache-2.0
"""Pure: readings as metrics of the client library, by the table of families.

A value of None yields no series, so nothing is ever published in place of an unknown.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from prometheus_client.metrics_core import Metric

from exporter.exposition import base_families
from exporter.exposition.rendering import Labels
from exporter.exposition.table import BASE_FAMILIES, EXTENDED_FAMILIES, LABELS
from exporter.model import AllocateMode, MetricType, Row, Scope, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from exporter.model import Device, Family, Sample


def _memory_used_bytes(row: Row) -> float | None:
    # Readers of allocate_mode="share" take this value as the container's own and add the containers
    # up. The device's value is a container's own only while that container is alone on the device;
    # with several, repeating it would count the memory once for each of them.
    if row.allocate_mode is AllocateMode.SHARE and row.holder_count > 1:
        return row.own_memory_used_bytes
    return row.reading.memory_used_bytes


_VALUES: Final[Mapping[Family, Callable[[Row], float | None]]] = {
    base_families.DUTY_CYCLE: lambda row: row.reading.duty_cycle_percent,
    base_families.MEMORY_TOTAL: lambda row: row.reading.memory_total_bytes,
    base_families.MEMORY_USED: _memory_used_bytes,
    base_families.POWER_USAGE: lambda row: row.reading.power_usage_milliwatts,
    base_families.TEMPERATURE: lambda row: row.reading.temperature_celsius,
    base_families.FAN_SPEED: lambda row: row.reading.fan_speed_percent,
}
_BASE: Final = tuple(
    (family, _VALUES[family]) for family in BASE_FAMILIES if family.scope is Scope.HOLDER
)
# The labels of a device itself, whichever pod holds it.
_DEVICE_LABELS: Final = LABELS[:4]
_NODE_LABEL: Final = LABELS[3]
_LABELS_OF: Final = {family.name: family.labels for family in EXTENDED_FAMILIES}
_SUFFIXES: Final = {MetricType.GAUGE: "", MetricType.COUNTER: "_total", MetricType.INFO: "_info"}


def families(snapshot: Snapshot, *, node_name: str) -> Iterator[Metric]:
    """Yield the families of one snapshot; those without any series are left out."""
    count = _empty(base_families.NUM_DEVICES)
    count.add_sample(count.name, {_NODE_LABEL: node_name}, snapshot.readings.device_count)
    yield count
    labelled = [(row, _labels(row, node_name)) for row in snapshot.rows]
    for family, value_of in _BASE:
        metric = _empty(family)
        for row, labels in labelled:
            value = value_of(row)
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
    return Labels(dict(zip(_LABELS_OF[family_name], values, strict=True)))


def _empty(family: Family) -> Metric:
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
