# SPDX-License-Identifier: Apache-2.0
"""Pure: decides which decisions get an event and a log line.

An outcome that goes on is reported once, a hold or a wait that was asked for only if it lasts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never

from scaler.decision.model import Decision, Outcome, Reason

HOLD_SECONDS = 15.0
"""How long a hold lasts before it is reported: the period of the HPA. New pods have no values yet,
and a single failed scrape is not worth an event."""

REPORTED_WAITS = frozenset({Reason.HIGHER_PRIORITY_WAITS, Reason.WAITING_FOR_IDLE_PODS})
"""Reasons of an unchanged count that are reported: a person has asked for the wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OngoingOutcome:
    """The outcome that a Deployment's decisions have, since when, and whether it was reported."""

    outcome: Outcome
    topic: tuple[str, str]
    begun_seconds: float
    reported: bool = False


def event_type(outcome: Outcome) -> Literal["Normal", "Warning"] | None:
    """Return the type of the event for an outcome, None for one that needs no event."""
    match outcome:
        case Outcome.SCALED | Outcome.DRY_RUN:
            return "Normal"
        case Outcome.HELD | Outcome.DISABLED | Outcome.REFUSED | Outcome.FAILED:
            return "Warning"
        case Outcome.UNCHANGED | Outcome.PAUSED:
            return None
        case _:
            assert_never(outcome)


def deduplicate(
    ongoing: OngoingOutcome | None, decision: Decision
) -> tuple[OngoingOutcome | None, bool]:
    """Return the outcome that goes on after `decision`, and whether to report the decision."""
    is_contended = ongoing is not None and ongoing.topic[0] == Reason.CONTENDED_REPLICAS
    contended = ongoing if is_contended else None
    if decision.outcome is Outcome.SCALED:
        # A new attempt does not end a conflict with another writer of the count.
        return contended, True
    waits = decision.reason in REPORTED_WAITS
    if event_type(decision.outcome) is None and not waits:
        return None, False
    topic = (decision.reason, _detail(decision))
    goes_on = ongoing is not None and ongoing.outcome is decision.outcome
    begun = ongoing.begun_seconds if ongoing is not None and goes_on else decision.at_seconds
    was_reported = ongoing is not None and ongoing.reported and ongoing.topic == topic
    is_hold = decision.outcome is Outcome.HELD or waits
    at_once = not is_hold or decision.reason is Reason.CONTENDED_REPLICAS
    lasts = at_once or decision.at_seconds - begun >= HOLD_SECONDS
    return (
        OngoingOutcome(
            outcome=decision.outcome,
            topic=topic,
            begun_seconds=begun,
            reported=was_reported or lasts,
        ),
        lasts and not was_reported,
    )


def _detail(decision: Decision) -> str:
    """Return what distinguishes outcomes of one reason; a hold's message has ages that change."""
    if decision.outcome is Outcome.REFUSED:
        return decision.message
    if decision.outcome is Outcome.DRY_RUN:
        return str(decision.desired_replicas)
    return ""
