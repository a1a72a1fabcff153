# SPDX-License-Identifier: Apache-2.0
"""Pure: annotations that are valid, or not ours, but probably not what their author means."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, NamedTuple

from scaler.model import Metric
from scaler.policy.annotations import (
    ANNOTATIONS,
    POD_METRIC,
    PREFIX,
    QUEUE,
    TARGET_ANNOTATIONS,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from scaler.model import MetricTarget, ScalingPolicy

_NAMES = tuple(row.name.removeprefix(PREFIX) for row in ANNOTATIONS)
_SEPARATOR = re.compile(r"[/.:_]")
_SIMILAR = 0.85


class _Doubt(NamedTuple):
    """Below `least_milli`, a target is probably in another unit; `factor` turns it into ours."""

    least_milli: int
    unit: str
    factor: int
    suffix: str = ""


_DOUBTS: Mapping[Metric, _Doubt] = {
    Metric.DUTY_CYCLE: _Doubt(1_000, "percent", 100),
    Metric.MEMORY_USED_PERCENT: _Doubt(1_000, "percent", 100),
    Metric.KV_CACHE_PERCENT: _Doubt(1_000, "percent", 100),
    Metric.MEMORY_USED_BYTES: _Doubt(2**20 * 1000, "bytes", 1, "Gi"),
    Metric.POWER_USAGE_MILLIWATTS: _Doubt(10_000_000, "milliwatts", 1000),
}
"""A fraction for a percentage, a bare number for gibibytes, watts for milliwatts."""


def unit_doubts(targets: Iterable[MetricTarget]) -> Iterator[tuple[str, str]]:
    """Yield the annotation of each target that is suspiciously small, and a sentence about it."""
    for target in targets:
        doubt = _DOUBTS.get(target.metric)
        value = target.average_value_milli
        if doubt is None or value is None or value >= doubt.least_milli:
            continue
        shown = f"{value / 1000:g}"
        meant = f"{value * doubt.factor / 1000:g}{doubt.suffix}"
        yield (
            TARGET_ANNOTATIONS[target.metric],
            f'"{shown}" means {shown} {doubt.unit}, which is very little; did you mean "{meant}"?',
        )


def counter_doubts(policy: ScalingPolicy) -> Iterator[tuple[str, str]]:
    """Yield the annotation of each metric whose name is a counter's, and a sentence about it."""
    terms = [] if policy.queue is None else [(QUEUE, one) for one in policy.queue.terms]
    if policy.server.pod_metric is not None:
        terms.insert(0, (POD_METRIC, policy.server.pod_metric))
    for annotation, series in terms:
        if series.name.endswith("_total") and not series.is_rate:
            yield (
                annotation,
                f'"{series}" has the name of a counter, which only grows; did you mean'
                f' "rate({series})"?',
            )


def near_miss(key: str) -> str | None:
    """Return the annotation that a key of somebody else probably means, None if it means none.

    `gpu-scaler.io/enabled`, `gpuscaler/enabled` and `gpu-scaler.enabled` all mean
    `gpu-scaler/enabled`.
    """
    if key.startswith(PREFIX):
        return None
    first, *rest = _SEPARATOR.split(key)
    ours, theirs = _letters(PREFIX), _letters(first)
    if rest and theirs in ("gpu", "nvidia") and _letters(rest[0]) == "scaler":
        theirs, rest = ours, rest[1:]
    if theirs != ours and SequenceMatcher(None, ours, theirs).ratio() < _SIMILAR:
        return None
    name = rest[-1].lower() if rest else ""
    return PREFIX + next((known for known in _NAMES if known == name), name or "enabled")


def _letters(text: str) -> str:
    return re.sub(r"[^a-z]", "", text.lower())
