# SPDX-License-Identifier: Apache-2.0
"""The load of the last hours: what is kept, what is unknown, and how much it can become."""

from __future__ import annotations

import sys
from array import array
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.decision.model import Decision, MetricProposal, Outcome
from scaler.model import DeploymentState, Metric, PodPhase, PodState, PodValue
from scaler.reporting.load_history import (
    KEPT_SECONDS,
    MAX_TARGETS,
    STEP_SECONDS,
    STEPS,
    LoadHistory,
    ReplicaChange,
)
from scaler.reporting.status_store import LoopReport, StatusStore
from tests.statuspage import decision, ref

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

FIRST = 1_000


def metric(name: Metric, *values: int, target: int | None = 40_000):
    return MetricProposal(
        metric=name,
        target_milli=target,
        replicas=1,
        mean_milli=None,
        values={
            ref(f"pod-{n}"): PodValue(value_milli=value, sampled_seconds=0.0)
            for n, value in enumerate(values)
        },
    )


def proposing(*proposals: MetricProposal, replicas: int = 2) -> Decision:
    return decision(replicas=replicas, proposals=proposals)


def history_of(*steps: Decision | None, ready: int | None = 2) -> LoadHistory:
    history = LoadHistory(FIRST)
    for number, one in enumerate(steps):
        if one is not None:
            history.add(FIRST + number, one, ready)
    return history


@pytest.mark.parametrize(
    ("proposal", "ready", "demand", "mean", "saturated"),
    [
        pytest.param(metric(Metric.DUTY_CYCLE, 30_000, 50_000), 2, 80_000, 40_000, False, id="sum"),
        pytest.param(
            metric(Metric.DUTY_CYCLE, 30_000, 50_000),
            3,
            120_000,
            40_000,
            False,
            id="a Ready pod that does not count has its part",
        ),
        pytest.param(
            metric(Metric.DUTY_CYCLE, 30_000), None, 30_000, 30_000, False, id="Ready pods unknown"
        ),
        pytest.param(
            metric(Metric.DUTY_CYCLE, 30_000, 99_000), 2, 129_000, 64_500, True, id="saturated"
        ),
        pytest.param(metric(Metric.DUTY_CYCLE), 2, None, None, False, id="no value"),
        pytest.param(
            metric(Metric.REQUESTS, 120_000), 1, 120_000, 120_000, False, id="never saturated"
        ),
        pytest.param(
            metric(Metric.QUERY, 80_000), 5, 80_000, 40_000, False, id="a total per replica"
        ),
        pytest.param(
            metric(Metric.QUEUE, 7_000, target=None), 5, 7_000, 7_000, False, id="without a target"
        ),
    ],
)
def test_what_a_metric_was(proposal, ready, demand, mean, saturated):
    (load,) = history_of(proposing(proposal), ready=ready).load().metrics
    assert (load.demand_milli, load.mean_milli) == ((demand,), (mean,))
    assert load.saturated == (saturated,)
    assert [tuple(one) for one in load.targets] == [(FIRST, proposal.target_milli)]


@pytest.mark.parametrize(
    ("steps", "counts"),
    [
        pytest.param([decision(replicas=1)], [1], id="one"),
        pytest.param(
            [decision(replicas=1, desired=2, outcome=Outcome.SCALED)], [2], id="the count wanted"
        ),
        pytest.param(
            [decision(replicas=1, desired=2, outcome=Outcome.DRY_RUN)], [1], id="a dry run"
        ),
        pytest.param(
            [decision(replicas=1), None, decision(replicas=3)], [1, 3, 3], id="one skipped"
        ),
        pytest.param(
            [decision(replicas=1), None, None, decision(replicas=3)],
            [1, None, None, 3],
            id="a gap is unknown",
        ),
        pytest.param([decision(replicas=70_000)], [65_534], id="more than is counted"),
    ],
)
def test_replica_counts(steps, counts):
    assert history_of(*steps).load().replicas == tuple(counts)


def test_a_metric_that_comes_and_goes_is_unknown_in_between():
    duty, requests = metric(Metric.DUTY_CYCLE, 1_000), metric(Metric.REQUESTS, 2_000)
    history = history_of(proposing(duty), proposing(duty, requests), proposing(requests))
    first, second = history.load().metrics
    assert (first.mean_milli, second.mean_milli) == ((1_000, 1_000, None), (None, 2_000, 2_000))


def test_a_metric_is_dropped_with_its_last_value():
    history = history_of(proposing(metric(Metric.DUTY_CYCLE, 1_000)))
    for step in range(1, STEPS + 1):
        history.add(FIRST + step, proposing(metric(Metric.REQUESTS, 1_000)), 1)
    assert [one.metric for one in history.load().metrics] == [Metric.REQUESTS]


def test_a_target_that_always_changes_is_bounded():
    history = history_of(
        *(proposing(metric(Metric.DUTY_CYCLE, 1, target=1 + n)) for n in range(2 * MAX_TARGETS))
    )
    (load,) = history.load().metrics
    assert [one.target_milli for one in load.targets] == [
        *range(MAX_TARGETS + 1, 2 * MAX_TARGETS + 1)
    ]


@given(
    st.lists(st.tuples(st.integers(1, 2 * STEPS), st.integers(0, 5)), min_size=1, max_size=40),
    st.integers(STEP_SECONDS, 2 * KEPT_SECONDS),
)
def test_it_shows_the_newest_in_order_and_nothing_else(samples, seconds):
    history = LoadHistory(FIRST)
    step, put = FIRST - 1, dict[int, int]()
    for pause, replicas in samples:
        if pause == 2 and put:
            put[step + 1] = replicas
        step += 1 if not put else pause
        put[step] = replicas
        history.add(step, decision(replicas=replicas), replicas)
    load = history.load(seconds)
    shown = range(load.first_step, step + 1)
    assert len(shown) <= min(STEPS, seconds // STEP_SECONDS)
    assert load.replicas == load.ready == tuple(put.get(one) for one in shown)
    changes = history.replica_changes(seconds)
    assert changes[0].unix_seconds == shown[0] * STEP_SECONDS
    assert all(a.replicas != b.replicas for a, b in pairwise(changes))
    assert changes[-1].replicas == samples[-1][1]


def lines_run(work: Callable[[], object]) -> int:
    """Return how many lines of Python a call runs: its cost, whatever else the machine does."""
    lines = 0

    def count(_frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        work()
    finally:
        sys.settrace(before)
    return lines


def test_a_sample_costs_the_same_whatever_was_skipped_before_it():
    costs = set()
    for pause in (1, 10, STEPS - 1, STEPS, 1000 * STEPS):
        history = history_of(decision(replicas=1), decision(replicas=2))
        step = FIRST + 1 + pause
        costs.add(lines_run(partial(history.add, step, decision(replicas=3), 3)))
    assert len(costs) == 1


def test_a_new_history_costs_no_more_than_a_sample():
    history = LoadHistory(FIRST)
    first = lines_run(partial(history.add, FIRST, decision(replicas=3), 3))
    assert first < 10 * lines_run(partial(history.add, FIRST + 1, decision(replicas=3), 3))


def size_of(history: LoadHistory) -> int:
    """Return the bytes of the arrays that a history holds."""
    sizes, seen = 0, [history]
    while seen:
        one = seen.pop()
        if isinstance(one, array):
            sizes += sys.getsizeof(one)
        elif isinstance(one, dict | tuple):
            seen += one.values() if isinstance(one, dict) else one
        else:
            seen += [getattr(one, name) for name in getattr(type(one), "__slots__", ())]
    return sizes


def test_two_thousand_stay_within_twenty_megabytes():
    history = history_of(*(decision(replicas=n % 7) for n in range(2 * STEPS)))
    assert STEPS * 4 < size_of(history) <= 10_000


def report(at: float) -> LoopReport:
    return LoopReport(ended_unix_seconds=at, succeeded=1, failed=0, max_age_seconds=0.5)


def state(*pods: PodState) -> DeploymentState:
    return DeploymentState(ref=ref("web"), uid="u", annotations={}, spec_replicas=3, pods=pods)


def pod(name: str, *, ready: bool = True, deleting: bool = False) -> PodState:
    return PodState(
        ref=ref(name),
        uid=name,
        phase=PodPhase.RUNNING,
        deleting=deleting,
        ready_since_seconds=0.0 if ready else None,
    )


def test_the_store_samples_once_per_step_and_a_new_deployment_at_once():
    store = StatusStore()
    pods = pod("a"), pod("b", ready=False), pod("c", deleting=True)
    store.record([decision(replicas=3)], report(0.0), [state(*pods)])
    store.record([decision(replicas=4)], report(STEP_SECONDS - 1.0), [state(*pods)])
    store.record([decision(replicas=5), decision("new")], report(STEP_SECONDS + 1.0))
    load = store.loads[ref("web")].load()
    assert (load.replicas, load.ready) == ((3, 5), (1, None))
    assert store.loads[ref("new")].replica_changes(60) == [ReplicaChange(STEP_SECONDS, 2)]
    store.record([decision("new")], report(STEP_SECONDS + 3.0))
    assert list(store.loads) == [ref("new")]


def test_a_clock_that_is_set_back_begins_anew():
    store = StatusStore()
    for at in (10_000.0, 10_030.0, 10_029.0, 10_060.0, 500.0):
        store.record([decision()], report(at))
    load = store.loads[ref("web")].load()
    assert (load.first_step, load.replicas) == (500 // STEP_SECONDS, (2,))
