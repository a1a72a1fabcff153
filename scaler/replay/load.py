# SPDX-License-Identifier: Apache-2.0
"""Pure: how a metric's demand shows in the simulated pods: spread evenly, and capped at the top.

A metric that saturates shows at most 100 % in a pod, whatever the demand: what is too much cannot
be seen in the value. Where the policy has a window, a pod shows its mean over the window, idle
while it loaded.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from scaler.decision.proposals import SATURATING_METRICS
from scaler.model import TOTAL_METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaler.replay.model import RecordedMetric
    from scaler.replay.pods import Pods

FULL_MILLI = 100_000


class RecordedLoad:
    """What the pods show of one metric, and its demand, at instants that only go forwards.

    `demand_milli` are the recording's steps. `has_window` is True where what pods show is a mean
    over time.
    """

    def __init__(
        self, recorded: RecordedMetric, pods: Pods, *, step_seconds: float, window_seconds: float
    ) -> None:
        self.metric = recorded.metric
        self.demand_milli = recorded.demand_milli
        self.is_total = recorded.metric in TOTAL_METRICS
        self.has_window = window_seconds > 0 and not self.is_total
        self._top_milli = FULL_MILLI if recorded.metric in SATURATING_METRICS else None
        self.step_seconds = step_seconds
        self._last_step = len(recorded.demand_milli) - 1
        self._window_seconds = window_seconds
        self._pods = pods
        # The integrals over time of a pod's share of the demand, and of the known time.
        self._times, self._shares, self._known = [0.0], [0.0], [0.0]
        self._share: int | None = None
        self._changed_seconds = 0.0

    def step(self, now_seconds: float) -> int:
        """The step of the recording that covers an instant."""
        return min(int(now_seconds / self.step_seconds), self._last_step)

    def common_milli(self, step: int, now_seconds: float) -> int | None:
        """What all Ready pods show, and the demand where no pod is Ready or there is a total.

        None where the demand is unknown, and where pods show different values.
        """
        demand = self.demand_milli[step]
        if demand is None or self.is_total:
            return demand
        ready = self._pods.ready(now_seconds)
        if not ready or not self.has_window:
            return self.share_milli(demand, ready)
        if self._pods.ready_at_seconds[ready - 1] > now_seconds - self._window_seconds:
            return None
        return self._mean_milli(-float("inf"), now_seconds)

    def share_milli(self, demand_milli: int, ready: int) -> int:
        """What each of the Ready pods shows now, and the whole demand if no pod is Ready."""
        if not ready:
            return demand_milli
        share, top = demand_milli // ready, self._top_milli
        return share if top is None or share < top else top

    def shown_milli(self, now_seconds: float) -> list[int]:
        """What each Ready pod shows, the oldest first; empty where the demand is unknown."""
        ready = self._pods.ready(now_seconds)
        newest = self._share_milli(now_seconds)
        if newest is None:
            return []
        if not self.has_window:
            return [newest] * ready
        means = (
            self._mean_milli(ready_at, now_seconds)
            for ready_at in self._pods.ready_at_seconds[:ready]
        )
        return [newest if mean is None else mean for mean in means]

    def is_constant(self, now_seconds: float) -> bool:
        """Whether what pods show stays until the demand or a pod changes."""
        if not self.has_window:
            return True
        self.advance(now_seconds)
        begin = now_seconds - self._window_seconds
        ready = self._pods.ready(now_seconds)
        newest = self._pods.ready_at_seconds[ready - 1] if ready else -float("inf")
        return self._changed_seconds <= begin and newest <= begin

    def advance(self, now_seconds: float) -> None:
        """Sum up until now, from one change of the demand or the pods to the next.

        To be called before the count changes.
        """
        if not self.has_window:
            return
        while (begin := self._times[-1]) < now_seconds:
            share = self._changed(begin)
            boundary = (self.step(begin) + 1) * self.step_seconds
            end = min(now_seconds, boundary if boundary > begin else now_seconds)
            index = bisect_right(self._pods.ready_at_seconds, begin)
            if index < self._pods.count:
                end = min(end, self._pods.ready_at_seconds[index])
            is_known = self.demand_milli[self.step(begin)] is not None
            self._times.append(end)
            self._shares.append(self._shares[-1] + (share or 0) * (end - begin))
            self._known.append(self._known[-1] + is_known * (end - begin))
        self._changed(now_seconds)
        old = bisect_right(self._times, now_seconds - self._window_seconds) - 1
        if old > 1000:
            for kept in (self._times, self._shares, self._known):
                del kept[:old]

    def _changed(self, instant: float) -> int | None:
        share = self._share_milli(instant)
        if share != self._share:
            self._changed_seconds, self._share = instant, share
        return share

    def _share_milli(self, instant: float) -> int | None:
        demand = self.demand_milli[self.step(instant)]
        ready = self._pods.ready(instant)
        if demand is None or not ready:
            return None
        return self.share_milli(demand, ready)

    def _mean_milli(self, ready_at_seconds: float, now_seconds: float) -> int | None:
        """The mean of a pod that has been Ready since then, None for an unknown window."""
        self.advance(now_seconds)
        begin = max(0.0, now_seconds - self._window_seconds)
        known = self._known[-1] - self._at(self._known, begin)
        if known <= 0:
            return self._share
        served = max(begin, ready_at_seconds)
        return int((self._shares[-1] - self._at(self._shares, served)) / known)

    def _at(self, sums: Sequence[float], instant: float) -> float:
        """A sum at an instant between two changes."""
        index = bisect_right(self._times, instant) - 1
        if index < 0:
            return sums[0]
        if index + 1 >= len(sums):
            return sums[-1]
        begin, end = self._times[index], self._times[index + 1]
        return sums[index] + (sums[index + 1] - sums[index]) * (instant - begin) / (end - begin)
