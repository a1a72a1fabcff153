# SPDX-License-Identifier: Apache-2.0
"""Pure: the tables of `gpu-scaler status`, `why-not` and `explain --history`.

The process that prints is not the one that decides, so the text comes from the documents alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaler.model import Metric
from scaler.quantities import format_age, format_duration, format_value
from toolkit.cli.table import table_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scaler.reporting.serialization import DecisionDocument, DecisionRunDocument

STATUS_COLUMNS = (
    "NAMESPACE",
    "NAME",
    "TARGETS",
    "MIN",
    "MAX",
    "REPLICAS",
    "DESIRED",
    "REASON",
    "DECIDED",
    "AGE",
)
WHY_NOT_COLUMNS = ("NAMESPACE", "NAME", "REPLICAS", "OUTCOME", "REASON", "WHY")
HISTORY_COLUMNS = ("BEGAN", "LASTED", "VALUES", "REPLICAS", "OUTCOME", "REASON", "MESSAGE")
UNKNOWN = "<unknown>"
_UNITS: Mapping[Metric, str] = {
    Metric.DUTY_CYCLE: "%",
    Metric.MEMORY_USED_PERCENT: "%",
    Metric.KV_CACHE_PERCENT: "%",
    Metric.TEMPERATURE_CELSIUS: "°C",
}
"""What `format_value` leaves out."""


def status_table(documents: Iterable[DecisionDocument], *, now_unix_seconds: float) -> str:
    """Return the table of `gpu-scaler status`, similar to `kubectl get hpa`.

    AGE is that of the Deployment. DECIDED is that of the decision, which grows if the scaler stops
    deciding.
    """
    return table_text(
        [STATUS_COLUMNS, *(_status_row(item, now_unix_seconds) for item in documents)]
    )


def why_not_table(documents: Iterable[DecisionDocument]) -> str:
    """Return the table of `gpu-scaler why-not`: each Deployment that was not scaled, and why."""
    rows = [
        (
            document.namespace,
            document.ref.qualified_name,
            str(document.current_replicas),
            document.outcome,
            document.reason,
            " ".join(document.message.split()),
        )
        for document in documents
    ]
    return table_text([WHY_NOT_COLUMNS, *rows])


def history_table(runs: Iterable[DecisionRunDocument], *, now_unix_seconds: float) -> str:
    """Return the table of `gpu-scaler explain --history`: one row per decision run."""
    return table_text([HISTORY_COLUMNS, *(_history_row(one, now_unix_seconds) for one in runs)])


def _history_row(run: DecisionRunDocument, now_unix_seconds: float) -> tuple[str, ...]:
    replicas = str(run.current_replicas)
    if run.desired_replicas != run.current_replicas:
        replicas += f" -> {run.desired_replicas}"
    values = [_target_text(item.metric, item.mean_milli, item.target_milli) for item in run.means]
    return (
        f"{format_duration(now_unix_seconds - run.begun_unix_seconds)} ago",
        format_duration(run.last_unix_seconds - run.begun_unix_seconds),
        ", ".join(values) or "-",
        replicas,
        run.outcome,
        run.reason,
        run.message,
    )


def _status_row(document: DecisionDocument, now_unix_seconds: float) -> tuple[str, ...]:
    policy, created = document.policy, document.created_unix_seconds
    return (
        document.namespace,
        document.ref.qualified_name,
        _targets_text(document),
        UNKNOWN if policy is None else str(policy.min_replicas),
        UNKNOWN if policy is None else str(policy.max_replicas),
        str(document.current_replicas),
        str(document.desired_replicas),
        document.reason,
        format_age(now_unix_seconds - document.decided_unix_seconds),
        UNKNOWN if created is None else format_age(now_unix_seconds - created),
    )


def _targets_text(document: DecisionDocument) -> str:
    """Return value and target of each metric: `63%/40%`, with names if there are several."""
    policy = document.policy
    if policy is None:
        return UNKNOWN
    means = {item.metric: item.mean_milli for item in document.metrics}
    texts = [
        (
            target.metric,
            _target_text(target.metric, means.get(target.metric), target.average_value_milli),
        )
        for target in policy.targets
    ]
    if len(texts) == 1:
        return texts[0][1]
    return ", ".join(f"{name}: {text}" for name, text in texts)


def _target_text(metric: Metric, mean_milli: int | None, target_milli: int | None) -> str:
    """Return `63%/40%`, with the metric's unit."""
    unit = _UNITS.get(metric, "")
    mean = UNKNOWN if mean_milli is None else f"{format_value(metric, mean_milli)}{unit}"
    return mean if target_milli is None else f"{mean}/{format_value(metric, target_milli)}{unit}"
