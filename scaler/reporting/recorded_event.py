"""Which decisions are worth an event and a log line: each piece of news once, a hold if it lasts.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never

from scaler.decision.model import Decision, Outcome, Reason

HOLD_SECONDS = 15.0
"""How long a hold lasts before anybody is told; the HPA looks no more often than that. Pods that
have just been made have no values yet, and a single scrape that failed is nobody's business."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What is going on with one Deployment, since when, and whether it has been told."""

    outcome: Outcome
    topic: tuple[str, str]
    begun_seconds: float
    told: bool = False


def event_type(outcome: Outcome) -> Literal["Normal", "Warning"] | None:
    """Return the type of the event that tells an outcome, None for one that needs no event."""
    match outcome:
        case Outcome.SCALED | Outcome.DRY_RUN:
            return "Normal"
        case Outcome.HELD | Outcome.DISABLED | Outcome.REFUSED | Outcome.FAILED:
            return "Warning"
        case Outcome.UNCHANGED | Outcome.PAUSED:
            return None
        case _:
            assert_never(outcome)


def follow(news: News | None, decision: Decision) -> tuple[News | None, bool]:
    """Return what is going on after `decision`, and whether it is to be told now."""
    contended = news if news is not None and news.topic[0] == Reason.CONTENDED_REPLICAS else None
    if decision.outcome is Outcome.SCALED:
        # One more try while somebody else sets the count back ends nothing.
        return contended, True
    if event_type(decision.outcome) is None:
        return None, False
    topic = (decision.reason, _detail(decision))
    goes_on = news is not None and news.outcome is decision.outcome
    begun = news.begun_seconds if news is not None and goes_on else decision.at_seconds
    was_told = news is not None and news.told and news.topic == topic
    at_once = decision.outcome is not Outcome.HELD or decision.reason is Reason.CONTENDED_REPLICAS
    lasts = at_once or decision.at_seconds - begun >= HOLD_SECONDS
    return (
        News(
            outcome=decision.outcome,
            topic=topic,
            begun_seconds=begun,
            told=was_told or lasts,
        ),
        lasts and not was_told,
    )


def _detail(decision: Decision) -> str:
    """What beside the reason makes it other news: not the ages in a hold's message."""
    if decision.outcome is Outcome.REFUSED:
        return decision.message
    if decision.outcome is Outcome.DRY_RUN:
        return str(decision.desired_replicas)
    return ""
