# SPDX-License-Identifier: Apache-2.0
"""Pure: a replay from decision to decision, without those that cannot change anything.

At an interval of 2 s a week has 302,400 decisions of which a few thousand change something. Between
two of them the demand, the pods or a window change. Three things make the others unnecessary:

- What is asked for depends only on what the pods show and on how far they are, and rises with what
  they show. So it is known between two values that gave the same.
- What is asked for keeps the count where it equals the count, where the count is at the bound on
  that side, and while a recommendation of the scale-down window keeps it.
- A count that stayed stays, for the same number asked for, until something expires.

What was asked for is still remembered, since windows are made of it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scaler.decision.history import active, recommended
from scaler.replay.answers import Answers
from scaler.replay.model import ReplicaStep
from scaler.replay.rules import Asked

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaler.replay.answers import Learned
    from scaler.replay.load import RecordedLoad
    from scaler.replay.pods import Pods
    from scaler.replay.rules import Rules

EARLY_SECONDS = 1e-6
"""So much sooner something counts as expired: deciding once more than necessary is harmless."""
UNKNOWN = Asked(None)


class Stepping:
    """One replay; `run` it once."""

    def __init__(
        self,
        rules: Rules,
        pods: Pods,
        load: RecordedLoad,
        *,
        seconds: float,
        interval_seconds: float,
        learned: Learned,
        should_stop: Callable[[], bool] | None,
    ) -> None:
        self._rules = rules
        self._pods = pods
        self._load = load
        self._interval = interval_seconds
        self._should_stop = should_stop
        self._ticks = max(0, math.ceil(seconds / interval_seconds - 1e-9))
        self._steps = [ReplicaStep(0.0, pods.count)]
        self._learned = learned
        self._answers = learned.under(rules)
        self._scheduled_until = rules.follow_schedule(0.0)
        self._known = Answers()
        self._alike_until = 0
        behavior = rules.policy.behavior
        self._down_window = behavior.scale_down.stabilization_window_seconds
        self._windows = {self._down_window, behavior.scale_up.stabilization_window_seconds}
        self._periods = {
            one.period_seconds
            for direction in (behavior.scale_up, behavior.scale_down)
            for one in direction.policies
        }
        self._noted: dict[Asked, int] = {}
        self._is_first = True
        self._is_held = False
        self._held_tick: int | None = None
        self._stays: tuple[Asked, int] = (UNKNOWN, 0)
        self._kept_seconds = self._raised_seconds = -math.inf

    def run(self) -> tuple[ReplicaStep, ...]:
        """Return the count over time."""
        load, interval, tick = self._load, self._interval, 0
        while tick < self._ticks:
            now = tick * interval
            if tick >= self._alike_until:
                self._look_at_pods(tick)
            if (walked := self._walk(tick)) > tick:
                tick = walked
                continue
            step = load.step(now)
            asked = self._asked_for(step, now)
            if asked is not None:
                until = self._unchanged_until(asked, tick)
                if until > tick:
                    until = min(until, self._constant_until(step, tick))
                    self._note(asked, until - 1)
                    tick = until
                    continue
            self._decide(tick)
            tick += 1
        return tuple(self._steps)

    def _walk(self, tick: int) -> int:
        """The usual case, and fast: pass the steps at which what is asked for keeps the count.

        Returns the first tick for which this does not hold, or at which the pods may be further.
        """
        load, policy, interval = self._load, self._rules.policy, self._interval
        count, until = self._pods.count, self._alike_until
        if (
            load.has_window
            or self._is_first
            or self._is_held
            or not policy.min_replicas <= count <= policy.max_replicas
            or self._is_raised(tick)
        ):
            return tick
        begun, find, noted = tick, self._known.find, self._noted
        divisor = 0 if load.is_total else self._pods.ready(tick * interval)
        kept_until = self._tick_at(self._kept_seconds + self._down_window)
        while tick < until:
            step = load.step(tick * interval)
            demand = load.demand_milli[step]
            asked = None if demand is None else find(load.share_milli(demand, divisor))
            if asked is None or (replicas := asked.replicas) is None or replicas > count:
                break
            end = min(until, max(tick + 1, self._tick_at(load.end_seconds(step))))
            if replicas == count:
                kept_until = self._tick_at((end - 1) * interval + self._down_window)
                self._kept_seconds = (end - 1) * interval
            elif count != policy.min_replicas:
                if kept_until <= tick:
                    break
                end = min(end, kept_until)
            noted.pop(asked, None)
            noted[asked] = end - 1
            tick = end
        if tick > begun:
            self._stays = (UNKNOWN, 0)
        return tick

    def _is_raised(self, tick: int) -> bool:
        """Whether a higher recommendation of the window may raise the count."""
        window = self._down_window
        return self._rules.raises and self._tick_at(self._raised_seconds + window) >= tick

    def _look_at_pods(self, tick: int) -> None:
        """Note how far the pods are and what the schedule says, and until when."""
        now = tick * self._interval
        if tick >= self._tick_at(self._scheduled_until):
            self._flush()
            self._scheduled_until = self._rules.follow_schedule(now)
            self._answers = self._learned.under(self._rules)
            self._is_first = True
        changes_seconds = self._pods.next_change_seconds(now)
        alike_until = self._tick_at(min(changes_seconds, self._scheduled_until))
        self._alike_until = min(self._ticks, max(tick + 1, alike_until))
        key = (
            self._pods.count if self._load.is_total else self._rules.counted(self._pods.shape(now))
        )
        self._known = self._answers.setdefault(key, Answers())

    def _constant_until(self, step: int, tick: int) -> int:
        """The first tick at which pods may show something else or be further."""
        if self._load.has_window and not self._load.is_constant(tick * self._interval):
            return tick + 1
        changes = self._tick_at(self._load.end_seconds(step))
        return min(self._ticks, self._alike_until, max(changes, tick + 1))

    def _tick_at(self, seconds: float) -> int:
        """The first tick not before an instant, or one sooner."""
        if math.isinf(seconds):
            return self._ticks if seconds > 0 else 0
        return math.ceil((seconds - EARLY_SECONDS) / self._interval)

    def _asked_for(self, step: int, now: float) -> Asked | None:
        """What is asked for now, None where only a decision can tell."""
        if self._load.demand_milli[step] is None:
            return UNKNOWN
        shown = self._load.common_milli(step, now)
        return None if shown is None else self._known.find(shown)

    def _unchanged_until(self, asked: Asked, tick: int) -> int:
        """The first tick at which the count may change while this is asked for."""
        replicas = asked.replicas
        if self._is_first:
            return tick
        if self._is_held or replicas is None:
            return self._ticks if self._is_held and replicas is None else tick
        stays, until = self._stays
        if stays == asked and until > tick:
            return until
        policy, count = self._rules.policy, self._pods.count
        if not policy.min_replicas <= count <= policy.max_replicas:
            return tick
        if self._is_raised(tick):
            return tick
        if (
            replicas == count
            or replicas > count == policy.max_replicas
            or replicas < count == policy.min_replicas
        ):
            return self._ticks
        return self._tick_at(self._kept_seconds + self._down_window) if replicas < count else tick

    def _note(self, asked: Asked, tick: int) -> None:
        """Remember that this was asked for until a tick, included, and kept the count."""
        if asked.replicas is None:
            self._held_tick = tick
            return
        self._noted.pop(asked, None)
        self._noted[asked] = tick
        last_seconds = tick * self._interval
        if asked.replicas >= self._pods.count:
            self._kept_seconds = last_seconds
        if asked.replicas > self._pods.count:
            self._raised_seconds = last_seconds
        if asked != self._stays[0]:
            self._stays = (UNKNOWN, 0)

    def _flush(self) -> None:
        """Put what was noted into the history, the oldest first."""
        if self._held_tick is not None:
            held_seconds, self._held_tick = self._held_tick * self._interval, None
            self._rules.decide(self._pods, self._load, held_seconds)
        policy = self._rules.policy
        for (replicas, down_only), tick in self._noted.items():
            assert replicas is not None
            now = tick * self._interval
            history = active(self._rules.history, policy, replicas, now)
            self._rules.history = recommended(
                history, replicas, policy.behavior, now, down_only=down_only
            )
        self._noted.clear()

    def _decide(self, tick: int) -> None:
        if self._should_stop is not None and self._should_stop():
            raise TimeoutError("the replay was stopped")
        now = tick * self._interval
        self._flush()
        before, known = self._pods.count, self._known
        shown = self._load.common_milli(self._load.step(now), now)
        asked = self._apply(now)
        count, recommendations = self._pods.count, self._rules.history.recommendations
        if shown is not None and (asked.replicas is not None or count == before):
            known.learn(shown, asked)
        if count != before:
            self._alike_until = tick + 1
        self._is_held = asked.replicas is None and count == before
        # A cooldown begins with the first decision after which it is not restarted.
        history = self._rules.history
        self._is_first = self._rules.policy.min_replicas == 0 and history.active_seconds is None
        self._kept_seconds = max(
            (one.at_seconds for one in recommendations if one.replicas >= count), default=-math.inf
        )
        self._raised_seconds = max(
            (one.at_seconds for one in recommendations if one.replicas > count), default=-math.inf
        )
        until = self._tick_at(self._expires_seconds(asked, now)) if count == before else 0
        self._stays = (asked, until)

    def _apply(self, now: float) -> Asked:
        """Decide, and make the change; return what was asked for."""
        desired, asked = self._rules.decide(self._pods, self._load, now)
        if desired != self._pods.count:
            self._load.advance(now)
            self._pods.scale(desired, now)
            if self._steps[-1].at_seconds == now:
                self._steps.pop()
            self._steps.append(ReplicaStep(now, desired))
        return asked

    def _expires_seconds(self, asked: Asked, now: float) -> float:
        """When something that the history knows counts no longer; infinity if never."""
        history, policy = self._rules.history, self._rules.policy
        instants = [
            one.at_seconds + window
            for one in history.recommendations
            if (one.replicas, one.down_only) != asked
            for window in self._windows
        ]
        instants += [
            event.at_seconds + period
            for event in (*history.scale_ups, *history.scale_downs)
            for period in self._periods
        ]
        if policy.min_replicas == 0 and history.active_seconds is not None:
            instants.append(history.active_seconds + policy.cooldown_seconds)
        return min((one for one in instants if one > now), default=math.inf)
