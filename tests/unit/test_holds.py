# SPDX-License-Identifier: Apache-2.0
"""The count found after a start, a takeover, a hold or a gap: kept on the way down only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from scaler.decision.behavior import DEFAULT_BEHAVIOR
from scaler.decision.decide import decide
from scaler.model import Behavior, PolicyType, RatePolicy
from tests.unit.deployments import NOW, deployment, policy, reading, ready_pods

if TYPE_CHECKING:
    from scaler.decision.model import ScalingHistory
    from scaler.model import ScalingPolicy


def after(
    seconds: float, history: ScalingHistory | None, values, rules: ScalingPolicy, *, count: int
):
    """What is decided that much later, of values that are as fresh as ever."""
    now = NOW + seconds
    fresh = {
        metric: replace(
            one,
            values={
                ref: replace(value, sampled_seconds=now - 1) for ref, value in one.values.items()
            },
        )
        for metric, one in values.items()
    }
    return decide(deployment(ready_pods(count)), rules, fresh, history, now)


HOLDS = {
    "no values": reading([]),
    "a warned source": reading([0] * 10, problem="partial"),
    "nothing read": {},
    "one value of ten is missing": reading([0] * 9),
}


@pytest.mark.parametrize("held_seconds", [2, 290, 296, 298, 300, 302, 1000])
@pytest.mark.parametrize("low_seconds", [0, 200])
@pytest.mark.parametrize("how", HOLDS)
def test_after_a_hold_of_any_length_the_whole_window_passes(held_seconds, low_seconds, how):
    at, history = 0, None
    for lasts, values in (
        (310, reading([40] * 10)),
        (low_seconds, reading([0] * 10)),
        (held_seconds, HOLDS[how]),
    ):
        for second in range(at, at + lasts, 2):
            decision = after(second, history, values, policy(), count=10)
            assert decision.desired_replicas == 10
            history = decision.history
        at += lasts
    for second in range(at, at + 310, 2):
        decision = after(second, history, reading([0] * 10), policy(), count=10)
        history = decision.history
        if decision.desired_replicas < 10:
            break
    assert 298 <= second - at <= 300


@pytest.mark.parametrize("outage_seconds", [2, 58, 62, 200])
@pytest.mark.parametrize("begins", [0, 50, 200])
@pytest.mark.parametrize("how", [*HOLDS, "nobody decides"])
def test_a_hold_does_not_enter_the_scale_up_minimum(outage_seconds, begins, how):
    """The demand has been above the target all the time: 300 s of it are enough."""
    rules = policy(
        behavior=Behavior(
            scale_up=replace(DEFAULT_BEHAVIOR.scale_up, stabilization_window_seconds=300),
            scale_down=replace(DEFAULT_BEHAVIOR.scale_down, stabilization_window_seconds=60),
        )
    )
    history = after(-2, None, reading([40] * 2), rules, count=2).history
    for second in range(0, 600, 2):
        is_out = begins <= second < begins + outage_seconds
        if is_out and how == "nobody decides":
            continue
        values = reading([60] * 2)
        if is_out:
            values = reading([60]) if "missing" in how else HOLDS[how]
        decision = after(second, history, values, rules, count=2)
        history = decision.history
        if decision.desired_replicas > 2:
            break
    assert decision.desired_replicas == 3
    assert second == max(298, begins + outage_seconds if begins + outage_seconds > 298 else 0)


def test_a_start_keeps_the_count_from_going_down_and_not_from_going_up():
    rules = policy(
        behavior=replace(
            DEFAULT_BEHAVIOR,
            scale_up=replace(DEFAULT_BEHAVIOR.scale_up, stabilization_window_seconds=300),
        )
    )
    assert after(0, None, reading([60] * 2), rules, count=2).desired_replicas == 3
    assert after(0, None, reading([0] * 2), rules, count=2).desired_replicas == 2


@pytest.mark.parametrize("found", [3, 8])
@pytest.mark.parametrize("before_seconds", [4, 400])
def test_a_count_that_something_else_wrote_stays_for_the_whole_window(found, before_seconds):
    """Somebody scales up before the load comes; until then the values are low."""
    history = None
    for second in range(-before_seconds, 0, 2):
        history = after(second, history, reading([40] * 2), policy(), count=2).history
    for second in range(0, 310, 2):
        decision = after(second, history, reading([1] * found), policy(), count=found)
        history = decision.history
        if decision.desired_replicas < found:
            break
    assert 298 <= second <= 300
    assert after(0, history, reading([100] * found), policy(), count=found).desired_replicas > found


@pytest.mark.parametrize("lags", [0, 1, 5])
def test_a_watch_that_lags_behind_our_own_write_shows_nobody_elses_count(lags):
    """It shows the count of before for some more loops; one step each 15 s goes on all the same."""
    step = RatePolicy(type=PolicyType.PODS, value=1, period_seconds=15)
    rules = policy(
        behavior=replace(
            DEFAULT_BEHAVIOR, scale_down=replace(DEFAULT_BEHAVIOR.scale_down, policies=(step,))
        )
    )
    history, shown = None, [10] * (lags + 1)
    for second in range(0, 360, 2):
        decision = after(second, history, reading([1] * 10), rules, count=shown[0])
        changed = decision.desired_replicas != decision.current_replicas
        # The API server has another count than the watch shows: nothing is written.
        if not changed or shown[0] == shown[-1]:
            history = decision.history
        shown = [*shown[1:], decision.desired_replicas if changed else shown[-1]]
    assert shown[-1] <= 7


@pytest.mark.parametrize("shown_loops", [0, 1, 3])
@pytest.mark.parametrize("back", [10, 7])
def test_a_change_that_is_set_back_each_time_is_made_again_so_that_it_is_told(shown_loops, back):
    """GitOps that resets the count within seconds is contention, which needs to see it thrice."""
    history, shown, changes = None, [10], []
    for second in range(0, 1000, 2):
        count = shown.pop(0) if len(shown) > 1 else shown[0]
        decision = after(second, history, reading([1] * count), policy(), count=count)
        history = decision.history
        if decision.desired_replicas != count:
            changes.append(second)
            shown = [*[decision.desired_replicas] * shown_loops, back]
    assert any(third - first <= 60 for first, third in zip(changes, changes[2:], strict=False))


def test_the_count_of_before_stays_for_the_whole_window_if_it_is_set_long_after():
    history, count, changes = None, 10, []
    for second in range(0, 1300, 2):
        decision = after(second, history, reading([1] * count), policy(), count=count)
        history, count = decision.history, decision.desired_replicas
        if count != decision.current_replicas:
            changes.append(second)
        if second == 600:
            count = 10
    assert changes == pytest.approx([300, 902], abs=2)
