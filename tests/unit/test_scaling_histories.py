# SPDX-License-Identifier: Apache-2.0
"""What is remembered between loops: jumps of the clock, and writes of unknown outcome."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scaler.controller.history import ScalingHistories
from scaler.decision.decide import decide
from scaler.decision.history import WATCH_LAG_SECONDS
from scaler.decision.model import Recommendation, ScaleEvent
from scaler.model import Metric
from tests.unit.deployments import NOW, deployment, policy, reading, ready_pods

INTERVAL = 2.0
TWO = deployment(ready_pods(2))


def seen(histories: ScalingHistories, now: float = NOW):
    """A decision from 2 pods to 4, taken at `now`."""
    histories.look(now, interval_seconds=INTERVAL)
    decision = decide(TWO, policy(), reading([80, 80]), histories.of(TWO), now)
    assert decision.desired_replicas == 4
    return decision


@pytest.mark.parametrize(
    ("gap", "moved"),
    [
        pytest.param(2.0, 0.0, id="a loop"),
        pytest.param(15.0, 0.0, id="a slow loop"),
        pytest.param(16.0, 16.0, id="nobody looked"),
        pytest.param(4000.0, 4000.0, id="forwards"),
        pytest.param(-1.0, -1.0, id="backwards"),
    ],
)
def test_time_in_which_nobody_looked_does_not_count(gap, moved):
    histories = ScalingHistories()
    histories.record(TWO.uid, seen(histories))
    histories.look(NOW + gap, interval_seconds=INTERVAL)
    history = histories.of(TWO)
    assert history is not None
    assert history.recommendations[-1] == Recommendation(replicas=4, at_seconds=NOW + moved)
    assert history.scale_ups == (ScaleEvent(change=2, at_seconds=NOW + moved),)


def test_a_long_interval_is_no_gap():
    histories = ScalingHistories()
    histories.record(TWO.uid, seen(histories))
    histories.look(NOW + 60, interval_seconds=60)
    history = histories.of(TWO)
    assert history is not None
    assert history.scale_ups[0].at_seconds == NOW


def test_a_write_of_unknown_outcome_counts_once_it_shows():
    histories = ScalingHistories()
    histories.record_unconfirmed(TWO.uid, seen(histories))
    before = histories.of(TWO)
    assert before is not None
    assert (before.scale_ups, len(before.recommendations)) == ((), 2)
    after = histories.of(replace(TWO, spec_replicas=4))
    assert after is not None
    assert after.scale_ups == (ScaleEvent(change=2, at_seconds=NOW),)


def test_the_same_count_much_later_is_somebody_elses():
    histories = ScalingHistories()
    histories.record_unconfirmed(TWO.uid, seen(histories))
    for second in range(1, int(WATCH_LAG_SECONDS) + 2):
        histories.look(NOW + second, interval_seconds=INTERVAL)
        histories.of(TWO)
    history = histories.of(replace(TWO, spec_replicas=4))
    assert history is not None
    assert history.scale_ups == ()


def test_a_zero_of_unknown_outcome_is_its_own_and_wakes():
    wakes = policy({Metric.QUERY: 5}, min_replicas=0)
    histories = ScalingHistories()
    asleep = replace(seen(histories), desired_replicas=0)
    asleep = replace(asleep, history=replace(asleep.history, zeroed_seconds=NOW))
    histories.record_unconfirmed(TWO.uid, asleep)
    at_zero = deployment((), replicas=0)
    history = histories.of(at_zero)
    busy = reading({at_zero.ref: 11}, metric=Metric.QUERY)
    assert decide(at_zero, wakes, busy, history, NOW + 2).desired_replicas > 0


def test_others_are_forgotten():
    histories = ScalingHistories()
    histories.record_unconfirmed(TWO.uid, seen(histories))
    histories.keep_only(set())
    assert histories.of(TWO) is None
