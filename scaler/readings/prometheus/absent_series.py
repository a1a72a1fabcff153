# SPDX-License-Identifier: Apache-2.0
"""Why Prometheus has no series of a GPU family, and what to pass instead, as one sentence."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from scaler.budgets import shown
from scaler.readings.prometheus.names import PRESETS
from scaler.readings.prometheus.range_chunks import promql_duration
from scaler.readings.prometheus.ranges import PastError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from scaler.readings.prometheus.range_chunks import Span
    from scaler.readings.prometheus.ranges import RangeReader
    from scaler.readings.settings import PrometheusSettings

EXAMPLES = 20
LABELS_SHOWN = 20


async def why_no_series(reader: RangeReader, family: str, steps: Span) -> str:
    """Return why no series of the family with a GPU was found; asks for what is there."""
    settings = reader.settings
    series = {name: one.families[family].series[0] for name, one in PRESETS.items()}
    wanted = settings.names.families[family].series[0]
    names = "|".join(map(re.escape, sorted({*series.values(), wanted})))
    past = promql_duration(steps.seconds)
    query = f'count by (__name__) (last_over_time({{__name__=~"{names}"}}[{past}]))'
    try:
        found = await _labels(reader, query, steps)
        there = sorted({labels["__name__"] for labels in found if "__name__" in labels})
        if wanted in there:
            return _unusable(settings, wanted, await examples(reader, wanted, steps))
    except PastError as error:
        return str(error)
    at = f"Prometheus at {settings.url}"
    for name, one in series.items():
        if one in there:
            more = (
                "; or dcgm-exported, if pods are in the labels exported_pod and exported_namespace"
                if name == "dcgm"
                else ""
            )
            return f"{at} has {one} and no {wanted}: pass --prometheus.metrics {name}{more}"
    return (
        f"{at} has neither {' nor '.join(sorted({*series.values()}))} in this time: pass the"
        " --prometheus.url of the one that scrapes the GPU exporters, or a longer --since"
    )


async def why_no_pods(reader: RangeReader, family: str, steps: Span) -> str:
    """Return what to pass if GPUs have series, but none of them names a pod."""
    names = reader.settings.names
    try:
        series = names.families[family].series[0]
        found = await examples(reader, series, steps)
    except PastError as error:
        return str(error)
    listed = _listed(label for labels in found for label in labels)
    if any(names.pod_label in labels for labels in found):
        return (
            f"no series has a namespace in the label {names.namespace_label}: pass"
            f" --prometheus.namespace-label; the labels are {listed}"
        )
    return (
        f"no series has a pod in the label {names.pod_label}; if pods hold GPUs, pass"
        " --prometheus.pod-label and --prometheus.namespace-label (with dcgm-exporter,"
        f" --prometheus.metrics dcgm-exported); the labels are {listed}"
    )


def selector(series: str, settings: PrometheusSettings) -> str:
    """Return the selector of a series under the matchers."""
    return f"{series}{{{', '.join(settings.matchers)}}}"


async def examples(reader: RangeReader, series: str, steps: Span) -> list[dict[str, Any]]:
    """Return the labels of the highest of the series under the matchers: of 20 at most.

    Of several, because a free GPU has no labels of a pod. Not only of what there is now, because
    the exporters may be gone.

    Raises:
        PastError, PromqlError: Prometheus does not answer.
    """
    some = f"last_over_time({selector(series, reader.settings)}[{promql_duration(steps.seconds)}])"
    return await _labels(reader, f"topk({EXAMPLES}, {some})", steps)


def _unusable(settings: PrometheusSettings, wanted: str, found: Collection[dict[str, Any]]) -> str:
    if not found:
        matchers = ", ".join(settings.matchers)
        return (
            f"{wanted} has series, but none that matches {matchers}: pass other"
            " --prometheus.matcher or --prometheus.exporters-matcher"
        )
    devices = ", ".join(settings.names.device_labels)
    labels = {name for one in found for name in one}
    return (
        f"the series of {wanted} name no GPU: they have no label {devices}; pass"
        f" --prometheus.device-labels; the labels are {_listed(labels)}"
    )


async def _labels(reader: RangeReader, query: str, steps: Span) -> list[dict[str, Any]]:
    result = await reader.now(query, at_unix_seconds=steps.ended_unix_seconds)
    rows = result.rows if result.type == "vector" else []
    return [one["metric"] for one in rows if isinstance(one, dict) and "metric" in one]


def _listed(labels: Iterable[str]) -> str:
    names = sorted({*labels} - {"__name__"})
    return shown(", ".join(names[:LABELS_SHOWN])) or "none"
