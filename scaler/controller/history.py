"""Pure: what is remembered of each Deployment between two loops.

A history must neither forget a change that was made after all, nor grow old by time in which
nobody looked: both would let the next change come sooner than the behavior allows. Time in which
the scaler itself waited for an answer is none of that: it looked, and the answer was slow.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from scaler.decision.behavior import newest_seconds
from scaler.decision.model import ScalingHistory
from scaler.decision.scale_to_zero import without_idleness

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from scaler.decision.model import Decision, ScaleEvent
    from scaler.model import Behavior, DeploymentState

LEAST_GAP_SECONDS = 15.0
"""How long nobody may have looked before that time stops counting; the HPA's own period."""
GAP_LOOPS = 3
UNSURE_SECONDS = 60.0
"""How long a write of unknown outcome may still show: longer than a silent watch is believed."""


class Histories:
    """Histories by uid of the Deployment, on a clock that may jump."""

    def __init__(self) -> None:
        self._known: dict[str, ScalingHistory] = {}
        self._unsure: dict[str, Decision] = {}
        self._looked_seconds: float | None = None
        self._suspended_seconds = math.inf

    def look(
        self, now_seconds: float, *, interval_seconds: float, suspended_seconds: float = 0.0
    ) -> None:
        """Note that the clock shows `now_seconds`; call this before every use of it.

        A clock that went backwards, or further forwards than a few loops take, tells nothing of
        what was going on meanwhile: a stopped process, a machine that was moved. All histories
        move along with it, as if no time had passed, and all counts are as found anew. So are
        they after a suspension, which the clock does not count: `suspended_seconds` is all of it.
        """
        if suspended_seconds - self._suspended_seconds > LEAST_GAP_SECONDS:
            self.hold_all()
        self._suspended_seconds = suspended_seconds
        looked, self._looked_seconds = self._looked_seconds, now_seconds
        if looked is None:
            return
        gap = now_seconds - looked
        if not 0 <= gap <= max(LEAST_GAP_SECONDS, GAP_LOOPS * interval_seconds):
            self._known = {uid: shifted(one, gap) for uid, one in self._known.items()}
            self._unsure = {
                uid: replace(one, history=shifted(one.history, gap))
                for uid, one in self._unsure.items()
            }
            self.hold_all()

    def waited(self, now_seconds: float) -> None:
        """Note what the clock shows after a wait of our own, however long that was."""
        if self._looked_seconds is not None and now_seconds >= self._looked_seconds:
            self._looked_seconds = now_seconds

    def hold(self, uid: str) -> None:
        """Note that nothing was decided for a Deployment: the count found next is kept at first."""
        if uid in self._known:
            self._known[uid] = replace(self._known[uid], held=True)

    def hold_all(self) -> None:
        """Note that nothing was decided at all."""
        self._known = {uid: replace(one, held=True) for uid, one in self._known.items()}

    def of(self, deployment: DeploymentState) -> ScalingHistory | None:
        """Return what is known of a Deployment; None where it is seen for the first time.

        A count that only a write of unknown outcome explains is that write's.
        """
        uid, unsure = deployment.uid, self._unsure.get(deployment.uid)
        if unsure is not None:
            now = self._looked_seconds
            if deployment.spec_replicas == unsure.desired_replicas:
                del self._unsure[uid]
                done = unsure.history
                self._known[uid] = replace(
                    self._known[uid],
                    scale_ups=done.scale_ups,
                    scale_downs=done.scale_downs,
                    zeroed_seconds=done.zeroed_seconds,
                )
            elif now is not None and now - newest_seconds(unsure.history) > UNSURE_SECONDS:
                del self._unsure[uid]
        return self._known.get(uid)

    def forget_idleness(self, uid: str) -> None:
        """Note that other metrics are looked at from now on: the cooldown begins anew."""
        if uid in self._known:
            self._known[uid] = without_idleness(self._known[uid])

    def own_zero(self, uid: str) -> None:
        """Take over that the scaler set this Deployment to 0, as one that led before wrote down."""
        known = self._known.get(uid, ScalingHistory())
        self._known[uid] = replace(known, zeroed_seconds=self._looked_seconds or 0.0)

    def own_zeros(self) -> set[str]:
        """Return which Deployments the scaler set to 0, by uid."""
        return {uid for uid, one in self._known.items() if one.scaled_to_zero} | {
            uid for uid, one in self._unsure.items() if one.history.scaled_to_zero
        }

    def keep(self, uid: str, decision: Decision) -> None:
        """Remember a decision that was carried out, or that changed nothing."""
        self._known[uid] = decision.history
        if decision.desired_replicas != decision.current_replicas:
            self._unsure.pop(uid, None)

    def keep_undone(self, uid: str, decision: Decision) -> None:
        """Remember what was recommended, and when, by a decision that was not carried out."""
        before, decided = self._known.get(uid, ScalingHistory()), decision.history
        self._known[uid] = replace(
            before,
            recommendations=decided.recommendations,
            active_seconds=decided.active_seconds,
            held=decided.held,
        )

    def keep_unsure(self, uid: str, decision: Decision) -> None:
        """Remember a decision whose write may or may not have been carried out."""
        self.keep_undone(uid, decision)
        self._unsure[uid] = decision

    def keep_only(self, uids: AbstractSet[str]) -> None:
        """Forget all other Deployments."""
        for gone in self._known.keys() - uids:
            del self._known[gone]
        for gone in self._unsure.keys() - uids:
            del self._unsure[gone]


def standing(history: ScalingHistory, behavior: Behavior, now_seconds: float) -> ScalingHistory:
    """The history of a loop that has looked all the time: what it said last stands until now.

    A loop slower than the window would otherwise find no recommendation in it, take the count
    found for one in each turn, and never go down.
    """
    if history.held or not history.recommendations:
        return history
    *others, newest = history.recommendations
    window_seconds = behavior.scale_down.stabilization_window_seconds
    if newest.at_seconds > now_seconds - window_seconds:
        return history
    until_now = replace(newest, at_seconds=math.nextafter(now_seconds, -math.inf))
    return replace(history, recommendations=(*others, until_now))


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
    )
