# SPDX-License-Identifier: Apache-2.0
"""Pure: whether somebody else resets the replica count, and how long the scaler holds back.

A GitOps tool or an admission webhook that sets the count back undoes every write, and every write
that it undoes starts and stops pods. After three of them in five minutes the scaler writes less:
more replicas once a minute, so that a load is served again as soon as the other one stops, and
fewer replicas not before the five minutes have passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaler.quantities import format_duration

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

RESETS = 3
WITHIN_SECONDS = 300.0
BETWEEN_TRIES_SECONDS = 60.0
MAX_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """A count that was requested, and the one that was found instead."""

    requested: int
    found: int
    at_seconds: float


@dataclass(slots=True)
class _Written:
    """The count that the API server answered a write with, and whether the watch showed it."""

    replicas: int
    shown: bool = False


class Contention:
    """Follows by uid what came of the scaler's writes; instants are monotonic."""

    def __init__(self) -> None:
        self._written: dict[str, _Written] = {}
        self._tried_seconds: dict[str, float] = {}
        self._resets: dict[str, tuple[Reset, ...]] = {}

    def wrote(self, uid: str, *, requested: int, answered: int, now_seconds: float) -> None:
        """Note a write that the API server took, and the count that it answered."""
        self._written[uid] = _Written(answered)
        self._tried_seconds[uid] = now_seconds
        if answered != requested:
            self._add(uid, Reset(requested=requested, found=answered, at_seconds=now_seconds))

    def unconfirmed(self, uid: str) -> None:
        """Note a write without an answer: it proves nothing."""
        self._written.pop(uid, None)

    def shown(self, uid: str, replicas: int, now_seconds: float) -> None:
        """Note a count that the watch shows; it may be the one of before the write."""
        written = self._written.get(uid)
        if written is None:
            return
        if replicas == written.replicas:
            written.shown = True
        elif written.shown:
            self._reset(uid, replicas, now_seconds)

    def read(self, uid: str, replicas: int, now_seconds: float) -> None:
        """Note a count that the API server has just now."""
        written = self._written.get(uid)
        if written is not None and replicas != written.replicas:
            self._reset(uid, replicas, now_seconds)

    def resets(self, uid: str, now_seconds: float) -> tuple[Reset, ...]:
        """Return the resets of the last five minutes, the oldest first."""
        oldest = now_seconds - WITHIN_SECONDS
        return tuple(one for one in self._resets.get(uid, ()) if one.at_seconds > oldest)

    def problem(self, uid: str, now_seconds: float) -> str | None:
        """Return what somebody else does to the count, None while nobody does."""
        resets = self.resets(uid, now_seconds)
        if len(resets) < RESETS:
            return None
        found = ", ".join(
            f"{one.found} instead of {one.requested} ({_ago(now_seconds - one.at_seconds)})"
            for one in resets[-MAX_SHOWN:]
        )
        return (
            "another writer resets the replica count, such as a GitOps tool or a webhook:"
            f" found {found}; gpu-scaler scales up at most once a minute and does not scale down"
        )

    def may_write(self, uid: str, *, up: bool, now_seconds: float) -> bool:
        """Return whether a contended count may be written all the same."""
        tried = self._tried_seconds.get(uid)
        return up and (tried is None or now_seconds - tried >= BETWEEN_TRIES_SECONDS)

    def keep_only(self, uids: AbstractSet[str]) -> None:
        """Forget all other workloads."""
        for known in (self._written, self._tried_seconds, self._resets):
            for gone in known.keys() - uids:
                known.pop(gone, None)

    def _reset(self, uid: str, found: int, now_seconds: float) -> None:
        written = self._written.pop(uid)
        self._add(uid, Reset(requested=written.replicas, found=found, at_seconds=now_seconds))

    def _add(self, uid: str, reset: Reset) -> None:
        self._resets[uid] = (*self.resets(uid, reset.at_seconds), reset)[-2 * MAX_SHOWN :]


def _ago(seconds: float) -> str:
    return "now" if seconds < 1 else f"{format_duration(seconds)} ago"
