# SPDX-License-Identifier: Apache-2.0
"""Pure: the queries that the scaler sends to Prometheus; `query_results` reads the answers.

One query returns the values of a series for all pods of the cluster with the times of the samples.
An instant query returns samples with the time of the evaluation, so their own times are queried
too. An extra label tells the two parts apart. Pods that have not been Ready for a whole window
have another part for each shorter length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaler.readings.devices import CONTAINERS_OWN, PARTS
from scaler.readings.window import NEEDED_SHARE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scaler.readings.prometheus.names import MetricNames

PART = "gpu_scaler_part"
VALUE, TIME = "value", "time"
OWN_VALUE, OWN_TIME = "own_value", "own_time"
"""The parts of the query for containers' own parts of a shared GPU."""

STEPS = 20
"""At how many moments of a window the query checks for a sample; each has a cost."""
FRESH_SECONDS = 60
"""Longer than a scrape interval; older values are not used either."""


def family_query(
    family: str,
    series: str,
    names: MetricNames,
    *,
    matchers: Sequence[str] = (),
    window_seconds: float = 0.0,
    shorter: Mapping[int, Sequence[str]] | None = None,
) -> str:
    """Return the query for a series of a family, with containers' own parts if it has any."""
    query = series_query(
        series,
        names,
        per_container=family in CONTAINERS_OWN,
        matchers=matchers,
        window_seconds=window_seconds,
        shorter=shorter,
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
        shorter=shorter,
        parts=(OWN_VALUE, OWN_TIME),
    )
    return f"{query} or {own}"


def series_query(
    series: str,
    names: MetricNames,
    *,
    per_container: bool,
    matchers: Sequence[str] = (),
    window_seconds: float = 0.0,
    shorter: Mapping[int, Sequence[str]] | None = None,
    parts: tuple[str, str] = (VALUE, TIME),
) -> str:
    """Return the query for a series of all pods, averaged over the window unless that is 0.

    If a value was scraped twice, the greater value and the older time count. `shorter` has the
    pods with a shorter window, by milliseconds.
    """
    always = (f'{names.pod_label}!=""', *matchers)
    labels = [names.namespace_label, names.pod_label, *names.device_labels]
    if per_container and names.container_label is not None:
        labels.append(names.container_label)
    by = f"by ({', '.join(labels)})"
    value_part, time_part = parts
    selector = _selector(series, always)
    times = f"min {by} (timestamp({selector}))"
    if window_seconds <= 0:
        values = as_part(value_part, f"max {by} ({selector})")
        return f"{values} or {as_part(time_part, times)}"
    window = max(2, round(window_seconds * 1000))
    means = [as_part(value_part, _mean(selector, by, window, window))]
    for milliseconds, pods in sorted((shorter or {}).items()):
        # Pod names are DNS names: only the dot is special in a regular expression.
        text = "|".join(pod.replace(".", r"\\.") for pod in sorted(pods))
        some = _selector(series, (*always, f'{names.pod_label}=~"{text}"'))
        mean = _mean(some, by, milliseconds, window)
        means.append(as_part(_part(value_part, milliseconds), mean))
    return " or ".join((*means, as_part(time_part, times)))


def _selector(series: str, matchers: Sequence[str]) -> str:
    return series + "{" + ", ".join(matchers) + "}"


def _mean(selector: str, by: str, milliseconds: int, window: int) -> str:
    """Return the query for the mean over `milliseconds`, if samples cover half of the window.

    A moment is covered if the newest sample is fresh then. This also counts `FRESH_SECONDS` at the
    start of an outage; the count with twice that limit is subtracted to correct for it.
    """
    over = f"[{milliseconds}ms]"
    at = f"[{milliseconds}ms:{max(1, window // STEPS)}ms]"
    age = f"min {by} (time() - timestamp({selector}))"
    fresh, older = (
        f"count_over_time(({age} < {seconds}){at})"
        for seconds in (FRESH_SECONDS, 2 * FRESH_SECONDS)
    )
    needed = int(STEPS * NEEDED_SHARE)
    total, count = (
        f"sum {by} ({function}({selector}{over}))"
        for function in ("sum_over_time", "count_over_time")
    )
    return f"({total} / {count} and 2 * {fresh} - {older} >= {needed})"


def _part(part: str, milliseconds: int) -> str:
    return f"{part}_of_{milliseconds}"


def as_part(part: str, query: str) -> str:
    """Return the query with an extra label on its series that names the part."""
    return f'label_replace({query}, "{PART}", "{part}", "", "")'
