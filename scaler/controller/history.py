# SPDX-License-Identifier: Apache-2.0
"""Pure: the scaling histories of all Deployments between two loops, on a clock that may jump.

The steps that a history takes stand in `scaler.decision.history`. Time in which nobody looked does
not age it; time in which the scaler itself waited for an answer does: it looked, and the answer was
slow.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from scaler.decision.history import (
    WATCH_LAG_SECONDS,
    confirmed,
    cooldown_restarted,
    held,
    newest_seconds,
    shifted,
    undone,
)
from scaler.decision.model import ScalingHistory

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from scaler.decision.model import Decision
    from scaler.model import DeploymentState

LEAST_GAP_SECONDS = 15.0
"""How long nobody may have looked before that time stops counting; the HPA's own period."""
GAP_LOOPS = 3


class ScalingHistories:
    """Scaling histories by uid of the Deployment."""

    def __init__(self) -> None:
        self._known: dict[str, ScalingHistory] = {}
        self._unconfirmed: dict[str, Decision] = {}
        self._looked_seconds: float | None = None
        self._suspended_seconds = math.inf

    def look(
        self, now_seconds: float, *, interval_seconds: float, suspended_seconds: float = 0.0
    ) -> None:
        """Note that the clock shows `now_seconds`; call this before every use.

        A clock that went backwards, or further forwards than a few loops take, says nothing about
        what happened meanwhile: a stopped process, a machine that was moved. All histories move
        along with it, as if no time had passed, and every count is seeded again. The same holds
        after a suspension, which the clock does not count: `suspended_seconds` is the sum of all.
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
            self._unconfirmed = {
                uid: replace(one, history=shifted(one.history, gap))
                for uid, one in self._unconfirmed.items()
            }
            self.hold_all()

    def waited(self, now_seconds: float) -> None:
        """Note what the clock shows after the scaler waited, however long that was."""
        if self._looked_seconds is not None and now_seconds >= self._looked_seconds:
            self._looked_seconds = now_seconds

    def of(self, deployment: DeploymentState) -> ScalingHistory | None:
        """Return a Deployment's history, None where the scaler sees it for the first time.

        A write without an answer is confirmed where nothing else explains the count.
        """
        uid, decision = deployment.uid, self._unconfirmed.get(deployment.uid)
        if decision is not None:
            now = self._looked_seconds
            if deployment.spec_replicas == decision.desired_replicas:
                del self._unconfirmed[uid]
                self._known[uid] = confirmed(self._known[uid], decision.history)
            elif now is not None and now - newest_seconds(decision.history) > WATCH_LAG_SECONDS:
                del self._unconfirmed[uid]
        return self._known.get(uid)

    def hold(self, uid: str) -> None:
        """Note that nothing was decided for a Deployment: the next count found is seeded."""
        if uid in self._known:
            self._known[uid] = held(self._known[uid])

    def hold_all(self) -> None:
        """Note that nothing was decided at all."""
        self._known = {uid: held(one) for uid, one in self._known.items()}

    def restart_cooldown(self, uid: str) -> None:
        """Note that other metrics count from now on."""
        if uid in self._known:
            self._known[uid] = cooldown_restarted(self._known[uid])

    def adopt_zero(self, uid: str) -> None:
        """Note that a former leader recorded that it scaled this Deployment to zero."""
        known = self._known.get(uid, ScalingHistory())
        self._known[uid] = replace(known, zeroed_seconds=self._looked_seconds or 0.0)

    def own_zeros(self) -> set[str]:
        """Return the uids of the Deployments that the scaler scaled to zero."""
        return {uid for uid, one in self._known.items() if one.scaled_to_zero} | {
            uid for uid, one in self._unconfirmed.items() if one.history.scaled_to_zero
        }

    def record(self, uid: str, decision: Decision) -> None:
        """Remember a decision that was written, or that changes nothing."""
        self._known[uid] = decision.history
        if decision.desired_replicas != decision.current_replicas:
            self._unconfirmed.pop(uid, None)

    def record_undone(self, uid: str, decision: Decision) -> None:
        """Remember what a decision recommended that was not written."""
        self._known[uid] = undone(self._known.get(uid, ScalingHistory()), decision.history)

    def record_unconfirmed(self, uid: str, decision: Decision) -> None:
        """Remember a decision whose write had no answer: it may take effect or not."""
        self.record_undone(uid, decision)
        self._unconfirmed[uid] = decision

    def keep_only(self, uids: AbstractSet[str]) -> None:
        """Forget all other Deployments."""
        for known in (self._known, self._unconfirmed):
            for gone in known.keys() - uids:
                del known[gone]
