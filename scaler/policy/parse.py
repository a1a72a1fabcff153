# SPDX-License-Identifier: Apache-2.0
"""Pure: parses a Deployment's annotations to its ScalingPolicy, or to the problems with them.

Each annotation of its Namespace, except `gpu-scaler/enabled`, is the default of that annotation.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import TYPE_CHECKING

from scaler.decision.behavior import DEFAULT_BEHAVIOR
from scaler.model import (
    AnnotationProblem,
    Behavior,
    Metric,
    MetricTarget,
    ScaleDownPods,
    ScalingPolicy,
)
from scaler.policy.annotation_texts import BY_NAME, INTEGER
from scaler.policy.annotations import (
    ACTIVATION_THRESHOLD,
    BEHAVIOR,
    COOLDOWN,
    DRY_RUN,
    ENABLED,
    MAX_REPLICAS,
    MIN_REPLICAS,
    PAUSED,
    PRIORITY,
    QUERY,
    READY_AGE,
    SCALE_DOWN_MAX_BUSY,
    SCALE_DOWN_PATIENCE,
    SCALE_DOWN_PODS,
    TARGET_ANNOTATIONS,
    TARGET_QUERY,
    WINDOW,
)
from scaler.policy.behavior_text import parse_behavior
from scaler.policy.replica_range import RangeAnnotations
from scaler.quantities import is_milli, milli, parse_quantity
from toolkit.durations import parse_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_TARGETS: Mapping[Metric, Fraction] = {
    Metric.DUTY_CYCLE: Fraction(100),
    Metric.MEMORY_USED_PERCENT: Fraction(100),
    Metric.MEMORY_USED_BYTES: Fraction(1024**5),
    Metric.POWER_USAGE_MILLIWATTS: Fraction(10**9),
    Metric.TEMPERATURE_CELSIUS: Fraction(200),
    Metric.QUERY: Fraction(10**15),
    Metric.REQUESTS: Fraction(10**15),
    Metric.REQUESTS_WAITING: Fraction(10**15),
    Metric.KV_CACHE_PERCENT: Fraction(100),
    Metric.POD_METRIC: Fraction(10**15),
}
PERCENT_METRICS = (Metric.DUTY_CYCLE, Metric.MEMORY_USED_PERCENT, Metric.KV_CACHE_PERCENT)
_THRESHOLD_BELOW = {
    Metric.QUERY: TARGET_QUERY,
    Metric.QUEUE: TARGET_ANNOTATIONS[Metric.REQUESTS],
}
_MAX_QUERY_LENGTH = 8192
_MAX_DURATION_SECONDS = 3600.0
_MAX_PRIORITY = 10**9
"""That of a PriorityClass of users."""
_PERCENTAGE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)%")


def opted_in(annotations: Mapping[str, str]) -> bool:
    """Return whether `gpu-scaler/enabled` is set to anything but "false".

    `parse_policy` reports a value other than "true".
    """
    return annotations.get(ENABLED, "false") != "false"


def parse_policy(
    annotations: Mapping[str, str],
    *,
    query_supported: bool,
    defaults: Mapping[str, str] | None = None,
    namespace: str = "",
) -> ScalingPolicy | tuple[AnnotationProblem, ...]:
    """Return the policy of the annotations, or all problems with them.

    `defaults` are the annotations of the `namespace`, None if they are unknown. `query_supported`
    is whether a Prometheus can answer `gpu-scaler/query`. Never raises.
    """
    parser = _Parser(annotations, defaults, namespace)
    parser.within_budget()
    parser.known_names()
    parser.no_opt_in_of_namespace()
    if ENABLED in annotations:
        parser.boolean(ENABLED)
    min_replicas = parser.whole_number(MIN_REPLICAS, lowest=0)
    max_replicas = parser.whole_number(MAX_REPLICAS, lowest=1)
    schedule = parser.schedule()
    behavior = parser.behavior()
    targets = parser.targets(behavior, query_supported=query_supported)
    server = parser.server_settings()
    queue = parser.queue()
    if queue is not None:
        targets = (*targets, _queue_target(targets))
    policy = ScalingPolicy(
        min_replicas=min_replicas or 0,
        max_replicas=max_replicas or 0,
        targets=targets,
        behavior=behavior or DEFAULT_BEHAVIOR,
        server=server,
        queue=queue,
        schedule=schedule,
        activation_milli=parser.activation_milli(targets),
        cooldown_seconds=parser.duration(COOLDOWN),
        window_seconds=parser.duration(WINDOW),
        ready_age_seconds=parser.duration(READY_AGE),
        priority=parser.priority(),
        scale_down_pods=parser.scale_down_pods(),
        scale_down_max_busy_milli=parser.scale_down_max_busy_milli(),
        scale_down_patience_seconds=parser.duration(SCALE_DOWN_PATIENCE),
        dry_run=parser.boolean(DRY_RUN),
        paused=parser.boolean(PAUSED),
        settings=parser.settings(),
    )
    parser.replica_range(min_replicas, max_replicas, schedule, behavior)
    return parser.named() if parser.problems else policy


def default_problems(defaults: Mapping[str, str], namespace: str) -> tuple[AnnotationProblem, ...]:
    """Return the problems with a Namespace's annotations that no Deployment can fix."""
    parsed = parse_policy({}, query_supported=True, defaults=defaults, namespace=namespace)
    if isinstance(parsed, ScalingPolicy):
        return ()
    return tuple(
        problem
        for problem in parsed
        if problem.is_form and (problem.value is not None or problem.stands_for)
    )


class _Parser(RangeAnnotations):
    """Parses values and collects the problems with them."""

    def boolean(self, name: str) -> bool:
        value = self._annotations.get(name, BY_NAME[name].default)
        if value not in ("true", "false"):
            self._refuse(name, "is not a boolean")
        return value == "true"

    def duration(self, name: str) -> float:
        try:
            seconds = parse_duration(self._annotations.get(name, BY_NAME[name].default or ""))
        except ValueError:
            self._refuse(name, "is not a duration")
            return 0.0
        if seconds > _MAX_DURATION_SECONDS:
            self._refuse(name, "is too long")
        return seconds

    def priority(self) -> int:
        text = self._annotations.get(PRIORITY, BY_NAME[PRIORITY].default or "")
        if not INTEGER.fullmatch(text):
            self._refuse(PRIORITY, "is not a whole number")
        elif abs(int(text)) > _MAX_PRIORITY:
            self._refuse(PRIORITY, "is out of range")
        else:
            return int(text)
        return 0

    def scale_down_pods(self) -> ScaleDownPods:
        try:
            return ScaleDownPods(self._annotations.get(SCALE_DOWN_PODS, ScaleDownPods.ANY))
        except ValueError:
            self._refuse(SCALE_DOWN_PODS, "is neither")
            return ScaleDownPods.ANY

    def scale_down_max_busy_milli(self) -> int | None:
        text = self._annotations.get(SCALE_DOWN_MAX_BUSY)
        if text is None:
            return None
        match = _PERCENTAGE.fullmatch(text)
        value_milli = 0 if match is None else milli(Fraction(match[1]))
        if not 0 < value_milli <= 100_000:
            self._refuse(SCALE_DOWN_MAX_BUSY, "is not a percentage above 0%")
        elif self._annotations.get(SCALE_DOWN_PODS) != ScaleDownPods.IDLEST:
            self._problem(SCALE_DOWN_MAX_BUSY, f"requires {SCALE_DOWN_PODS}: idlest")
        return value_milli

    def behavior(self) -> Behavior | None:
        text = self._annotations.get(BEHAVIOR)
        if text is None:
            return DEFAULT_BEHAVIOR
        parsed = parse_behavior(text)
        if isinstance(parsed, Behavior):
            return parsed
        for message in parsed:
            self._add(BEHAVIOR, message, is_form=True)
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
            if metric in PERCENT_METRICS:
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
                f"is missing, and so is every other target; at least one of"
                f" {', '.join(TARGET_ANNOTATIONS.values())} is required{self._elsewhere}",
            )
        return tuple(targets)

    def _quantity(self, name: str) -> Fraction | None:
        try:
            value = parse_quantity(self._annotations.get(name, BY_NAME[name].default or ""))
        except ValueError:
            self._refuse(name, "is not a number or quantity")
            return None
        if not is_milli(value):
            self._refuse(name, "is more precise than 0.001")
            return None
        return value

    def _target_milli(self, metric: Metric, name: str) -> int | None:
        value = self._quantity(name)
        if value is None:
            return None
        if value <= 0:
            self._refuse(name, "is not above 0")
        elif value > MAX_TARGETS[metric]:
            self._refuse(name, "is too high")
        else:
            return milli(value)
        return None

    def activation_milli(self, targets: tuple[MetricTarget, ...]) -> int:
        name = ACTIVATION_THRESHOLD
        value = self._quantity(name)
        if value is None:
            return 0
        if value < 0:
            self._refuse(name, "is below 0")
        elif value > MAX_TARGETS[Metric.QUERY]:
            # Also without a query: `status` cannot read a number of more than 64 bits.
            self._refuse(name, "is too high")
            return 0
        for metric, annotation in _THRESHOLD_BELOW.items():
            # A higher threshold would remove the last pods while several are needed.
            found = (one.average_value_milli for one in targets if one.metric is metric)
            if (target_milli := next(found, None)) is not None and milli(value) > target_milli:
                self._problem(
                    name,
                    f"is above {annotation}; allowed is at most {self._annotations[annotation]}",
                )
        return milli(value)

    def _below_saturation(self, name: str, target_milli: int, tolerance: float) -> None:
        """Refuse a target so close to 100 that no value can exceed it by the tolerance."""
        factor = 1 + Fraction(str(tolerance))
        if target_milli * factor >= 100_000:
            self._problem(
                name,
                f"can never scale up: with the scale-up tolerance {tolerance:g} the metric would"
                f" have to exceed {float(target_milli * factor / 1000):g}, but its maximum is 100;"
                f" allowed is a number above 0 and below {math.ceil(100_000 / factor) / 1000:g}",
            )

    def _query(self, *, query_supported: bool) -> str | None:
        query = self._paired(QUERY, TARGET_QUERY)
        if query is None:
            return None
        if not query_supported:
            self._problem(QUERY, "requires Prometheus; start gpu-scaler with --prometheus.url")
        if not query.strip():
            self._refuse(QUERY, "is empty")
        elif len(query) > _MAX_QUERY_LENGTH:
            self._refuse(QUERY, "is too long")
        return query


def _queue_target(targets: tuple[MetricTarget, ...]) -> MetricTarget:
    """A queue counts requests, so that its target is that of requests per pod, if there is one."""
    found = (one.average_value_milli for one in targets if one.metric is Metric.REQUESTS)
    return MetricTarget(metric=Metric.QUEUE, average_value_milli=next(found, None))
