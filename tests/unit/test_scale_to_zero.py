# SPDX-License-Identifier: Apache-2.0
"""Scale to zero: what lets the last replica go, and what may end a zero of the scaler's own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.controller.apply import not_applied
from scaler.controller.history import ScalingHistories
from scaler.decision.decide import decide
from scaler.decision.model import Decision, Outcome, Reason, ScalingHistory
from scaler.model import AnnotationProblem, DeploymentState, Metric, MetricReading
from tests.unit.deployments import NOW, WEB, deployment, immediate, policy, reading, ready_pods

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaler.controller.plans import Policy

COOLDOWN = 600.0
OWN_ZERO = ScalingHistory(zeroed_seconds=NOW - 3600)
ASLEEP = deployment((), replicas=0)
AWAKE = deployment(ready_pods(1))
RULES = replace(
    policy({Metric.QUERY: 10}, min_replicas=0, behavior=immediate()),
    activation_milli=2000,
    cooldown_seconds=COOLDOWN,
)
WRONG = (AnnotationProblem(annotation="gpu-scaler/oops", value="x", message="is wrong"),)


def query(total: float | None) -> Mapping[Metric, MetricReading]:
    if total is None:
        return reading({}, metric=Metric.QUERY, missing={WEB: "no answer"})
    return reading({WEB: total}, metric=Metric.QUERY)


class TestAsleep:
    """At 0 by its own hand, with nothing above the threshold."""

    @pytest.mark.parametrize("loops", [[None, 0], [0, None, None, 2], [0]])
    @pytest.mark.parametrize(
        "history",
        [
            pytest.param(OWN_ZERO, id="a new leader, or a restart"),
            pytest.param(replace(OWN_ZERO, active_seconds=NOW - 3600), id="the same leader"),
            pytest.param(replace(OWN_ZERO, active_seconds=NOW - 1), id="active a moment ago"),
        ],
    )
    def test_no_missing_answer_and_no_takeover_wakes_it(self, loops, history):
        for number, total in enumerate(loops):
            decision = decide(ASLEEP, RULES, query(total), history, NOW + 2 * number)
            history = decision.history
            assert decision.desired_replicas == 0
            assert not decision.limits
            assert history.scaled_to_zero

    @given(
        st.lists(
            st.tuples(
                st.sampled_from([0.0, 2.0, None]),
                st.floats(0.5, 2 * COOLDOWN),
                st.sampled_from(["loop", "loop", "restart", "paused", "wrong"]),
            ),
            max_size=30,
        )
    )
    def test_nothing_but_a_value_above_the_threshold_wakes_it(self, loops):
        now, history = NOW, OWN_ZERO
        for total, wait, what in loops:
            now += wait
            if what == "restart":
                history = ScalingHistory(zeroed_seconds=now)
            rules: Policy = WRONG if what == "wrong" else replace(RULES, paused=what == "paused")
            decision = decide(ASLEEP, rules, query(total), history, now)
            assert decision.desired_replicas == 0
            history = decision.history
        decision = decide(ASLEEP, RULES, query(2.001), history, now + 2)
        assert (decision.outcome, decision.desired_replicas) == (Outcome.SCALED, 1)

    @pytest.mark.parametrize(
        ("total", "message"),
        [
            (35, "New size: 4; reason: query above target"),
            (10.001, "New size: 2; reason: query above target"),
            (10, "New size: 1; reason: query above the activation threshold"),
            (2.001, "New size: 1; reason: query above the activation threshold"),
        ],
    )
    def test_it_says_why_it_wakes(self, total, message):
        assert decide(ASLEEP, RULES, query(total), OWN_ZERO, NOW).message == message


class TestOtherAnnotations:
    """Its own 0 stays its own when the annotations change."""

    @pytest.mark.parametrize(
        "rules",
        [
            pytest.param(replace(RULES, min_replicas=1), id="min-replicas 0 to 1"),
            pytest.param(replace(RULES, min_replicas=3), id="min-replicas 0 to 3"),
            pytest.param(policy(min_replicas=1), id="a duty cycle target instead of the query"),
            pytest.param(policy(min_replicas=3), id="likewise with more replicas"),
        ],
    )
    @pytest.mark.parametrize("total", [0, 50, None])
    def test_its_own_zero_goes_to_the_minimum(self, rules, total):
        decision = decide(ASLEEP, rules, query(total), OWN_ZERO, NOW)
        assert (decision.outcome, decision.desired_replicas) == (
            Outcome.SCALED,
            rules.min_replicas,
        )
        assert decision.message.endswith("Current number of replicas below Spec.MinReplicas")

    @pytest.mark.parametrize("minimum", [0, 1, 3])
    def test_a_humans_zero_stays(self, minimum):
        rules = replace(RULES, min_replicas=minimum)
        decision = decide(ASLEEP, rules, query(50), ScalingHistory(), NOW)
        assert (decision.outcome, decision.reason) == (Outcome.DISABLED, "ScalingDisabled")

    def test_a_count_that_is_out_of_date_does_not_end_it(self):
        history, unseen = OWN_ZERO, replace(AWAKE, out_of_contact="deployments of prod")
        for loop in range(60):
            history = decide(unseen, RULES, query(50), history, NOW + 2 * loop).history
        assert decide(ASLEEP, RULES, query(50), history, NOW + 120).desired_replicas == 5

    def test_a_pause_and_a_wrong_annotation_leave_it_its_own(self):
        history = OWN_ZERO
        for rules in (replace(RULES, paused=True), WRONG, replace(RULES, paused=True)):
            history = decide(ASLEEP, rules, query(50), history, NOW).history
        assert decide(ASLEEP, RULES, query(50), history, NOW).desired_replicas == 5


def unlooked(what: str) -> tuple[DeploymentState, Policy]:
    """A Deployment and a policy whose decision asks for no metric."""
    states: dict[str, tuple[DeploymentState, Policy]] = {
        "paused": (AWAKE, replace(RULES, paused=True)),
        "wrong": (AWAKE, WRONG),
        "owned": (replace(AWAKE, owned_by="ScaledObject prod/web"), RULES),
        "above the maximum": (AWAKE, replace(RULES, max_replicas=0)),
        "below the minimum": (AWAKE, replace(RULES, min_replicas=2)),
        "at 0 by a human": (ASLEEP, RULES),
        "out of contact": (replace(AWAKE, out_of_contact="deployments"), RULES),
        "another minimum": (AWAKE, replace(RULES, min_replicas=1)),
    }
    return states[what]


UNLOOKED = [
    "paused",
    "wrong",
    "owned",
    "above the maximum",
    "below the minimum",
    "at 0 by a human",
    "out of contact",
    "another minimum",
]


class TestCooldown:
    """Time in which nobody looked at the metrics is not idle."""

    @pytest.mark.parametrize("before", [25.0, 0.0])
    @pytest.mark.parametrize("what", UNLOOKED)
    def test_it_begins_when_somebody_looks_again(self, what, before):
        history = decide(AWAKE, RULES, query(before), None, NOW).history
        now = NOW
        for _ in range(600):
            now += 2
            state, rules = unlooked(what)
            history = decide(state, rules, query(25), history, now).history
        began = now + 2
        for wait, expected in ((0, 1), (COOLDOWN - 1, 1), (COOLDOWN, 0)):
            decision = decide(AWAKE, RULES, query(0), history, began + wait)
            assert decision.desired_replicas == expected
            history = decision.history

    @pytest.mark.parametrize("found", [1, 3])
    def test_it_begins_when_something_else_wakes_it(self, found):
        woken = deployment(ready_pods(found))
        history, now = OWN_ZERO, NOW
        for _ in range(600):
            now += 2
            history = decide(ASLEEP, RULES, query(0), history, now).history
        for wait, expected in ((0, 1), (COOLDOWN - 1, 1), (COOLDOWN, 0)):
            decision = decide(woken, RULES, query(0), history, now + 2 + wait)
            assert decision.desired_replicas == expected
            history, woken = decision.history, AWAKE

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["idle", "idle", "idle", "busy", "unanswered", *UNLOOKED]),
                st.floats(0.5, COOLDOWN / 2),
            ),
            max_size=30,
        )
    )
    def test_the_last_replica_goes_after_a_whole_cooldown_of_idle_looks(self, loops):
        now, history = NOW, ScalingHistory()
        idle_since: float | None = None
        for what, wait in loops:
            now += wait
            state, rules = unlooked(what) if what in UNLOOKED else (AWAKE, RULES)
            total = {"busy": 8.0, "unanswered": None}.get(what, 0.0)
            decision = decide(state, rules, query(total), history, now)
            history = replace(decision.history, zeroed_seconds=None)
            if what != "idle":
                # After a hold the time counts from the next look on.
                idle_since = now if what == "busy" else None
                continue
            idle_since = now if idle_since is None else idle_since
            expected = 0 if now - idle_since >= COOLDOWN else 1
            assert decision.desired_replicas == expected


class TestHistories:
    """What is remembered of idleness between two loops."""

    def kept(self, total: float) -> tuple[ScalingHistories, Decision]:
        histories = ScalingHistories()
        histories.look(NOW, interval_seconds=2)
        decision = decide(AWAKE, RULES, query(total), None, NOW)
        histories.record(AWAKE.uid, decision)
        return histories, decision

    def goes(self, histories: ScalingHistories, now: float) -> bool:
        histories.look(now, interval_seconds=2)
        decision = decide(AWAKE, RULES, query(0), histories.of(AWAKE), now)
        histories.record(AWAKE.uid, decision)
        return decision.desired_replicas == 0

    def looked_at_until(self, histories: ScalingHistories, now: float) -> None:
        looked = NOW
        while looked + 2 < now:
            looked += 2
            histories.look(looked, interval_seconds=2)

    def test_a_gap_in_the_loop_begins_the_cooldown_anew(self):
        histories, _ = self.kept(0)
        self.looked_at_until(histories, NOW + COOLDOWN - 1)
        assert not self.goes(histories, NOW + COOLDOWN + 1200)
        assert not self.goes(histories, NOW + COOLDOWN + 1210)

    def test_what_nobody_looked_at_is_not_idle(self):
        histories, _ = self.kept(0)
        self.looked_at_until(histories, NOW + COOLDOWN)
        histories.hold_all()
        assert not self.goes(histories, NOW + COOLDOWN)

    def test_another_query_is_not_idle_yet(self):
        histories, _ = self.kept(0)
        self.looked_at_until(histories, NOW + COOLDOWN)
        histories.restart_cooldown(AWAKE.uid)
        assert not self.goes(histories, NOW + COOLDOWN)

    def test_what_was_asked_for_counts_where_it_could_not_be_carried_out(self):
        histories, _ = self.kept(0)
        now = NOW
        for _ in range(400):
            now += 2
            histories.look(now, interval_seconds=2)
            busy = decide(AWAKE, RULES, query(35), histories.of(AWAKE), now)
            assert busy.desired_replicas == 4
            histories.record_undone(
                AWAKE.uid, not_applied(busy, Outcome.FAILED, Reason.FAILED_UPDATE_SCALE, "refused")
            )
        assert not self.goes(histories, now + 2)
