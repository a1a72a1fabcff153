# SPDX-License-Identifier: Apache-2.0
"""What could have been: counts that are known before a trace runs.

Three kinds of plan, each a list of counts from a second on. The oracle knows the load that comes. A
fixed count knows nothing. One that follows knows the load of each second up to now without any
error or delay. Which count, and which way to follow, is picked in hindsight.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias

from benchmarks.traceparties import MAX_REPLICAS, MIN_REPLICAS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.modelserver import Reading

Needed: TypeAlias = list[tuple[int, int, int]]
"""How many pods nobody would wait with: from a second, to a second, the number."""
Plan: TypeAlias = list[tuple[int, int]]

FOLLOWED_AVERAGES_SECONDS: Final = (30, 60, 120)
FOLLOWED_HOLDS_SECONDS: Final = (300, 600)
FOLLOWED_SHARES_PERCENT: Final = (65, 80, 95, 110, 130, 150, 180, 210, 250)


class PlanParty:
    """The counts of a plan, each from its second on."""

    period_seconds = 1
    age_seconds = 0

    def __init__(self, plan: Plan) -> None:
        self._changes = plan
        self._at = 0

    def observe(self, in_hand: float) -> None:
        """It looks at nothing."""

    def replicas(self, reading: Reading) -> int:
        """Return the count of the plan."""
        while self._at + 1 < len(self._changes) and self._changes[self._at + 1][0] <= reading.now:
            self._at += 1
        return self._changes[self._at][1]

    def quiet_until(self, now: int) -> float:
        """Return when the plan changes."""
        return self._changes[self._at + 1][0] if self._at + 1 < len(self._changes) else math.inf


def ordered(needed: Needed, start_seconds: int) -> Plan:
    """Return the fewest pods with which nobody waits, each ordered a start ahead.

    A pod that is not needed for less than a start stays: starting it again would hold its GPU for
    longer.
    """
    changes: dict[int, int] = {0: MIN_REPLICAS}
    for level in range(MIN_REPLICAS + 1, max(count for _, _, count in needed) + 1):
        held_until: int | None = None
        for begin, end, count in needed:
            if count < level:
                continue
            order = max(0, begin - start_seconds)
            if held_until is None or order > held_until:
                if held_until is not None:
                    changes[held_until] = changes.get(held_until, 0) - 1
                changes[order] = changes.get(order, 0) + 1
            held_until = end
        if held_until is not None:
            changes[held_until] = changes.get(held_until, 0) - 1
    plan: Plan = []
    total = 0
    for second in sorted(changes):
        total += changes[second]
        if not plan or plan[-1][1] != total:
            plan.append((second, total))
    return plan


def fixed(count: int) -> Plan:
    """Return the same count all the time."""
    return [(0, count)]


def followed(
    needed: Needed, *, first: float, share_percent: int, average_seconds: int, hold_seconds: int
) -> Plan:
    """Return a share of the pods needed on average lately, held at its highest of a while.

    A count depends on nothing that comes after it. `needed` is second by second, and `first` is
    what was needed before.
    """
    recent = deque([first] * average_seconds, maxlen=average_seconds)
    wanted: deque[tuple[int, int]] = deque()
    plan: Plan = []
    for second, _, count in needed:
        recent.append(float(count))
        asked = math.ceil(share_percent * sum(recent) / average_seconds / 100)
        # Highest first: a later and higher one makes those before it meaningless.
        while wanted and wanted[-1][1] <= asked:
            wanted.pop()
        wanted.append((second, asked))
        while wanted[0][0] <= second - hold_seconds:
            wanted.popleft()
        replicas = min(MAX_REPLICAS, max(MIN_REPLICAS, wanted[0][1]))
        if not plan or plan[-1][1] != replicas:
            plan.append((second, replicas))
    return plan


def all_followed(needed: Needed, first: float) -> Iterator[Plan]:
    """Return the plan of each share, average and hold."""
    for average_seconds in FOLLOWED_AVERAGES_SECONDS:
        for hold_seconds in FOLLOWED_HOLDS_SECONDS:
            for share_percent in FOLLOWED_SHARES_PERCENT:
                yield followed(
                    needed,
                    first=first,
                    share_percent=share_percent,
                    average_seconds=average_seconds,
                    hold_seconds=hold_seconds,
                )
