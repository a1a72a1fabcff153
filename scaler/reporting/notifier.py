# SPDX-License-Identifier: Apache-2.0
"""Reports decisions as log lines, as events on the Deployment and in counters."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from scaler.budgets import CHANGES_LOG_BYTES, LOG_BYTES
from scaler.decision.model import Outcome
from scaler.reporting.event_deduplication import OngoingOutcome, deduplicate, event_type
from scaler.reporting.status_store import RecordedEvent
from toolkit.party_log import PartyLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaler.cluster.events import EventRecorder
    from scaler.decision.model import Decision
    from scaler.model import DeploymentState
    from scaler.reporting.metrics import ScalerMetrics
    from scaler.reporting.status_store import StatusStore

log = logging.getLogger(__name__)


class Notifier:
    """Reports each decision, and remembers the outcomes that it has reported."""

    def __init__(
        self,
        events: EventRecorder,
        metrics: ScalerMetrics,
        store: StatusStore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._events = events
        self._metrics = metrics
        self._status_store = store
        self._ongoing: dict[str, OngoingOutcome] = {}
        self._changes = PartyLog(log, most_bytes=CHANGES_LOG_BYTES, clock=clock)
        self._rest = PartyLog(log, most_bytes=LOG_BYTES, clock=clock)

    def notify(self, deployment: DeploymentState, decision: Decision) -> None:
        """Count the decision; log it and record an event unless it repeats a reported one."""
        self._metrics.decisions.labels(decision.outcome).inc()
        if decision.is_held():
            self._metrics.held.labels(decision.reason).inc()
        ongoing, is_new = deduplicate(self._ongoing.pop(deployment.uid, None), decision)
        if ongoing is not None:
            self._ongoing[deployment.uid] = ongoing
        if not is_new:
            return
        scaled = decision.outcome is Outcome.SCALED
        if scaled:
            up = decision.desired_replicas > decision.current_replicas
            self._metrics.rescales.labels("up" if up else "down").inc()
            party_log, level, line = self._changes, logging.INFO, "Replica count changed"
        else:
            party_log, level, line = self._rest, logging.WARNING, "Deployment not scaled"
        party_log.log(level, deployment.ref.namespace, line, _log_fields(decision))
        type_ = event_type(decision.outcome) or "Normal"
        self._events.record(
            deployment.ref,
            deployment.uid,
            type_=type_,
            reason=decision.reason,
            message=decision.message,
        )
        now = time.time()
        self._status_store.add_event(
            RecordedEvent(
                ref=deployment.ref,
                warning=type_ == "Warning",
                reason=decision.reason,
                message=decision.message,
                first_unix_seconds=now,
                last_unix_seconds=now,
                change=((decision.current_replicas, decision.desired_replicas) if scaled else None),
            )
        )

    def note_failure(self, deployment: DeploymentState, error: Exception) -> None:
        """Log an unexpected error with its traceback."""
        fields = {"deployment": str(deployment.ref)}
        self._rest.log(
            logging.ERROR, deployment.ref.namespace, "Decision failed", fields, error=error
        )

    def log_omitted(self) -> None:
        """Log how many lines each namespace's budget has omitted; call it once per loop."""
        self._changes.log_omitted()
        self._rest.log_omitted()

    def keep_only(self, uids: set[str]) -> None:
        """Forget all other Deployments."""
        for gone in self._ongoing.keys() - uids:
            del self._ongoing[gone]


def _log_fields(decision: Decision) -> dict[str, object]:
    """Return the inputs and the result of a decision as fields of a log line."""
    fields: dict[str, object] = {
        "deployment": str(decision.ref),
        "outcome": decision.outcome.value,
        "reason": decision.reason,
        "detail": decision.message,
        "current_replicas": decision.current_replicas,
        "desired_replicas": decision.desired_replicas,
        "proposed_replicas": decision.proposed,
    }
    for proposal in decision.proposals:
        mean = proposal.mean_milli
        fields[proposal.metric.value] = None if mean is None else mean / 1000
        if proposal.target_milli is not None:
            fields[f"target_{proposal.metric.value}"] = proposal.target_milli / 1000
    return fields
