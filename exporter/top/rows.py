# SPDX-License-Identifier: Apache-2.0
"""Pure: the GPUs of one node, from the families of its exporter.

The page may be any server's: texts are shown without control characters, numbers that cannot be
are unknown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from exporter.exposition import base_families
from exporter.exposition.table import LABELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client.metrics_core import Metric

MAX_TEXT: Final = 253
"""Kubernetes' own limit of a pod's name."""
_MAX_VALUE: Final = 1e15
_SELF: Final = "nvidia_gpu_exporter_"
INTERVAL: Final = f"{_SELF}interval_seconds"
_PODS_UP: Final = f"{_SELF}pod_resources_up"
_UNMATCHED: Final = f"{_SELF}pod_resources_unmatched_devices"
_UNREADABLE: Final = f"{_SELF}unreadable_devices"
_VALUES: Final = (
    base_families.DUTY_CYCLE.name,
    base_families.MEMORY_USED.name,
    base_families.MEMORY_TOTAL.name,
    base_families.POWER_USAGE.name,
    base_families.TEMPERATURE.name,
)
ASKED: Final = (
    base_families.NUM_DEVICES.name,
    *_VALUES,
    *(INTERVAL, _PODS_UP, _UNMATCHED, _UNREADABLE),
)
"""All that is read of a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRow:
    """A GPU or MIG instance as one container sees it; `container` is empty where none is known.

    `minor_number` is None where the page has none. Units are those of the families.
    """

    minor_number: int | None
    uuid: str
    name: str
    namespace: str
    pod: str
    container: str
    duty_cycle_percent: float | None
    memory_used_bytes: float | None
    memory_total_bytes: float | None
    power_usage_milliwatts: float | None
    temperature_celsius: float | None

    @property
    def is_mig_instance(self) -> bool:
        """Whether this is a slice of a GPU."""
        return self.uuid.startswith("MIG-")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeGpus:
    """What a page says; `device_count` is None without current readings.

    `pods_known` tells whether a GPU without a pod is free. Unreadable GPUs have no row.
    """

    is_exporter: bool
    device_count: int | None
    unreadable_count: int
    unmatched_count: int
    pods_known: bool
    rows: tuple[GpuRow, ...]


def node_gpus(metrics: Iterable[Metric]) -> NodeGpus:
    """Return the GPUs in the order of their minor numbers, each GPU before its MIG instances."""
    own: dict[str, float | None] = {}
    found: dict[tuple[str, ...], dict[str, float | None]] = {}
    for metric in metrics:
        for sample in metric.samples:
            value = _number(sample.value)
            if sample.name in _VALUES:
                labels = tuple(_clean(sample.labels.get(name, "")) for name in LABELS)
                found.setdefault(labels, {})[sample.name] = value
            elif sample.name in ASKED:
                own[sample.name] = value
    rows = (_row(dict(zip(LABELS, labels, strict=True)), found[labels]) for labels in found)
    count = own.get(base_families.NUM_DEVICES.name)
    return NodeGpus(
        is_exporter=INTERVAL in own,
        device_count=None if count is None else int(count),
        unreadable_count=int(own.get(_UNREADABLE) or 0),
        unmatched_count=int(own.get(_UNMATCHED) or 0),
        pods_known=own.get(_PODS_UP) == 1,
        rows=tuple(sorted(rows, key=_order)),
    )


def _row(labels: Mapping[str, str], values: Mapping[str, float | None]) -> GpuRow:
    duty_cycle, memory_used, memory_total, power, temperature = map(values.get, _VALUES)
    minor = labels["minor_number"]
    return GpuRow(
        minor_number=int(minor) if minor.isascii() and minor.isdigit() else None,
        uuid=labels["uuid"],
        name=labels["name"],
        namespace=labels["namespace_name"],
        pod=labels["pod_name"],
        container=labels["container_name"],
        duty_cycle_percent=duty_cycle,
        memory_used_bytes=memory_used,
        memory_total_bytes=memory_total,
        power_usage_milliwatts=power,
        temperature_celsius=temperature,
    )


def _order(row: GpuRow) -> tuple[float, bool, str, str, str, str]:
    minor = math.inf if row.minor_number is None else row.minor_number
    return minor, row.is_mig_instance, row.uuid, row.namespace, row.pod, row.container


def _number(value: float) -> float | None:
    """Return the value; None where no GPU has such a number."""
    return value if abs(value) <= _MAX_VALUE else None


def _clean(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in text[:MAX_TEXT])
