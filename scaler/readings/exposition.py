"""Pure: an exporter's text answer -> each pod's value of each metric.

The metric and label names are the whole contract between exporter and scaler (contract 1 of the
design); this module is the scaler's side of it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scaler.budgets import OverBudgetError, shown
from scaler.readings.devices import (
    CONTAINER_DUTY_CYCLE,
    FAMILIES,
    PARTS,
    out_of_bounds,
    pod_values,
)
from scaler.readings.series import read_samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scaler.model import Metric, ObjectRef
    from scaler.readings.devices import PodReading
    from scaler.readings.series import Series

SNAPSHOT_AGE = "nvidia_gpu_exporter_snapshot_age_seconds"
INTERVAL = "nvidia_gpu_exporter_interval_seconds"
MIN_STALE_AFTER_SECONDS = 15.0
STALE_AFTER_INTERVALS = 3
MAX_INTERVAL_SECONDS = 3600.0


class ExpositionError(ValueError):
    """The text is not an exporter's answer; the message says what is wrong with it."""

    def __init__(self, message: str) -> None:
        super().__init__(shown(message))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReadings:
    """What one exporter said: the age of its readings and its interval, and values per pod.

    `age_seconds` is None when the exporter has no readings to show. `problems` says of pods
    without a value which one of theirs cannot be. `series` is what makes reading its next answer
    quick.
    """

    age_seconds: float | None
    interval_seconds: float | None
    values: Mapping[Metric, Mapping[ObjectRef, PodReading]]
    problems: Mapping[Metric, Mapping[ObjectRef, str]] = field(default_factory=dict)
    series: Mapping[str, Series] = field(compare=False)


def stale_after_seconds(interval_seconds: float | None) -> float:
    """Return how old readings may be that an exporter takes every `interval_seconds`."""
    interval = interval_seconds or 0.0
    if not 0 <= interval <= MAX_INTERVAL_SECONDS:
        interval = 0.0
    return max(MIN_STALE_AFTER_SECONDS, STALE_AFTER_INTERVALS * interval)


def families_for(metrics: Iterable[Metric]) -> tuple[str, ...]:
    """Return the families to ask an exporter for, its age and interval among them."""
    wanted = {family for metric in metrics for family in FAMILIES[metric]}
    wanted |= {PARTS[family] for family in wanted & PARTS.keys()}
    return (*sorted(wanted), SNAPSHOT_AGE, INTERVAL)


def samples_of(
    text: str, known: Mapping[str, Series]
) -> tuple[list[tuple[Series, float]], dict[str, Series]]:
    """Return what `read_samples` does, and say of an exporter's page what is wrong with it."""
    try:
        return read_samples(text, known)
    except OverBudgetError as error:
        msg = f"over budget: {error}"
        raise ExpositionError(msg) from error
    except ValueError as error:
        msg = f"not a Prometheus text exposition: {error}"
        raise ExpositionError(msg) from error


def read_exposition(
    text: str, metrics: Iterable[Metric], known: Mapping[str, Series] | None = None
) -> NodeReadings:
    """Return the pods' values of `metrics` in an exporter's text exposition (format 0.0.4).

    A pod with a sample outside the bounds of its family has no value. `known` is `series` of an
    earlier answer, of whatever exporter.

    Raises:
        ExpositionError: the text does not parse, or is over budget.
    """
    samples, series = samples_of(text, known or {})
    devices: dict[str, dict[ObjectRef, dict[str, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    impossible: dict[str, dict[ObjectRef, str]] = defaultdict(dict)
    gauges: dict[str, float] = {}
    for one, value in samples:
        if one.name in (SNAPSHOT_AGE, INTERVAL):
            gauges[one.name] = value
        elif one.name == CONTAINER_DUTY_CYCLE and not one.shared:
            continue
        elif one.pod is not None:
            problem = out_of_bounds(one.name, value)
            if problem is None:
                devices[one.name][one.pod][one.uuid].append(value)
            else:
                impossible[one.name][one.pod] = problem
    problems = {metric: _problems(metric, impossible) for metric in metrics}
    values = {
        metric: {
            pod: value for pod, value in pod_values(metric, devices) if pod not in problems[metric]
        }
        for metric in problems
    }
    return NodeReadings(
        age_seconds=readings_age(gauges),
        interval_seconds=gauges.get(INTERVAL),
        values=values,
        problems=problems,
        series=series,
    )


def readings_age(gauges: Mapping[str, float]) -> float | None:
    """Return the age of an exporter's readings, None without one that can be."""
    age = gauges.get(SNAPSHOT_AGE)
    return age if age is not None and 0 <= age < math.inf else None


def _problems(
    metric: Metric, impossible: Mapping[str, Mapping[ObjectRef, str]]
) -> Mapping[ObjectRef, str]:
    families = [one for family in FAMILIES[metric] for one in (family, PARTS.get(family, ""))]
    return {pod: problem for one in families for pod, problem in impossible.get(one, {}).items()}
