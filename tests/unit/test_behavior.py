# SPDX-License-Identifier: Apache-2.0
"""Stabilization and rate policies: every upstream vector, and their properties."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.decision import history as scaling_history
from scaler.decision.behavior import (
    DEFAULT_BEHAVIOR,
    limit_with_behavior,
    scale_down_limit,
    scale_up_limit,
    stabilized_replicas,
)
from scaler.decision.model import Recommendation, ScaleEvent, ScalingHistory
from scaler.model import Behavior, PolicyType, RatePolicy, ScalingRules, SelectPolicy
from scaler.replay.hpa import limit_without_behavior

NOW = 10_000.0


def rules(
    *policies: tuple[int, str, int], select: SelectPolicy = SelectPolicy.MAX, window: int = 0
) -> ScalingRules:
    return ScalingRules(
        stabilization_window_seconds=window,
        select_policy=select,
        policies=tuple(
            RatePolicy(type=PolicyType(kind), value=value, period_seconds=period)
            for value, kind, period in policies
        ),
        tolerance=0.1,
    )


def events(*changes: int, age: float = 1.0) -> tuple[ScaleEvent, ...]:
    return tuple(ScaleEvent(change=change, at_seconds=NOW - age) for change in changes)


def recommended(*pairs: tuple[int, float]) -> tuple[Recommendation, ...]:
    return tuple(Recommendation(replicas=count, at_seconds=NOW - age) for count, age in pairs)


DEFAULT_UP, DEFAULT_DOWN = DEFAULT_BEHAVIOR.scale_up, DEFAULT_BEHAVIOR.scale_down
WITHOUT_WINDOWS = Behavior(
    scale_up=DEFAULT_UP, scale_down=replace(DEFAULT_DOWN, stabilization_window_seconds=0)
)


@pytest.mark.parametrize(
    ("current", "wanted", "bounds", "up", "down", "ups", "downs", "expected", "reason"),
    [
        pytest.param(10, 50, (1, 50), None, None, (), (), 20, "ScaleUpLimit", id="default"),
        pytest.param(
            3, 1000, (1, 1000), rules((1, "Percent", 60)), None, (), (), 4, "ScaleUpLimit",
            id="up 1%",
        ),
        pytest.param(
            10, 500, (1, 1000), rules((100, "Pods", 60), (100, "Percent", 60)), None, (), (), 110,
            "ScaleUpLimit", id="up 100 pods and 100%",
        ),
        pytest.param(
            1000, 3, (1, 1000), None, rules((20, "Pods", 60)), (), (), 980, "ScaleDownLimit",
            id="down 20 pods",
        ),
        pytest.param(
            100, 2, (1, 1000), None, rules((20, "Pods", 60), (1, "Percent", 60)), (), (), 80,
            "ScaleDownLimit", id="down 20 pods and 1%",
        ),
        pytest.param(3, 1, (2, 10), None, None, (), (), 2, "TooFewReplicas", id="min"),
        pytest.param(
            20, 1000, (1, 10), None, None, (), (), 10, "TooManyReplicas", id="max below current"
        ),
        pytest.param(
            100, 500, (1, 1000), rules((5, "Pods", 120)), None, (1, 5, 9), (), 100, "ScaleUpLimit",
            id="ups {1,5,9}, up 5 pods",
        ),
        pytest.param(
            100, 500, (1, 1000), rules((150, "Pods", 120)), None, (1, 5, 9), (), 235,
            "ScaleUpLimit", id="ups {1,5,9}, up 150 pods",
        ),
        pytest.param(
            100, 500, (1, 1000), rules((200, "Percent", 120)), None, (1, 5, 9), (), 255,
            "ScaleUpLimit", id="ups {1,5,9}, up 200%",
        ),
        pytest.param(
            6, 24, (1, 1000), rules((300, "Percent", 300)), None, (4,), (2,), 16, "ScaleUpLimit",
            id="ups {4} downs {2}, up 300%",
        ),
        pytest.param(
            100, 0, (0, 1000), None, rules((50, "Percent", 120)), (), (2, 4, 6), 56,
            "ScaleDownLimit", id="downs {2,4,6}, down 50%",
        ),
        pytest.param(
            10, 1, (0, 1000), None, rules((50, "Percent", 180)), (2,), (4,), 6, "ScaleDownLimit",
            id="ups {2} downs {4}, down 50%",
        ),
        pytest.param(
            100, 0, (0, 1000), None, rules((10, "Percent", 120)), (), (10, 10, 10), 100,
            "ScaleDownLimit", id="downs {10,10,10}, down 10%",
        ),
        pytest.param(
            100, 2, (0, 1000), None, rules((5, "Pods", 120)), (), (1, 5, 9), 100, "ScaleDownLimit",
            id="downs {1,5,9}, down 5 pods",
        ),
        pytest.param(
            72, 1, (1, 100), None, rules((10, "Percent", 60)), (), (), 64, "ScaleDownLimit",
            id="a percentage down truncates: 8 of 72 removed",
        ),
        pytest.param(
            4, 8, (1, 100), rules(select=SelectPolicy.DISABLED), None, (), (), 4, "ScaleUpLimit",
            id="up disabled",
        ),
        pytest.param(
            4, 1, (1, 100), None, rules((100, "Percent", 15), select=SelectPolicy.DISABLED), (),
            (), 4, "ScaleDownLimit", id="down disabled",
        ),
        pytest.param(
            10, 50, (1, 100), rules((4, "Pods", 15), (100, "Percent", 15), select=SelectPolicy.MIN),
            None, (), (), 14, "ScaleUpLimit", id="Min takes the smallest change up",
        ),
        pytest.param(
            10, 1, (1, 100), None, rules((4, "Pods", 15), (90, "Percent", 15),
            select=SelectPolicy.MIN), (), (), 6, "ScaleDownLimit",
            id="Min takes the smallest change down",
        ),
        pytest.param(5, 7, (1, 10), None, None, (), (), 7, None, id="within everything"),
        pytest.param(5, 5, (1, 10), None, None, (), (), 5, None, id="no change"),
    ],
)  # fmt: skip
def test_scaling_with_rules(current, wanted, bounds, up, down, ups, downs, expected, reason):
    behavior = Behavior(scale_up=up or DEFAULT_UP, scale_down=down or WITHOUT_WINDOWS.scale_down)
    limited = limit_with_behavior(
        current_replicas=current,
        proposed_replicas=wanted,
        min_replicas=bounds[0],
        max_replicas=bounds[1],
        behavior=behavior,
        history=ScalingHistory(scale_ups=events(*ups), scale_downs=events(*downs)),
        now_seconds=NOW,
    )
    assert limited.replicas == expected
    assert [limit.reason for limit in limited.limits] == ([reason] if reason else [])
    for limit in limited.limits:
        assert (limit.replicas_before, limit.replicas_after) == (wanted, expected)


@pytest.mark.parametrize(
    ("recommendations", "proposed", "expected"),
    [
        pytest.param((), 5, 5, id="[]"),
        pytest.param(((4, 120), (5, 60)), 3, 5, id="4@-2m 5@-1m"),
        pytest.param(((1, 120), (2, 60)), 3, 3, id="1@-2m 2@-1m"),
        pytest.param(((10, 600), (9, 540)), 3, 3, id="10@-10m 9@-9m"),
        pytest.param(((10, 600), (4, 60), (5, 120), (9, 540)), 3, 5, id="mixed ages"),
        pytest.param(((10, 300),), 3, 3, id="exactly as old as the window is outside"),
        pytest.param(((10, 299.9),), 3, 10, id="just younger than the window is inside"),
    ],
)
def test_downscale_stabilization_vectors(recommendations, proposed, expected):
    history = recommended(*recommendations)
    without, reasons = limit_without_behavior(
        current_replicas=100,
        proposed_replicas=proposed,
        min_replicas=1,
        max_replicas=100,
        recommendations=history,
        now_seconds=NOW,
    )
    modern = stabilized_replicas(
        current_replicas=100,
        proposed_replicas=proposed,
        behavior=DEFAULT_BEHAVIOR,
        recommendations=history,
        now_seconds=NOW,
    )
    assert (without, modern) == (expected, expected)
    assert reasons == (("ScaleDownStabilized",) if expected != proposed else ())


def test_old_recommendations_do_not_move_a_stabilized_count():
    limited = limit_with_behavior(
        current_replicas=4,
        proposed_replicas=2,
        min_replicas=1,
        max_replicas=20,
        behavior=DEFAULT_BEHAVIOR,
        history=ScalingHistory(recommendations=recommended((10, 600), (4, 60))),
        now_seconds=NOW,
    )
    assert limited.replicas == 4
    assert [limit.reason for limit in limited.limits] == ["ScaleDownStabilized"]
    assert "4 instead of 2" in limited.limits[0].message


@pytest.mark.parametrize(
    ("current", "recommendations", "proposed", "expected"),
    [
        pytest.param(3, ((4, 30), (8, 10)), 9, 4, id="up no further than the lowest"),
        pytest.param(3, ((2, 30),), 9, 3, id="a lower one holds at the current count"),
        pytest.param(3, ((2, 90),), 9, 9, id="outside the window"),
    ],
)
def test_scale_up_stabilization(current, recommendations, proposed, expected):
    behavior = Behavior(
        scale_up=replace(DEFAULT_UP, stabilization_window_seconds=60, policies=(
            RatePolicy(type=PolicyType.PODS, value=100, period_seconds=15),
        )),
        scale_down=DEFAULT_DOWN,
    )  # fmt: skip
    limited = limit_with_behavior(
        current_replicas=current,
        proposed_replicas=proposed,
        min_replicas=1,
        max_replicas=100,
        behavior=behavior,
        history=ScalingHistory(recommendations=recommended(*recommendations)),
        now_seconds=NOW,
    )
    assert limited.replicas == expected
    reasons = [limit.reason for limit in limited.limits]
    assert reasons == (["ScaleUpStabilized"] if expected != proposed else [])


@pytest.mark.parametrize(
    ("current", "proposed", "bounds", "expected", "reason"),
    [
        pytest.param(10, 50, (1, 100), 20, "ScaleUpLimit", id="doubles at most"),
        pytest.param(1, 50, (1, 100), 4, "ScaleUpLimit", id="but 4 at least"),
        pytest.param(10, 50, (1, 15), 15, "TooManyReplicas", id="max"),
        pytest.param(10, 1, (3, 15), 3, "TooFewReplicas", id="min"),
        pytest.param(10, 12, (3, 15), 12, None, id="within"),
    ],
)
def test_limits_without_behavior(current, proposed, bounds, expected, reason):
    limited = limit_without_behavior(
        current_replicas=current,
        proposed_replicas=proposed,
        min_replicas=bounds[0],
        max_replicas=bounds[1],
        recommendations=(),
        now_seconds=NOW,
    )
    assert limited == (expected, (reason,) if reason else ())


def test_a_percentage_alone_never_leaves_zero():
    assert scale_up_limit(0, rules((1000, "Percent", 15)), ScalingHistory(), NOW) == 0
    assert scale_up_limit(0, DEFAULT_UP, ScalingHistory(), NOW) == 4


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        pytest.param(59.9, 13, id="inside its period an event counts"),
        pytest.param(60.0, 20, id="as old as the period it does not"),
    ],
)
def test_events_leave_their_period(age, expected):
    history = ScalingHistory(scale_ups=events(7, age=age))
    assert scale_up_limit(10, rules((10, "Pods", 60)), history, NOW) == expected


def test_the_history_keeps_what_some_window_reaches():
    history = ScalingHistory(recommendations=recommended((9, 301), (8, 299), (5, 10)))
    kept = scaling_history.recommended(history, 5, DEFAULT_BEHAVIOR, NOW).recommendations
    assert [(item.replicas, NOW - item.at_seconds) for item in kept] == [(8, 299.0), (5, 0.0)]

    behavior = Behavior(scale_up=rules((4, "Pods", 60)), scale_down=rules((4, "Pods", 120)))
    history = ScalingHistory(
        scale_ups=events(1, age=121) + events(2, age=119), scale_downs=events(3, age=120)
    )
    changed = scaling_history.changed(history, 5, 8, behavior, NOW)
    assert [event.change for event in changed.scale_ups] == [2, 3]
    assert changed.scale_downs == ()
    changed = scaling_history.changed(changed, 8, 0, behavior, NOW)
    assert [event.change for event in changed.scale_downs] == [8]
    assert changed.scaled_to_zero
    assert not scaling_history.changed(changed, 0, 1, behavior, NOW).scaled_to_zero


def test_the_count_found_is_the_first_recommendation():
    first = scaling_history.seeded(ScalingHistory(), 7, DEFAULT_BEHAVIOR, NOW)
    assert first.recommendations == recommended((7, 0))
    assert scaling_history.seeded(first, 3, DEFAULT_BEHAVIOR, NOW + 299) is first
    later = scaling_history.seeded(first, 3, DEFAULT_BEHAVIOR, NOW + 300)
    assert [item.replicas for item in later.recommendations] == [3]


def test_without_a_down_window_the_count_found_holds_nothing():
    behavior = Behavior(
        scale_up=replace(DEFAULT_UP, stabilization_window_seconds=60),
        scale_down=WITHOUT_WINDOWS.scale_down,
    )
    history = scaling_history.seeded(ScalingHistory(), 2, behavior, NOW)
    for second in range(1, 120):
        history = scaling_history.seeded(history, 2, behavior, NOW + second)
        history = scaling_history.recommended(history, 9, behavior, NOW + second)
    assert {item.replicas for item in history.recommendations} == {9}


def test_newest_instant():
    assert scaling_history.newest_seconds(ScalingHistory()) == float("-inf")
    history = ScalingHistory(recommendations=recommended((1, 5)), scale_downs=events(1, age=2))
    assert scaling_history.newest_seconds(history) == NOW - 2


@given(
    sequence=st.lists(st.tuples(st.floats(0.1, 100), st.integers(0, 60)), min_size=1, max_size=40),
    up=st.integers(1, 10),
    down=st.integers(1, 10),
)
def test_rates_hold_over_any_sequence(sequence, up, down):
    """Within any period no more pods are added or removed, net, than its policy allows."""
    behavior = Behavior(scale_up=rules((up, "Pods", 60)), scale_down=rules((down, "Pods", 90)))
    now, current, history = 0.0, 10, ScalingHistory()
    past: list[tuple[float, int]] = [(now, current)]
    for wait, wanted in sequence:
        now += wait
        after = limit_with_behavior(
            current_replicas=current,
            proposed_replicas=wanted,
            min_replicas=0,
            max_replicas=60,
            behavior=behavior,
            history=history,
            now_seconds=now,
        ).replicas
        history = scaling_history.changed(history, current, after, behavior, now)
        for period, allowed, sign in ((60, up, 1), (90, down, -1)):
            # The count at the start of the period is the last one set before it began.
            start = [count for at, count in past if at <= now - period] or [past[0][1]]
            if (after - current) * sign > 0:
                assert (after - start[-1]) * sign <= allowed
        current = after
        past.append((now, current))


@given(
    steps=st.lists(st.tuples(st.floats(0.0, 200), st.integers(0, 30)), min_size=1, max_size=40),
    current=st.integers(0, 30),
    windows=st.tuples(st.integers(0, 300), st.integers(0, 300)),
)
def test_dropping_equal_recommendations_changes_nothing(steps, current, windows):
    behavior = Behavior(
        scale_up=replace(DEFAULT_UP, stabilization_window_seconds=windows[0]),
        scale_down=replace(DEFAULT_DOWN, stabilization_window_seconds=windows[1]),
    )
    now, history = 0.0, ScalingHistory()
    everything: list[Recommendation] = []
    for wait, proposed in steps:
        now += wait
        outcomes = [
            stabilized_replicas(
                current_replicas=current,
                proposed_replicas=proposed,
                behavior=behavior,
                recommendations=recommendations,
                now_seconds=now,
            )
            for recommendations in (history.recommendations, everything)
        ]
        assert outcomes[0] == outcomes[1]
        history = scaling_history.recommended(history, proposed, behavior, now)
        everything.append(Recommendation(replicas=proposed, at_seconds=now))


@given(
    current=st.integers(0, 1000),
    ups=st.lists(st.integers(1, 1000), max_size=5),
    downs=st.lists(st.integers(1, 1000), max_size=5),
    value=st.integers(1, 2**31 - 1),
    kind=st.sampled_from(["Pods", "Percent"]),
    select=st.sampled_from(SelectPolicy),
)
def test_limits_never_go_past_the_current_count(current, ups, downs, value, kind, select):
    history = ScalingHistory(scale_ups=events(*ups), scale_downs=events(*downs))
    assert scale_up_limit(current, rules((value, kind, 60), select=select), history, NOW) >= current
    down = scale_down_limit(current, rules((value, kind, 60), select=select), history, NOW)
    assert down <= current
