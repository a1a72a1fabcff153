# SPDX-License-Identifier: Apache-2.0
"""Pure: what one Deployment's scaling history becomes, step by step, in the order of a loop.

1. `shifted`: the clock jumped. Everything stays as old as it was.
2. `standing`: the loop is slower than the window. Its last recommendation stands until now.
3. `seen`: the watch shows a replica count. A count above 0 ends a scale to zero, and one that
   something else wrote ends what is known, as a hold does.
4. `held`: nothing is computed in this loop, for whatever reason.
5. `seeded`: after a start, a takeover or a hold, the count found is the first recommendation.
6. `active`: the metrics ask for a pod, so the cooldown starts again.
7. `recommended`: what the metrics ask for is remembered for the stabilization windows.
8. `changed`: the replica count changes, which is remembered for the rate policies.
9. `undone`: the change was not written. What was recommended stays, the change does not.
10. `confirmed`: a write without an answer took effect after all.

`decide` takes steps 3 to 8, the controller the others; `scaler.controller.history` stores the
result. A history must neither forget a change that was made nor age while nobody looked: both would
let the next change come sooner than the behavior allows.

Source: kubernetes `pkg/controller/podautoscaler/horizontal.go`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from scaler.decision.model import Recommendation, ScaleEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaler.decision.model import ScalingHistory
    from scaler.model import Behavior, DeploymentState, ScalingPolicy

WATCH_LAG_SECONDS = 60.0
"""How long a watch may lag behind a write, also one without an answer; longer than a silent watch
is trusted."""


def shifted(history: ScalingHistory, by_seconds: float) -> ScalingHistory:
    """The history as if everything had happened `by_seconds` later."""

    def later(events: Sequence[ScaleEvent]) -> tuple[ScaleEvent, ...]:
        return tuple(replace(one, at_seconds=one.at_seconds + by_seconds) for one in events)

    def moved(instant: float | None) -> float | None:
        return None if instant is None else instant + by_seconds

    return replace(
        history,
        recommendations=tuple(
            replace(one, at_seconds=one.at_seconds + by_seconds) for one in history.recommendations
        ),
        scale_ups=later(history.scale_ups),
        scale_downs=later(history.scale_downs),
        zeroed_seconds=moved(history.zeroed_seconds),
        active_seconds=moved(history.active_seconds),
        draining_since_seconds=moved(history.draining_since_seconds),
        replaced_seconds=moved(history.replaced_seconds),
    )


def standing(history: ScalingHistory, behavior: Behavior, now_seconds: float) -> ScalingHistory:
    """The history of a loop without gaps: its last recommendation stands until now.

    A loop slower than the window would otherwise find no recommendation in it, seed the count
    found every time, and never scale down.
    """
    if history.held or not history.recommendations:
        return history
    *others, newest = history.recommendations
    window_seconds = behavior.scale_down.stabilization_window_seconds
    if newest.at_seconds > now_seconds - window_seconds:
        return history
    until_now = replace(newest, at_seconds=math.nextafter(now_seconds, -math.inf))
    return replace(history, recommendations=(*others, until_now))


def seen(
    history: ScalingHistory, deployment: DeploymentState, now_seconds: float
) -> ScalingHistory:
    """The history, without a scale to zero that somebody has ended since.

    A count that something else wrote is found and not computed, as after a hold. After both the
    cooldown starts again. Shortly after a change, the count before it is not such a count: the
    watch lags, or something sets each change back, which `contention` has to see several times.
    """
    shown = deployment.spec_replicas
    is_known = shown in (history.replicas, history.replaced)
    is_foreign = not is_known and history.replicas is not None
    if not is_known:
        is_held = history.held or is_foreign
        history = replace(history, replicas=shown, replaced=None, held=is_held)
    elif now_seconds - (history.replaced_seconds or 0.0) > WATCH_LAG_SECONDS:
        history = replace(history, replicas=shown, replaced=None)
    if history.held:
        history = cooldown_restarted(history)
    zeroed = history.zeroed_seconds
    if zeroed is None or shown == 0 or deployment.out_of_contact is not None:
        return history
    if not is_foreign and now_seconds - zeroed <= WATCH_LAG_SECONDS:
        return history
    return replace(history, zeroed_seconds=None)


def held(history: ScalingHistory) -> ScalingHistory:
    """The history of a loop in which nothing was computed."""
    return replace(history, held=True)


def seeded(
    history: ScalingHistory, current_replicas: int, behavior: Behavior, now_seconds: float
) -> ScalingHistory:
    """The history, with the count found as a recommendation where no other is left.

    So neither a restart, nor a hold of any length, nor a gap in the loop longer than the
    stabilization window lets the count go down before the whole window has passed. Unlike the
    HPA's, it does not keep the count from going up. Source: recordInitialRecommendation.
    """
    window_seconds = behavior.scale_down.stabilization_window_seconds
    if window_seconds == 0:
        return replace(history, held=False) if history.held else history
    cutoff_seconds = now_seconds - window_seconds
    if not history.held and any(
        item.at_seconds > cutoff_seconds for item in history.recommendations
    ):
        return history
    with_count = recommended(history, current_replicas, behavior, now_seconds, down_only=True)
    return replace(with_count, held=False)


def active(
    history: ScalingHistory, policy: ScalingPolicy, proposed: int | None, now_seconds: float
) -> ScalingHistory:
    """The history, with the last instant at which the metrics asked for a pod.

    Metrics that could not be read count as asking: unknown is not idle.
    """
    if policy.min_replicas > 0:
        return cooldown_restarted(history)
    if proposed == 0 and history.active_seconds is not None:
        return history
    return replace(history, active_seconds=now_seconds)


def cooldown_restarted(history: ScalingHistory) -> ScalingHistory:
    """The history where nobody looks at the metrics: the cooldown starts with the next look."""
    if history.active_seconds is None:
        return history
    return replace(history, active_seconds=None)


def recommended(
    history: ScalingHistory,
    replicas: int,
    behavior: Behavior,
    now_seconds: float,
    *,
    down_only: bool = False,
) -> ScalingHistory:
    """The history with one more recommendation and without those that no window reaches.

    Only the lowest and the highest of the windows up to now matter, so of equal recommendations
    the newest stands for all.
    """
    cutoff_seconds = now_seconds - max(
        behavior.scale_up.stabilization_window_seconds,
        behavior.scale_down.stabilization_window_seconds,
    )
    kept = tuple(
        item
        for item in history.recommendations
        if item.at_seconds > cutoff_seconds
        and (item.replicas, item.down_only) != (replicas, down_only)
    )
    newest = Recommendation(replicas=replicas, at_seconds=now_seconds, down_only=down_only)
    return replace(history, recommendations=(*kept, newest))


def changed(
    history: ScalingHistory,
    replicas_before: int,
    replicas_after: int,
    behavior: Behavior,
    now_seconds: float,
) -> ScalingHistory:
    """The history with a change of the count, without changes that no policy's period reaches."""
    periods = [
        policy.period_seconds
        for rules in (behavior.scale_up, behavior.scale_down)
        for policy in rules.policies
    ]
    cutoff_seconds = now_seconds - max(periods, default=0)
    ups = tuple(event for event in history.scale_ups if event.at_seconds > cutoff_seconds)
    downs = tuple(event for event in history.scale_downs if event.at_seconds > cutoff_seconds)
    change = replicas_after - replicas_before
    if change > 0:
        ups = (*ups, ScaleEvent(change=change, at_seconds=now_seconds))
    elif change < 0:
        downs = (*downs, ScaleEvent(change=-change, at_seconds=now_seconds))
    zeroed_seconds = now_seconds if replicas_after == 0 else None
    return replace(
        history,
        scale_ups=ups,
        scale_downs=downs,
        zeroed_seconds=zeroed_seconds,
        draining_since_seconds=None,
        replicas=replicas_after,
        replaced=replicas_before,
        replaced_seconds=now_seconds,
    )


def undone(before: ScalingHistory, decided: ScalingHistory) -> ScalingHistory:
    """The history of before a decision that was not written, with what it recommended."""
    return replace(
        before,
        recommendations=decided.recommendations,
        active_seconds=decided.active_seconds,
        held=decided.held,
    )


def confirmed(known: ScalingHistory, decided: ScalingHistory) -> ScalingHistory:
    """The history with the change of an earlier decision whose write had no answer."""
    return replace(
        known,
        scale_ups=decided.scale_ups,
        scale_downs=decided.scale_downs,
        zeroed_seconds=decided.zeroed_seconds,
        replicas=decided.replicas,
        replaced=decided.replaced,
        replaced_seconds=decided.replaced_seconds,
    )


def newest_seconds(history: ScalingHistory) -> float:
    """The newest instant that the history knows, minus infinity where it knows none."""
    instants = [item.at_seconds for item in history.recommendations]
    instants += [item.at_seconds for item in (*history.scale_ups, *history.scale_downs)]
    return max(instants, default=-math.inf)
