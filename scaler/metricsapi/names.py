"""Pure: the metrics that the API serves, by all names that an HPA can use (contract 5)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from scaler.model import Metric
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
"""The averaging window of `_over_time`."""
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


SERVER_FAMILIES: Mapping[str, Metric] = {
    str(metric): metric
    for metric in (Metric.REQUESTS, Metric.REQUESTS_WAITING, Metric.KV_CACHE_PERCENT)
}
"""What pods' model servers say; nodes and namespaces have no such values."""


class Resource(StrEnum):
    """The resources that have values: pods, nodes and namespaces."""

    PODS = "pods"
    NODES = "nodes"
    NAMESPACES = "namespaces"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedMetric:
    """A metric name, its family, and whether it is the 3-minute average."""

    name: str
    family: str
    over_time: bool

    @property
    def resources(self) -> tuple[Resource, ...]:
        """The resources that have values of it."""
        return (Resource.PODS,) if self.family in SERVER_FAMILIES else tuple(Resource)


def _served() -> Mapping[str, ServedMetric]:
    metrics = (
        ServedMetric(
            name=f"{prefix}{family.removeprefix(PREFIX)}_{suffix}",
            family=family,
            over_time=suffix == "over_time",
        )
        for family in (*FAMILIES, *SERVER_FAMILIES)
        for prefix in (("",) if family in SERVER_FAMILIES else ("", PREFIX))
        for suffix in ("current", "over_time")
    )
    return {metric.name: metric for metric in metrics}


METRICS: Mapping[str, ServedMetric] = _served()
