# SPDX-License-Identifier: Apache-2.0
"""Pure: what a source answers about the pods of a Deployment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaler.model.policy import Metric
    from scaler.model.workload import ObjectRef


@dataclass(frozen=True, slots=True, kw_only=True)
class PodValue:
    """One pod's value of one metric: the mean over its GPUs (the maximum for temperature).

    `sampled_seconds` is when the exporter took it; `device_count` how many GPUs it covers.
    """

    value_milli: int
    sampled_seconds: float
    device_count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricReading:
    """What a source answered for one metric of one Deployment.

    The one value of a metric of `TOTAL_METRICS` is for the whole Deployment and keyed by its name;
    where `missing` has the name too, a part of it is unknown, and the value is at least that.
    `values` holds fresh finite values only; a pod without one is in `missing` with the reason
    ("exporter on node gpu-7 did not answer: timeout after 2 s").
    `problem` says why the whole reading cannot be trusted (source warnings, API error);
    nothing scales on it in any direction.
    `note` says how the values were found, such as which model server was recognised by what.
    """

    metric: Metric
    values: Mapping[ObjectRef, PodValue]
    missing: Mapping[ObjectRef, str] = field(default_factory=dict)
    problem: str | None = None
    note: str | None = None
