# SPDX-License-Identifier: Apache-2.0
"""Pure: the queries for single GPUs, and how to read the answers.

As in `queries`, an extra label tells values and the times of their samples apart.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from scaler.model import ObjectRef
from scaler.readings.devices import CONTAINERS_OWN, out_of_bounds
from scaler.readings.gpus import GpuSample
from scaler.readings.prometheus.queries import FRESH_SECONDS, PART, TIME, VALUE, as_part
from scaler.readings.prometheus.query_results import sample_age_seconds
from scaler.readings.prometheus.response import rows_of
from scaler.readings.series import MODEL_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from scaler.readings.prometheus.names import MetricNames
    from scaler.readings.prometheus.response import Result


class Holder(NamedTuple):
    """A GPU and the container that uses it; `pod` is None for a free GPU.

    `model` is empty unless the query asks for it.
    """

    node: str
    pod: ObjectRef | None
    uuid: str
    container: str
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSeries:
    """One series of all GPUs: values and ages in seconds."""

    values: Mapping[Holder, Decimal]
    ages_seconds: Mapping[Holder, float]


def gpu_query(
    series: str,
    names: MetricNames,
    family: str,
    *,
    matchers: Sequence[str] = (),
    with_model: bool = False,
) -> str:
    """Return the query for a series of all GPUs, including free ones."""
    selector = f"{series}{{{', '.join(matchers)}}}"
    by = by_gpu(names, family, with_model=with_model)
    values, times = f"max {by} ({selector})", f"min {by} (timestamp({selector}))"
    return f"{as_part(VALUE, values)} or {as_part(TIME, times)}"


def past_query(
    series: str,
    names: MetricNames,
    family: str,
    *,
    namespaces: Collection[str],
    seconds: float,
    step_seconds: float,
    matchers: Sequence[str] = (),
) -> str:
    """Return the query for a series over the last `seconds`; empty `namespaces` mean all.

    The query drops stale samples instead of relying on Prometheus' lookback, which would fill an
    outage with the values from before it.
    """
    # Namespaces are DNS labels, without special characters of regular expressions.
    within = [f'{names.namespace_label}=~"{"|".join(sorted(namespaces))}"'] if namespaces else []
    fresh = fresh_query(series, names, family, matchers=(*within, *matchers))
    return f"{fresh}[{seconds:g}s:{step_seconds:g}s]"


def fresh_query(
    series: str,
    names: MetricNames,
    family: str,
    *,
    matchers: Sequence[str] = (),
    fresh_seconds: float = FRESH_SECONDS,
) -> str:
    """Return the query for a series' samples that are at most this old when it is evaluated."""
    selector = f"{series}{{{', '.join(matchers)}}}"
    fresh = f"{selector} and time() - timestamp({selector}) < {fresh_seconds:g}"
    return f"max {by_gpu(names, family)} ({fresh})"


def by_gpu(names: MetricNames, family: str, *, with_model: bool = False) -> str:
    """Return the clause that keeps apart GPUs, and containers where their values differ."""
    labels = [names.node_label, names.namespace_label, names.pod_label, *names.device_labels]
    # Values of the whole device repeat for each container.
    if family in CONTAINERS_OWN and names.container_label is not None:
        labels.append(names.container_label)
    if with_model:
        labels.append(names.model_label)
    return f"by ({', '.join(dict.fromkeys(labels))})"


def read_gpu_series(result: Result, names: MetricNames) -> GpuSeries:
    """Return the answer to a `gpu_query`, without values that are negative or not finite.

    Raises:
        PromqlError: the answer does not match such a query.
    """
    values: dict[Holder, Decimal] = {}
    ages: dict[Holder, float] = {}
    with rows_of(result, "vector") as rows:
        for row in rows:
            holder = holder_of(row["metric"], names)
            evaluated_seconds, text = row["value"]
            if row["metric"][PART] == VALUE:
                value = _value(text)
                if value is not None:
                    values[holder] = value
            else:
                ages[holder] = sample_age_seconds(evaluated_seconds, text)
    return GpuSeries(values=values, ages_seconds=ages)


def gpu_samples(
    parts: Sequence[GpuSeries], *, factor: int, asked_seconds: float, family: str = ""
) -> list[GpuSample]:
    """Return the samples of a family: the sum of its series times the factor.

    Samples outside the family's bounds are left out.
    """
    first, *others = parts
    samples = (
        GpuSample(
            holder.node,
            holder.pod,
            holder.uuid,
            float(sum((one.values[holder] for one in others), value) * factor),
            asked_seconds - max(one.ages_seconds.get(holder, math.inf) for one in parts),
            FRESH_SECONDS,
            holder.model or None,
        )
        for holder, value in first.values.items()
        if all(holder in one.values for one in others)
    )
    return [sample for sample in samples if out_of_bounds(family, sample.value) is None]


def past_samples(
    results: Sequence[Result],
    names: MetricNames,
    *,
    factor: int,
    asked_seconds: float,
    family: str = "",
) -> list[GpuSample]:
    """Return the samples in the answers to the `past_query` of each of a family's series.

    The newest sample is taken to be of `asked_seconds`. Samples outside the family's bounds are
    left out.

    Raises:
        PromqlError: an answer does not match such a query.
    """
    first, *others = (_read_past(result, names) for result in results)
    newest = max((time for _, time in first), default=0.0)
    samples = (
        GpuSample(
            holder.node,
            holder.pod,
            holder.uuid,
            float(sum((one[holder, time] for one in others), value) * factor),
            asked_seconds - (newest - time),
            FRESH_SECONDS,
        )
        for (holder, time), value in first.items()
        if all((holder, time) in one for one in others)
    )
    possible = (sample for sample in samples if out_of_bounds(family, sample.value) is None)
    return sorted(possible, key=lambda sample: sample.sampled_seconds)


def _read_past(result: Result, names: MetricNames) -> dict[tuple[Holder, float], Decimal]:
    with rows_of(result, "matrix") as rows:
        return {
            (holder, float(time)): value
            for row in rows
            for holder in [holder_of(row["metric"], names)]
            for time, value in _values(row["values"])
        }


def _values(pairs: Iterable[Any]) -> Iterable[tuple[float, Decimal]]:
    for time, text in pairs:
        value = _value(text)
        if value is not None:
            yield time, value


def _value(text: str) -> Decimal | None:
    value = Decimal(text)
    return value if value.is_finite() and value >= 0 else None


def holder_of(labels: Mapping[str, str], names: MetricNames) -> Holder:
    """Return the GPU and container that the labels of a series name."""
    pod = labels.get(names.pod_label)
    namespace = labels.get(names.namespace_label, "")
    return Holder(
        labels.get(names.node_label, ""),
        ObjectRef(namespace=namespace, name=pod) if pod else None,
        "/".join(filter(None, (labels.get(label) for label in names.device_labels))),
        labels.get(names.container_label or "", ""),
        sys.intern(labels.get(names.model_label, "")[:MODEL_CHARACTERS]),
    )
