# SPDX-License-Identifier: Apache-2.0
"""What chunks of the past say of one Deployment, as a recording."""

from __future__ import annotations

import pytest

from scaler.model import Metric, ObjectRef
from scaler.replay.gathering import Gathering, trimmed
from scaler.replay.model import Recording
from scaler.replay.owners import Way
from scaler.replay.plans import DemandSource

WEB = ObjectRef("prod", "web")
ONE, TWO = ObjectRef("prod", "web-1"), ObjectRef("prod", "web-2")
BEGUN, STEP = 900.0, 15.0


def gathering(metric: Metric = Metric.DUTY_CYCLE, steps: int = 6) -> Gathering:
    return Gathering(
        WEB,
        DemandSource(metric=metric),
        begun_unix_seconds=BEGUN,
        step_seconds=STEP,
        steps=steps,
    )


def values(*numbers: float | None, first: int = 0) -> list[tuple[float, float]]:
    times = [(BEGUN + (first + n) * STEP, one) for n, one in enumerate(numbers)]
    return [(time, one) for time, one in times if one is not None]


def test_pods_add_up_from_the_first_step_to_the_last():
    found = gathering()
    assert not found.has_values
    found.add_pod(ONE, values(10, 20, 30, first=1), gpus=2, way=Way.API)
    found.add_pod(TWO, values(5, 5, first=2), gpus=2, way=Way.API)
    for pod, model in ((ONE, "H100"), (TWO, "H100"), (ObjectRef("x", "y"), "L4")):
        found.add_model(pod, model)
    for pod, seconds in ((ONE, 50), (ONE, 40), (TWO, 60)):
        found.add_start(pod, seconds)
    recording = found.recording()
    assert found.has_values
    assert recording.begun_unix_seconds == BEGUN + STEP
    assert recording.demand_milli[:3] == (10_000, 25_000, 35_000)
    assert recording.replicas[:3] == (1, 2, 2)
    assert (recording.gpus_per_replica, recording.gpu_model) == (2, "H100")
    assert recording.start_seconds == 50
    assert recording.notes == ()


def test_a_total_has_the_count_of_pods_that_show_any_value():
    found = gathering(Metric.QUERY)
    found.add_pod(ONE, values(0, 0, None, 0), gpus=1, way=Way.API)
    found.add_pod(TWO, values(99, first=1), gpus=1, way=Way.API)
    assert not found.has_values
    found.add_total(values(7, 8, 9, 10))
    recording = found.recording()
    assert recording.demand_milli[:4] == (7_000, 8_000, 9_000, 10_000)
    assert recording.replicas[:4] == (1, 2, None, 1)


def test_what_is_uncertain_is_said():
    found = gathering()
    found.add_pod(ONE, values(10, 10), gpus=1, way=Way.NAME, impossible=3)
    found.add_pod(TWO, values(10), gpus=2, way=Way.API)
    notes = " ".join(found.recording().notes)
    for part in ("1 of its 2 pods", "3 impossible", "1, 2"):
        assert part in notes


@pytest.mark.parametrize(
    ("total", "counts"),
    [
        ([float(n) for n in range(100)], True),
        # A restart begins again.
        ([float(n % 60) for n in range(100)], True),
        ([float(n % 10) for n in range(100)], False),
        ([7.0] * 100, False),
        # Half an hour in which a queue fills.
        ([float(n) for n in range(50)], False),
    ],
)
def test_a_query_that_hardly_ever_falls_is_named_as_a_counter(total: list[float], counts: bool):
    found = gathering(Metric.QUERY, steps=len(total))
    found.add_pod(ONE, values(0), gpus=1, way=Way.API)
    found.add_total(values(*total))
    assert any("counter" in note for note in found.recording().notes) is counts


@pytest.mark.parametrize(
    ("demand", "begun", "expected"),
    [
        ((None, 1, None, 2, None), BEGUN + STEP, (1, None, 2)),
        ((1, 2), BEGUN, (1, 2)),
        ((None, None), BEGUN, (None, None)),
    ],
)
def test_steps_before_and_after_the_demand_are_cut(demand, begun, expected):
    recording = Recording(
        ref=WEB,
        metric=Metric.DUTY_CYCLE,
        begun_unix_seconds=BEGUN,
        step_seconds=STEP,
        demand_milli=demand,
        floor=(False,) * len(demand),
        replicas=(1,) * len(demand),
    )
    found = trimmed(recording)
    assert (found.begun_unix_seconds, found.demand_milli) == (begun, expected)
    assert len(found.floor) == len(found.replicas) == len(expected)
