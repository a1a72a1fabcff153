"""Pure: what series are called in Prometheus, by who made them, and in which unit they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaler.readings.devices import (
    CONTAINER_DUTY_CYCLE,
    CONTAINER_MEMORY_USED,
    DUTY_CYCLE,
    MEMORY_TOTAL,
    MEMORY_USED,
    POWER_USAGE,
    TEMPERATURE,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A family as the sum of series, and the factor that turns their unit into the family's.

    A pod may have none of the `optional` ones of the series.
    """

    series: tuple[str, ...]
    factor: int = 1
    optional: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricNames:
    """The series of each family (by the exporter's names), and the labels that say whose they are.

    A family that is not there has no series.

    A GPU (or MIG instance) is told apart by all of `device_labels`. `container_label` is None
    where memory in use is the pod's: several containers on one GPU then show the same memory.
    """

    families: Mapping[str, Named]
    namespace_label: str
    pod_label: str
    node_label: str
    device_labels: tuple[str, ...]
    container_label: str | None


_DCGM: Mapping[str, Named] = {
    DUTY_CYCLE: Named(series=("DCGM_FI_DEV_GPU_UTIL",)),
    MEMORY_USED: Named(series=("DCGM_FI_DEV_FB_USED",), factor=2**20),
    # It is not among the exporter's default counters. What is reserved is neither used nor free,
    # and shown by newer versions only: the older ones count it as used.
    MEMORY_TOTAL: Named(
        series=("DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_FB_RESERVED"),
        factor=2**20,
        optional=frozenset({"DCGM_FI_DEV_FB_RESERVED"}),
    ),
    POWER_USAGE: Named(series=("DCGM_FI_DEV_POWER_USAGE",), factor=1000),
    TEMPERATURE: Named(series=("DCGM_FI_DEV_GPU_TEMP",)),
}
_DCGM_DEVICE_LABELS = ("UUID", "GPU_I_ID")

PRESETS: Mapping[str, MetricNames] = {
    "gpu-exporter": MetricNames(
        families={
            family: Named(series=(family,))
            for family in (
                DUTY_CYCLE,
                MEMORY_USED,
                MEMORY_TOTAL,
                POWER_USAGE,
                TEMPERATURE,
                CONTAINER_DUTY_CYCLE,
                CONTAINER_MEMORY_USED,
            )
        },
        namespace_label="namespace_name",
        pod_label="pod_name",
        node_label="node_name",
        device_labels=("uuid",),
        container_label="container_name",
    ),
    "dcgm": MetricNames(
        families=_DCGM,
        namespace_label="namespace",
        pod_label="pod",
        node_label="Hostname",
        device_labels=_DCGM_DEVICE_LABELS,
        container_label=None,
    ),
    # Without honor_labels Prometheus keeps pod and namespace for the exporter's own.
    "dcgm-exported": MetricNames(
        families=_DCGM,
        namespace_label="exported_namespace",
        pod_label="exported_pod",
        node_label="Hostname",
        device_labels=_DCGM_DEVICE_LABELS,
        container_label=None,
    ),
}
"""The values of `--prometheus.metrics`."""
