"""Decisions that are news become a log line, an event on the Deployment and counts."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from scaler.budgets import CHANGES_LOG_BYTES, LOG_BYTES
from scaler.decision.model import Outcome
from scaler.reporting.recorded_event import News, event_type, follow
from scaler.reporting.status_store import Told
from toolkit.party_log import PartyLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaler.cluster.events import EventRecorder
    from scaler.decision.model import Decision
    from scaler.model import DeploymentState
    from scaler.reporting.metrics import ScalerMetrics
    from scaler.reporting.status_store import Board

log = logging.getLogger(__name__)


class Announcer:
    """Remembers what has been told of each Deployment."""

    def __init__(
        self,
        events: EventRecorder,
        metrics: ScalerMetrics,
        board: Board,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._events = events
        self._metrics = metrics
        self._board = board
        self._news: dict[str, News] = {}
        self._changes = PartyLog(log, most_bytes=CHANGES_LOG_BYTES, clock=clock)
        self._rest = PartyLog(log, most_bytes=LOG_BYTES, clock=clock)

    def announce(self, deployment: DeploymentState, decision: Decision) -> None:
        """Count the decision; log it and emit an event where it is news."""
        self._metrics.decisions.labels(decision.outcome).inc()
        if decision.is_held():
            self._metrics.held.labels(decision.reason).inc()
        news, is_told = follow(self._news.pop(deployment.uid, None), decision)
        if news is not None:
            self._news[deployment.uid] = news
        if not is_told:
            return
        scaled = decision.outcome is Outcome.SCALED
        if scaled:
            up = decision.desired_replicas > decision.current_replicas
            self._metrics.rescales.labels("up" if up else "down").inc()
            told, level, line = self._changes, logging.INFO, "Replicas changed"
        else:
            told, level, line = self._rest, logging.WARNING, "Nothing was scaled"
        told.log(level, deployment.ref.namespace, line, _log_fields(decision))
        type_ = event_type(decision.outcome) or "Normal"
        self._events.record(
            deployment.ref,
            deployment.uid,
            type_=type_,
            reason=decision.reason,
            message=decision.message,
        )
        now = time.time()
        self._board.tell(
            Told(
                ref=deployment.ref,
                warning=type_ == "Warning",
                reason=decision.reason,
                message=decision.message,
                first_unix_seconds=now,
                last_unix_seconds=now,
            )
        )

    def note_failure(self, deployment: DeploymentState, error: Exception) -> None:
        """Log an error that nobody foresaw, with its traceback."""
        fields = {"deployment": str(deployment.ref)}
        self._rest.log(
            logging.ERROR, deployment.ref.namespace, "Decision failed", fields, error=error
        )

    def tell_rest(self) -> None:
        """Log how many lines each namespace's budget has left out; call it once per loop."""
        self._changes.tell_rest()
        self._rest.tell_rest()

    def keep_only(self, uids: set[str]) -> None:
        """Forget all other Deployments."""
        for gone in self._news.keys() - uids:
            del self._news[gone]


def _log_fields(decision: Decision) -> dict[str, object]:
    """Return the inputs and the result of a decision as fields of one log line."""
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
        fields[f"target_{proposal.metric.value}"] = proposal.target_milli / 1000
    return fields
