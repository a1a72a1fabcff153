"""Decisions that are news become a log line, an event on the Deployment and counts."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from scaler.model import Outcome
from scaler.reporting.board import Told
from scaler.reporting.news import News, follow

if TYPE_CHECKING:
    from scaler.cluster.events import EventRecorder
    from scaler.model import Decision, DeploymentState
    from scaler.reporting.board import Board
    from scaler.reporting.metrics import ScalerMetrics

log = logging.getLogger(__name__)


class Announcer:
    """Remembers what has been told of each Deployment."""

    def __init__(self, events: EventRecorder, metrics: ScalerMetrics, board: Board) -> None:
        self._events = events
        self._metrics = metrics
        self._board = board
        self._news: dict[str, News] = {}

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
            log.info("Replicas changed", extra=_log_fields(decision))
        else:
            log.warning("Nothing was scaled", extra=_log_fields(decision))
        warning = not scaled and decision.outcome is not Outcome.DRY_RUN
        self._events.record(
            deployment.ref,
            deployment.uid,
            type_="Warning" if warning else "Normal",
            reason=decision.reason,
            message=decision.message,
        )
        now = time.time()
        self._board.tell(
            Told(
                ref=deployment.ref,
                warning=warning,
                reason=decision.reason,
                message=decision.message,
                first_unix_seconds=now,
                last_unix_seconds=now,
            )
        )

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
