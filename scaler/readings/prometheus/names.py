# SPDX-License-Identifier: Apache-2.0
"""Pure: the names and units of series in Prometheus, by exporter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scaler.readings.devices import (
    BOUNDS,
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
    """A family as a sum of series, and the factor from their unit to the family's.

    A pod may lack the `optional` series.
    """

    series: tuple[str, ...]
    factor: int = 1
    optional: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricNames:
    """The series of each family (by the exporter's names), and the labels that identify them.

    A family that is missing here has no series.

    All of `device_labels` together identify a GPU or MIG instance. `container_label` is None if
    used memory is per pod: several containers on one GPU then have the same value. `model_label`
    has the name of the GPU's model.
    """

    families: Mapping[str, Named]
    namespace_label: str
    pod_label: str
    node_label: str
    device_labels: tuple[str, ...]
    container_label: str | None
    model_label: str = "modelName"


_DCGM = MetricNames(
    families={
        DUTY_CYCLE: Named(series=("DCGM_FI_DEV_GPU_UTIL",)),
        MEMORY_USED: Named(series=("DCGM_FI_DEV_FB_USED",), factor=2**20),
        # The total is not among the exporter's default counters. Reserved memory is neither used
        # nor free, and has a series only in newer versions: older ones count it as used.
        MEMORY_TOTAL: Named(
            series=("DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_FB_RESERVED"),
            factor=2**20,
            optional=frozenset({"DCGM_FI_DEV_FB_RESERVED"}),
        ),
        POWER_USAGE: Named(series=("DCGM_FI_DEV_POWER_USAGE",), factor=1000),
        TEMPERATURE: Named(series=("DCGM_FI_DEV_GPU_TEMP",)),
    },
    namespace_label="namespace",
    pod_label="pod",
    node_label="Hostname",
    device_labels=("UUID", "GPU_I_ID"),
    container_label=None,
)

PRESETS: Mapping[str, MetricNames] = {
    "gpu-exporter": MetricNames(
        families={family: Named(series=(family,)) for family in BOUNDS},
        namespace_label="namespace_name",
        pod_label="pod_name",
        node_label="node_name",
        device_labels=("uuid",),
        container_label="container_name",
        model_label="name",
    ),
    "dcgm": _DCGM,
    # Without honor_labels, Prometheus sets pod and namespace to those of the exporter itself.
    "dcgm-exported": replace(_DCGM, namespace_label="exported_namespace", pod_label="exported_pod"),
}
"""The values of `--prometheus.metrics`."""
