# SPDX-License-Identifier: Apache-2.0
"""Pure: a replay from decision to decision, without those that cannot change anything.

At an interval of 2 s a week has 302,400 decisions of which a few thousand change something. Between
two of them the demand, the pods or a window change. Three things make the others unnecessary:

- What a metric asks for depends only on what the pods show of it and on how far they are, and rises
  with what they show. So it is known between two values that gave the same.
- What is asked for keeps the count where it equals the count, where the count is at the bound on
  that side, and while a recommendation of the scale-down window keeps it.
- A count that stayed stays, for the same number asked for, until something expires.

What was asked for is still remembered, since windows are made of it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scaler.decision.history import active, recommended
from scaler.replay.answers import Answers, Learned
from scaler.replay.load import RecordedLoad
from scaler.replay.model import ReplicaStep
from scaler.replay.pods import Pods
from scaler.replay.rules import UNKNOWN, Asked

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaler.replay.model import Recording
    from scaler.replay.rules import Rules

EARLY_SECONDS = 1e-6
"""So much sooner something counts as expired: deciding once more than necessary is harmless."""


class Stepping:
    """One replay, from the pods that the Deployment had at its begin; `run` it once."""

    def __init__(
        self,
        recording: Recording,
        rules: Rules,
        *,
        start_seconds: float,
        interval_seconds: float,
        learned: Learned | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        policy = rules.policy
        found = next((one for one in recording.replicas if one is not None), None)
        self._rules = rules
        self._pods = pods = Pods(
            recording.ref,
            replicas=policy.min_replicas if found is None else found,
            start_seconds=start_seconds,
            ready_age_seconds=policy.ready_age_seconds,
        )
        self._loads = [
            RecordedLoad(
                one,
                pods,
                step_seconds=recording.step_seconds,
                window_seconds=policy.window_seconds,
            )
            for one in recording.metrics
        ]
        self._has_window = any(load.has_window for load in self._loads)
        self._interval = interval_seconds
        self._should_stop = should_stop
        self._ticks = math.ceil(recording.seconds / interval_seconds - 1e-9)
        self._change_ticks = self._ticks_of_changes()
        self._steps = [ReplicaStep(0.0, pods.count)]
        self._learned = learned or Learned()
        self._answers = self._learned.under(rules)
        self._scheduled_until = rules.follow_schedule(0.0)
        self._known = [Answers() for _ in self._loads]
        self._together: dict[tuple[Asked | None, ...], Asked] = {}
        self._alike_until = 0
        behavior = policy.behavior
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
        interval, tick = self._interval, 0
        while tick < self._ticks:
            now = tick * interval
            if tick >= self._alike_until:
                self._look_at_pods(tick)
            if (walked := self._walk(tick)) > tick:
                tick = walked
                continue
            step = self._loads[0].step(now)
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
        policy, interval = self._rules.policy, self._interval
        count, until = self._pods.count, self._alike_until
        if (
            self._has_window
            or self._is_first
            or self._is_held
            or not policy.min_replicas <= count <= policy.max_replicas
            or self._is_raised(tick)
        ):
            return tick
        begun, noted, change_ticks = tick, self._noted, self._change_ticks
        step_at = self._loads[0].step
        ready = self._pods.ready(tick * interval)
        metrics = [
            (load.demand_milli, load.share_milli, known.find, 0 if load.is_total else ready)
            for load, known in zip(self._loads, self._known, strict=True)
        ]
        kept_until = self._tick_at(self._kept_seconds + self._down_window)
        while tick < until:
            step = step_at(tick * interval)
            found = [
                UNKNOWN if (demand := demands[step]) is None else find(share_milli(demand, divisor))
                for demands, share_milli, find, divisor in metrics
            ]
            asked = found[0] if len(found) == 1 else self._joined(found)
            if asked is None or (replicas := asked.replicas) is None or replicas > count:
                break
            end = min(until, max(tick + 1, change_ticks[step]))
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
        count, counted = self._pods.count, self._rules.counted(self._pods.shape(now))
        self._known = [
            answers.setdefault(count if load.is_total else counted, Answers())
            for load, answers in zip(self._loads, self._answers, strict=True)
        ]

    def _constant_until(self, step: int, tick: int) -> int:
        """The first tick at which pods may show something else or be further."""
        now = tick * self._interval
        if self._has_window and not all(load.is_constant(now) for load in self._loads):
            return tick + 1
        return min(self._ticks, self._alike_until, max(self._change_ticks[step], tick + 1))

    def _ticks_of_changes(self) -> list[int]:
        """For each step, the first tick after it at which a metric has another demand."""
        demands = list(zip(*(load.demand_milli for load in self._loads), strict=True))
        ticks = [self._ticks] * len(demands)
        for step in range(len(demands) - 2, -1, -1):
            if demands[step] == demands[step + 1]:
                ticks[step] = ticks[step + 1]
            else:
                ticks[step] = self._tick_at((step + 1) * self._loads[0].step_seconds)
        return ticks

    def _tick_at(self, seconds: float) -> int:
        """The first tick not before an instant, or one sooner."""
        if math.isinf(seconds):
            return self._ticks if seconds > 0 else 0
        return math.ceil((seconds - EARLY_SECONDS) / self._interval)

    def _asked_for(self, step: int, now: float) -> Asked | None:
        """What is asked for now, None where only a decision can tell."""
        found: list[Asked | None] = []
        for load, known in zip(self._loads, self._known, strict=True):
            if load.demand_milli[step] is None:
                found.append(UNKNOWN)
            else:
                shown = load.common_milli(step, now)
                found.append(None if shown is None else known.find(shown))
        return self._joined(found)

    def _joined(self, asked: list[Asked | None]) -> Asked | None:
        """What all metrics ask for together, None where that of one is not known."""
        key = tuple(asked)
        together = self._together.get(key)
        known = [one for one in asked if one is not None]
        if together is None and len(known) == len(asked):
            together = self._together[key] = self._rules.joined(known, self._pods.count)
        return together

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
            self._rules.decide(self._pods, self._loads, held_seconds)
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
        step = self._loads[0].step(now)
        shown = [load.common_milli(step, now) for load in self._loads]
        found = self._apply(now)
        count, recommendations = self._pods.count, self._rules.history.recommendations
        for answers, value, one in zip(known, shown, found, strict=False):
            if value is not None:
                answers.learn(value, one)
        asked = self._rules.joined(found, before) if found else UNKNOWN
        if count != before:
            self._alike_until = tick + 1
        self._is_held = asked.replicas is None and count == before
        # A cooldown begins with the first decision after which it is not restarted, and the window
        # with the first one that follows metrics.
        is_idle = self._rules.history.active_seconds is None
        self._is_first = (self._rules.policy.min_replicas == 0 and is_idle) or not (
            recommendations or self._is_held
        )
        self._kept_seconds = max(
            (one.at_seconds for one in recommendations if one.replicas >= count), default=-math.inf
        )
        self._raised_seconds = max(
            (one.at_seconds for one in recommendations if one.replicas > count), default=-math.inf
        )
        until = self._tick_at(self._expires_seconds(asked, now)) if count == before else 0
        self._stays = (asked, until)

    def _apply(self, now: float) -> tuple[Asked, ...]:
        """Decide, and make the change; return what each metric asked for."""
        desired, found = self._rules.decide(self._pods, self._loads, now)
        if desired != self._pods.count:
            for load in self._loads:
                load.advance(now)
            self._pods.scale(desired, now)
            self._together.clear()
            if self._steps[-1].at_seconds == now:
                self._steps.pop()
            self._steps.append(ReplicaStep(now, desired))
        return found

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
