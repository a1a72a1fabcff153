# SPDX-License-Identifier: Apache-2.0
"""Pure: join Prometheus' series of all pods to the readings of each Deployment's pods."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from scaler.model import Metric, MetricReading, ObjectRef, PodValue
from scaler.readings.devices import FAMILIES, PARTS, pod_values
from scaler.readings.prometheus.queries import FRESH_SECONDS
from scaler.readings.source import NO_GPU_POD, readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scaler.model import PodState
    from scaler.readings.devices import DeviceValues
    from scaler.readings.prometheus.names import MetricNames
    from scaler.readings.prometheus.query_results import SeriesValues


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesAnswer:
    """The result of one query: values, or the problem.

    `asked_seconds` is when the request was sent, so that no sample seems younger than it is.
    `own` are the containers' own parts of shared GPUs, None if the series has none.
    """

    asked_seconds: float
    duration_seconds: float
    values: SeriesValues | None
    problem: str | None = None
    own: SeriesValues | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricAnswer:
    """One metric of all requested pods over one window; `problem` if no value may be used."""

    values: Mapping[ObjectRef, PodValue]
    missing: Mapping[ObjectRef, str]
    problem: str | None


def series_of(metric: Metric, names: MetricNames) -> tuple[str, ...]:
    """Return the series that a metric is computed from, each once."""
    named = (names.families[family] for family in FAMILIES[metric])
    return tuple(dict.fromkeys(series for one in named for series in one.series))


def _needed_series(metric: Metric, names: MetricNames) -> tuple[str, ...]:
    optional = {one for family in FAMILIES[metric] for one in names.families[family].optional}
    return tuple(series for series in series_of(metric, names) if series not in optional)


def metric_answer(
    metric: Metric, names: MetricNames, answers: Mapping[str, SeriesAnswer]
) -> MetricAnswer:
    """Return the values of a metric for all pods in the `answers`, which are by series."""
    series = series_of(metric, names)
    for one in series:
        if answers[one].values is None:
            return MetricAnswer(values={}, missing={}, problem=answers[one].problem)
    known = {one: values for one in series if (values := answers[one].values) is not None}
    devices = {family: _family(names, family, known) for family in FAMILIES[metric]}
    totals = None
    for family in FAMILIES[metric]:
        own = answers[names.families[family].series[0]].own
        if own is not None:
            devices[PARTS[family]], totals = own.values, own.totals
            known[PARTS[family]] = own
            answers = {**answers, PARTS[family]: answers[names.families[family].series[0]]}
    computed = {pod: (milli, count) for pod, milli, count in pod_values(metric, devices, totals)}
    found: dict[ObjectRef, PodValue] = {}
    missing: dict[ObjectRef, str] = {}
    needed = _needed_series(metric, names)
    # In the order of arrival, so that memory is accessed sequentially.
    for pod in dict.fromkeys(chain(*(values.ages_seconds for values in known.values()))):
        sampled = _sampled_seconds(pod, needed, known, answers)
        if isinstance(sampled, str):
            missing[pod] = f"Prometheus: {sampled}"
            continue
        value_milli, shown = computed.get(pod, (None, 0))
        count = len(known[series[0]].values.get(pod, ()))
        if value_milli is None or shown < count:
            missing[pod] = (
                f"Prometheus: {metric} is known for only {shown} of the {count} GPUs of this pod"
            )
            continue
        found[pod] = PodValue(value_milli=value_milli, sampled_seconds=sampled, device_count=shown)
    return MetricAnswer(values=found, missing=missing, problem=None)


def reading_of(
    metric: Metric, names: MetricNames, pods: Iterable[PodState], answer: MetricAnswer
) -> MetricReading:
    """Return one Deployment's part of the answer, for its pods that can have readings."""
    if answer.problem is not None:
        return MetricReading(metric=metric, values={}, problem=answer.problem)
    values: dict[ObjectRef, PodValue] = {}
    missing: dict[ObjectRef, str] = {}
    for pod in readable(pods):
        if pod.ref in answer.values:
            values[pod.ref] = answer.values[pod.ref]
        elif pod.requests_gpu is False:
            missing[pod.ref] = NO_GPU_POD
        else:
            missing[pod.ref] = answer.missing.get(pod.ref) or (
                f"Prometheus has no {' or '.join(_needed_series(metric, names))} whose labels"
                f" {names.namespace_label} and {names.pod_label} name this pod"
            )
    return MetricReading(metric=metric, values=values, missing=missing)


def _sampled_seconds(
    pod: ObjectRef,
    needed: Sequence[str],
    known: Mapping[str, SeriesValues],
    answers: Mapping[str, SeriesAnswer],
) -> float | str:
    """Return when the oldest sample of a pod was taken, or why its values may not be used."""
    sampled = math.inf
    for one, values in known.items():
        age = values.ages_seconds.get(pod)
        if age is None:
            if one in needed:
                return f"there is no {one} for this pod"
            continue
        answer = answers[one]
        if age + answer.duration_seconds > FRESH_SECONDS:
            return (
                f"the last {one} of this pod is {age + answer.duration_seconds:.0f} s old,"
                f" more than {FRESH_SECONDS:.0f} s"
            )
        if pod in values.problems:
            return f"{one}: {values.problems[pod]}"
        sampled = min(sampled, answer.asked_seconds - age)
    return sampled


def _family(names: MetricNames, family: str, known: Mapping[str, SeriesValues]) -> DeviceValues:
    """Return a family's values by pod and GPU; a sum only if all of its series are present."""
    named = names.families[family]
    series = named.series
    if len(series) == 1:
        return known[series[0]].values
    summed: dict[ObjectRef, dict[str, list[float]]] = {}
    for pod, by_device in known[series[0]].values.items():
        others = [
            known[one].values.get(pod, {})
            for one in series[1:]
            if pod in known[one].values or one not in named.optional
        ]
        summed[pod] = {
            device: [max(values) + sum(max(other[device]) for other in others)]
            for device, values in by_device.items()
            if all(device in other for other in others)
        }
    return summed
