"""Pure: what was decided for one Deployment in the last hour, equal decisions in a row as one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scaler.model import Metric  # noqa: TC001 - msgspec reads the annotations

if TYPE_CHECKING:
    from scaler.decision.model import Decision, Outcome, Reason

KEPT_SECONDS = 3600.0
MAX_EPISODES = 100
"""Per Deployment: about 60 kB at most, with a Deployment that changes its mind in every loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricMean:
    """A metric's mean over the pods counted, None where there was none, and its target."""

    metric: Metric
    mean_milli: int | None
    target_milli: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """Decisions in a row that say the same; message and means are those of the last one.

    Instants are Unix seconds, of the first and the last decision.
    """

    begun_unix_seconds: float
    last_unix_seconds: float
    decisions: int
    outcome: Outcome
    reason: Reason
    message: str
    current_replicas: int
    desired_replicas: int
    means: tuple[MetricMean, ...]
    above_target: bool = False

    def says(self) -> tuple[object, ...]:
        """Return what makes a decision belong to this episode."""
        counts = self.current_replicas, self.desired_replicas
        return self.outcome, self.reason, self.above_target, *counts


def add_decision(
    episodes: tuple[Episode, ...], decision: Decision, now_unix_seconds: float
) -> tuple[Episode, ...]:
    """Return the episodes with one more decision, without those that ended over an hour ago."""
    new = Episode(
        begun_unix_seconds=now_unix_seconds,
        last_unix_seconds=now_unix_seconds,
        decisions=1,
        outcome=decision.outcome,
        reason=decision.reason,
        message=decision.message,
        current_replicas=decision.current_replicas,
        desired_replicas=decision.desired_replicas,
        means=tuple(
            MetricMean(
                metric=proposal.metric,
                mean_milli=proposal.mean_milli,
                target_milli=proposal.target_milli,
            )
            for proposal in decision.proposals
        ),
        above_target=decision.above_target,
    )
    before = episodes
    if episodes and episodes[-1].says() == new.says():
        last, before = episodes[-1], episodes[:-1]
        new = replace(new, begun_unix_seconds=last.begun_unix_seconds, decisions=last.decisions + 1)
    if before and now_unix_seconds - before[0].last_unix_seconds > KEPT_SECONDS:
        oldest = now_unix_seconds - KEPT_SECONDS
        before = tuple(one for one in before if one.last_unix_seconds >= oldest)
    return (*before[-(MAX_EPISODES - 1) :], new)
