# SPDX-License-Identifier: Apache-2.0
"""The last three minutes: means over GPUs and time, freshness, and the bound of what is kept."""

from __future__ import annotations

import math
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.metricsapi.history import (
    KEPT_SECONDS,
    MAX_SAMPLES,
    Target,
    TargetSample,
    TargetSeries,
    TargetStore,
)
from scaler.metricsapi.names import Resource

NOW = 10_000.0
TARGET = Target(Resource.PODS, "default", "web-1", "nvidia_gpu_duty_cycle")


def recorded(*rounds: dict[str, float], every: float = 5.0, until: float = NOW) -> TargetSeries:
    """A history of `rounds`, the last of them at `until`."""
    history = TargetSeries()
    for n, shown in enumerate(rounds):
        at = until - every * (len(rounds) - 1 - n)
        history.record({u: TargetSample(v, at, 15) for u, v in shown.items()})
    return history


def current(history: TargetSeries, **more):
    return history.value(over_time=False, now_seconds=NOW, **more)


def over_time(history: TargetSeries, **more):
    return history.value(over_time=True, now_seconds=NOW, **more)


def test_the_newest_value_is_the_mean_over_the_gpus():
    found = current(recorded({"a": 10, "b": 10}, {"a": 30, "b": 61}))
    assert (found.value_milli, found.window_seconds) == (45_500, None)
    assert found.sampled_seconds == NOW


@pytest.mark.parametrize(
    ("shown", "now_milli", "over_time_milli"),
    [
        ({"a": 64.1}, 64_100, 65_000),
        ({"a": 1.1}, 1_100, 2_000),
        ({"a": 0.0004}, 1, 1_000),
        ({"a": 0.1, "b": 0.2}, 150, 1_000),
        ({"a": 39.9, "b": 40.1}, 40_000, 40_000),
        ({"a": 0.0}, 0, 0),
    ],
)
def test_no_value_is_truncated(shown, now_milli, over_time_milli):
    history = recorded(shown, shown)
    assert current(history).value_milli == now_milli
    assert over_time(history).value_milli == over_time_milli


def test_it_is_as_old_as_the_oldest_of_its_gpus():
    history = TargetSeries()
    samples = {"a": TargetSample(1, NOW - 9, 15), "b": TargetSample(3, NOW - 2, 20)}
    history.record(samples)
    assert current(history).sampled_seconds == NOW - 9


@pytest.mark.parametrize("ask", [current, over_time])
@pytest.mark.parametrize(
    ("age", "has_value"),
    [pytest.param(15, True, id="fresh"), pytest.param(15.1, False, id="stale")],
)
def test_stale_is_no_value(ask, age, has_value):
    found = ask(recorded({"a": 40}, until=NOW - age))
    assert (found is not None) is has_value


@pytest.mark.parametrize("ask", [current, over_time])
def test_nothing_shown_is_no_value_and_not_0(ask):
    assert ask(TargetSeries()) is None
    assert ask(recorded({"a": 40}, {})) is None


def test_a_gpu_that_is_not_shown_any_more_is_not_counted():
    assert current(recorded({"a": 40, "b": 80}, {"a": 40})).value_milli == 40_000


def test_of_a_pod_that_shows_fewer_gpus_than_before_there_is_no_value():
    """A failed GPU takes its series along: half of a pod is not the pod."""
    history = TargetSeries(keeps_gpus=True)
    for at in (-400, -10, -5):
        history.record({"a": TargetSample(0, NOW + at, 15), "b": TargetSample(100, NOW + at, 15)})
    assert current(history).value_milli == 50_000
    history.record({"a": TargetSample(0, NOW, 15)})
    assert current(history) is None
    assert over_time(history) is None
    # The one that is there can be asked for, and so can a pod that came later in its place.
    assert current(history, selects=lambda uuid: uuid == "a").value_milli == 0
    assert current(history, since_seconds=NOW - 1).value_milli == 0
    assert current(history).value_milli == 0


def test_gpus_can_be_selected():
    history = recorded({"a": 30, "b": 61})
    assert current(history, selects=lambda uuid: uuid == "b").value_milli == 61_000
    assert current(history, selects=lambda uuid: uuid == "c") is None


@pytest.mark.parametrize(
    ("values", "value", "window"),
    [
        pytest.param([63], 63, 0, id="one sample"),
        pytest.param([10, 11], 11, 5, id="rounded up"),
        pytest.param([0] * 18, 0, 85, id="not yet half of the window"),
        pytest.param([50] * 19, 50, 90, id="half of the window"),
        pytest.param([100] * 10 + [0] * 36, 0, 180, id="what came before the window"),
        pytest.param([0] * 18 + [100] * 18, 50, 175, id="nearly all of the window"),
        pytest.param([100] + [0] * 18 + [100] * 18, 50, 180, id="all of the window"),
    ],
)
def test_the_average_over_time(values, value, window):
    found = over_time(recorded(*({"a": v} for v in values)))
    assert (found.value_milli, found.window_seconds) == (value * 1000, window)


@pytest.mark.parametrize(
    ("before", "away", "after", "covered"),
    [
        pytest.param(30, 100, 50, 80, id="an outage"),
        pytest.param(170, 100, 0, 80, id="just back"),
        pytest.param(100, 175, 0, 5, id="hardly anything"),
        pytest.param(300, 20, 160, 180, id="no longer than a value is of use"),
        pytest.param(300, 30, 160, 160, id="a short one, just outside"),
        pytest.param(300, 30, 100, 150, id="a short one, inside"),
    ],
)
def test_the_window_is_the_seconds_that_have_samples(before, away, after, covered):
    history = TargetSeries()
    begin = NOW - before - away - after
    for at in [*range(0, before + 1, 5), *range(before + away, before + away + after + 1, 5)]:
        history.record({"a": TargetSample(90, begin + at, 15)})
    assert over_time(history).window_seconds == covered


def test_the_window_is_that_of_the_gpu_with_the_fewest_samples():
    history = recorded({"a": 1, "b": 1}, {"a": 1}, {"a": 1, "b": 1}, {"a": 1, "b": 1}, every=15)
    assert over_time(history).window_seconds == 15


def test_the_average_over_time_is_of_each_gpu_first():
    found = over_time(recorded({"a": 100}, {"a": 100}, {"a": 100, "b": 0}))
    assert found.value_milli == 50_000


def test_an_earlier_pod_of_the_same_name_does_not_count():
    history = recorded({"a": 90}, {"a": 90}, {"a": 10}, {"a": 20})
    assert over_time(history, since_seconds=NOW - 6).value_milli == 15_000
    assert over_time(history, since_seconds=NOW - 6).window_seconds == 5
    assert current(history, since_seconds=NOW + 1) is None


def test_of_five_seconds_the_last_sample_counts():
    found = over_time(recorded({"a": 1}, {"a": 2}, {"a": 3}, every=0.1, until=NOW + 4))
    assert found.value_milli == 3000


def test_the_same_sample_read_twice_counts_once():
    history = recorded({"a": 10}, {"a": 20})
    history.record({"a": TargetSample(99, NOW, 15)})
    history.record({"a": TargetSample(99, NOW - 1, 15)})
    assert current(history).value_milli == 20_000
    assert over_time(history).value_milli == 15_000


def test_older_samples_are_put_before_those_that_are_there():
    history = recorded({"a": 100}, {"a": 100})
    older = [TargetSample(0, NOW - 100 + 5 * n, 15) for n in range(21)]
    history.fill("a", older)
    history.fill("of no pod", older)
    found = over_time(history)
    # 19 slots before the two, those at the same time not counted again.
    assert (found.value_milli, found.window_seconds) == (math.ceil(200 / 21) * 1000, 100)
    assert current(history).value_milli == 100_000


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.floats(0.001, 60), st.booleans()), min_size=1, max_size=200
    )
)
def test_a_mean_is_never_beyond_what_was_sampled(steps):
    history, at, seen = TargetSeries(), 0.0, []
    for value, pause, both in steps:
        at += pause
        seen.append((at, value))
        shown = {"a": TargetSample(value, at, 15)} | (
            {"b": TargetSample(value, at, 15)} if both else {}
        )
        history.record(shown)
        found = history.value(over_time=True, now_seconds=at)
        values = [value for when, value in seen if when >= at - 180]
        assert found is not None
        assert found.window_seconds is not None
        assert math.floor(min(values)) <= found.value_milli / 1000 <= math.ceil(max(values) + 1e-9)
        assert 0 <= found.window_seconds <= 180


def test_memory_has_a_bound():
    def fill(histories: list[TargetSeries], seconds: int) -> None:
        for at in range(seconds):
            for history in histories:
                history.record({"GPU-1": TargetSample(at * 0.5, float(at), 15)})

    histories = [TargetSeries() for _ in range(100)]
    tracemalloc.start()
    try:
        fill(histories, 400)
        first = tracemalloc.get_traced_memory()[0]
        fill(histories, 800)
        second = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert second <= first * 1.1
    # What the docs say: about 1 KiB per GPU and family.
    assert MAX_SAMPLES * 16 <= second / len(histories) <= 1500


def test_what_is_not_asked_for_any_more_is_forgotten():
    histories = TargetStore()
    other = TARGET._replace(name="web-2")
    assert histories.ask([TARGET, other], 0) == {TARGET, other}
    assert histories.ask([TARGET], KEPT_SECONDS) == frozenset()
    assert histories.wanted(KEPT_SECONDS) == {TARGET, other}
    assert histories.wanted(KEPT_SECONDS + 1) == {TARGET}
    assert (histories.get(other), len(histories)) == (None, 1)
    assert histories.get(TARGET) is histories[TARGET]
    assert histories.ask([other], KEPT_SECONDS + 2) == {other}
