# SPDX-License-Identifier: Apache-2.0
"""Pods' samples become the demand of a Deployment; what is unknown stays unknown."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.model import Metric, ObjectRef
from scaler.readings.prometheus.range_chunks import Span
from scaler.replay.demand import MAX_STEPS, DemandBuilder

BEGIN = 1_700_000_000.0
A, B = (ObjectRef("prod", name) for name in ("web-a", "web-b"))


def builder(steps=4, metric=Metric.DUTY_CYCLE, step_seconds=15.0, **more):
    return DemandBuilder(metric, Span(BEGIN, step_seconds, steps), **more)


def at_steps(*values, step_seconds=15.0):
    """One sample for each step; None for none."""
    return [
        (BEGIN + step_seconds * step, value)
        for step, value in enumerate(values)
        if value is not None
    ]


def demand(steps, *pods, **more):
    built = builder(steps, **more)
    for pod, samples in zip((A, B), pods, strict=False):
        built.add(pod, samples)
    return built.built()


def test_the_demand_is_the_sum_over_pods():
    found = demand(4, at_steps(10, 20, 30, 40), at_steps(1, 2, 3, 4.5))
    assert found.metric.demand_milli == (11_000, 22_000, 33_000, 44_500)
    assert found.replicas == (2, 2, 2, 2)
    assert found.metric.floor == (False,) * 4
    assert found.notes == ()


@pytest.mark.parametrize(
    ("metric", "floor"),
    [(Metric.DUTY_CYCLE, True), (Metric.KV_CACHE_PERCENT, True), (Metric.REQUESTS, False)],
)
def test_a_saturated_pod_makes_the_demand_a_floor(metric, floor):
    found = demand(2, at_steps(99, 98.9), at_steps(5, 5), metric=metric)
    assert found.metric.floor == (floor, False)


def test_a_pod_without_samples_between_others_makes_the_demand_unknown():
    found = demand(6, at_steps(10, None, None, None, 50, 60), at_steps(1, 1, 1, 1, 1, 1))
    assert found.metric.demand_milli == (11_000, None, None, None, 51_000, 61_000)
    assert found.replicas == (2,) * 6
    assert len(found.notes) == 1


def test_one_step_without_a_sample_is_bridged():
    found = demand(4, at_steps(10, None, 30, 40))
    assert found.metric.demand_milli == (10_000, 10_000, 30_000, 40_000)
    assert found.notes == ()


def test_nothing_known_is_unknown_and_not_zero():
    found = demand(4)
    assert found.metric.demand_milli == found.replicas == (None,) * 4


def test_pods_come_and_go():
    # One ends before another begins; a StatefulSet's comes back after an hour.
    found = demand(4, at_steps(10, 10), at_steps(None, 5, 5, 5))
    assert found.metric.demand_milli == (10_000, 15_000, 5_000, 5_000)
    assert found.replicas == (1, 2, 1, 1)
    hour = [8, *[None] * 10, 9]
    found = demand(
        12,
        at_steps(*hour, step_seconds=360.0),
        at_steps(*[1] * 12, step_seconds=360.0),
        step_seconds=360.0,
    )
    assert found.metric.demand_milli == (9_000, *[1_000] * 10, 10_000)
    assert found.replicas == (2, *[1] * 10, 2)


@pytest.mark.parametrize(
    ("samples", "expected", "word"),
    [
        ([(BEGIN, 10), (BEGIN, 10), (BEGIN + 15, 20)], (10_000, 20_000), "same time"),
        ([(BEGIN, 10), (BEGIN + 15, 20), (BEGIN + 3, 5)], (10_000, 20_000), "older"),
        ([(BEGIN, 10), (BEGIN + 3, 20), (BEGIN + 15, 0)], (15_000, 0), None),
        ([(BEGIN, 10), (BEGIN + 15, math.nan)], (10_000, None), "negative"),
        ([(BEGIN, 10), (BEGIN + 15, 1e308)], (10_000, None), "negative"),
        ([(BEGIN, -1), (BEGIN + 15, 3)], (None, 3_000), "negative"),
        ([(BEGIN - 15, 1), (BEGIN, 2), (BEGIN + 15, 3), (BEGIN + 30, 4)], (2_000, 3_000), "2 "),
    ],
)
def test_samples_of_every_kind(samples, expected, word):
    found = demand(2, samples)
    assert found.metric.demand_milli == expected
    assert [word in note for note in found.notes] == ([True] if word else [])


def test_chunks_that_overlap_count_once():
    built = builder()
    built.add(A, at_steps(1, 2, 3))
    built.add(A, at_steps(None, None, 3, 4))
    built.add(A, [(BEGIN + 50, 9)])
    assert built.built().metric.demand_milli == (1_000, 2_000, 3_000, 4_000)


def test_a_counter_counts_per_second_across_resets():
    found = demand(5, at_steps(100, 130, 15, None, 60), metric=Metric.POD_METRIC, is_counter=True)
    assert found.metric.demand_milli == (None, 2_000, 1_000, 1_000, 1_500)
    assert len(found.notes) == 1


def test_a_total_has_no_pods():
    built = builder(3, metric=Metric.QUEUE)
    built.add_total(at_steps(4, 0, 250))
    found = built.built()
    assert found.metric.demand_milli == (4_000, 0, 250_000)
    assert found.replicas == (None,) * 3
    assert found.metric.floor == (False,) * 3


@pytest.mark.parametrize(("steps", "step_seconds"), [(0, 15.0), (MAX_STEPS + 1, 15.0), (4, 0.0)])
def test_impossible_steps_are_refused(steps, step_seconds):
    with pytest.raises(ValueError, match="steps"):
        builder(steps, step_seconds=step_seconds)


SAMPLES = st.lists(
    st.tuples(st.floats(BEGIN - 100, BEGIN + 1_000), st.floats(-1, 200)), max_size=60
)


@given(SAMPLES, SAMPLES)
def test_the_demand_does_not_exceed_what_the_pods_showed(of_a, of_b):
    found = demand(60, sorted(of_a), sorted(of_b))
    for total, pods in zip(found.metric.demand_milli, found.replicas, strict=True):
        assert (total is None) or 0 <= total <= 200_000 * (pods or 0)
