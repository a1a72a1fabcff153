# SPDX-License-Identifier: Apache-2.0
"""Decisions on a query: totals, zero and back, the cooldown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scaler.decision.decide import decide
from scaler.decision.model import (
    Decision,
    Outcome,
    Reason,
    ScalingHistory,
)
from scaler.model import Metric
from tests.unit.deployments import (
    NOW,
    WEB,
    deployment,
    immediate,
    policy,
    reading,
    ready_pods,
)


def outcome(decision: Decision) -> tuple[Outcome, int, str]:
    return decision.outcome, decision.desired_replicas, decision.reason


QUERY = {Metric.QUERY: 10}


@pytest.mark.parametrize(
    ("total", "current", "expected"),
    [
        pytest.param(35, 2, 4, id="a total over the target per pod"),
        pytest.param(20, 2, 2, id="at the target"),
        pytest.param(0, 2, 0, id="down to zero"),
        pytest.param(-5, 2, 0, id="a negative total"),
    ],
)
def test_a_query_is_a_total(total, current, expected):
    decision = decide(
        deployment(ready_pods(current)),
        policy(QUERY, min_replicas=0, behavior=immediate()),
        reading({WEB: total}, metric=Metric.QUERY),
        None,
        NOW,
    )
    assert decision.desired_replicas == expected
    assert decision.history.scaled_to_zero == (expected == 0)


def test_a_query_without_an_answer_holds():
    decision = decide(
        deployment(ready_pods(2)),
        policy(QUERY, min_replicas=0),
        reading({}, metric=Metric.QUERY, missing={WEB: "empty result"}),
        None,
        NOW,
    )
    assert outcome(decision) == (Outcome.HELD, 2, "FailedGetExternalMetric")
    assert "empty result" in decision.message


@pytest.mark.parametrize(
    ("scaled_to_zero", "expected"),
    [
        pytest.param(True, (Outcome.SCALED, 3), id="zero by the scaler wakes"),
        pytest.param(False, (Outcome.DISABLED, 0), id="zero by a human stays"),
    ],
)
def test_only_its_own_zero_is_left(scaled_to_zero, expected):
    targets = {Metric.QUERY: 10, Metric.DUTY_CYCLE: 40}
    decision = decide(
        deployment((), replicas=0),
        policy(targets, min_replicas=0),
        reading({WEB: 25}, metric=Metric.QUERY) | reading([]),
        ScalingHistory(zeroed_seconds=NOW - 100 if scaled_to_zero else None),
        NOW,
    )
    assert (decision.outcome, decision.desired_replicas) == expected
    assert not decision.history.scaled_to_zero


def test_a_human_zero_after_own_zero_is_told_apart():
    """Somebody set replicas above 0 in between, so the next 0 is theirs."""
    rules = policy(QUERY, min_replicas=0)
    history: ScalingHistory | None = ScalingHistory(zeroed_seconds=NOW - 100)
    readings = reading({WEB: 20}, metric=Metric.QUERY)
    up = decide(deployment(ready_pods(2)), rules, readings, history, NOW)
    assert not up.history.scaled_to_zero
    down = decide(deployment((), replicas=0), rules, readings, up.history, NOW + 2)
    assert outcome(down) == (Outcome.DISABLED, 0, "ScalingDisabled")


def test_a_watch_that_still_shows_the_old_count_does_not_end_its_own_zero():
    """Else the 0 that shows at last would be a human's, and nothing would ever wake it."""
    rules = policy(QUERY, min_replicas=0, behavior=immediate())
    idle = reading({WEB: 0}, metric=Metric.QUERY)
    busy = reading({WEB: 8}, metric=Metric.QUERY)
    down = decide(deployment(ready_pods(1)), rules, idle, None, NOW)
    assert down.desired_replicas == 0
    late = decide(deployment(ready_pods(1)), rules, busy, down.history, NOW + 2)
    assert late.outcome is Outcome.UNCHANGED
    awake = decide(deployment((), replicas=0), rules, busy, late.history, NOW + 4)
    assert (awake.outcome, awake.desired_replicas) == (Outcome.SCALED, 1)


@pytest.mark.parametrize(
    ("total", "current", "expected"),
    [
        pytest.param(5, 0, 0, id="asleep at the threshold"),
        pytest.param(5.001, 0, 1, id="awake above it"),
        pytest.param(25, 0, 3, id="awake with as many as are needed"),
        pytest.param(5, 1, 0, id="the last one goes at the threshold"),
        pytest.param(5.001, 1, 1, id="and stays above it"),
        pytest.param(5, 4, 0, id="all go at the threshold"),
    ],
)
def test_the_activation_threshold_decides_between_none_and_some(total, current, expected):
    rules = policy(QUERY, min_replicas=0, behavior=immediate())
    decision = decide(
        deployment(ready_pods(current)),
        replace(rules, activation_milli=5000),
        reading({WEB: total}, metric=Metric.QUERY),
        ScalingHistory(zeroed_seconds=NOW - 100) if current == 0 else None,
        NOW,
    )
    assert decision.desired_replicas == expected


def test_the_threshold_counts_only_where_zero_is_allowed():
    rules = replace(policy(QUERY, behavior=immediate()), activation_milli=10_000)
    readings = reading({WEB: 8}, metric=Metric.QUERY)
    assert decide(deployment(ready_pods(3)), rules, readings, None, NOW).desired_replicas == 1


IDLE, BUSY, UNKNOWN = 0, 8, None


@pytest.mark.parametrize(
    ("totals", "expected"),
    [
        pytest.param([(0, IDLE), (119, IDLE)], 1, id="not yet"),
        pytest.param([(0, IDLE), (60, IDLE), (120, IDLE)], 0, id="idle for all of it"),
        pytest.param([(0, IDLE), (60, BUSY), (120, IDLE)], 1, id="busy in between"),
        pytest.param([(0, IDLE), (60, UNKNOWN), (120, IDLE)], 1, id="unknown is not idle"),
        pytest.param([(0, IDLE), (60, BUSY), (180, IDLE)], 0, id="idle for long enough again"),
    ],
)
def test_the_last_replica_stays_for_the_cooldown(totals, expected):
    rules = replace(policy(QUERY, min_replicas=0, behavior=immediate()), cooldown_seconds=120)
    history = None
    for second, total in totals:
        readings = {} if total is None else reading({WEB: total}, metric=Metric.QUERY)
        decision = decide(deployment(ready_pods(1)), rules, readings, history, NOW + second)
        history = decision.history
    assert decision.desired_replicas == expected
    assert (decision.reason == "CoolingDown") == (expected == 1)


def test_the_cooldown_keeps_one_replica_and_no_more():
    rules = replace(policy(QUERY, min_replicas=0, behavior=immediate()), cooldown_seconds=120)
    readings = reading({WEB: 0}, metric=Metric.QUERY)
    decision = decide(deployment(ready_pods(4)), rules, readings, None, NOW)
    assert (decision.outcome, decision.desired_replicas) == (Outcome.SCALED, 1)
    assert decision.limits[-1].reason is Reason.COOLING_DOWN
