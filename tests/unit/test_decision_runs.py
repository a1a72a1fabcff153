# SPDX-License-Identifier: Apache-2.0
"""Decisions in a row as runs: what belongs together, how long it is kept, how it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from hypothesis import given
from hypothesis import strategies as st

from scaler.decision.model import Decision, MetricProposal, Outcome
from scaler.model import Metric, ObjectRef
from scaler.reporting.decision_runs import KEPT_SECONDS, MAX_RUNS, DecisionRun, add_decision
from scaler.reporting.serialization import decision_run_document
from scaler.reporting.tables import history_table

if TYPE_CHECKING:
    from scaler.decision.model import Reason


def decision(
    outcome: Outcome = Outcome.UNCHANGED,
    *,
    reason: str = "DesiredWithinRange",
    replicas: tuple[int, int] = (1, 1),
    duty_cycle: int | None = 20,
):
    proposal = MetricProposal(
        metric=Metric.DUTY_CYCLE,
        target_milli=40_000,
        replicas=replicas[1],
        mean_milli=None if duty_cycle is None else duty_cycle * 1000,
        values={},
    )
    return Decision(
        ref=ObjectRef(namespace="default", name="web"),
        current_replicas=replicas[0],
        desired_replicas=replicas[1],
        outcome=outcome,
        reason=cast("Reason", reason),
        message=f"duty cycle {duty_cycle}",
        at_seconds=0.0,
        proposals=(proposal,),
    )


def runs_of(*decided: tuple[float, Decision]) -> tuple[DecisionRun, ...]:
    runs: tuple[DecisionRun, ...] = ()
    for at, one in decided:
        runs = add_decision(runs, one, at)
    return runs


def test_decisions_that_say_the_same_are_one_with_the_last_words():
    (one,) = runs_of((100, decision(duty_cycle=20)), (102, decision(duty_cycle=30)))
    assert (one.begun_unix_seconds, one.last_unix_seconds, one.decisions) == (100, 102, 2)
    assert one.message == "duty cycle 30"
    assert one.means[0].mean_milli == 30_000


def test_another_outcome_reason_or_count_begins_another():
    runs = runs_of(
        (0, decision()),
        (2, decision(Outcome.SCALED, reason="SuccessfulRescale", replicas=(1, 2))),
        (4, decision(replicas=(2, 2))),
        (6, decision(replicas=(2, 2), reason="ScaleDownStabilized")),
        (8, decision(Outcome.HELD, replicas=(2, 2), reason="ScaleDownStabilized")),
    )
    assert len(runs) == 5


def test_an_hour_is_kept_from_the_end_of_each():
    runs = runs_of(
        (0, decision(reason="A")),
        (10, decision(reason="A")),
        (20, decision(reason="B")),
        (KEPT_SECONDS + 11, decision(reason="C")),
    )
    assert [one.reason for one in runs] == ["B", "C"]


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from("ABC")), max_size=300))
def test_no_more_than_so_many_and_always_the_last(steps):
    now = 1e9
    runs: tuple[DecisionRun, ...] = ()
    for pause, reason in steps:
        now += pause
        runs = add_decision(runs, decision(reason=reason), now)
        assert len(runs) <= MAX_RUNS
        assert (runs[-1].reason, runs[-1].last_unix_seconds) == (reason, now)
    assert all(one.begun_unix_seconds <= one.last_unix_seconds for one in runs)


def test_the_table():
    runs = runs_of(
        (0, decision()),
        (60, decision()),
        (62, decision(Outcome.SCALED, reason="SuccessfulRescale", replicas=(1, 2), duty_cycle=63)),
        (64, decision(Outcome.HELD, reason="X", replicas=(2, 2), duty_cycle=None)),
    )
    table = history_table([decision_run_document(one) for one in runs], now_unix_seconds=100)
    head, *lines = [line.split("   ") for line in table.splitlines()]
    assert [cell.strip() for cell in head if cell] == [
        *("BEGAN", "LASTED", "VALUES", "REPLICAS", "OUTCOME", "REASON", "MESSAGE")
    ]
    assert [[cell.strip() for cell in line if cell.strip()] for line in lines] == [
        ["1m40s ago", "60s", "20%/40%", "1", "unchanged", "DesiredWithinRange", "duty cycle 20"],
        ["38s ago", "0s", "63%/40%", "1 -> 2", "scaled", "SuccessfulRescale", "duty cycle 63"],
        ["36s ago", "0s", "<unknown>/40%", "2", "held", "X", "duty cycle None"],
    ]
