# SPDX-License-Identifier: Apache-2.0
"""Pure: what the acting scaler remembers for people to read, replaced after every loop."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scaler.decision.grouping import pods_per_replica
from scaler.reporting.decision_runs import DecisionRun, add_decision
from scaler.reporting.load_history import STEP_SECONDS, LoadHistory

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scaler.decision.model import Decision
    from scaler.model import DeploymentState, ObjectRef

MAX_EVENTS = 20
"""Events kept per Deployment, and in the list of the latest ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """A decision and its time by the wall clock, in Unix seconds.

    `created_unix_seconds` is when its Deployment was created, None if unknown.
    """

    decision: Decision
    decided_unix_seconds: float
    created_unix_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopReport:
    """When the last deciding loop ended, how many reads succeeded and failed, and their age."""

    ended_unix_seconds: float
    succeeded: int
    failed: int
    max_age_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEvent:
    """An event that the scaler recorded; equal consecutive events are one with a count.

    `change` are the counts before and after the last one, None where none changed.
    """

    ref: ObjectRef
    warning: bool
    reason: str
    message: str
    first_unix_seconds: float
    last_unix_seconds: float
    count: int = 1
    change: tuple[int, int] | None = None

    def is_same_as(self, other: RecordedEvent) -> bool:
        """Return whether the other event has the same type, reason and message."""
        return (self.warning, self.reason, self.message) == (
            other.warning,
            other.reason,
            other.message,
        )


class StatusStore:
    """Decisions, history and events by Deployment, as of the last loop; times are Unix seconds."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything, because another replica decides now."""
        self.records: Mapping[ObjectRef, DecisionRecord] = {}
        self.decision_runs: Mapping[ObjectRef, tuple[DecisionRun, ...]] = {}
        self.loads: dict[ObjectRef, LoadHistory] = {}
        self.events: dict[ObjectRef, tuple[RecordedEvent, ...]] = {}
        self.latest_events: deque[RecordedEvent] = deque(maxlen=MAX_EVENTS)
        self.report: LoopReport | None = None
        self._step = 0

    def add_event(self, new: RecordedEvent) -> None:
        """Add an event, or count it if it equals the Deployment's last one."""
        before = self.events.get(new.ref, ())
        if before and before[-1].is_same_as(new):
            last, before = before[-1], before[:-1]
            new = replace(
                new, first_unix_seconds=last.first_unix_seconds, count=last.count + new.count
            )
            if last in self.latest_events:
                self.latest_events.remove(last)
        self.events[new.ref] = (*before[-(MAX_EVENTS - 1) :], new)
        self.latest_events.append(new)

    def record(
        self,
        decisions: Sequence[Decision],
        report: LoopReport,
        deployments: Iterable[DeploymentState] = (),
    ) -> None:
        """Store the decisions of one loop, and forget all other Deployments.

        `deployments` are those that the decisions are about, for their age and Ready pods.
        """
        now = report.ended_unix_seconds
        self.report = report
        deployments = tuple(deployments)
        created = {one.ref: one.created_unix_seconds for one in deployments}
        self.records = {
            decision.ref: DecisionRecord(
                decision=decision,
                decided_unix_seconds=now,
                created_unix_seconds=created.get(decision.ref),
            )
            for decision in decisions
        }
        self.decision_runs = {
            ref: add_decision(self.decision_runs.get(ref, ()), record.decision, now)
            for ref, record in self.records.items()
        }
        self.events = {ref: events for ref, events in self.events.items() if ref in self.records}
        self._record_loads(int(now // STEP_SECONDS), deployments)

    def _record_loads(self, step: int, deployments: Iterable[DeploymentState]) -> None:
        """Sample every Deployment once per step, and one that is new at once."""
        if step == self._step and self.loads.keys() == self.records.keys():
            return
        if step < self._step - 1:
            # The clock was set back.
            self.loads = {}
        self._step = step
        states = {one.ref: one for one in deployments}
        loads = {}
        for ref, record in self.records.items():
            loads[ref] = self.loads.get(ref) or LoadHistory(step)
            loads[ref].add(step, record.decision, _ready_replicas(states.get(ref)))
        self.loads = loads


def _ready_replicas(deployment: DeploymentState | None) -> int | None:
    if deployment is None:
        return None
    ready = sum(pod.ready_since_seconds is not None and not pod.deleting for pod in deployment.pods)
    return ready // pods_per_replica(deployment)
