# SPDX-License-Identifier: Apache-2.0
"""Pure: the decisions of the last hour for one Deployment; equal consecutive ones form a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scaler.model import Metric  # noqa: TC001 - msgspec reads the annotations

if TYPE_CHECKING:
    from scaler.decision.model import Decision, Outcome, Reason

KEPT_SECONDS = 3600.0
MAX_RUNS = 100
"""Per Deployment: at most about 60 kB, if every loop decides something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricMean:
    """A metric's mean over the counted pods, None if there is none, and its target."""

    metric: Metric
    mean_milli: int | None
    target_milli: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRun:
    """Consecutive equal decisions; message and means are those of the last one.

    The times of the first and the last decision are Unix seconds.
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

    def key(self) -> tuple[object, ...]:
        """Return the values that all decisions of a run have in common."""
        counts = self.current_replicas, self.desired_replicas
        return self.outcome, self.reason, self.above_target, *counts


def add_decision(
    runs: tuple[DecisionRun, ...], decision: Decision, now_unix_seconds: float
) -> tuple[DecisionRun, ...]:
    """Return the runs with one more decision, without those that ended over an hour ago."""
    new = DecisionRun(
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
    before = runs
    if runs and runs[-1].key() == new.key():
        last, before = runs[-1], runs[:-1]
        new = replace(new, begun_unix_seconds=last.begun_unix_seconds, decisions=last.decisions + 1)
    if before and now_unix_seconds - before[0].last_unix_seconds > KEPT_SECONDS:
        oldest = now_unix_seconds - KEPT_SECONDS
        before = tuple(one for one in before if one.last_unix_seconds >= oldest)
    return (*before[-(MAX_RUNS - 1) :], new)
