# SPDX-License-Identifier: Apache-2.0
"""What the scaler and the HPA would have done with a recording, and what it is counted as."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.decision.behavior import DEFAULT_BEHAVIOR
from scaler.model import Metric, MetricTarget, ScheduleEntry
from scaler.replay.accounting import account, busy_pods
from scaler.replay.model import HPA, ReplicaStep
from scaler.replay.replay import as_it_was, replay
from tests.unit.replay.recordings import policy, recorded_metric, recording

replay_hpa = partial(replay, party=HPA)
SIXTY = policy(Metric.DUTY_CYCLE, 60_000)


def steps(result):
    return [(one.at_seconds, one.replicas) for one in result.steps]


def ours(recorded, wanted=SIXTY, **more):
    return replay(recorded, wanted, start_seconds=40.0, **more)


def test_pods_start_before_they_count_and_the_last_window_holds_the_count():
    # Work for three pods from 60 s until 660 s: saturation hides it, so the count doubles.
    load = recording([30_000] * 4 + [300_000] * 40 + [30_000] * 60)
    result = ours(load)
    # Ready after 40 s and 10 s older, each growth follows.
    assert steps(result) == [(0, 1), (60, 2), (110, 4), (160, 5), (958, 1)]
    assert (result.changes, result.highest_replicas, result.seconds) == (4, 5, 1560)
    # Saturated from 60 s until the third and fourth pod are Ready.
    assert result.saturated_share == pytest.approx(90 / 1560)
    replica_seconds = 60 * 1 + 50 * 2 + 50 * 4 + 798 * 5 + 602 * 1
    assert result.gpu_hours == pytest.approx(replica_seconds / 3600)
    doubled = ours(replace(load, gpus_per_replica=2))
    assert doubled.gpu_hours == pytest.approx(2 * result.gpu_hours)


def test_a_pod_that_starts_sooner_is_followed_sooner():
    load = recording([30_000] * 4 + [300_000] * 40)
    slow = replay(load, SIXTY, start_seconds=120.0)
    fast = replay(load, SIXTY, start_seconds=10.0)
    assert fast.saturated_share is not None
    assert slow.saturated_share is not None
    assert fast.saturated_share < slow.saturated_share


def test_unknown_demand_holds_the_count_and_is_not_accounted_for():
    result = ours(recording([30_000] * 4 + [None] * 40 + [30_000] * 40, found=3))
    # After the gap a whole window passes before the count goes down.
    assert steps(result) == [(0, 3), (960, 1)]
    assert result.seconds == 44 * 15
    assert result.gpu_hours == pytest.approx((360 * 3 + 300 * 1) / 3600)


@pytest.mark.parametrize(
    ("metric", "target", "one", "counts"),
    [
        (Metric.QUEUE, 4_000, 1_000, [1, 0, 2, 1, 0]),
        (Metric.QUERY, 4_000, 1_000, [1, 0, 2, 1, 0]),
        (Metric.QUEUE, None, 1_000, [1, 0, 1, 0]),
    ],
)
def test_to_zero_after_the_cooldown_and_back_with_the_first_demand(metric, target, one, counts):
    load = recording([0] * 60 + [7 * one] * 20 + [0] * 60, metric=metric)
    result = ours(load, policy(metric, target, min_replicas=0, cooldown_seconds=600.0))
    assert [one.replicas for one in result.steps] == counts
    assert (600, 0) in steps(result)
    assert 900 in [one.at_seconds for one in result.steps]
    # Demand without a pod waits for its start.
    assert result.saturated_share == pytest.approx(40 / 2100)


def test_demand_up_to_the_activation_threshold_starts_no_pod():
    load = recording([3_000] * 60, metric=Metric.QUEUE, found=0)
    result = ours(load, policy(Metric.QUEUE, 4_000, min_replicas=0, activation_milli=3_000))
    assert steps(result) == [(0, 0)]
    assert result.saturated_share == 1.0


def test_a_count_outside_the_range_goes_back_at_once():
    load = recording([0] * 4, found=9)
    assert steps(ours(load, replace(SIXTY, min_replicas=2, max_replicas=4)))[0] == (0, 4)
    assert steps(ours(recording([0] * 4, found=0), SIXTY)) == [(0, 1)]
    assert steps(ours(recording([0] * 4, found=None), replace(SIXTY, min_replicas=3))) == [(0, 3)]


def test_a_schedule_sets_the_range_at_its_time():
    # The recording begins on a Thursday at 00:00 UTC.
    minutes = ScheduleEntry(
        days=(3,), from_minute=5, until_minute=10, timezone="UTC", min_replicas=4
    )
    wanted = replace(SIXTY, schedule=(minutes,))
    assert steps(ours(recording([0] * 80), wanted)) == [(0, 1), (300, 4), (600, 1)]
    hpa = replay_hpa(recording([0] * 80), wanted, start_seconds=40.0)
    assert steps(hpa)[:2] == [(0, 1), (300, 4)]


def test_a_window_shows_the_mean():
    # Ten seconds of every minute are busy.
    load = recording(([0] * 5 + [90_000]) * 20, step_seconds=10.0)
    assert ours(load).highest_replicas == 2
    assert ours(load, replace(SIXTY, window_seconds=60.0)).highest_replicas == 1


def test_pause_and_dry_run_do_not_count():
    load = recording([300_000] * 20)
    assert ours(load, replace(SIXTY, paused=True, dry_run=True)) == ours(load)


def test_the_hpa_sees_no_readiness_and_keeps_a_pod():
    # The pods that load are idle, so that the HPA grows in other steps.
    load = recording([30_000] * 4 + [300_000] * 40 + [30_000] * 60)
    result = replay_hpa(load, SIXTY, start_seconds=40.0)
    assert steps(result) == [(0, 1), (60, 2), (105, 4), (150, 5), (945, 1)]
    idle = recording([0] * 100, metric=Metric.QUEUE)
    to_zero = policy(Metric.QUEUE, 4_000, min_replicas=0)
    assert steps(replay_hpa(idle, to_zero, start_seconds=40.0)) == [(0, 1)]


def test_the_hpa_follows_a_behavior():
    down = replace(DEFAULT_BEHAVIOR.scale_down, stabilization_window_seconds=60)
    sooner = replace(SIXTY, behavior=replace(DEFAULT_BEHAVIOR, scale_down=down))
    load = recording([200_000] * 40 + [30_000] * 60, found=4)
    assert steps(replay_hpa(load, SIXTY, start_seconds=40.0))[-1] == (885, 1)
    assert steps(replay_hpa(load, sooner, start_seconds=40.0))[-1] == (645, 1)


def test_the_recorded_counts_are_taken_as_they_were():
    demand = recorded_metric([90_000, None, 200_000, 200_000], floor=(False, False, True, True))
    load = replace(
        recording(demand.demand_milli, step_seconds=60.0),
        metrics=(demand,),
        replicas=(1, None, 2, 3),
    )
    result = as_it_was(load)
    assert result.steps == (
        ReplicaStep(0, 1),
        ReplicaStep(60, None),
        ReplicaStep(120, 2),
        ReplicaStep(180, 3),
    )
    assert (result.seconds, result.changes, result.highest_replicas) == (180, 2, 3)
    assert result.gpu_hours == pytest.approx(6 / 60)
    assert result.saturated_share == pytest.approx(2 / 3)
    unknown = as_it_was(recording([4_000] * 3, metric=Metric.QUERY, found=None))
    assert (unknown.seconds, unknown.saturated_share, unknown.highest_replicas) == (0, None, 0)


def test_without_a_top_what_is_above_the_target_waits():
    load = recording([4_300, 4_500, 4_000, 9_000], metric=Metric.QUERY)
    four = policy(Metric.QUERY, 4_000, max_replicas=1)
    assert ours(load, four).saturated_share == 0.5
    assert ours(load, four, capacity_milli=9_000).saturated_share == 0.25


def test_a_pod_stays_where_only_pods_have_values():
    load = recording([0] * 60 + [7_000] * 20, metric=Metric.REQUESTS)
    found = ours(load, policy(Metric.REQUESTS, 4_000, min_replicas=0, cooldown_seconds=10.0))
    assert steps(found) == [(0, 1), (900, 2)]


def two_targets(**more):
    """60 % duty cycle, and a query's value of 4 for each pod."""
    query = MetricTarget(metric=Metric.QUERY, average_value_milli=4_000)
    return policy(Metric.DUTY_CYCLE, 60_000, more_targets=(query,), **more)


def queries(*demand):
    return recorded_metric(demand, Metric.QUERY)


@pytest.mark.parametrize("function", [replay, replay_hpa])
def test_the_metric_that_asks_for_the_most_decides(function):
    # By the duty cycle four pods are too many, by the query too few.
    load = recording([60_000] * 40, queries(*[4_000] * 20, *[24_000] * 20), found=4)
    result = function(load, two_targets(), start_seconds=40.0)
    assert result.steps[-1].replicas == 6
    assert result.target_milli == 60_000
    alone = function(recording([60_000] * 40, found=4), SIXTY, start_seconds=40.0)
    assert alone.steps[-1].replicas == 1


@pytest.mark.parametrize("function", [replay, replay_hpa])
def test_while_one_metric_is_unknown_the_others_only_add_pods(function):
    load = recording([60_000] * 20 + [380_000] * 40, queries(*[None] * 60), found=4)
    result = function(load, two_targets(), start_seconds=0.0)
    assert min(one.replicas for one in result.steps) == 4
    assert result.steps[-1].replicas == 7
    assert result.seconds == 900


def test_a_query_lets_the_last_pod_go_and_brings_the_first():
    load = recording(
        [0] * 60 + [None] * 20 + [50_000] * 9, queries(*[0] * 60, *[6_000] * 20, *[4_000] * 9)
    )
    counts = [count for _, count in steps(ours(load, two_targets(min_replicas=0)))]
    assert counts == [1, 0, 2]


def test_what_saturates_is_a_metric_in_percent_where_there_is_one():
    waiting = queries(*[40_000] * 4)
    one = policy(Metric.DUTY_CYCLE, 60_000, more_targets=two_targets().targets[1:], max_replicas=1)
    busy = recording([90_000, 100_000, 20_000, 20_000], waiting)
    assert ours(busy, one).saturated_share == 0.25
    # Of totals and power it is what is above the target.
    power = recording([1_000] * 4, waiting, metric=Metric.POWER_USAGE_MILLIWATTS)
    watts = policy(Metric.POWER_USAGE_MILLIWATTS, 5_000, more_targets=one.targets[1:])
    assert ours(power, replace(watts, max_replicas=1)).saturated_share == 1


@pytest.mark.parametrize("function", [replay, replay_hpa])
def test_a_policy_without_a_target_for_the_metric_is_refused(function):
    with pytest.raises(ValueError, match="requests"):
        function(recording([1], metric=Metric.REQUESTS), SIXTY, start_seconds=40.0)


def test_a_replay_can_be_stopped():
    load = recording([(n * 7919) % 900_000 for n in range(500)])
    with pytest.raises(TimeoutError):
        ours(load, should_stop=lambda: True)


def test_the_same_input_gives_the_same_output():
    load = recording([(n * 7919) % 900_000 for n in range(500)])
    assert ours(load) == ours(load)
    first = replay_hpa(load, SIXTY, start_seconds=40.0)
    assert first == replay_hpa(load, SIXTY, start_seconds=40.0)


DEMANDS = st.lists(st.one_of(st.none(), st.integers(0, 500_000)), min_size=1, max_size=12)
COUNTS = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5)), max_size=8)


@settings(deadline=None)
@given(DEMANDS, COUNTS, st.integers(0, 30))
def test_the_account_is_that_of_every_second(demands, counts, start):
    load = recording(demands, step_seconds=10.0)
    until, begin = 10.0 * len(demands), 0.0
    course = [(0.0, 1)]
    for seconds, count in counts:
        begin += seconds
        if begin < until:
            course.append((begin, count))
    steps = [ReplicaStep(*one) for one in course]
    busy = busy_pods(load.metrics, {Metric.DUTY_CYCLE: 99_000})
    sums = account(busy, 10.0, steps, start_seconds=start)

    pods: list[int] = [-start]
    expected: list[float] = [0.0] * 5
    for second in range(int(until)):
        replicas = max((begin, count) for begin, count in course if begin <= second)[1]
        del pods[replicas:]
        pods += [second] * (replicas - len(pods))
        ready = sum(created + start <= second for created in pods)
        demand = demands[second // 10]
        if demand is not None:
            over = demand > 0 and demand >= ready * 99_000
            busy = demand / 99_000
            found = (1, len(pods), over, busy, busy * over)
            expected = [a + b for a, b in zip(expected, found, strict=True)]
    assert list(sums) == pytest.approx(expected)
