# SPDX-License-Identifier: Apache-2.0
"""Pure: the target that a replay recommends, as annotations to paste."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from scaler.model import Metric, SettingOrigin
from scaler.policy.annotations import (
    DRY_RUN,
    ENABLED,
    MAX_REPLICAS,
    MIN_REPLICAS,
    PAUSED,
    QUERY,
    target_annotation,
)
from scaler.quantities import format_duration, format_share, format_value
from scaler.replay.model import AS_IT_WAS, OURS
from scaler.replay.plans import SOURCE_ANNOTATIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scaler.model import ScalingPolicy
    from scaler.replay.model import Recording, ReplayResult

SLOW_START_SECONDS: Final = 60.0
_BINARY_SUFFIXES: Final = ((1024**4, "Ti"), (1024**3, "Gi"), (1024**2, "Mi"), (1024, "Ki"))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommendedTarget:
    """The target that keeps saturation within the limit for the fewest GPU hours.

    `target_milli` is None where no simulated target does; `text` then says what to try.
    `annotations` are values by name, none without a target. `missing_annotations` are those that
    the target needs and of which the replay does not know the value. `doubt` says why the target
    may be too high, None where nothing does.
    """

    target_milli: int | None
    text: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    missing_annotations: tuple[str, ...] = ()
    doubt: str | None = None


def recommended(
    recording: Recording,
    results: Sequence[ReplayResult],
    policy: ScalingPolicy,
    *,
    max_saturated: float,
) -> RecommendedTarget:
    """Return the target to set, from the results of `OURS`.

    `policy` is the one that was replayed, whatever its target; `max_saturated` is a share of the
    time, 0 to 1. Among targets with equal GPU hours, the one with the least saturation wins.
    """
    ours = [
        (result.saturated_share, result)
        for result in results
        if result.policy == OURS and result.target_milli is not None
    ]
    known = [(share, one) for share, one in ours if share is not None and one.seconds > 0]
    if not known:
        return RecommendedTarget(
            target_milli=None,
            text="No recommendation: no time with a known demand and replica count was simulated.",
        )
    allowed = [(share, one) for share, one in known if share <= max_saturated]
    if not allowed:
        share, least = min(known, key=lambda item: item[0])
        return RecommendedTarget(
            target_milli=None, text=_none_text(recording, least, share, policy, max_saturated)
        )
    share, best = min(allowed, key=lambda item: (item[1].gpu_hours, item[0]))
    assert best.target_milli is not None
    floors = recording.floor_share() or 0.0
    # Where the demand is unknown from above, ours may have been saturated as well.
    doubt = None
    if share + floors > max_saturated:
        doubt = (
            f"This is uncertain: {format_share(floors)} of the samples are only a lower bound, so"
            " the demand may have been higher. Run more replicas for some days, then simulate"
            " again."
        )
    whose = f" of {recording.metric}" * (len(recording.metrics) > 1)
    text = (
        f"Recommended target{whose}: {format_value(recording.metric, best.target_milli)},"
        f" saturated for {format_share(share)} of the time (allowed:"
        f" {max_saturated * 100:g} %){_saved(best, results)}."
    )
    annotations, missing = _annotations(recording.metric, best.target_milli, policy)
    return RecommendedTarget(
        target_milli=best.target_milli,
        text=text,
        annotations=annotations,
        missing_annotations=missing,
        doubt=doubt,
    )


def saved_share(result: ReplayResult, was: ReplayResult) -> float | None:
    """Return the share of GPU hours saved per time, negative for more; None if unknown."""
    if not (result.seconds and was.seconds and was.gpu_hours):
        return None
    return 1 - (result.gpu_hours / result.seconds) / (was.gpu_hours / was.seconds)


def _saved(best: ReplayResult, results: Sequence[ReplayResult]) -> str:
    was = next((one for one in results if one.policy == AS_IT_WAS), None)
    saved = None if was is None else saved_share(best, was)
    if saved is None:
        return ""
    if format_share(abs(saved)) == format_share(0):
        return ", with as many GPU hours as it was"
    word = "fewer" if saved > 0 else "more"
    return f", with {format_share(abs(saved))} {word} GPU hours than as it was"


def _none_text(
    recording: Recording,
    least: ReplayResult,
    share: float,
    policy: ScalingPolicy,
    max_saturated: float,
) -> str:
    assert least.target_milli is not None
    text = (
        f"No simulated target keeps saturation within {max_saturated * 100:g} % of the time;"
        f" target {format_value(recording.metric, least.target_milli)} has the least with"
        f" {format_share(share)}."
    )
    if least.highest_replicas >= policy.max_replicas:
        return f"{text} It reached {MAX_REPLICAS} {policy.max_replicas}: allow more replicas."
    text += f" Try lower targets with --targets, or a higher {MIN_REPLICAS}."
    start_seconds = recording.start_seconds
    if start_seconds is not None and start_seconds >= SLOW_START_SECONDS:
        text += (
            f" With pods that take {format_duration(start_seconds)} to start, load that rises"
            " faster saturates the others meanwhile."
        )
    return text


def annotations_yaml(recommendation: RecommendedTarget) -> str:
    """Return the annotations as YAML for a Deployment's metadata, empty without a target."""
    if recommendation.target_milli is None:
        return ""
    lines = [
        f"    {name}: {json.dumps(value, ensure_ascii=not value.isprintable())}"
        for name, value in recommendation.annotations.items()
    ]
    lines += [
        f"    # and {name} with your own value" for name in recommendation.missing_annotations
    ]
    return "\n".join(["metadata:", "  annotations:", *lines]) + "\n"


def _annotations(
    metric: Metric, target_milli: int, policy: ScalingPolicy
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return all annotations of the policy with this target of the metric that is its first one.

    Also those without a known value.
    """
    given = {
        one.annotation: one.value
        for one in policy.settings
        if one.origin is not SettingOrigin.BUILT_IN
    }
    found = {
        ENABLED: "true",
        MIN_REPLICAS: str(policy.min_replicas),
        MAX_REPLICAS: str(policy.max_replicas),
        target_annotation(metric): _quantity(metric, target_milli),
    }
    for one in policy.targets:
        if one.average_value_milli is not None:
            text = _quantity(one.metric, one.average_value_milli)
            found.setdefault(target_annotation(one.metric), text)
        if one.query is not None:
            found[QUERY] = one.query
    # Whoever pastes them wants the scaler to act.
    found |= {
        name: value
        for name, value in given.items()
        if name not in found and name not in (PAUSED, DRY_RUN)
    }
    if policy.min_replicas == 1 and MIN_REPLICAS not in given:
        del found[MIN_REPLICAS]
    metrics = dict.fromkeys((metric, *(one.metric for one in policy.targets[1:])))
    sources = (SOURCE_ANNOTATIONS.get(one) for one in metrics)
    return found, tuple(one for one in sources if one is not None and one not in found)


def _quantity(metric: Metric, value_milli: int) -> str:
    """Return the exact quantity of a target: `60`, `62.5`, `20Gi`."""
    whole, rest = divmod(value_milli, 1000)
    if rest:
        return f"{whole}.{rest:03}".rstrip("0")
    if metric is Metric.MEMORY_USED_BYTES:
        for factor, suffix in _BINARY_SUFFIXES:
            if whole % factor == 0:
                return f"{whole // factor}{suffix}"
    return str(whole)
