"""Pure: the queries that we send to Prometheus, and what its answers say.

One query brings the values of a series for all pods of the cluster together with the times of
their samples: a sample in the answer of an instant query carries the time of the evaluation, so
its own has to be asked for. A label of ours tells the two parts apart.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson

from scaler.sources.devices import CONTAINERS_OWN, PARTS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from scaler.model import ObjectRef
    from scaler.sources.names import MetricNames

PART = "gpu_scaler_part"
OWN = "own_"
"""Before the parts of the query that are about containers' own parts of a shared GPU."""
MAX_SHOWN_LENGTH = 300


class PromqlError(ValueError):
    """The answer holds nothing that may be used; the message says why, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The data of a successful and complete answer: `vector`, `scalar`, `matrix` or `string`."""

    type: str
    rows: Sequence[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesValues:
    """One series of the asked pods: values by pod and GPU, the age of each pod's oldest sample.

    `problems` names the pods whose values may not be used, with the reason. `totals` is the sum
    over all pods, asked for or not, by GPU.
    """

    values: Mapping[ObjectRef, Mapping[str, Sequence[float]]]
    ages_seconds: Mapping[ObjectRef, float]
    problems: Mapping[ObjectRef, str]
    totals: Mapping[str, float] = field(default_factory=dict)


def family_query(
    family: str,
    series: str,
    names: MetricNames,
    *,
    matchers: Sequence[str] = (),
    window_seconds: float = 0.0,
) -> str:
    """Return the query for a series of a family, with containers' own parts if there are any."""
    query = series_query(
        series,
        names,
        per_container=family in CONTAINERS_OWN,
        matchers=matchers,
        window_seconds=window_seconds,
    )
    parts = names.families.get(PARTS.get(family, ""))
    if parts is None:
        return query
    own = series_query(
        parts.series[0],
        names,
        per_container=True,
        matchers=('allocate_mode="share"', *matchers),
        window_seconds=window_seconds,
        part_prefix=OWN,
    )
    return f"{query} or {own}"


def series_query(
    series: str,
    names: MetricNames,
    *,
    per_container: bool,
    matchers: Sequence[str] = (),
    window_seconds: float = 0.0,
    part_prefix: str = "",
) -> str:
    """Return the query for a series of all pods, averaged over the window unless that is 0.

    Of the same value scraped twice the greater counts, and the older sample. A window of which
    not even half is stored has no value.
    """
    selector = series + "{" + ", ".join((f'{names.pod_label}!=""', *matchers)) + "}"
    labels = [names.namespace_label, names.pod_label, *names.device_labels]
    if per_container and names.container_label is not None:
        labels.append(names.container_label)
    by = f"by ({', '.join(labels)})"
    values = f"max {by} ({selector})"
    if window_seconds > 0:
        window = max(2, round(window_seconds * 1000))
        half = window // 2
        values = (
            f"(avg {by} (avg_over_time({selector}[{window}ms]))"
            f" and count {by} (count_over_time({selector}[{half}ms] offset {half}ms)))"
        )
    times = f"min {by} (timestamp({selector}))"
    return f"{_as_part(f'{part_prefix}value', values)} or {_as_part(f'{part_prefix}time', times)}"


def read_result(body: bytes, *, max_series: int) -> Result:
    """Return the data of an answer of `/api/v1/query`.

    Raises:
        PromqlError: an error, anything else than an answer, a partial one or one with warnings,
            or one of more than `max_series` series.
    """
    answer = _read_json(body)
    if answer.get("status") != "success":
        raise PromqlError(_error_text(answer) or "the answer has no status")
    # Before the data: what is there may look complete.
    if answer.get("warnings"):
        raise PromqlError(f"the answer has warnings: {_shown(answer['warnings'])}")
    if answer.get("isPartial"):
        raise PromqlError("the answer is partial (isPartial)")
    data = answer.get("data")
    if not isinstance(data, dict):
        raise PromqlError("the answer has no data")
    type_, rows = data.get("resultType"), data.get("result")
    if not isinstance(type_, str) or not isinstance(rows, list):
        raise PromqlError("the answer has no result")
    if type_ in ("vector", "matrix") and len(rows) > max_series:
        raise PromqlError(
            f"the answer has {len(rows)} series, more than --prometheus.max-series={max_series}"
        )
    return Result(type=type_, rows=rows)


def read_error(body: bytes) -> str | None:
    """Return what an answer with another HTTP status than 200 says, None if nothing."""
    try:
        return _error_text(_read_json(body))
    except PromqlError:
        return None


def read_total(result: Result) -> int:
    """Return the value of `gpu-scaler/query` in milli units.

    Raises:
        PromqlError: it is not exactly one finite number.
    """
    if result.type == "scalar":
        sample: Any = result.rows
    elif result.type != "vector":
        raise PromqlError(f"the result is a {result.type}, and has to be a number or one series")
    elif not result.rows:
        raise PromqlError("the result is empty: no series matches")
    elif len(result.rows) > 1:
        raise PromqlError(
            f"the result has {len(result.rows)} series and has to have one: aggregate them, as with"
            " sum(...)"
        )
    else:
        sample = result.rows[0].get("value") if isinstance(result.rows[0], dict) else None
    try:
        _, text = sample
        if not math.isfinite(float(text)):
            raise PromqlError(f"the result is {_shown(text)}, which is no number to scale on")
        return int(Decimal(text) * 1000)
    except (TypeError, ValueError, ArithmeticError) as error:
        if isinstance(error, PromqlError):
            raise
        raise PromqlError(f"the result is not a sample: {_shown(sample)}") from error


def read_series(
    result: Result,
    names: MetricNames,
    *,
    factor: int,
    pods: Collection[ObjectRef],
    part_prefix: str = "",
) -> SeriesValues:
    """Return the values of `pods` in the answer to a `series_query`; of all others nothing.

    Raises:
        PromqlError: the answer is to something else.
    """
    if result.type != "vector":
        raise PromqlError(f"the result is a {result.type} instead of a vector")
    try:
        parts = _by_pod(result.rows, names, pods, part_prefix)
        totals = _totals(result.rows, names) if part_prefix == OWN else {}
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise PromqlError(f"the result is malformed: {type(error).__name__}: {error}") from error
    values: dict[ObjectRef, dict[str, list[float]]] = {}
    ages: dict[ObjectRef, float] = {}
    problems: dict[ObjectRef, str] = {}
    for pod, found in parts.items():
        ages[pod] = max(found.ages.values(), default=math.inf)
        # A value without a time is of a GPU that the pod held earlier in the window.
        by_device: defaultdict[str, list[float]] = defaultdict(list)
        for key in found.ages:
            text = found.texts.get(key)
            if text is None:
                problems[pod] = "not even half of the window is stored for this pod"
                break
            value = _scaled(text, factor)
            if not math.isfinite(value) or value < 0:
                problems[pod] = f"the value for this pod is {text}"
                break
            by_device[key[0]].append(value)
        values[pod] = dict(by_device)
    return SeriesValues(values=values, ages_seconds=ages, problems=problems, totals=totals)


def _totals(rows: Sequence[Any], names: MetricNames) -> Mapping[str, float]:
    totals: defaultdict[str, float] = defaultdict(float)
    for row in rows:
        if row["metric"][PART] == f"{OWN}value":
            totals[_device(row["metric"], names)] += float(row["value"][1])
    return totals


def _device(labels: Mapping[str, str], names: MetricNames) -> str:
    return "/".join(labels.get(label, "") for label in names.device_labels)


class _Parts:
    """What an answer says of one pod, by GPU and container: values as text, ages in seconds."""

    __slots__ = ("ages", "texts")

    def __init__(self) -> None:
        self.texts: dict[tuple[str, str], str] = {}
        self.ages: dict[tuple[str, str], float] = {}


def _by_pod(
    rows: Sequence[Any], names: MetricNames, pods: Collection[ObjectRef], part_prefix: str
) -> dict[ObjectRef, _Parts]:
    wanted = {(pod.namespace, pod.name): pod for pod in pods}
    found: defaultdict[ObjectRef, _Parts] = defaultdict(_Parts)
    container_label = names.container_label or ""
    value_part, time_part = f"{part_prefix}value", f"{part_prefix}time"
    for row in rows:
        labels = row["metric"]
        part = labels[PART]
        if part not in (value_part, time_part):
            continue
        pod = wanted.get((labels.get(names.namespace_label, ""), labels.get(names.pod_label, "")))
        if pod is None:
            continue
        key = _device(labels, names), labels.get(container_label, "")
        evaluated_seconds, text = row["value"]
        if part == value_part:
            found[pod].texts[key] = text
        else:
            age = float(evaluated_seconds) - float(text)
            # Clocks of two machines: a sample from the future is of now.
            found[pod].ages[key] = max(0.0, age) if math.isfinite(age) else math.inf
    return found


def _as_part(part: str, query: str) -> str:
    return f'label_replace({query}, "{PART}", "{part}", "", "")'


def _scaled(text: str, factor: int) -> float:
    try:
        # 71.353 W are 71353 mW: as floats they would not be.
        return float(text) if factor == 1 else float(Decimal(text) * factor)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise PromqlError(f"the result is malformed: {_shown(text)} is no number") from error


def _read_json(body: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if body.lstrip()[:1] == b"<":
            raise PromqlError(
                "the answer is a page instead of JSON: does --prometheus.url lead to the HTTP API,"
                " past any login?"
            ) from error
        raise PromqlError(f"the answer is no JSON, or breaks off: {error}") from error
    if not isinstance(answer, dict):
        raise PromqlError("the answer is JSON, but none of Prometheus")
    return answer


def _error_text(answer: Mapping[str, Any]) -> str | None:
    if answer.get("status") != "error" and "error" not in answer:
        return None
    return f"{_shown(answer.get('errorType', 'error'))}: {_shown(answer.get('error', ''))}"


def _shown(thing: Any) -> str:
    """Whatever came from outside, on one line and not without end."""
    parts = thing if isinstance(thing, list) else [thing]
    text = " ".join("; ".join(str(part) for part in parts).split())
    return text if len(text) <= MAX_SHOWN_LENGTH else f"{text[:MAX_SHOWN_LENGTH]}..."
