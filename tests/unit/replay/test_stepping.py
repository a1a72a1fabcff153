# SPDX-License-Identifier: Apache-2.0
"""Decisions that a replay leaves out change nothing: it ends as one that decides every time."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.decision.behavior import DEFAULT_BEHAVIOR
from scaler.model import (
    Behavior,
    Metric,
    MetricTarget,
    PolicyType,
    RatePolicy,
    ScalingPolicy,
    ScalingRules,
    ScheduleEntry,
    SelectPolicy,
)
from scaler.replay.replay import stepping
from scaler.replay.rules import HpaRules, OurRules
from scaler.replay.stepping import Learned
from tests.unit.replay.recordings import policy, recording

RATES = st.builds(
    RatePolicy,
    type=st.sampled_from(PolicyType),
    value=st.integers(1, 100),
    period_seconds=st.sampled_from([1, 5, 15, 60, 200]),
)


def rules(windows):
    return st.builds(
        ScalingRules,
        stabilization_window_seconds=st.sampled_from(windows),
        select_policy=st.sampled_from(SelectPolicy),
        tolerance=st.sampled_from([0.0, 0.05, 0.1, 0.5]),
        policies=st.lists(RATES, min_size=1, max_size=3).map(tuple),
    )


BEHAVIORS = st.one_of(
    st.just(DEFAULT_BEHAVIOR),
    st.builds(
        Behavior,
        scale_up=rules([0, 0, 1, 30, 100]),
        scale_down=rules([0, 1, 2, 15, 60, 300]),
    ),
)
SCHEDULES = st.lists(
    st.builds(
        ScheduleEntry,
        days=st.just(tuple(range(7))),
        from_minute=st.integers(0, 6),
        until_minute=st.integers(7, 12),
        timezone=st.just("UTC"),
        min_replicas=st.integers(0, 3),
        max_replicas=st.integers(3, 9),
    ),
    max_size=2,
).map(tuple)
METRICS = {
    Metric.DUTY_CYCLE: 100_000,
    Metric.REQUESTS: 8_000,
    Metric.QUEUE: 8_000,
    Metric.POWER_USAGE_MILLIWATTS: 300_000_000,
}


@st.composite
def cases(draw):
    metric = draw(st.sampled_from([*METRICS]))
    one = METRICS[metric]
    level = st.one_of(
        st.none(), st.just(0), st.integers(0, 12 * one), st.integers(0, 2 * one), st.just(3 * one)
    )
    demand = [
        value
        for value, times in draw(
            st.lists(st.tuples(level, st.integers(1, 8)), min_size=1, max_size=40)
        )
        for _ in range(times)
    ]
    step_seconds = draw(st.sampled_from([1.0, 7.0, 15.0, 30.0, 61.5]))
    interval = draw(st.sampled_from([2.0, 2.0, 0.7, 15.0]))
    demand = demand[: int(400 * interval / step_seconds)] or demand[:1]
    least = draw(st.integers(0, 3))
    target = draw(st.integers(one // 10, one))
    if metric is Metric.QUEUE and least == 0:
        target = draw(st.sampled_from([target, None]))
    rules_of_case = ScalingPolicy(
        min_replicas=least,
        max_replicas=least + draw(st.integers(1, 9)),
        targets=(MetricTarget(metric=metric, average_value_milli=target),),
        window_seconds=draw(st.sampled_from([0.0, 0.0, 0.0, 10.0, 45.0])),
        behavior=draw(BEHAVIORS),
        ready_age_seconds=draw(st.sampled_from([0.0, 5.0, 30.0, 60.0])),
        dry_run=False,
        paused=False,
        activation_milli=draw(st.sampled_from([0, one // 2])),
        cooldown_seconds=draw(st.sampled_from([0.0, 10.0, 120.0])),
        schedule=draw(SCHEDULES),
    )
    found = draw(st.one_of(st.none(), st.integers(0, 12)))
    recorded = recording(demand, metric=metric, step_seconds=step_seconds, found=found)
    start = draw(st.sampled_from([0.0, 1.0, 13.5, 40.0, 120.0]))
    return recorded, rules_of_case, start, interval


def same_steps(fresh):
    """What both ways end in; the third replay knows what the first one learned."""
    learned = Learned()
    steps = fresh(learned).every_decision()
    assert fresh(learned).run() == steps
    assert fresh(learned).run() == steps
    return steps


def test_the_hpa_without_a_behavior_goes_up_by_what_was_recommended_before():
    # Work for 12 pods until 15 s, then for as many as there are.
    requests = recording([48_000] * 2 + [16_000] * 30, metric=Metric.QUEUE, found=1)

    def fresh(learned):
        four = policy(Metric.QUEUE, 4_000)
        return stepping(requests, HpaRules(requests, four), 10.0, 15.0, learned)

    steps = same_steps(fresh)
    assert [one.replicas for one in steps[:4]] == [4, 8, 12, 4]


def test_a_cooldown_begins_with_the_first_decision_after_a_count_out_of_range():
    idle = recording([0] * 20, found=2)
    zero = policy(Metric.DUTY_CYCLE, 60_000, min_replicas=0, max_replicas=1, cooldown_seconds=100.0)
    zero = replace(
        zero,
        behavior=replace(
            zero.behavior,
            scale_down=replace(zero.behavior.scale_down, stabilization_window_seconds=15),
        ),
    )

    def fresh(learned):
        return stepping(idle, OurRules(idle, zero), 10.0, 2.0, learned)

    # The first decision is about the range, the second about the metrics.
    assert [tuple(one) for one in same_steps(fresh)] == [(0, 1), (102, 0)]


@settings(max_examples=60, deadline=None)
@given(cases())
def test_the_scaler(case):
    recorded, wanted, start, interval = case

    def fresh(learned):
        ours = OurRules(recorded, wanted)
        return stepping(recorded, ours, start, interval, learned)

    same_steps(fresh)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_the_hpa(case):
    recorded, wanted, start, interval = case
    if wanted.targets[0].average_value_milli is None:
        return

    def fresh(learned):
        return stepping(recorded, HpaRules(recorded, wanted), start, interval, learned)

    same_steps(fresh)
