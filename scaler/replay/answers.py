# SPDX-License-Identifier: Apache-2.0
"""Pure: what is asked for by what pods show, as decisions of replays have told."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from scaler.replay.rules import Asked, Rules

MAX_SHAPES = 10_000


class Answers:
    """What a metric asked for by what the pods showed, for pods that are equally far."""

    def __init__(self) -> None:
        self._lowest: list[int] = []
        self._highest: list[int] = []
        self._asked: list[Asked] = []

    def find(self, shown_milli: int) -> Asked | None:
        """Return what is asked for, None where that is not known."""
        index = bisect_right(self._lowest, shown_milli) - 1
        if index >= 0 and shown_milli <= self._highest[index]:
            return self._asked[index]
        return None

    def learn(self, shown_milli: int, asked: Asked) -> None:
        """Remember one answer."""
        index = bisect_right(self._lowest, shown_milli) - 1
        if index >= 0 and self._asked[index] == asked:
            self._highest[index] = max(self._highest[index], shown_milli)
        elif index + 1 < len(self._asked) and self._asked[index + 1] == asked:
            self._lowest[index + 1] = shown_milli
        else:
            self._lowest.insert(index + 1, shown_milli)
            self._highest.insert(index + 1, shown_milli)
            self._asked.insert(index + 1, asked)


class Learned:
    """What replays have learned, for others under the same rules; not for several threads."""

    def __init__(self) -> None:
        self._answers: dict[Hashable, dict[Hashable, Answers]] = {}

    def under(self, rules: Rules) -> list[dict[Hashable, Answers]]:
        """Return what is known of each metric under these rules, to be added to.

        The key of each is how far the pods are.
        """
        # Of the range, only a minimum of 0 changes what is asked for.
        policy = replace(
            rules.policy,
            min_replicas=min(1, rules.policy.min_replicas),
            max_replicas=1,
            schedule=(),
            scheduled=None,
            settings=(),
        )
        found = []
        for target in policy.targets:
            key = (type(rules), replace(policy, targets=(target,)))
            known = self._answers.setdefault(key, {})
            if len(known) > MAX_SHAPES:
                known.clear()
            found.append(known)
        return found
