# SPDX-License-Identifier: Apache-2.0
"""Since when pods have been idle, for the Deployments whose idlest pods go first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaler.decision.decide import NOTHING_SEEN
from scaler.decision.victims import still_idle
from scaler.model import ScaleDownPods, ScalingPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from scaler.controller.plans import Policy
    from scaler.model import DeploymentState, Metric, MetricReading


class IdlePods:
    """Remembers it from loop to loop, until a restart."""

    def __init__(self) -> None:
        self._since: dict[str, Mapping[str, float]] = {}

    def look(
        self,
        deployment: DeploymentState,
        policy: Policy,
        readings: Mapping[Metric, MetricReading],
        now_seconds: float,
    ) -> Mapping[str, float]:
        """Return since when each pod of a Deployment has been idle, by uid."""
        uid = deployment.uid
        if not isinstance(policy, ScalingPolicy) or policy.scale_down_pods is ScaleDownPods.ANY:
            self._since.pop(uid, None)
            return NOTHING_SEEN
        before = self._since.get(uid, NOTHING_SEEN)
        self._since[uid] = found = still_idle(readings, deployment.pods, before, now_seconds)
        return found

    def keep_only(self, uids: AbstractSet[str]) -> None:
        """Forget all other Deployments."""
        for gone in self._since.keys() - uids:
            del self._since[gone]
