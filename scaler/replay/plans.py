# SPDX-License-Identifier: Apache-2.0
"""Pure: which metrics of a Deployment are replayed, and under which policies.

The Deployment's own annotations count, and flags where they say more; the policy's text is parsed
by the same code as in the scaler.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from scaler.decision.proposals import SATURATING_METRICS
from scaler.model import SERVER_METRICS, TOTAL_METRICS, Metric, MetricTarget, ScalingPolicy
from scaler.policy.annotations import (
    ENABLED,
    MAX_REPLICAS,
    MIN_REPLICAS,
    POD_METRIC,
    QUERY,
    QUEUE,
    SERVER,
    TARGET_ANNOTATIONS,
    TARGET_POD_METRIC,
    target_annotation,
)
from scaler.policy.parse import parse_policy
from scaler.policy.server_annotations import ServerAnnotations

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from scaler.model import MetricSelector, ObjectRef, ServerSettings

USUAL_TARGETS: Final = ("40", "50", "60", "70")
"""Of metrics in percent, where neither a flag nor an annotation has a target."""
LEAST_MAXIMUM: Final = 10
"""Replicas that a policy without a maximum may have; twice what there was, if that is more."""
SOURCE_ANNOTATIONS: Final = {
    Metric.QUERY: QUERY,
    Metric.QUEUE: QUEUE,
    Metric.POD_METRIC: POD_METRIC,
}
"""What says where a value comes from, for the metrics that have such an annotation."""
_PLACEHOLDERS: Final = {QUERY: "vector(0)", POD_METRIC: "any"}
"""Of what a recording does not know: without it there is no target."""


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
    """A metric to replay, and where it is from, as far as that is known.

    `query` is that of `Metric.QUERY`, `selector` that of `Metric.POD_METRIC`. `server` is the name
    of the pods' model server, None to recognise it.
    """

    metric: Metric
    query: str | None = None
    selector: MetricSelector | None = None
    server: str | None = None

    @property
    def text(self) -> str | None:
        """The text of the annotation that says where it is from."""
        return self.query if self.selector is None else str(self.selector)


class PlanError(ValueError):
    """A Deployment cannot be replayed; the message says why, and what to pass."""


def sources_of(
    given: Given, wishes: Wishes, readable: Collection[Metric]
) -> tuple[DemandSource, ...]:
    """Return the metrics to replay, first the one whose targets are compared.

    `readable` are the metrics that the history has. Without a wish the first one is that of the
    first target in the annotations that can be read, else the duty cycle; the others are those of
    the further targets. A metric that is wished for and has no target there is replayed alone.

    Raises:
        PlanError: only metrics that cannot be read have a target, or the query is missing.
    """
    texts = given.effective(wishes)
    query = wishes.query or texts.get(QUERY)
    targets = [one for one, name in TARGET_ANNOTATIONS.items() if name in texts]
    metric = wishes.metric or (None if wishes.query is None else Metric.QUERY)
    if metric is None:
        metric = next((one for one in targets if one in readable), None)
        if metric is None and targets:
            raise PlanError(
                f"its target is for {targets[0]}, which is not in this history: pass --query with a"
                " PromQL expression for the whole Deployment, and --targets; or --metric duty_cycle"
            )
        metric = metric or Metric.DUTY_CYCLE
    if metric is Metric.QUERY and query is None:
        raise PlanError(f"--metric query needs --query, or the annotation {QUERY}")
    if metric is Metric.POD_METRIC and POD_METRIC not in texts:
        raise PlanError(f"--metric pod_metric needs the annotation {POD_METRIC}")
    if metric not in readable:
        names = ", ".join(sorted(readable))
        raise PlanError(f"--metric {metric} is not in this history; it can have {names}")
    others = [
        one
        for one in targets
        if metric in targets
        and one is not metric
        and one in readable
        and (one is not Metric.QUERY or query is not None)
    ]
    return recorded_sources(texts, (metric, *others), query)


def recorded_sources(
    texts: Mapping[str, str], metrics: Sequence[Metric], query: str | None = None
) -> tuple[DemandSource, ...]:
    """Return where these metrics are from by the annotations, and by the `query` if it is given.

    Raises:
        PlanError: an annotation that says it is wrong.
    """
    query = query or texts.get(QUERY)
    settings = _server_settings(texts) if SERVER_METRICS.intersection(metrics) else None
    return tuple(
        DemandSource(
            metric=one,
            query=query if one is Metric.QUERY else None,
            selector=settings.pod_metric if settings and one is Metric.POD_METRIC else None,
            server=settings.server if settings and one in SERVER_METRICS else None,
        )
        for one in metrics
    )


def _server_settings(texts: Mapping[str, str]) -> ServerSettings:
    """Return which series of model servers count; raises PlanError."""
    own = {name: texts[name] for name in (SERVER, POD_METRIC) if name in texts}
    if POD_METRIC in own:
        # One is wrong without the other, and flags may give the target.
        own[TARGET_POD_METRIC] = "1"
    parser = ServerAnnotations(own, None, "")
    settings = parser.server_settings()
    if parser.problems:
        raise PlanError("; ".join(f"{one.annotation}: {one.message}" for one in parser.problems))
    return settings


def policies_of(
    given: Given, wishes: Wishes, sources: Sequence[DemandSource], *, highest_replicas: int
) -> tuple[tuple[ScalingPolicy, ...], tuple[str, ...]]:
    """Return a policy per target of the first source, and sentences about what was assumed.

    The other sources have the targets of the annotations; those without one are in no policy.

    Raises:
        PlanError: there is no target, or an annotation is wrong.
    """
    texts = given.effective(wishes)
    compared = sources[0].metric
    followed = [
        one for one in sources if one.metric is compared or target_annotation(one.metric) in texts
    ]
    notes = _notes(texts, sources, followed)
    own = {**given.annotations, **wishes.annotations, ENABLED: "true"}
    if MAX_REPLICAS not in texts:
        own[MAX_REPLICAS] = str(max(LEAST_MAXIMUM, 2 * highest_replicas))
        notes.append(
            f"{MAX_REPLICAS} is not set: simulated with {own[MAX_REPLICAS]} (--max-replicas)."
        )
    if texts.get(MIN_REPLICAS) == "0" and not any(one.metric in TOTAL_METRICS for one in followed):
        own[MIN_REPLICAS] = "1"
        notes.append(
            f"{MIN_REPLICAS} is 0: simulated with 1, because {compared} says nothing while there is"
            " no pod."
        )
    others = {one.metric: texts[target_annotation(one.metric)] for one in followed[1:]}
    policies = tuple(
        _policy(given, own, followed, {compared: text, **others})
        for text in wishes.targets or _own_targets(texts, compared)
    )
    return policies, tuple(notes)


def _notes(
    texts: Mapping[str, str], sources: Sequence[DemandSource], followed: Sequence[DemandSource]
) -> list[str]:
    """Return what counts beside the metric whose targets are compared, and what does not."""
    compared = sources[0].metric
    notes = []
    if len(followed) > 1:
        others = " and ".join(
            f"{one.metric} (target {texts[target_annotation(one.metric)]})" for one in followed[1:]
        )
        notes.append(
            f"TARGET is that of {compared}. In each row {others} counts too: the metric that asks"
            " for the most replicas decides."
        )
    for one in sources:
        if one not in followed:
            notes.append(
                f"{one.metric} is in the recording and has no target, so it is not simulated: pass"
                f" --annotation {target_annotation(one.metric)}=NUMBER."
            )
    left_out = [
        name
        for name in TARGET_ANNOTATIONS.values()
        if name in texts and name not in {target_annotation(one.metric) for one in followed}
    ]
    if left_out and target_annotation(compared) in texts:
        notes.append(
            f"{', '.join(left_out)} counts too, and is not simulated, because this history has no"
            " values of it: where it asks for more pods, gpu-scaler would have had more."
        )
    elif left_out:
        notes.append(f"{', '.join(left_out)} does not count: {compared} is simulated in its place.")
    return notes


def _own_targets(texts: Mapping[str, str], metric: Metric) -> Sequence[str]:
    annotation = target_annotation(metric)
    if annotation in texts:
        return (texts[annotation],)
    if metric in SATURATING_METRICS:
        return USUAL_TARGETS
    raise PlanError(f"has no target for {metric}: pass --targets, such as --targets 5,10,20")


def _policy(
    given: Given,
    own: Mapping[str, str],
    sources: Sequence[DemandSource],
    targets: Mapping[Metric, str],
) -> ScalingPolicy:
    ours = (*SOURCE_ANNOTATIONS.values(), *TARGET_ANNOTATIONS.values())
    texts = {name: text for name, text in own.items() if name not in ours}
    defaults = {name: text for name, text in given.defaults.items() if name not in ours}
    invented: set[str] = set()
    # What is parsed as another metric: a queue's page is not known here, and its target is alike.
    parsed_as: dict[Metric, Metric] = {}
    for one in sources:
        metric = Metric.QUERY if one.metric in TOTAL_METRICS else one.metric
        parsed_as[metric] = one.metric
        target, source = TARGET_ANNOTATIONS[metric], SOURCE_ANNOTATIONS.get(metric)
        texts[target] = targets[one.metric]
        if source is not None:
            texts[source] = one.text or _PLACEHOLDERS[source]
            if one.text is None:
                invented |= {source, target}
    parsed = parse_policy(
        texts, query_supported=True, defaults=defaults, namespace=given.ref.namespace
    )
    if not isinstance(parsed, ScalingPolicy):
        raise PlanError("; ".join(f"{one.annotation}: {one.message}" for one in parsed))
    values = {parsed_as[one.metric]: one.average_value_milli for one in parsed.targets}
    return replace(
        parsed,
        targets=tuple(
            MetricTarget(metric=one.metric, average_value_milli=values[one.metric], query=one.query)
            for one in sources
        ),
        settings=tuple(one for one in parsed.settings if one.annotation not in invented),
    )
