# SPDX-License-Identifier: Apache-2.0
"""Pure: a GPU metric of pods in the past: the queries, and each pod's values in the answers."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from scaler.budgets import shown_name
from scaler.model import Metric
from scaler.readings.devices import (
    BOUNDS,
    CONTAINER_DUTY_CYCLE,
    FAMILIES,
    PARTS,
    ROUNDING_SHARE,
    out_of_bounds,
    pod_values,
)
from scaler.readings.prometheus.gpu_queries import fresh_query, holder_of
from scaler.readings.prometheus.range_chunks import promql_duration
from scaler.readings.prometheus.response import rows_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from scaler.model import ObjectRef
    from scaler.readings.prometheus.names import MetricNames
    from scaler.readings.prometheus.range_chunks import PastRow, RangeChunk
    from scaler.readings.prometheus.response import Result

TOTALS = "totals"
"""The part of the queries with each GPU's sum over all pods, wanted or not."""

MANY_OWNERS = 200
SHORT_NAME = 46

_Points = dict[float, float]


class _Query(NamedTuple):
    """One query: the family, the series of its sum, and whether a pod may lack it."""

    family: str
    text: str
    factor: int = 1
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPoints:
    """One pod's values in the metric's unit, in order of time.

    `gpus` is how many it had, None where its series do not say. `impossible` counts values outside
    the metric's bounds, which are left out.
    """

    values: Sequence[tuple[float, float]]
    gpus: int | None
    impossible: int = 0


class PodGpus(NamedTuple):
    """How many GPUs of a model a pod had; None is a model that is not named."""

    pod: ObjectRef
    model: str | None
    gpus: int


class PastMetric:
    """What to ask for a metric of the pods that the matchers select, and how to read it."""

    def __init__(
        self, metric: Metric, names: MetricNames, *, matchers: Sequence[str], pods: Sequence[str]
    ) -> None:
        """`matchers` are for all series, `pods` are those that select the wanted pods."""
        self._metric = metric
        self._names = names
        self._matchers = tuple(matchers)
        self._pods = (f'{names.pod_label}!=""', *pods)

    def queries(self, fresh_seconds: float) -> tuple[str, ...]:
        """Return the queries for samples that are at most this old."""
        return tuple(one.text for one in self._queries(fresh_seconds))

    def read(self, chunk: RangeChunk) -> Mapping[ObjectRef, PodPoints]:
        """Return the values of each pod in the answers to `queries`."""
        families: dict[str, dict[ObjectRef, _Devices]] = {}
        totals: dict[str, _Points] = {}
        queries = self._queries(0)
        for query, rows in zip(queries, chunk.rows, strict=True):
            if query.family == TOTALS:
                totals = {holder_of(row.labels, self._names).uuid: _points(row, 1) for row in rows}
            elif query.family not in families:
                families[query.family] = self._devices(rows, query.factor)
            else:
                _add(families[query.family], self._devices(rows, query.factor), query.optional)
        first = families[FAMILIES[self._metric][0]]
        return {
            pod: self._pod_points(
                pod, {family: one[pod] for family, one in families.items() if pod in one}, totals
            )
            for pod in first
        }

    def models_query(self, seconds: float | None = None) -> str:
        """Return the query for the GPUs of the pods by model, of these last seconds or of now."""
        names = self._names
        series = names.families[FAMILIES[self._metric][0]].series[0]
        pods = (names.namespace_label, names.pod_label, names.model_label)
        gpus = dict.fromkeys((*pods, *names.device_labels))
        selector = ", ".join((*self._pods, *self._matchers))
        selected = f"{series}{{{selector}}}"
        if seconds is not None:
            selected = f"last_over_time({selected}[{promql_duration(seconds)}])"
        return f"count by ({', '.join(pods)}) (group by ({', '.join(gpus)}) ({selected}))"

    def read_models(self, result: Result) -> Iterator[PodGpus]:
        """Yield what an answer to `models_query` says; raises PromqlError."""
        names = self._names
        with rows_of(result, "vector") as rows:
            for row in rows:
                labels = {name: shown_name(text) for name, text in row.get("metric", {}).items()}
                pod = holder_of(labels, names).pod
                model = labels.get(names.model_label)
                if pod is not None and pod.namespace:
                    yield PodGpus(pod, model or None, int(float(row["value"][1])))

    def _queries(self, fresh_seconds: float) -> tuple[_Query, ...]:
        found: list[_Query] = []
        for family in FAMILIES[self._metric]:
            named = self._names.families[family]
            found += [
                _Query(
                    family,
                    self._fresh(series, family, fresh_seconds),
                    named.factor,
                    series in named.optional,
                )
                for series in named.series
            ]
        for family in FAMILIES[self._metric]:
            parts = self._names.families.get(PARTS.get(family, ""))
            if parts is not None:
                shared = ('allocate_mode="share"',)
                series = parts.series[0]
                own = self._fresh(series, CONTAINER_DUTY_CYCLE, fresh_seconds, shared)
                found.append(_Query(CONTAINER_DUTY_CYCLE, own))
                every = fresh_query(
                    series,
                    self._names,
                    CONTAINER_DUTY_CYCLE,
                    matchers=(*shared, *self._matchers),
                    fresh_seconds=fresh_seconds,
                )
                by = ", ".join(self._names.device_labels)
                found.append(_Query(TOTALS, f"sum by ({by}) ({every} <= 100)"))
        return tuple(found)

    def _fresh(
        self, series: str, family: str, fresh_seconds: float, more: Sequence[str] = ()
    ) -> str:
        return fresh_query(
            series,
            self._names,
            family,
            matchers=(*more, *self._pods, *self._matchers),
            fresh_seconds=fresh_seconds,
        )

    def _devices(self, rows: Iterable[PastRow], factor: int) -> dict[ObjectRef, _Devices]:
        found: dict[ObjectRef, _Devices] = {}
        for row in rows:
            holder = holder_of(row.labels, self._names)
            if holder.pod is not None and holder.pod.namespace:
                devices = found.setdefault(holder.pod, defaultdict(dict))
                points = _points(row, factor)
                # A node that is renamed gives the same GPU twice.
                devices[holder.uuid].setdefault(holder.container, {}).update(points)
        return found

    def _pod_points(
        self,
        pod: ObjectRef,
        families: Mapping[str, _Devices],
        totals: Mapping[str, _Points],
    ) -> PodPoints:
        first = FAMILIES[self._metric][0]
        devices = families[first]
        is_alone = len(families) == len(FAMILIES[self._metric]) == 1
        if is_alone and all(len(one) == 1 for one in devices.values()):
            return self._plain_points(first, [next(iter(one.values())) for one in devices.values()])
        times = sorted({time for one in devices.values() for some in one.values() for time in some})
        values: list[tuple[float, float]] = []
        impossible = 0
        for time in times:
            here = {
                family: {pod: found}
                for family, by_uuid in families.items()
                if (found := _at(family, by_uuid, time))
            }
            if first not in here:
                impossible += 1
                continue
            sums = {uuid: points[time] for uuid, points in totals.items() if time in points}
            for _, value_milli, _ in pod_values(self._metric, here, sums):
                values.append((time, value_milli / 1000))
        return PodPoints(values=values, gpus=len(devices), impossible=impossible)

    def _plain_points(self, family: str, gpus: Sequence[_Points]) -> PodPoints:
        """Return what `pod_values` makes of one value per GPU, for weeks of them."""
        lowest, highest = BOUNDS[family]
        highest *= 1 + ROUNDING_SHARE
        is_hottest = self._metric is Metric.TEMPERATURE_CELSIUS
        values: list[tuple[float, float]] = []
        impossible = 0
        for time in sorted({time for points in gpus for time in points}):
            here = [
                value
                for points in gpus
                if (value := points.get(time)) is not None and lowest <= value <= highest
            ]
            if here:
                values.append((time, max(here) if is_hottest else sum(here) / len(here)))
            else:
                impossible += 1
        return PodPoints(values=values, gpus=len(gpus), impossible=impossible)


def pods_matchers(
    owners: Sequence[ObjectRef], *, namespace_label: str, pod_label: str
) -> tuple[str, ...]:
    """Return what selects the pods of these Deployments and few others; none for all or many."""
    if not owners or len(owners) > MANY_OWNERS:
        return ()
    namespaces = "|".join(sorted({one.namespace for one in owners}))
    # Names are DNS names: only the dot is special. A pod's name is cut where it would be too long.
    starts = sorted({one.name[:SHORT_NAME].replace(".", r"\\.") for one in owners})
    return (
        f'{namespace_label}=~"{namespaces}"',
        f'{pod_label}=~"({"|".join(starts)}).*"',
    )


_Devices = defaultdict[str, dict[str, _Points]]
"""Values over time by GPU and container."""


def _at(family: str, devices: _Devices, time: float) -> dict[str, list[float]]:
    """Return the possible values at a time, by GPU."""
    found: dict[str, list[float]] = {}
    for uuid, containers in devices.items():
        for points in containers.values():
            value = points.get(time)
            if value is not None and out_of_bounds(family, value) is None:
                found.setdefault(uuid, []).append(value)
    return found


def _points(row: PastRow, factor: int) -> _Points:
    return {time: number(text, factor) for time, text in row.points}


def number(text: str, factor: int = 1) -> float:
    """Return a value of an answer times the factor, NaN if the text is no number."""
    try:
        # Decimal, because 71.353 W as a float would not give exactly 71353 mW.
        return float(text) if factor == 1 else float(Decimal(text) * factor)
    except (ValueError, ArithmeticError):
        return math.nan


def _add(
    sums: dict[ObjectRef, _Devices], others: Mapping[ObjectRef, _Devices], optional: bool
) -> None:
    """Add a further series of a family's sum; what lacks one that is needed has no sum."""
    for pod, devices in sums.items():
        others_of_pod = others.get(pod)
        if others_of_pod is None and optional:
            continue
        for uuid, containers in devices.items():
            others_of_gpu = others_of_pod[uuid] if others_of_pod and uuid in others_of_pod else {}
            for container, points in containers.items():
                other = others_of_gpu.get(container) or {}
                containers[container] = {
                    time: value + other[time] for time, value in points.items() if time in other
                }
