"""Pure: what the acting scaler remembers for people to read, replaced after every loop."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scaler.reporting.decision_runs import Episode, add_decision
from scaler.reporting.replica_history import ReplicaHistory, add_count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scaler.decision.model import Decision
    from scaler.model import ObjectRef

MAX_TOLD = 20
"""Events per Deployment; and of all of them together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """A decision and when it was taken by the wall clock (Unix seconds), for people to read."""

    decision: Decision
    decided_unix_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopReport:
    """When the last loop that decided ended, and how reading went (exporters, or queries)."""

    ended_unix_seconds: float
    succeeded: int
    failed: int
    max_age_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An event as it was recorded; equal ones in a row are one with their count."""

    ref: ObjectRef
    warning: bool
    reason: str
    message: str
    first_unix_seconds: float
    last_unix_seconds: float
    count: int = 1

    def says(self) -> tuple[object, ...]:
        """Return what makes the next event the same news."""
        return self.warning, self.reason, self.message


class Board:
    """Everything by Deployment, as of the last loop; instants are Unix seconds."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Know nothing any more: another replica decides."""
        self.records: Mapping[ObjectRef, DecisionRecord] = {}
        self.episodes: Mapping[ObjectRef, tuple[Episode, ...]] = {}
        self.replicas: Mapping[ObjectRef, ReplicaHistory] = {}
        self.told: dict[ObjectRef, tuple[Told, ...]] = {}
        self.latest: deque[Told] = deque(maxlen=MAX_TOLD)
        self.report: LoopReport | None = None

    def tell(self, new: Told) -> None:
        """Add an event."""
        before = self.told.get(new.ref, ())
        if before and before[-1].says() == new.says():
            last, before = before[-1], before[:-1]
            new = replace(
                new, first_unix_seconds=last.first_unix_seconds, count=last.count + new.count
            )
            if last in self.latest:
                self.latest.remove(last)
        self.told[new.ref] = (*before[-(MAX_TOLD - 1) :], new)
        self.latest.append(new)

    def record(self, decisions: Sequence[Decision], report: LoopReport) -> None:
        """Take over one loop's decisions, and forget what was known of other Deployments."""
        now = report.ended_unix_seconds
        self.report = report
        self.records = {
            decision.ref: DecisionRecord(decision=decision, decided_unix_seconds=now)
            for decision in decisions
        }
        self.episodes = {
            ref: add_decision(self.episodes.get(ref, ()), record.decision, now)
            for ref, record in self.records.items()
        }
        self.replicas = {
            ref: add_count(self.replicas.get(ref), record.decision, now)
            for ref, record in self.records.items()
        }
        self.told = {ref: told for ref, told in self.told.items() if ref in self.records}
