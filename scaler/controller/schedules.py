# SPDX-License-Identifier: Apache-2.0
"""The policies with the ranges that their schedules set now.

The time of day alone decides, so that nothing needs to be remembered over a restart or a takeover.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from scaler.budgets import SCHEDULES_SECONDS
from scaler.controller.fair_turns import FairTurns
from scaler.controller.policies import WAITS
from scaler.model import AnnotationProblem, ScalingPolicy
from scaler.policy.annotations import SCHEDULE
from scaler.policy.schedule import in_force
from scaler.readings.unexpected import unexpected

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

    from scaler.controller.plans import Policy


class _Resolved(NamedTuple):
    source: ScalingPolicy
    at_unix_seconds: float
    until_unix_seconds: float
    result: ScalingPolicy

    def is_valid(self, policy: ScalingPolicy, now: float) -> bool:
        return self.source is policy and self.at_unix_seconds <= now < self.until_unix_seconds


class Schedules:
    """Resolves each policy again when it or the entry in force has changed."""

    def __init__(
        self,
        wall_clock: Callable[[], float],
        *,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        """`wall_clock` is that of the API server, which all replicas share."""
        self._wall_clock = wall_clock
        self._turns = FairTurns(SCHEDULES_SECONDS, clock=cpu_clock)
        self._known: dict[str, _Resolved] = {}

    async def applied(
        self, policies: Mapping[str, Policy], namespaces: Mapping[str, str]
    ) -> Mapping[str, Policy]:
        """Return the policies by uid, with the minimum and maximum of now.

        It is `WAITS` for those that are resolved in a later loop. `namespaces` are those of the
        Deployments, by uid.
        """
        now = self._wall_clock()
        found, changed = dict(policies), {}
        for uid, policy in policies.items():
            if not isinstance(policy, ScalingPolicy) or not policy.schedule:
                self._known.pop(uid, None)
                continue
            known = self._known.get(uid)
            if known is not None and known.is_valid(policy, now):
                found[uid] = known.result
            else:
                changed[uid] = policy

        def resolve(uid: str) -> None:
            found[uid] = self._resolved(uid, changed[uid], now)

        # All of a cluster's schedules may change at eight.
        waiting = await self._turns.take({uid: namespaces[uid] for uid in changed}, resolve)
        return found | dict.fromkeys(waiting, WAITS)

    def keep_only(self, uids: AbstractSet[str]) -> None:
        """Forget all other Deployments."""
        for gone in self._known.keys() - uids:
            del self._known[gone]

    def _resolved(self, uid: str, policy: ScalingPolicy, now: float) -> Policy:
        try:
            found = in_force(policy, now)
        except Exception as error:  # noqa: BLE001  (it is one Deployment's own)
            text = unexpected("a schedule", error)
            return (AnnotationProblem(annotation=SCHEDULE, value=None, message=text),)
        self._known[uid] = _Resolved(policy, now, found.until_unix_seconds, found.policy)
        return found.policy
