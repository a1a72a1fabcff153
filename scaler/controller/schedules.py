# SPDX-License-Identifier: Apache-2.0
"""The policies with the ranges that their schedules set now.

The time of day alone decides, so that nothing needs to be remembered over a restart or a takeover.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

from scaler.budgets import PARSING_SLICE_SECONDS
from scaler.model import AnnotationProblem, ScalingPolicy
from scaler.policy.annotations import SCHEDULE
from scaler.policy.schedule import InForce, in_force
from scaler.readings.unexpected import unexpected

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

    from scaler.controller.plans import Policy


class _Resolved(NamedTuple):
    source: ScalingPolicy
    at_unix_seconds: float
    result: InForce


class Schedules:
    """Resolves each policy again when it or the entry in force has changed."""

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        """`wall_clock` is that of the API server, which all replicas share."""
        self._wall_clock = wall_clock
        self._known: dict[str, _Resolved] = {}

    async def applied(self, policies: Mapping[str, Policy]) -> Mapping[str, Policy]:
        """Return the policies by uid, with the minimum and maximum of now."""
        now = self._wall_clock()
        found, begun = dict(policies), time.thread_time()
        for uid, policy in policies.items():
            if not isinstance(policy, ScalingPolicy) or not policy.schedule:
                self._known.pop(uid, None)
                continue
            known = self._known.get(uid)
            if (
                known is None
                or known.source is not policy
                or not known.at_unix_seconds <= now < known.result.until_unix_seconds
            ):
                try:
                    known = _Resolved(policy, now, in_force(policy, now))
                except Exception as error:  # noqa: BLE001  (it is one Deployment's own)
                    text = unexpected("a schedule", error)
                    found[uid] = (AnnotationProblem(annotation=SCHEDULE, value=None, message=text),)
                    continue
                self._known[uid] = known
                # All of a cluster's schedules may change at eight.
                if time.thread_time() - begun > PARSING_SLICE_SECONDS:
                    await asyncio.sleep(0)
                    begun = time.thread_time()
            found[uid] = known.result.policy
        return found

    def keep_only(self, uids: AbstractSet[str]) -> None:
        """Forget all other Deployments."""
        for gone in self._known.keys() - uids:
            del self._known[gone]
