# SPDX-License-Identifier: Apache-2.0
"""Pure: the data of the charts on a Deployment's page: values, targets and replicas over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from scaler.model import SettingOrigin
from scaler.policy.annotations import BEHAVIOR, target_annotation
from scaler.reporting.load_history import KEPT_SECONDS, STEP_SECONDS, replicas_after
from scaler.web.queries import whole_number
from scaler.web.wording import METRIC_LABELS, chart_unit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaler.model import ScalingPolicy
    from scaler.reporting.load_history import LoadHistory, MetricLoad
    from scaler.reporting.status_store import DecisionRecord


class MetricLoadDict(TypedDict):
    """A metric's mean per pod in `unit`, one value per step, and its target from each time on.

    `saturated` are the numbers of the steps in which a pod was saturated.
    """

    metric: str
    label: str
    unit: str
    values: list[float | None]
    saturated: list[int]
    targets: list[tuple[float, float | None]]


class SettingDict(TypedDict):
    """A target in force that "what if" can replace: its annotation and its text."""

    metric: str
    label: str
    annotation: str
    target: str


class LoadDict(TypedDict):
    """Replicas and metrics by step; `begun`, `until` and targets are at Unix seconds."""

    begun: float
    until: float
    step_seconds: int
    replicas: tuple[int | None, ...]
    ready: tuple[int | None, ...]
    metrics: list[MetricLoadDict]
    settings: list[SettingDict]
    behavior: str


def parse_seconds(params: Mapping[str, str]) -> int:
    """Return how much of the past a URL asks for.

    Raises:
        QueryError: it is not a number that is allowed.
    """
    return whole_number(params, "seconds", KEPT_SECONDS, least=STEP_SECONDS, most=KEPT_SECONDS)


def load_document(record: DecisionRecord, history: LoadHistory, seconds: int) -> LoadDict:
    """Return the last `seconds` of a Deployment; the targets in force come first."""
    load = history.load(seconds)
    policy = record.decision.policy
    order = [] if policy is None else [target.metric for target in policy.targets]
    metrics = sorted(
        (one for one in load.metrics if any(mean is not None for mean in one.mean_milli)),
        key=lambda one: order.index(one.metric) if one.metric in order else len(order),
    )
    return {
        "begun": load.first_step * STEP_SECONDS,
        "until": record.decided_unix_seconds,
        "step_seconds": STEP_SECONDS,
        # The count may have changed since the last sample.
        "replicas": (*load.replicas[:-1], replicas_after(record.decision)),
        "ready": load.ready,
        "metrics": [_metric(one, load.first_step) for one in metrics],
        "settings": _settings(policy),
        "behavior": _text(policy, BEHAVIOR),
    }


def _settings(policy: ScalingPolicy | None) -> list[SettingDict]:
    return [
        {
            "metric": target.metric,
            "label": METRIC_LABELS[target.metric],
            "annotation": target_annotation(target.metric),
            "target": _text(policy, target_annotation(target.metric)),
        }
        for target in (() if policy is None else policy.targets)
        if target.average_value_milli is not None
    ]


def _text(policy: ScalingPolicy | None, annotation: str) -> str:
    """Return the text of an annotation that somebody has set."""
    for setting in () if policy is None else policy.settings:
        if setting.annotation == annotation and setting.origin is not SettingOrigin.BUILT_IN:
            return setting.value
    return ""


def _metric(load: MetricLoad, first_step: int) -> MetricLoadDict:
    before = [change for change in load.targets if change.step <= first_step]
    changes = [*before[-1:], *load.targets[len(before) :]]
    known = [*load.mean_milli, *(change.target_milli for change in changes)]
    divisor, unit = chart_unit(load.metric, max(one for one in known if one is not None))
    return {
        "metric": load.metric,
        "label": METRIC_LABELS[load.metric],
        "unit": unit,
        "values": [_scaled(one, divisor, digits=3) for one in load.mean_milli],
        "saturated": [step for step, saturated in enumerate(load.saturated) if saturated],
        "targets": [
            (
                max(first_step, change.step) * STEP_SECONDS,
                _scaled(change.target_milli, divisor, digits=6),
            )
            for change in changes
        ],
    }


def _scaled(value_milli: int | None, divisor: float, *, digits: int) -> float | None:
    return None if value_milli is None else float(f"{value_milli / divisor:.{digits}g}")
