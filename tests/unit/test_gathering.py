# SPDX-License-Identifier: Apache-2.0
"""What chunks of the past say of one Deployment, as a recording."""

from __future__ import annotations

import pytest

from scaler.model import Metric, ObjectRef
from scaler.readings.prometheus.range_chunks import Span
from scaler.replay.gathering import Gathering, NoDemandError, trimmed
from scaler.replay.model import Recording
from scaler.replay.owners import Way
from scaler.replay.plans import DemandSource
from tests.unit.replay.recordings import recorded_metric

WEB = ObjectRef("prod", "web")
ONE, TWO = ObjectRef("prod", "web-1"), ObjectRef("prod", "web-2")
BEGUN, STEP = 900.0, 15.0


DUTY, QUERY = Metric.DUTY_CYCLE, Metric.QUERY


def gathering(*metrics: Metric, steps: int = 6) -> Gathering:
    sources = [DemandSource(metric=metric) for metric in metrics or (DUTY,)]
    return Gathering(WEB, sources, Span(BEGUN, STEP, steps))


def values(*numbers: float | None, first: int = 0) -> list[tuple[float, float]]:
    times = [(BEGUN + (first + n) * STEP, one) for n, one in enumerate(numbers)]
    return [(time, one) for time, one in times if one is not None]


def test_pods_add_up_from_the_first_step_to_the_last():
    found = gathering()
    assert not found.has_values
    found.add_pod(ONE, DUTY, values(10, 20, 30, first=1), gpus=2, way=Way.API)
    found.add_pod(TWO, DUTY, values(5, 5, first=2), gpus=2, way=Way.API)
    for pod, model in ((ONE, "H100"), (TWO, "H100"), (ObjectRef("x", "y"), "L4")):
        found.add_gpus(pod, model, 1)
    for pod, seconds in ((ONE, 50), (ONE, 40), (TWO, 60)):
        found.add_start(pod, seconds)
    recording = found.recording()
    assert found.has_values
    assert recording.begun_unix_seconds == BEGUN + STEP
    assert recording.metrics[0].demand_milli[:3] == (10_000, 25_000, 35_000)
    assert recording.replicas[:3] == (1, 2, 2)
    assert (recording.gpus_per_replica, recording.gpu_model) == (2, "H100")
    assert recording.start_seconds == 50
    assert recording.notes == ()


def test_a_total_has_the_count_of_pods_that_show_any_value():
    found = gathering(QUERY)
    found.add_pod(ONE, DUTY, values(0, 0, None, 0), gpus=1, way=Way.API)
    found.add_pod(TWO, DUTY, values(99, first=1), gpus=1, way=Way.API)
    assert not found.has_values
    found.add_total(QUERY, values(7, 8, 9, 10))
    recording = found.recording()
    assert recording.metrics[0].demand_milli[:4] == (7_000, 8_000, 9_000, 10_000)
    assert recording.replicas[:4] == (1, 2, None, 1)


def test_what_is_uncertain_is_said():
    found = gathering()
    found.add_pod(ONE, DUTY, values(10, 10), gpus=1, way=Way.NAME, impossible=3)
    found.add_pod(TWO, DUTY, values(10), gpus=2, way=Way.API)
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
    found = gathering(QUERY, steps=len(total))
    found.add_pod(ONE, DUTY, values(0), gpus=1, way=Way.API)
    found.add_total(QUERY, values(*total))
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
        metrics=(recorded_metric(demand),),
        begun_unix_seconds=BEGUN,
        step_seconds=STEP,
        replicas=(1,) * len(demand),
    )
    found = trimmed(recording)
    assert found.begun_unix_seconds == begun
    assert found.metrics == (recorded_metric(expected),)
    assert len(found.replicas) == len(expected)


def test_a_counter_of_the_pods_is_named():
    found = gathering(Metric.POD_METRIC, steps=100)
    found.add_pod(ONE, Metric.POD_METRIC, values(*map(float, range(100))), gpus=1, way=Way.API)
    (note,) = found.recording().notes
    assert "gpu-scaler/pod-metric hardly ever falls" in note


def test_without_gpus_each_pod_counts_as_one():
    found = gathering(Metric.REQUESTS)
    found.add_pod(ONE, Metric.REQUESTS, values(1, 2), gpus=None, way=Way.API)
    assert found.recording().gpus_per_replica == 1
    assert any("each counts as one GPU" in note for note in found.recording().notes)
    found.add_gpus(ONE, None, 8)
    assert found.recording().gpus_per_replica == 8
    assert found.recording().notes == ()


def test_several_metrics_are_cut_alike_and_each_gap_is_said():
    found = gathering(DUTY, QUERY)
    found.add_pod(ONE, DUTY, values(10, 20, 30, 40, first=1), gpus=1, way=Way.API)
    found.add_total(QUERY, values(7, 8, first=3))
    recording = found.recording()
    assert recording.begun_unix_seconds == BEGUN + STEP
    assert recording.metrics == (
        recorded_metric((10_000, 20_000, 30_000, 40_000)),
        recorded_metric((None, None, 7_000, 8_000), QUERY),
    )
    (note,) = recording.notes
    assert note.startswith("query is unknown for 50 %")


@pytest.mark.parametrize(
    ("refused", "part"), [(None, "has no value of query"), ("no answer", "no answer")]
)
def test_a_metric_without_values_is_left_out_and_said(refused: str | None, part: str):
    found = gathering(DUTY, QUERY)
    found.add_pod(ONE, DUTY, values(10, 20), gpus=1, way=Way.API)
    if refused is not None:
        # A part of it was read before.
        found.add_total(QUERY, values(7))
        found.refuse(QUERY, refused)
    recording = found.recording()
    assert [one.metric for one in recording.metrics] == [DUTY]
    (note,) = recording.notes
    assert "query is not simulated" in note
    assert part in note


def test_without_any_demand_there_is_no_recording():
    found = gathering(DUTY, QUERY)
    found.add_pod(ONE, DUTY, [], gpus=1, impossible=7, way=Way.API)
    with pytest.raises(NoDemandError, match=r"7 values of duty_cycle are impossible.*; .*query"):
        found.recording()


def test_while_there_is_no_pod_and_nothing_to_do_the_pods_do_nothing():
    found = gathering(DUTY, QUERY, steps=60)
    found.add_pod(ONE, DUTY, values(10, 20), gpus=1, way=Way.API)
    found.add_pod(TWO, DUTY, values(30, first=50), gpus=1, way=Way.API)
    found.add_total(QUERY, values(5, *[0] * 47, 3, 4, 5))
    duty, _ = found.recording().metrics
    # Where the query says that there is something to do, what the pods did is a gap.
    assert duty.demand_milli == (10_000, 20_000, *[0] * 46, None, None, 30_000)
