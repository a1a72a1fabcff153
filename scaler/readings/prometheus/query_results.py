# SPDX-License-Identifier: Apache-2.0
"""Pure: what the answers to the queries of `queries` say about pods."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from scaler.budgets import shown
from scaler.decision.replicas import clamp_int64
from scaler.model import ObjectRef
from scaler.quantities import milli
from scaler.readings.devices import CONTAINER_DUTY_CYCLE, PARTS, out_of_bounds
from scaler.readings.prometheus.queries import OWN_TIME, OWN_VALUE, PART, TIME, VALUE
from scaler.readings.prometheus.response import PromqlError, rows_of
from scaler.readings.window import not_yet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from scaler.readings.prometheus.names import MetricNames
    from scaler.readings.prometheus.range_chunks import PastRow
    from scaler.readings.prometheus.response import Result
    from scaler.readings.window import PodRanges

_Holder: TypeAlias = tuple[ObjectRef, str, str]
"""A pod, one of its GPUs, and the container if containers have their own parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesValues:
    """One series of the requested pods: values by pod and GPU, ages of each pod's oldest sample.

    `problems` has the pods whose values may not be used, with the reason. `totals` is the sum by
    GPU over all pods, requested or not.
    """

    values: Mapping[ObjectRef, Mapping[str, Sequence[float]]]
    ages_seconds: Mapping[ObjectRef, float]
    problems: Mapping[ObjectRef, str]
    totals: Mapping[str, float] = field(default_factory=dict)


def read_total(result: Result) -> int:
    """Return the value of `gpu-scaler/query` in milli units, within an int64.

    Any value above 0 stays above 0.

    Raises:
        PromqlError: the result is not exactly one finite number.
    """
    if result.type == "scalar":
        sample: Any = result.rows
    elif result.type != "vector":
        raise PromqlError(f"the result is a {result.type}; it must be a scalar or a single series")
    elif not result.rows:
        raise PromqlError("the result is empty: no series matches")
    elif len(result.rows) > 1:
        raise _several_series(len(result.rows))
    else:
        sample = result.rows[0].get("value") if isinstance(result.rows[0], dict) else None
    try:
        _, text = sample
        if not math.isfinite(float(text)):
            raise PromqlError(f"the result is {shown(text)}, which is not a finite number")
        return clamp_int64(milli(Decimal(text)))
    except (TypeError, ValueError, ArithmeticError) as error:
        if isinstance(error, PromqlError):
            raise
        raise PromqlError(f"the result is not a sample: {shown(sample)}") from error


def read_totals(rows: Sequence[PastRow]) -> list[tuple[float, float]]:
    """Return times and values of a Deployment's own query, without those that are not finite.

    Series that follow each other are one, as after a restart that changed a label.

    Raises:
        PromqlError: there are several series at one time, or a value is no number.
    """
    found: dict[float, float] = {}
    for row in rows:
        for time, text in row.points:
            if time in found:
                raise _several_series(len(rows))
            try:
                found[time] = float(text)
            except ValueError as error:
                raise PromqlError(f"the result is not a number: {shown(text)}") from error
    return sorted((time, value) for time, value in found.items() if math.isfinite(value))


def _several_series(number: int) -> PromqlError:
    return PromqlError(
        f"the result has {number} series but must have exactly one: aggregate them, for example"
        " with sum(...)"
    )


def read_series(
    result: Result,
    names: MetricNames,
    *,
    factor: int,
    pods: Iterable[ObjectRef],
    family: str = "",
    is_part: bool = False,
    ranges: PodRanges | None = None,
) -> tuple[SeriesValues, SeriesValues]:
    """Return the values of `pods` in the answer to a `family_query`, and their containers' parts.

    A series that `is_part` of the family's sum may be 0 even if the family may not. `ranges` says
    which part of the query has each pod's value. The second result has the containers' own parts
    of shared GPUs. A value outside the family's bounds is a problem of its pod.

    Raises:
        PromqlError: the answer does not match such a query.
    """
    device, own = _Side(), _Side()
    with rows_of(result, "vector") as rows:
        _fill(device, own, rows, names, pods, ranges)
    own_family = PARTS.get(family, "")
    judged = partial(out_of_bounds, family, is_part=is_part)
    return _values(device, factor, judged, ranges), _values(
        own, factor, partial(out_of_bounds, own_family), ranges
    )


class _Sample:
    """A value as text and the age of its sample in seconds; None if not in the answer."""

    __slots__ = ("age_seconds", "text")

    def __init__(self) -> None:
        self.text: str | None = None
        self.age_seconds: float | None = None


class _Side:
    """The samples of the requested pods, and the sums of all pods' values by GPU."""

    def __init__(self) -> None:
        self.samples: dict[_Holder, _Sample] = {}
        self.totals: defaultdict[str, float] = defaultdict(float)


def _fill(
    device: _Side,
    own: _Side,
    rows: Sequence[Any],
    names: MetricNames,
    pods: Iterable[ObjectRef],
    ranges: PodRanges | None,
) -> None:
    sides = {VALUE: device, TIME: device, OWN_VALUE: own, OWN_TIME: own}
    # Reuse the existing refs instead of keeping tens of thousands of equal ones.
    known = {pod: pod for pod in pods}
    container_label = names.container_label or ""
    shortened: dict[ObjectRef, str] = {}
    if ranges is not None:
        shortened = {pod: str(length) for pod, length in ranges.milliseconds.items()}
        shortened |= dict.fromkeys(ranges.too_young, "none")
    for row in rows:
        labels = row["metric"]
        part, milliseconds = labels[PART], ""
        if shortened and part not in sides:
            part, _, milliseconds = part.partition("_of_")
        side = sides.get(part)
        if side is None:
            continue
        if part == OWN_VALUE and not milliseconds:
            part_value = float(row["value"][1])
            # All pods on the GPU count; impossible values do not.
            if out_of_bounds(CONTAINER_DUTY_CYCLE, part_value) is None:
                side.totals[_device(labels, names)] += part_value
        named = ObjectRef(labels.get(names.namespace_label, ""), labels.get(names.pod_label, ""))
        pod = known.get(named)
        if pod is None:
            continue
        is_value = part in (VALUE, OWN_VALUE)
        if is_value and shortened and milliseconds != shortened.get(pod, ""):
            continue
        holder = pod, _device(labels, names), labels.get(container_label, "")
        sample = side.samples.get(holder)
        if sample is None:
            sample = side.samples[holder] = _Sample()
        evaluated_seconds, text = row["value"]
        if is_value:
            sample.text = text
        else:
            sample.age_seconds = sample_age_seconds(evaluated_seconds, text)


def sample_age_seconds(evaluated_seconds: float, time_text: str) -> float:
    """Return how old a sample was when the query was evaluated; infinite without a usable time."""
    age = float(evaluated_seconds) - float(time_text)
    # Clocks differ between machines: a sample from the future counts as new.
    return max(0.0, age) if math.isfinite(age) else math.inf


def _values(
    side: _Side,
    factor: int,
    problem_of: Callable[[float], str | None],
    ranges: PodRanges | None,
) -> SeriesValues:
    values: dict[ObjectRef, dict[str, list[float]]] = {}
    ages: dict[ObjectRef, float] = {}
    problems: dict[ObjectRef, str] = {}
    for (pod, device, _), sample in side.samples.items():
        # A value without a time belongs to a GPU that the pod used earlier in the window.
        if sample.age_seconds is None:
            continue
        ages[pod] = max(ages.get(pod, 0.0), sample.age_seconds)
        if sample.text is None:
            problems[pod] = _no_mean(pod, ranges)
            continue
        value = _scaled(sample.text, factor)
        if not math.isfinite(value) or value < 0:
            problems[pod] = f"the value for this pod is {shown(sample.text)}"
        elif (impossible := problem_of(value)) is not None:
            problems[pod] = f"the value for this pod is {impossible}"
        else:
            values.setdefault(pod, {}).setdefault(device, []).append(value)
    for pod, _, _ in side.samples:
        if pod not in ages:
            ages[pod] = math.inf
    return SeriesValues(values=values, ages_seconds=ages, problems=problems, totals=side.totals)


def _no_mean(pod: ObjectRef, ranges: PodRanges | None) -> str:
    if ranges is None or pod not in ranges.too_young:
        return "samples cover less than half of the window for this pod"
    return not_yet(ranges.too_young[pod], ranges.window_seconds)


def _device(labels: Mapping[str, str], names: MetricNames) -> str:
    return "/".join([labels.get(label, "") for label in names.device_labels])


def _scaled(text: str, factor: int) -> float:
    try:
        # Decimal, because 71.353 W as a float would not give exactly 71353 mW.
        return float(text) if factor == 1 else float(Decimal(text) * factor)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise PromqlError(f"the result is malformed: {shown(text)} is not a number") from error
