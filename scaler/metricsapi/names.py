# SPDX-License-Identifier: Apache-2.0
"""Pure: the metrics that the API serves, by all names that an HPA can use (contract 5)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
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
    from collections.abc import Iterable, Mapping

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
NEVER_SUMMED = frozenset({TEMPERATURE, str(Metric.KV_CACHE_PERCENT)})
"""The families whose sum over pods means nothing."""
MAX_ALIASES = 64
MAX_DIVISOR = 1e15
_ALIAS = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")


class Resource(StrEnum):
    """The resources that have values: pods, nodes and namespaces."""

    PODS = "pods"
    NODES = "nodes"
    NAMESPACES = "namespaces"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedMetric:
    """A metric name, its family, and how its value is made.

    `over_time` is the 3-minute average, `is_sum` the sum over the pods of a workload. The value is
    divided by `divisor`, which only aliases have.
    """

    name: str
    family: str
    over_time: bool
    is_sum: bool = False
    divisor: float = 1.0

    @property
    def resources(self) -> tuple[Resource, ...]:
        """The resources that have values of it, besides workloads, which have all."""
        if self.is_sum:
            return ()
        return (Resource.PODS,) if self.family in SERVER_FAMILIES else tuple(Resource)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedKind:
    """A kind of workloads, as items describe it; `api_version` is as in `apps/v1`."""

    kind: str
    api_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """All metrics that are served, and the kinds of workloads that have them, by name."""

    metrics: Mapping[str, ServedMetric] = field(default_factory=lambda: METRICS)
    kinds: Mapping[str, ServedKind] = field(default_factory=dict)


def catalog(kinds: Mapping[str, ServedKind], aliases: Iterable[ServedMetric] = ()) -> Catalog:
    """Return what is served of these kinds: `METRICS`, also by other names."""
    return Catalog(metrics=METRICS | {one.name: one for one in aliases}, kinds=kinds)


def parse_alias(text: str) -> ServedMetric:
    """Parse `NAME=METRIC` or `NAME=METRIC/DIVISOR`; raises ValueError, which says what is wrong."""
    name, equals, rest = text.partition("=")
    metric, slash, number = rest.partition("/")
    if not equals or not _ALIAS.fullmatch(name):
        raise ValueError(f"{text!r:.200} is not NAME=METRIC or NAME=METRIC/DIVISOR")
    if name in METRICS:
        raise ValueError(f"{name} is already the name of a metric")
    if metric not in METRICS:
        raise ValueError(f"{metric!r:.200} is not a metric of the metrics API")
    try:
        divisor = float(number) if slash else 1.0
    except ValueError:
        divisor = 0.0
    if not 0 < divisor <= MAX_DIVISOR:
        raise ValueError(f"{number!r:.200} is not a divisor: a number above 0, up to 1e15")
    return replace(METRICS[metric], name=name, divisor=divisor)


def _served() -> dict[str, ServedMetric]:
    metrics = (
        ServedMetric(
            name=f"{prefix}{family.removeprefix(PREFIX)}{sum_}_{suffix}",
            family=family,
            over_time=suffix == "over_time",
            is_sum=bool(sum_),
        )
        for family in (*FAMILIES, *SERVER_FAMILIES)
        for prefix in (("",) if family in SERVER_FAMILIES else ("", PREFIX))
        for sum_ in (("",) if family in NEVER_SUMMED else ("", "_sum"))
        for suffix in ("current", "over_time")
    )
    return {metric.name: metric for metric in metrics}


METRICS: dict[str, ServedMetric] = _served()
