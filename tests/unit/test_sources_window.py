# SPDX-License-Identifier: Apache-2.0
"""Averages over `gpu-scaler/window`."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.model import ObjectRef, PodPhase, PodState, PodValue
from scaler.readings.window import RANGES, PodWindow, not_yet, pod_ranges, serving_since


def value(milli: int, at: float) -> PodValue:
    return PodValue(value_milli=milli, sampled_seconds=at)


def window_of(*values: PodValue, seconds: float = 60) -> PodWindow:
    window = PodWindow(samples=())
    for one in values:
        window = window.add(one, window_seconds=seconds, longest_step_seconds=30)
    return window


def test_mean_over_the_window_at_the_newest_sample():
    window = window_of(value(10_000, 0), value(20_000, 30), value(60_000, 60))
    assert window.mean() == value(30_000, 60)
    assert window.covered_seconds(0, 60) == 60


def test_little_over_the_window_is_more_than_nothing():
    assert window_of(value(1, 0), value(0, 30), value(0, 60)).mean() == value(1, 60)
    assert window_of(value(0, 0), value(0, 30), value(0, 60)).mean() == value(0, 60)


def test_samples_older_than_the_window_leave():
    window = window_of(value(90_000, 0), value(10_000, 61), value(20_000, 90))
    assert window.mean() == value(15_000, 90)


@pytest.mark.parametrize(
    ("times", "since", "now", "expected"),
    [
        pytest.param([], 0, 10, 0, id="no samples"),
        pytest.param([10], 0, 10, 0, id="one sample"),
        pytest.param([10], 0, 12, 2, id="the newest is of use until now"),
        pytest.param([10, 20, 30], 0, 30, 20, id="samples without a break"),
        pytest.param([10, 20, 60], 0, 60, 10, id="an outage is not covered"),
        pytest.param([10, 20, 60, 65, 70], 0, 70, 20, id="before and after an outage"),
        pytest.param([10, 20, 30], 15, 30, 15, id="samples from before Ready"),
        pytest.param([10, 20, 30], 31, 40, 0, id="none since it was Ready"),
    ],
)
def test_what_is_covered_are_the_seconds_that_have_samples(times, since, now, expected):
    window = window_of(*(value(1, time) for time in times))
    assert window.covered_seconds(since, now) == expected


def test_the_mean_since_it_was_ready():
    window = window_of(value(0, 0), value(0, 30), value(60_000, 40), value(80_000, 60))
    assert window.mean(40) == value(70_000, 60)


def ready(since: float | None, served: float | None = None) -> PodState:
    return PodState(
        ref=ObjectRef(namespace="prod", name="web-0"),
        uid="1",
        phase=PodPhase.RUNNING,
        deleting=False,
        ready_since_seconds=since,
        served_seconds=served,
    )


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        pytest.param(ready(400), 400, id="Ready"),
        pytest.param(ready(1010), 1000, id="Ready by a clock that is ahead"),
        pytest.param(ready(None), 1000, id="never Ready"),
        pytest.param(ready(None, 300), 700, id="Ready until a moment ago"),
        pytest.param(ready(900, 300), 900, id="Ready again"),
    ],
)
def test_since_when_samples_tell_of_serving(pod, expected):
    assert serving_since(pod, 1000) == expected


@given(st.floats(0, 5000), st.floats(0.5, 3600))
def test_a_range_of_prometheus_begins_after_the_pod_was_ready(age, window):
    ranges = pod_ranges([ready(10_000 - age)], window, 10_000)
    age = 10_000 - (10_000 - age)
    ref = ready(0).ref
    if ref in ranges.too_young:
        assert age < window / 2
        assert f"only {math.floor(age)} s of the" in not_yet(ranges.too_young[ref], window)
    elif ref in ranges.milliseconds:
        milliseconds = ranges.milliseconds[ref]
        assert window / 2 - 0.01 <= milliseconds / 1000 <= age
        assert age - milliseconds / 1000 <= window / RANGES + 0.01
    else:
        assert age >= window


def test_the_same_snapshot_read_twice_counts_once():
    window = window_of(value(10_000, 5), value(10_000, 5), value(20_000, 6))
    assert window.mean() == value(15_000, 6)
