# SPDX-License-Identifier: Apache-2.0
"""Pure: the order of writes, in which Deployments that failed come last and hold up nobody."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

ACT_SECONDS = 4.0
"""How long after the first write of a loop others may start; the rest wait for the next loop."""


class RetryOrder:
    """Remembers by uid when a write last failed: recent failures come last."""

    def __init__(self) -> None:
        self._failed_seconds: dict[str, float] = {}

    def rank(self, uid: str) -> float:
        """Return the sort key of a Deployment."""
        return self._failed_seconds.get(uid, -math.inf)

    def note(self, uid: str, *, failed: bool, now_seconds: float) -> None:
        """Remember whether a write failed."""
        if failed:
            self._failed_seconds[uid] = now_seconds
        else:
            self._failed_seconds.pop(uid, None)

    def keep_only(self, uids: AbstractSet[str]) -> None:
        """Forget all other Deployments."""
        for gone in self._failed_seconds.keys() - uids:
            del self._failed_seconds[gone]
