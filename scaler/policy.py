"""Pure: a Deployment's annotations to its ScalingPolicy, or to texts that say what is wrong."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from scaler.behavior import DEFAULT_BEHAVIOR
from scaler.behaviortext import parse_behavior
from scaler.model import (
    AnnotationProblem,
    Behavior,
    Metric,
    MetricTarget,
    PolicyType,
    ScalingPolicy,
)
from scaler.quantities import milli, parse_duration_seconds, parse_quantity

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "gpu-scaler/"
ENABLED = f"{PREFIX}enabled"
MIN_REPLICAS = f"{PREFIX}min-replicas"
MAX_REPLICAS = f"{PREFIX}max-replicas"
QUERY = f"{PREFIX}query"
TARGET_QUERY = f"{PREFIX}target-query"
WINDOW = f"{PREFIX}window"
BEHAVIOR = f"{PREFIX}behavior"
READY_AGE = f"{PREFIX}ready-age"
DRY_RUN = f"{PREFIX}dry-run"
PAUSED = f"{PREFIX}paused"

TARGET_ANNOTATIONS: Mapping[Metric, str] = {
    Metric.DUTY_CYCLE: f"{PREFIX}target-duty-cycle",
    Metric.MEMORY_USED_PERCENT: f"{PREFIX}target-memory-used-percent",
    Metric.MEMORY_USED_BYTES: f"{PREFIX}target-memory-used-bytes",
    Metric.POWER_USAGE_MILLIWATTS: f"{PREFIX}target-power-usage-milliwatts",
    Metric.TEMPERATURE_CELSIUS: f"{PREFIX}target-temperature-celsius",
    Metric.QUERY: TARGET_QUERY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One row of the annotations table; `default` is None where absence has no value."""

    name: str
    default: str | None
    meaning: str
    allowed: str


ANNOTATIONS: tuple[Annotation, ...] = (
    Annotation(
        name=ENABLED,
        default=None,
        meaning="opts the Deployment in; without it the scaler leaves the Deployment alone",
        allowed='"true" or "false"',
    ),
    Annotation(
        name=MIN_REPLICAS,
        default="1",
        meaning="floor of the replica count; 0 needs gpu-scaler/query",
        allowed="a whole number from 0 to 2147483647",
    ),
    Annotation(
        name=MAX_REPLICAS,
        default=None,
        meaning="ceiling of the replica count; required",
        allowed="a whole number from 1 to 2147483647",
    ),
    Annotation(
        name=TARGET_ANNOTATIONS[Metric.DUTY_CYCLE],
        default=None,
        meaning="average duty cycle per pod in percent",
        allowed="a number above 0 and below 100 / (1 + the scale-up tolerance)",
    ),
    Annotation(
        name=TARGET_ANNOTATIONS[Metric.MEMORY_USED_PERCENT],
        default=None,
        meaning="average GPU memory in use per pod in percent of the total",
        allowed="a number above 0 and below 100 / (1 + the scale-up tolerance)",
    ),
    Annotation(
        name=TARGET_ANNOTATIONS[Metric.MEMORY_USED_BYTES],
        default=None,
        meaning="average GPU memory in use per pod and GPU in bytes",
        allowed='a quantity above 0 and up to 1Pi, such as "20Gi"',
    ),
    Annotation(
        name=TARGET_ANNOTATIONS[Metric.POWER_USAGE_MILLIWATTS],
        default=None,
        meaning="average board power per pod and GPU in milliwatts",
        allowed='a number above 0 and up to 1G, such as "250000" for 250 W',
    ),
    Annotation(
        name=TARGET_ANNOTATIONS[Metric.TEMPERATURE_CELSIUS],
        default=None,
        meaning="average over the pods of each pod's hottest GPU in degrees Celsius",
        allowed="a number above 0 and up to 200",
    ),
    Annotation(
        name=QUERY,
        default=None,
        meaning="a PromQL expression for the whole Deployment; Prometheus source only",
        allowed="up to 8192 characters, together with gpu-scaler/target-query",
    ),
    Annotation(
        name=TARGET_QUERY,
        default=None,
        meaning="the query's value that one pod is to serve",
        allowed="a quantity above 0 and up to 1P, together with gpu-scaler/query",
    ),
    Annotation(
        name=WINDOW,
        default="0s",
        meaning="values are averaged over this; 0s takes the latest",
        allowed='a duration from 0s to 1h, such as "1m30s"',
    ),
    Annotation(
        name=BEHAVIOR,
        default=None,
        meaning="an autoscaling/v2 HorizontalPodAutoscalerBehavior; the HPA's defaults without it",
        allowed="YAML or JSON of up to 16384 characters without anchors and tags",
    ),
    Annotation(
        name=READY_AGE,
        default="30s",
        meaning="a pod counts as ready only after being Ready for this long",
        allowed='a duration from 0s to 1h, such as "30s"',
    ),
    Annotation(
        name=DRY_RUN,
        default="false",
        meaning="decide and report, change nothing",
        allowed='"true" or "false"',
    ),
    Annotation(
        name=PAUSED,
        default="false",
        meaning="read and change nothing",
        allowed='"true" or "false"',
    ),
)

_BY_NAME: Mapping[str, Annotation] = {annotation.name: annotation for annotation in ANNOTATIONS}
_MAX_TARGETS: Mapping[Metric, Fraction] = {
    Metric.DUTY_CYCLE: Fraction(100),
    Metric.MEMORY_USED_PERCENT: Fraction(100),
    Metric.MEMORY_USED_BYTES: Fraction(1024**5),
    Metric.POWER_USAGE_MILLIWATTS: Fraction(10**9),
    Metric.TEMPERATURE_CELSIUS: Fraction(200),
    Metric.QUERY: Fraction(10**15),
}
_PERCENT_METRICS = (Metric.DUTY_CYCLE, Metric.MEMORY_USED_PERCENT)
_MAX_INT32 = 2**31 - 1
_MAX_QUERY_LENGTH = 8192
_MAX_DURATION_SECONDS = 3600.0
_MAX_SHOWN_LENGTH = 80
_WHOLE_NUMBER = re.compile(r"[0-9]{1,64}")


def opted_in(annotations: Mapping[str, str]) -> bool:
    """Whether the Deployment is the scaler's business: to scale it or to say what is wrong.

    Absent and "false" are not; any other value than "true" is a problem of `parse_policy`.
    """
    return annotations.get(ENABLED, "false") != "false"


def parse_policy(
    annotations: Mapping[str, str], *, query_supported: bool
) -> ScalingPolicy | tuple[AnnotationProblem, ...]:
    """The policy that the annotations ask for, or everything that is wrong with them at once.

    `query_supported` is whether the metric source can answer `gpu-scaler/query`. Never raises.
    """
    parser = _Parser(annotations)
    parser.known_names()
    if ENABLED in annotations:
        parser.boolean(ENABLED)
    min_replicas = parser.whole_number(MIN_REPLICAS, lowest=0)
    max_replicas = parser.whole_number(MAX_REPLICAS, lowest=1)
    behavior = parser.behavior()
    targets = parser.targets(behavior, query_supported=query_supported)
    window_seconds = parser.duration(WINDOW)
    ready_age_seconds = parser.duration(READY_AGE)
    dry_run = parser.boolean(DRY_RUN)
    paused = parser.boolean(PAUSED)
    parser.replica_range(min_replicas, max_replicas, behavior)
    if parser.problems or behavior is None or min_replicas is None or max_replicas is None:
        return tuple(parser.problems)
    return ScalingPolicy(
        min_replicas=min_replicas,
        max_replicas=max_replicas,
        targets=targets,
        window_seconds=window_seconds,
        behavior=behavior,
        ready_age_seconds=ready_age_seconds,
        dry_run=dry_run,
        paused=paused,
    )


class _Parser:
    """Collects the problems of one Deployment's annotations while its values are read."""

    def __init__(self, annotations: Mapping[str, str]) -> None:
        self.problems: list[AnnotationProblem] = []
        self._annotations = annotations

    def _problem(self, name: str, text: str) -> None:
        value = self._annotations.get(name)
        shown = "" if value is None else f"{_shown(value)} "
        self.problems.append(AnnotationProblem(annotation=name, value=value, message=shown + text))

    def _refuse(self, name: str, why: str) -> None:
        self._problem(name, f"{why}; allowed is {_BY_NAME[name].allowed}")

    def known_names(self) -> None:
        for name in sorted(self._annotations):
            if not name.startswith(PREFIX) or name in _BY_NAME:
                continue
            given = name.removeprefix(PREFIX)[:_MAX_SHOWN_LENGTH].lower()
            near = difflib.get_close_matches(
                given, [known.removeprefix(PREFIX) for known in _BY_NAME], n=1
            )
            known = f"known are {', '.join(_BY_NAME)}"
            if near:
                known = f"did you mean {PREFIX}{near[0]}?"
            self.problems.append(
                AnnotationProblem(
                    annotation=name[:_MAX_SHOWN_LENGTH],
                    value=self._annotations[name],
                    message=f"is not an annotation of gpu-scaler: {known}",
                )
            )

    def boolean(self, name: str) -> bool:
        value = self._annotations.get(name, _BY_NAME[name].default)
        if value not in ("true", "false"):
            self._refuse(name, "is not a truth value")
        return value == "true"

    def whole_number(self, name: str, *, lowest: int) -> int | None:
        value = self._annotations.get(name, _BY_NAME[name].default)
        if value is None:
            self._refuse(name, "is required")
        elif not _WHOLE_NUMBER.fullmatch(value):
            self._refuse(name, "is not a whole number")
        elif int(value) < lowest:
            self._refuse(name, "is too low")
        elif int(value) > _MAX_INT32:
            self._refuse(name, "is too high")
        else:
            return int(value)
        return None

    def duration(self, name: str) -> float:
        try:
            seconds = parse_duration_seconds(
                self._annotations.get(name, _BY_NAME[name].default or "")
            )
        except ValueError:
            self._refuse(name, "is not a duration")
            return 0.0
        if seconds > _MAX_DURATION_SECONDS:
            self._refuse(name, "is too long")
        return seconds

    def behavior(self) -> Behavior | None:
        text = self._annotations.get(BEHAVIOR)
        if text is None:
            return DEFAULT_BEHAVIOR
        parsed = parse_behavior(text)
        if isinstance(parsed, Behavior):
            return parsed
        for message in parsed:
            self.problems.append(
                AnnotationProblem(annotation=BEHAVIOR, value=text, message=message)
            )
        return None

    def targets(
        self, behavior: Behavior | None, *, query_supported: bool
    ) -> tuple[MetricTarget, ...]:
        query = self._query(query_supported=query_supported)
        targets = []
        for metric, name in TARGET_ANNOTATIONS.items():
            value_milli = self._target_milli(metric, name) if name in self._annotations else None
            if value_milli is None:
                continue
            if metric in _PERCENT_METRICS:
                tolerance = 0.0 if behavior is None else behavior.scale_up.tolerance
                self._below_saturation(name, value_milli, tolerance)
            targets.append(
                MetricTarget(
                    metric=metric,
                    average_value_milli=value_milli,
                    query=query if metric is Metric.QUERY else None,
                )
            )
        if not any(name in self._annotations for name in (QUERY, *TARGET_ANNOTATIONS.values())):
            self._problem(
                TARGET_ANNOTATIONS[Metric.DUTY_CYCLE],
                "is absent and so is every other target; at least one is needed of"
                f" {', '.join(TARGET_ANNOTATIONS.values())}",
            )
        return tuple(targets)

    def _target_milli(self, metric: Metric, name: str) -> int | None:
        try:
            value = parse_quantity(self._annotations[name])
        except ValueError:
            self._refuse(name, "is not a number or quantity")
            return None
        if value <= 0:
            self._refuse(name, "is not above 0")
        elif value > _MAX_TARGETS[metric]:
            self._refuse(name, "is too high")
        else:
            return milli(value)
        return None

    def _below_saturation(self, name: str, target_milli: int, tolerance: float) -> None:
        """The metric ends at 100, so a target near it can never be passed by the tolerance."""
        factor = 1 + Fraction(str(tolerance))
        if target_milli * factor >= 100_000:
            self._problem(
                name,
                f"can never scale up: the metric ends at 100, and with the scale-up tolerance"
                f" {tolerance:g} it would have to pass {float(target_milli * factor / 1000):g};"
                f" allowed is a number above 0 and below {float(100 / factor):.4g}",
            )

    def _query(self, *, query_supported: bool) -> str | None:
        query = self._annotations.get(QUERY)
        if query is None:
            if TARGET_QUERY in self._annotations:
                self._problem(TARGET_QUERY, f"needs {QUERY}, which is absent")
            return None
        if TARGET_QUERY not in self._annotations:
            self._problem(QUERY, f"needs {TARGET_QUERY}, which is absent")
        if not query_supported:
            self._problem(
                QUERY, "needs the Prometheus source: start gpu-scaler with --source prometheus"
            )
        if not query.strip():
            self._refuse(QUERY, "is empty")
        elif len(query) > _MAX_QUERY_LENGTH:
            self._refuse(QUERY, "is too long")
        return query

    def replica_range(
        self, min_replicas: int | None, max_replicas: int | None, behavior: Behavior | None
    ) -> None:
        if min_replicas is not None and max_replicas is not None and min_replicas > max_replicas:
            self._problem(
                MAX_REPLICAS,
                f"is below {MIN_REPLICAS}, which is {min_replicas}; allowed is that or more",
            )
        if min_replicas != 0:
            return
        if QUERY not in self._annotations:
            self._problem(
                MIN_REPLICAS,
                f"needs {QUERY}: without pods no GPU metric could ever scale up again; allowed is"
                " 1 or more",
            )
        if behavior is not None and all(
            policy.type is PolicyType.PERCENT for policy in behavior.scale_up.policies
        ):
            self._problem(
                MIN_REPLICAS,
                f"needs a policy of type Pods in scaleUp of {BEHAVIOR}: no percentage of 0 pods"
                " ever leads back up",
            )


def _shown(value: str) -> str:
    """The value as a person finds it in the manifest, on one line and not without end."""
    short = value if len(value) <= _MAX_SHOWN_LENGTH else value[:_MAX_SHOWN_LENGTH] + "..."
    return json.dumps(short, ensure_ascii=not short.isprintable())
