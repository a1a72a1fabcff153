# SPDX-License-Identifier: Apache-2.0
"""The time-weighted average of utilization samples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.nvml.window import DutyCycleWindow


def mean(window_seconds, *batches):
    window = DutyCycleWindow(window_seconds)
    for batch in batches:
        window.add((round(at_seconds * 1e6), percent) for at_seconds, percent in batch)
    return window.mean_percent()


def even(percents, *, step=0.2, start=100.0):
    return [(start + step * n, float(percent)) for n, percent in enumerate(percents)]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        pytest.param([], None, id="nothing is unknown, not 0"),
        pytest.param([(5.0, 40.0)], 40.0, id="one sample"),
        pytest.param(even([0] * 10), 0.0, id="idle"),
        pytest.param(even([63] * 100), 63.0, id="steady"),
        pytest.param(even([0] * 50 + [100] * 50), 100.0, id="only the window counts"),
        pytest.param(even([0] * 25 + [100] * 25), 50.0, id="half of it"),
        pytest.param(even([0] * 99 + [100]), 2.0, id="a burst of 200 ms in 10 s"),
        pytest.param([(0.0, 100.0), (1.0, 0.0), (1.5, 100.0)], 60.0, id="weighted by time"),
        pytest.param([(0.0, 0.0), (100.0, 50.0)], 50.0, id="after a gap"),
        pytest.param(
            [(0.0, 10.0), (8.0, 10.0), (8.5, 100.0)], 28.0, id="a gap weighs at most a second"
        ),
        pytest.param(even([50, 101, 4_000_000_000, -1, 50]), 50.0, id="impossible values"),
    ],
)
def test_mean(samples, expected):
    window_seconds = 10.0
    answer = mean(window_seconds, samples)
    assert answer == (None if expected is None else pytest.approx(expected))


def test_history_outlives_a_driver_buffer_shorter_than_the_window():
    first, second = even([0] * 25), even([100] * 25, start=105.0)
    assert mean(10.0, first, second) == pytest.approx(50.0)


def test_samples_that_are_known_already_do_not_count_twice():
    samples = even([0] * 25 + [100] * 25)
    assert mean(10.0, samples, samples, samples[30:]) == mean(10.0, samples)


def test_clear_forgets():
    window = DutyCycleWindow(10.0)
    window.add([(1000, 100.0)])
    window.clear()
    window.add([(1, 10.0)])
    assert window.mean_percent() == 10.0


SAMPLES = st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 100)), min_size=1, max_size=50)


@given(samples=SAMPLES, window_seconds=st.floats(0.1, 300))
def test_the_mean_lies_between_the_extremes(samples, window_seconds):
    answer = mean(window_seconds, samples)
    assert answer is not None
    percents = [percent for _, percent in samples]
    assert min(percents) - 0.001 <= answer <= max(percents) + 0.001


@given(batches=st.lists(SAMPLES, min_size=1, max_size=5), window_seconds=st.floats(0.1, 300))
def test_what_has_left_the_window_leaves_nothing_behind(batches, window_seconds):
    long_ago = [[(at - 2e6, percent) for at, percent in batch] for batch in batches]
    now = even([30, 60, 90])
    assert mean(window_seconds, *long_ago, now) == mean(window_seconds, [(-1e3, 0.0)], now)


@given(samples=SAMPLES, data=st.data())
def test_the_order_within_a_batch_does_not_count(samples, data):
    # Of two samples with one timestamp either may be kept; give each its own.
    unique = list({at: (at, percent) for at, percent in samples}.values())
    assert mean(10.0, unique) == mean(10.0, data.draw(st.permutations(unique)))
