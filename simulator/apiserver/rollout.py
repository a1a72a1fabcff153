# SPDX-License-Identifier: Apache-2.0
"""How many replicas each ReplicaSet of a Deployment should have now. Pure.

The rolling update follows the Deployment controller: never more than `replicas + maxSurge`
pods, never fewer than `replicas - maxUnavailable` available ones; unavailable old pods go first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaCounts:
    """One ReplicaSet: what it is asked for, what it has, what of that is available."""

    uid: str
    wanted: int
    existing: int
    available: int


def plan(
    *,
    replicas: int,
    strategy: Mapping[str, Any],
    new: ReplicaCounts,
    old: Sequence[ReplicaCounts],
) -> dict[str, int]:
    """Return the replicas to ask of each ReplicaSet by uid; `old` is in order of age."""
    if strategy.get("type") == "Recreate":
        left = sum(counts.existing for counts in old)
        return {counts.uid: 0 for counts in old} | {new.uid: 0 if left else replicas}
    if not any(counts.wanted for counts in old):
        return {new.uid: replicas}
    surge, unavailable = _limits(strategy.get("rollingUpdate") or {}, replicas)
    total = new.wanted + sum(counts.wanted for counts in old)
    if new.wanted >= replicas:
        new_wanted = replicas
    else:
        room = max(0, replicas + surge - total)
        new_wanted = new.wanted + min(room, replicas - new.wanted)
    return {new.uid: new_wanted} | _shrink_old(
        old, new, new_wanted, minimum_available=replicas - unavailable
    )


def minimum_available(strategy: Mapping[str, Any], replicas: int) -> int:
    """Return how many available pods make a Deployment count as Available."""
    if strategy.get("type") == "Recreate":
        return replicas
    return replicas - _limits(strategy.get("rollingUpdate") or {}, replicas)[1]


def _shrink_old(
    old: Sequence[ReplicaCounts],
    new: ReplicaCounts,
    new_wanted: int,
    *,
    minimum_available: int,
) -> dict[str, int]:
    total = new_wanted + sum(counts.wanted for counts in old)
    new_unavailable = max(0, new_wanted - new.available)
    budget = max(0, total - minimum_available - new_unavailable)
    wanted = {counts.uid: counts.wanted for counts in old}
    for counts in old:
        removed = min(budget, max(0, counts.wanted - counts.available))
        wanted[counts.uid] -= removed
        budget -= removed
    available = new.available + sum(min(counts.available, wanted[counts.uid]) for counts in old)
    spare = min(budget, max(0, available - minimum_available))
    for counts in old:
        removed = min(spare, wanted[counts.uid])
        wanted[counts.uid] -= removed
        spare -= removed
    return wanted


def _limits(rolling: Mapping[str, Any], replicas: int) -> tuple[int, int]:
    surge = _count(rolling.get("maxSurge", "25%"), replicas, round_up=True)
    unavailable = _count(rolling.get("maxUnavailable", "25%"), replicas, round_up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1  # or nothing could ever move
    return surge, unavailable


def _count(value: int | str, replicas: int, *, round_up: bool) -> int:
    if isinstance(value, int):
        return value
    share = int(value.removesuffix("%")) * replicas / 100
    return math.ceil(share) if round_up else math.floor(share)
