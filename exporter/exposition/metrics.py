# SPDX-License-Identifier: Apache-2.0
"""Pure: readings as series of the table's families, and as metrics of the client library.

A value of None yields no series, so nothing is ever published in place of an unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from prometheus_client.metrics_core import Metric

from exporter.exposition import base_families
from exporter.exposition.rendering import Labels
from exporter.exposition.table import BASE_FAMILIES, EXTENDED_FAMILIES, LABELS
from exporter.model import AllocateMode, Family, MetricType, Row, Scope, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from exporter.model import Device, Sample

Series = tuple[Labels, Labels, float]
"""One value: the labels of its node, device or holder, those of its own, and the number."""


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
_NONE: Final = Labels({})
_LABELS_OF: Final = {family.name: family.labels for family in EXTENDED_FAMILIES}
_SUFFIXES: Final = {MetricType.GAUGE: "", MetricType.COUNTER: "_total", MetricType.INFO: "_info"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilySeries:
    """A family and its series, in their order."""

    family: Family
    series: Sequence[Series]


def families(snapshot: Snapshot, *, node_name: str) -> Iterator[Metric]:
    """Yield the families of one snapshot as the client library's."""
    for one in family_series(snapshot, node_name=node_name):
        metric = Metric(metric_name(one.family), one.family.help, one.family.type.value)
        for labels, own, value in one.series:
            metric.add_sample(one.family.name, labels.followed_by(own), value)
        yield metric


def family_series(snapshot: Snapshot, *, node_name: str) -> Iterator[FamilySeries]:
    """Yield the families of one snapshot; those without any series are left out."""
    node = Labels({_NODE_LABEL: node_name})
    count = base_families.NUM_DEVICES
    yield FamilySeries(family=count, series=[(node, _NONE, snapshot.readings.device_count)])
    labelled = [(row, _labels(row, node_name)) for row in snapshot.rows]
    for family, value_of in _BASE:
        values = ((labels, value_of(row)) for row, labels in labelled)
        series = [(labels, _NONE, value) for labels, value in values if value is not None]
        if series:
            yield FamilySeries(family=family, series=series)
    yield from _extended(snapshot, labelled, node)


def _extended(
    snapshot: Snapshot, labelled: Iterable[tuple[Row, Labels]], node: Labels
) -> Iterator[FamilySeries]:
    found: dict[str, list[Series]] = {family.name: [] for family in EXTENDED_FAMILIES}

    def add(sample: Sample, labels: Labels) -> None:
        name = sample.family.name
        found[name].append((labels, _own_labels(name, sample.labels), sample.value))

    for sample in snapshot.readings.node:
        add(sample, node)
    for reading in snapshot.readings.devices:
        of_device = [one for one in reading.extended if one.family.scope is Scope.DEVICE]
        if of_device:
            values = _device_values(reading.device, node[_NODE_LABEL])
            labels = Labels(dict(zip(_DEVICE_LABELS, values, strict=True)))
            for sample in of_device:
                add(sample, labels)
    for row, labels in labelled:
        for sample in (*row.reading.extended, *row.extended):
            if sample.family.scope is Scope.HOLDER:
                add(sample, labels)
    for family in EXTENDED_FAMILIES:
        if series := found[family.name]:
            yield FamilySeries(family=family, series=series)


def metric_name(family: Family) -> str:
    """Return the name that the client library has for a family: without its type's suffix."""
    return family.name.removesuffix(_SUFFIXES[family.type])


@lru_cache(maxsize=4096)
def _own_labels(family_name: str, values: tuple[str, ...]) -> Labels:
    return Labels(dict(zip(_LABELS_OF[family_name], values, strict=True)))


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
