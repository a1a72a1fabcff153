# SPDX-License-Identifier: Apache-2.0
"""Pure: read each pod's value of each metric from an exporter's page.

The metric and label names are the whole contract between exporter and scaler (contract 1 of the
design); this module is the scaler's side of it.
"""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from scaler.budgets import OverBudgetError, shown
from scaler.model import PodValue
from scaler.readings.devices import (
    CONTAINER_DUTY_CYCLE,
    FAMILIES,
    PARTS,
    out_of_bounds,
    pod_values,
)
from scaler.readings.series import read_samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scaler.model import Metric, ObjectRef
    from scaler.readings.series import Series

SNAPSHOT_AGE = "nvidia_gpu_exporter_snapshot_age_seconds"
INTERVAL = "nvidia_gpu_exporter_interval_seconds"
MIN_STALE_AFTER_SECONDS = 15.0
STALE_AFTER_INTERVALS = 3
MAX_INTERVAL_SECONDS = 3600.0


class ExpositionError(ValueError):
    """The text is not an exporter's page; the message says what is wrong."""

    def __init__(self, message: str) -> None:
        super().__init__(shown(message))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePage:
    """The result of one scrape of some families: samples, or the problem.

    `asked_seconds` is when the request was sent, so that readings never seem younger than they
    are. `problem` completes "the exporter of node X ...". `age_seconds` is None if the
    exporter has no readings. `values` are those of `series`, in the page's order; `known` speeds up
    parsing the next page.
    """

    families: tuple[str, ...]
    asked_seconds: float
    duration_seconds: float
    problem: str | None = None
    age_seconds: float | None = None
    interval_seconds: float | None = None
    series: tuple[Series, ...] = ()
    values: Sequence[float] = ()
    known: Mapping[str, Series] = field(default_factory=dict, compare=False, repr=False)

    def samples(self) -> Iterable[tuple[Series, float]]:
        """Return each series with its value."""
        return zip(self.series, self.values, strict=True)

    def stale_problem(self, now_seconds: float | None = None) -> str | None:
        """Return why the readings may not be used at `now_seconds` (None: on arrival), or None."""
        if self.problem is not None:
            return self.problem
        if self.age_seconds is None:
            return "has no GPU readings"
        waited = self.duration_seconds if now_seconds is None else now_seconds - self.asked_seconds
        age, limit = self.age_seconds + waited, stale_after_seconds(self.interval_seconds)
        return f"reports readings {age:.0f} s old, more than {limit:.0f} s" if age > limit else None


def stale_after_seconds(interval_seconds: float | None) -> float:
    """Return the maximum age of readings that an exporter takes every `interval_seconds`."""
    interval = interval_seconds or 0.0
    if not 0 <= interval <= MAX_INTERVAL_SECONDS:
        interval = 0.0
    return max(MIN_STALE_AFTER_SECONDS, STALE_AFTER_INTERVALS * interval)


def families_for(metrics: Iterable[Metric]) -> tuple[str, ...]:
    """Return the families that these metrics are computed from, sorted."""
    return _families_for(frozenset(metrics))


@lru_cache(maxsize=1024)
def _families_for(metrics: frozenset[Metric]) -> tuple[str, ...]:
    wanted = {family for metric in metrics for family in FAMILIES[metric]}
    wanted |= {PARTS[family] for family in wanted & PARTS.keys()}
    return tuple(sorted(wanted))


def asked_names(families: Iterable[str]) -> tuple[str, ...]:
    """Return the series names to request: the families, and the readings' age and interval."""
    return (*families, SNAPSHOT_AGE, INTERVAL)


def read_page(
    text: str,
    known: Mapping[str, Series] | None = None,
    *,
    families: tuple[str, ...] = (),
    asked_seconds: float = 0.0,
    duration_seconds: float = 0.0,
) -> NodePage:
    """Return the page for an exporter's text exposition (format 0.0.4) of `families`.

    `known` is that of any earlier page.

    Raises:
        ExpositionError: the text is invalid or over budget.
    """
    try:
        samples, seen = read_samples(text, known or {})
    except OverBudgetError as error:
        raise ExpositionError(f"over budget: {error}") from error
    except ValueError as error:
        raise ExpositionError(f"not a Prometheus text exposition: {error}") from error
    gauges = {one.name: value for one, value in samples if one.name in (SNAPSHOT_AGE, INTERVAL)}
    age = gauges.get(SNAPSHOT_AGE, math.nan)
    return NodePage(
        families=families,
        asked_seconds=asked_seconds,
        duration_seconds=duration_seconds,
        age_seconds=age if 0 <= age < math.inf else None,
        interval_seconds=gauges.get(INTERVAL),
        series=tuple([one for one, _ in samples]),
        values=array("d", [value for _, value in samples]),
        known=seen,
    )


def values_by_pod(
    page: NodePage, metrics: Iterable[Metric]
) -> Mapping[Metric, Mapping[ObjectRef, PodValue | str]]:
    """Return the pods' values of `metrics` on a page.

    A pod with a sample outside the bounds of its family has the reason instead of a value.
    """
    wanted = {*families_for(metrics)}
    devices: dict[str, dict[ObjectRef, dict[str, list[float]]]] = {
        family: defaultdict(lambda: defaultdict(list)) for family in wanted
    }
    impossible: dict[str, dict[ObjectRef, str]] = defaultdict(dict)
    for one, value in page.samples():
        if one.pod is None or one.name not in wanted:
            continue
        if one.name == CONTAINER_DUTY_CYCLE and not one.shared:
            continue
        problem = out_of_bounds(one.name, value)
        if problem is None:
            devices[one.name][one.pod][one.uuid].append(value)
        else:
            impossible[one.name][one.pod] = problem
    sampled = page.asked_seconds - (page.age_seconds or 0.0)
    found: dict[Metric, Mapping[ObjectRef, PodValue | str]] = {}
    for metric in metrics:
        values: dict[ObjectRef, PodValue | str] = {
            pod: PodValue(value_milli=milli, sampled_seconds=sampled, device_count=count)
            for pod, milli, count in pod_values(metric, devices)
        }
        values.update(_problems(metric, impossible))
        found[metric] = values
    return found


def _problems(
    metric: Metric, impossible: Mapping[str, Mapping[ObjectRef, str]]
) -> Mapping[ObjectRef, str]:
    families = [one for family in FAMILIES[metric] for one in (family, PARTS.get(family, ""))]
    return {pod: problem for one in families for pod, problem in impossible.get(one, {}).items()}
