# SPDX-License-Identifier: Apache-2.0
"""Why a history is empty or begins late: what Prometheus has instead, as a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaler.readings.devices import FAMILIES
from scaler.readings.prometheus.absent_series import (
    examples,
    selector,
    why_no_pods,
    why_no_series,
)
from scaler.readings.prometheus.past_pods import PastMetric
from scaler.readings.prometheus.range_chunks import promql_duration

if TYPE_CHECKING:
    from scaler.model import Metric
    from scaler.readings.prometheus.names import MetricNames
    from scaler.readings.prometheus.range_chunks import Span
    from scaler.readings.prometheus.ranges import RangeReader

SEARCHES = 12
SOON_SECONDS = 600.0
DAY_SECONDS = 86_400.0
EXPORTED = "exported_pod"


async def why_no_pods_of(reader: RangeReader, metric: Metric, steps: Span, whose: str) -> str:
    """Return why the metric has no series of a pod of `whose`.

    Raises:
        PastError, PromqlError: Prometheus does not answer.
    """
    names, ended = reader.settings.names, steps.ended_unix_seconds
    series = names.families[FAMILIES[metric][0]].series[0]
    labels = {name for one in await examples(reader, series, steps) for name in one}
    if EXPORTED in labels and names.pod_label != EXPORTED:
        return _exporters_own_pod(names, series)
    for family in FAMILIES[metric][1:] if labels else ():
        other = names.families[family].series[0]
        if not await examples(reader, other, steps):
            return f"Prometheus has {series} and no {other}, and {metric} needs both: scrape both"
    past = PastMetric(metric, names, matchers=reader.settings.matchers, pods=())
    query = past.models_query(steps.seconds)
    found = past.read_models(await reader.now(query, at_unix_seconds=ended))
    pods = sorted({str(one.pod) for one in found})
    if pods:
        return (
            f"no pod of {whose} has a series of a GPU in this time; {len(pods)} pods have one,"
            f" such as {', '.join(pods[:3])}: pass other names, or a longer --since"
        )
    why = why_no_pods if labels else why_no_series
    return await why(reader, FAMILIES[metric][0], steps)


async def why_other_pods(reader: RangeReader, metric: Metric, steps: Span) -> str | None:
    """Return a sentence if the pods of the metric are the exporter's own; raises PastError."""
    names = reader.settings.names
    series = names.families[FAMILIES[metric][0]].series[0]
    if names.pod_label == EXPORTED:
        return None
    matchers = ", ".join((f'{EXPORTED}!=""', *reader.settings.matchers))
    past = promql_duration(steps.seconds)
    query = f"count(last_over_time({series}{{{matchers}}}[{past}]))"
    if not (await reader.now(query, at_unix_seconds=steps.ended_unix_seconds)).rows:
        return None
    return _exporters_own_pod(names, series)


def _exporters_own_pod(names: MetricNames, series: str) -> str:
    return (
        f"the label {names.pod_label} of {series} is the exporter's own pod; the one that uses the"
        f" GPU is in {EXPORTED}: pass --prometheus.metrics dcgm-exported"
    )


async def why_late(reader: RangeReader, metric: Metric, steps: Span) -> str | None:
    """Return a sentence if Prometheus has no such series from the begin on; raises PastError."""
    series = reader.settings.names.families[FAMILIES[metric][0]].series[0]
    query = f"count({selector(series, reader.settings)})"
    first, last = steps.begun_unix_seconds, steps.ended_unix_seconds
    if last - first <= SOON_SECONDS:
        return None
    if (await reader.now(query, at_unix_seconds=first + SOON_SECONDS)).rows:
        return None
    for _ in range(SEARCHES):
        middle = (first + last) / 2
        if (await reader.now(query, at_unix_seconds=middle)).rows:
            last = middle
        else:
            first = middle
    days = (steps.ended_unix_seconds - last) / DAY_SECONDS
    return (
        f"Prometheus has {series} for the last {days:.1f} days only, and not for all of --since:"
        " its retention may be shorter, or the exporter is newer"
    )
