"""Pure: the metrics that the API serves, by every name that an HPA may ask for (contract 5)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
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

GROUP = "custom.metrics.k8s.io"
VERSIONS = ("v1beta2", "v1beta1")
"""The preferred one first."""
PREFIX = "nvidia_gpu_"
WINDOW_SECONDS = 180.0
"""What `_over_time` is averaged over."""
FAMILIES = (
    DUTY_CYCLE,
    MEMORY_TOTAL,
    MEMORY_USED,
    POWER_USAGE,
    TEMPERATURE,
    # These have values only where exporters run with `--collectors containers`.
    CONTAINER_DUTY_CYCLE,
    CONTAINER_MEMORY_USED,
)


class Resource(StrEnum):
    """What has values: a pod, a node, or a whole namespace."""

    PODS = "pods"
    NODES = "nodes"
    NAMESPACES = "namespaces"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedMetric:
    """A name, the exporter's family behind it, and whether it is the 3-minute average."""

    name: str
    family: str
    over_time: bool


def _served() -> Mapping[str, ServedMetric]:
    metrics = (
        ServedMetric(
            name=f"{prefix}{family.removeprefix(PREFIX)}_{suffix}",
            family=family,
            over_time=suffix == "over_time",
        )
        for family in FAMILIES
        for prefix in ("", PREFIX)
        for suffix in ("current", "over_time")
    )
    return {metric.name: metric for metric in metrics}


METRICS: Mapping[str, ServedMetric] = _served()
