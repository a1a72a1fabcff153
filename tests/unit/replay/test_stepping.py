# SPDX-License-Identifier: Apache-2.0
"""Decisions that a replay leaves out change nothing: it ends as one that decides every time."""

from __future__ import annotations

import math
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
from scaler.replay.answers import Learned
from scaler.replay.hpa import HpaRules
from scaler.replay.load import RecordedLoad
from scaler.replay.pods import Pods
from scaler.replay.rules import OurRules
from scaler.replay.stepping import Stepping
from tests.unit.replay.recordings import policy, recorded_metric, recording

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
def demands(draw, one):
    """Values of steps, None for an unknown one; `one` is about what a pod can do."""
    level = st.one_of(
        st.none(), st.just(0), st.integers(0, 12 * one), st.integers(0, 2 * one), st.just(3 * one)
    )
    stretches = draw(st.lists(st.tuples(level, st.integers(1, 8)), min_size=1, max_size=40))
    return [value for value, times in stretches for _ in range(times)]


@st.composite
def cases(draw):
    metrics = draw(st.lists(st.sampled_from([*METRICS]), min_size=1, max_size=3, unique=True))
    step_seconds = draw(st.sampled_from([1.0, 7.0, 15.0, 30.0, 61.5]))
    interval = draw(st.sampled_from([2.0, 2.0, 0.7, 15.0]))
    least = draw(st.integers(0, 3))
    found, targets = [], []
    for metric in metrics:
        one = METRICS[metric]
        target = draw(st.integers(one // 10, one))
        if metric is Metric.QUEUE and least == 0:
            target = draw(st.sampled_from([target, None]))
        targets.append(MetricTarget(metric=metric, average_value_milli=target))
        found.append(draw(demands(one)))
    steps = min(int(400 * interval / step_seconds) or 1, *map(len, found), 400)
    rules_of_case = ScalingPolicy(
        min_replicas=least,
        max_replicas=least + draw(st.integers(1, 9)),
        targets=tuple(draw(st.permutations(targets))),
        window_seconds=draw(st.sampled_from([0.0, 0.0, 0.0, 10.0, 45.0])),
        behavior=draw(BEHAVIORS),
        ready_age_seconds=draw(st.sampled_from([0.0, 5.0, 30.0, 60.0])),
        dry_run=False,
        paused=False,
        activation_milli=draw(st.sampled_from([0, METRICS[metrics[0]] // 2])),
        cooldown_seconds=draw(st.sampled_from([0.0, 10.0, 120.0])),
        schedule=draw(SCHEDULES),
    )
    first, *others = (
        recorded_metric(demand[:steps], metric)
        for demand, metric in zip(found, metrics, strict=True)
    )
    recorded = recording(
        first.demand_milli,
        *others,
        metric=first.metric,
        step_seconds=step_seconds,
        found=draw(st.one_of(st.none(), st.integers(0, 12))),
    )
    start = draw(st.sampled_from([0.0, 1.0, 13.5, 40.0, 120.0]))
    return recorded, rules_of_case, start, interval


def every_decision(recorded, rules, start_seconds, interval):
    """The counts of a replay that decides at every interval."""
    found = next((one for one in recorded.replicas if one is not None), None)
    pods = Pods(
        recorded.ref,
        replicas=rules.policy.min_replicas if found is None else found,
        start_seconds=start_seconds,
        ready_age_seconds=rules.policy.ready_age_seconds,
    )
    loads = [
        RecordedLoad(
            one,
            pods,
            step_seconds=recorded.step_seconds,
            window_seconds=rules.policy.window_seconds,
        )
        for one in recorded.metrics
    ]
    steps = {0.0: pods.count}
    for tick in range(math.ceil(recorded.seconds / interval - 1e-9)):
        now = tick * interval
        rules.follow_schedule(now)
        desired, _ = rules.decide(pods, loads, now)
        if desired != pods.count:
            for load in loads:
                load.advance(now)
            pods.scale(desired, now)
            steps[now] = desired
    return tuple(steps.items())


def same_steps(recorded, rules, start_seconds, interval):
    """What both ways end in; the second replay knows what the first one learned."""
    learned = Learned()
    steps = every_decision(recorded, rules(), start_seconds, interval)
    for _ in range(2):
        run = Stepping(
            recorded,
            rules(),
            start_seconds=start_seconds,
            interval_seconds=interval,
            learned=learned,
        )
        assert run.run() == steps
    return steps


def test_the_hpa_without_a_behavior_goes_up_by_what_was_recommended_before():
    # Work for 12 pods until 15 s, then for as many as there are.
    requests = recording([48_000] * 2 + [16_000] * 30, metric=Metric.QUEUE, found=1)
    four = policy(Metric.QUEUE, 4_000)
    steps = same_steps(requests, lambda: HpaRules(requests, four), 10.0, 15.0)
    assert [replicas for _, replicas in steps[:4]] == [4, 8, 12, 4]


def test_a_cooldown_begins_with_the_first_decision_after_a_count_out_of_range():
    idle = recording([0] * 20, metric=Metric.QUERY, found=2)
    zero = policy(Metric.QUERY, 4_000, min_replicas=0, max_replicas=1, cooldown_seconds=100.0)
    zero = replace(
        zero,
        behavior=replace(
            zero.behavior,
            scale_down=replace(zero.behavior.scale_down, stabilization_window_seconds=15),
        ),
    )
    # The first decision is about the range, the second about the metrics.
    steps = same_steps(idle, lambda: OurRules(idle, zero), 10.0, 2.0)
    assert steps == ((0, 1), (102, 0))


def test_the_window_begins_with_the_first_decision_also_where_its_answer_is_known():
    idle = recording([0], step_seconds=61.5, found=0)
    two = ScheduleEntry(
        days=tuple(range(7)), from_minute=0, until_minute=1, timezone="UTC", min_replicas=2
    )
    wanted = policy(Metric.DUTY_CYCLE, 10_000, schedule=(two,))
    # The first decision is about the range; two pods are kept when the minimum falls.
    assert same_steps(idle, lambda: HpaRules(idle, wanted), 0.0, 2.0) == ((0.0, 2),)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_the_scaler(case):
    recorded, wanted, start, interval = case
    same_steps(recorded, lambda: OurRules(recorded, wanted), start, interval)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_the_hpa(case):
    recorded, wanted, start, interval = case
    if any(one.average_value_milli is None for one in wanted.targets):
        return
    same_steps(recorded, lambda: HpaRules(recorded, wanted), start, interval)
