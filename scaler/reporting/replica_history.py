"""Pure: the replica count of a Deployment over the last hour, as a list of its changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from scaler.decision.model import Outcome

if TYPE_CHECKING:
    from scaler.decision.model import Decision

KEPT_SECONDS = 3600.0
MAX_CHANGES = 240
"""Per Deployment: one in 15 s for the whole hour. Beyond that the oldest are dropped."""
GAP_SECONDS = 30.0
"""After a longer gap between two decisions, the count in between is unknown."""


class ReplicaChange(NamedTuple):
    """The replica count from `unix_seconds` on; None if it is unknown."""

    unix_seconds: float
    replicas: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaHistory:
    """The changes, oldest first; the last count is valid until `until_unix_seconds`."""

    changes: tuple[ReplicaChange, ...]
    until_unix_seconds: float


def add_count(
    history: ReplicaHistory | None, decision: Decision, now_unix_seconds: float
) -> ReplicaHistory:
    """Return the history with the replica count after one more decision."""
    scaled = decision.outcome is Outcome.SCALED
    replicas = decision.desired_replicas if scaled else decision.current_replicas
    changes = () if history is None else history.changes
    if history is not None and now_unix_seconds - history.until_unix_seconds > GAP_SECONDS:
        changes = (*changes, ReplicaChange(history.until_unix_seconds, None))
    if not changes or changes[-1].replicas != replicas:
        changes = (*changes, ReplicaChange(now_unix_seconds, replicas))
    return ReplicaHistory(
        changes=_kept(changes, now_unix_seconds - KEPT_SECONDS),
        until_unix_seconds=now_unix_seconds,
    )


def _kept(changes: tuple[ReplicaChange, ...], oldest: float) -> tuple[ReplicaChange, ...]:
    """Drop changes before `oldest`, except the last one: it has the count at that time."""
    first = 0
    while first + 1 < len(changes) and changes[first + 1].unix_seconds <= oldest:
        first += 1
    return changes[max(first, len(changes) - MAX_CHANGES) :]
