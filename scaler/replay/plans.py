# SPDX-License-Identifier: Apache-2.0
"""Pure: which metric of a Deployment is replayed, and under which policies.

The Deployment's own annotations count, and flags where they say more; the policy's text is parsed
by the same code as in the scaler.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from scaler.model import TOTAL_METRICS, Metric, MetricTarget, ScalingPolicy
from scaler.policy.annotations import (
    ENABLED,
    MAX_REPLICAS,
    MIN_REPLICAS,
    POD_METRIC,
    QUERY,
    QUEUE,
    TARGET_ANNOTATIONS,
    TARGET_POD_METRIC,
    TARGET_QUERY,
    target_annotation,
)
from scaler.policy.parse import parse_policy

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from scaler.model import ObjectRef

USUAL_TARGETS: Final = ("40", "50", "60", "70")
"""Of metrics in percent, where neither a flag nor an annotation has a target."""
PERCENT_METRICS: Final = frozenset(
    {Metric.DUTY_CYCLE, Metric.MEMORY_USED_PERCENT, Metric.KV_CACHE_PERCENT}
)
LEAST_MAXIMUM: Final = 10
"""Replicas that a policy without a maximum may have; twice what there was, if that is more."""
_PLACEHOLDER: Final = "vector(0)"
_SOURCES: Final = (QUERY, QUEUE, POD_METRIC, TARGET_QUERY, TARGET_POD_METRIC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What flags ask for: None or empty where the Deployment's annotations count.

    `annotations` override the Deployment's own.
    """

    metric: Metric | None = None
    query: str | None = None
    targets: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What is known of a Deployment: its annotations, and those of its Namespace."""

    ref: ObjectRef
    annotations: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)

    def effective(self, wishes: Wishes) -> Mapping[str, str]:
        """Return all texts that count."""
        return {**self.defaults, **self.annotations, **wishes.annotations}


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandSource:
    """The metric to replay, and the query of `Metric.QUERY` if it has one."""

    metric: Metric
    query: str | None = None


class PlanError(ValueError):
    """A Deployment cannot be replayed; the message says why, and what to pass."""


def source_of(given: Given, wishes: Wishes, readable: Collection[Metric]) -> DemandSource:
    """Return the metric to replay; `readable` are those that the history has.

    Without a wish it is the first target of the annotations that can be read, else the duty cycle.

    Raises:
        PlanError: only metrics that cannot be read have a target, or the query is missing.
    """
    texts = given.effective(wishes)
    metric = wishes.metric
    query = wishes.query or texts.get(QUERY)
    if metric is None and wishes.query is None:
        targets = [one for one, name in TARGET_ANNOTATIONS.items() if name in texts]
        metric = next((one for one in targets if one in readable), None)
        if metric is None and targets:
            raise PlanError(
                f"its target is for {targets[0]}, which Prometheus has under a name of the server's"
                " own: pass --query with a PromQL expression for the whole Deployment, and"
                " --targets; or --metric duty_cycle"
            )
        metric = metric or Metric.DUTY_CYCLE
    metric = metric or Metric.QUERY
    if metric is Metric.QUERY and query is None:
        raise PlanError(f"--metric query needs --query, or the annotation {QUERY}")
    if metric not in readable:
        names = ", ".join(sorted(readable))
        raise PlanError(f"--metric {metric} is not in this history; it can have {names}")
    return DemandSource(metric=metric, query=query if metric is Metric.QUERY else None)


def policies_of(
    given: Given, wishes: Wishes, source: DemandSource, *, highest_replicas: int
) -> tuple[tuple[ScalingPolicy, ...], tuple[str, ...]]:
    """Return a policy per target, and sentences about what was assumed.

    Raises:
        PlanError: there is no target, or an annotation is wrong.
    """
    texts = given.effective(wishes)
    notes: list[str] = []
    own = {**given.annotations, **wishes.annotations, ENABLED: "true"}
    if MAX_REPLICAS not in texts:
        own[MAX_REPLICAS] = str(max(LEAST_MAXIMUM, 2 * highest_replicas))
        notes.append(
            f"{MAX_REPLICAS} is not set: simulated with {own[MAX_REPLICAS]} (--max-replicas)."
        )
    if texts.get(MIN_REPLICAS) == "0" and source.metric not in TOTAL_METRICS:
        own[MIN_REPLICAS] = "1"
        notes.append(
            f"{MIN_REPLICAS} is 0: simulated with 1, because {source.metric} says nothing while"
            " there is no pod."
        )
    others = [
        name
        for metric, name in TARGET_ANNOTATIONS.items()
        if name in texts and name != target_annotation(source.metric)
    ]
    if others:
        notes.append(
            f"{', '.join(others)} counts too, and is not simulated: where it asks for more pods,"
            " gpu-scaler would have had more."
        )
    targets = wishes.targets or _own_targets(texts, source.metric)
    policies = tuple(_policy(given, own, source, text) for text in targets)
    return policies, tuple(notes)


def _own_targets(texts: Mapping[str, str], metric: Metric) -> Sequence[str]:
    annotation = target_annotation(metric)
    if annotation in texts:
        return (texts[annotation],)
    if metric in PERCENT_METRICS:
        return USUAL_TARGETS
    raise PlanError(f"has no target for {metric}: pass --targets, such as --targets 5,10,20")


def _policy(
    given: Given, own: Mapping[str, str], source: DemandSource, target: str
) -> ScalingPolicy:
    ours = (*_SOURCES, *TARGET_ANNOTATIONS.values())
    texts = {name: text for name, text in own.items() if name not in ours}
    defaults = {name: text for name, text in given.defaults.items() if name not in ours}
    is_total = source.metric in TOTAL_METRICS or source.metric is Metric.POD_METRIC
    if is_total:
        texts |= {QUERY: source.query or _PLACEHOLDER, TARGET_QUERY: target}
    else:
        texts[TARGET_ANNOTATIONS[source.metric]] = target
    parsed = parse_policy(
        texts, query_supported=True, defaults=defaults, namespace=given.ref.namespace
    )
    if not isinstance(parsed, ScalingPolicy):
        raise PlanError("; ".join(f"{one.annotation}: {one.message}" for one in parsed))
    invented = {QUERY, TARGET_QUERY} if is_total and source.query is None else set()
    wanted = MetricTarget(
        metric=source.metric,
        average_value_milli=parsed.targets[0].average_value_milli,
        query=source.query,
    )
    return replace(
        parsed,
        targets=(wanted,),
        settings=tuple(one for one in parsed.settings if one.annotation not in invented),
    )
