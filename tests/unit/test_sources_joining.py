# SPDX-License-Identifier: Apache-2.0
"""Prometheus's series joined with living pods: what counts, what is missing and why."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from scaler.model import Metric, ObjectRef, PodPhase, PodState, PodValue
from scaler.readings.prometheus.join import (
    MetricAnswer,
    SeriesAnswer,
    metric_answer,
    reading_of,
    series_of,
)
from scaler.readings.prometheus.names import PRESETS
from scaler.readings.prometheus.query_results import SeriesValues

if TYPE_CHECKING:
    from collections.abc import Mapping

OURS = PRESETS["gpu-exporter"]
DCGM = PRESETS["dcgm"]
POD = ObjectRef(namespace="default", name="web-0")
USED, FREE = "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE"
RESERVED = "DCGM_FI_DEV_FB_RESERVED"
ASKED = 1000.0


def answer(
    values: Mapping[str, float] | None,
    *,
    age: float = 5,
    took: float = 0.5,
    problems: Mapping[ObjectRef, str] | None = None,
) -> SeriesAnswer:
    """One series' values of the pod by GPU; None where there are none at all."""
    found = {} if values is None else {POD: {gpu: [value] for gpu, value in values.items()}}
    return SeriesAnswer(
        asked_seconds=ASKED,
        duration_seconds=took,
        values=SeriesValues(
            values=found, ages_seconds=dict.fromkeys(found, age), problems=problems or {}
        ),
    )


def failed(why: str) -> SeriesAnswer:
    return SeriesAnswer(asked_seconds=ASKED, duration_seconds=1, values=None, problem=why)


def percent(**answers: SeriesAnswer) -> MetricAnswer:
    """The memory in use in percent from dcgm-exporter's series, those not given being empty."""
    named = {USED: "used", FREE: "free", RESERVED: "reserved"}
    return metric_answer(
        Metric.MEMORY_USED_PERCENT,
        DCGM,
        {series: answers.get(short, answer(None)) for series, short in named.items()},
    )


def duty(
    one: SeriesAnswer, own: SeriesAnswer | None = None, totals: Mapping[str, float] | None = None
) -> MetricAnswer:
    own_values = own.values if own is not None else None
    if own_values is not None:
        own_values = replace(own_values, totals=totals or {"a": 100})
    answers = {"nvidia_gpu_duty_cycle": replace(one, own=own_values)}
    return metric_answer(Metric.DUTY_CYCLE, OURS, answers)


def test_the_mean_over_the_gpus_and_the_time_of_the_older_sample():
    assert duty(answer({"a": 30, "b": 61}, age=7)).values == {
        POD: PodValue(value_milli=45_500, sampled_seconds=ASKED - 7, device_count=2)
    }


@pytest.mark.parametrize(
    ("shown", "expected"),
    [({"a": 64.1}, 64_100), ({"a": 1.1}, 1_100), ({"a": 0.0004}, 1), ({"a": 0.1, "b": 0.2}, 150)],
)
def test_no_value_is_truncated(shown, expected):
    assert duty(answer(shown)).values[POD].value_milli == expected


@pytest.mark.parametrize(
    ("device", "own", "expected"),
    [
        pytest.param({"a": 80, "b": 20}, {"a": 30}, 25_000, id="own part of the one it shares"),
        pytest.param({"a": 99}, {"a": 30}, 99_000, id="a saturated GPU it works on"),
        pytest.param({"a": 100}, {"a": 0}, 0, id="a saturated GPU it does not work on"),
    ],
)
def test_a_shared_gpu_counts_with_the_pods_own_part(device, own, expected):
    found = duty(answer(device), answer(own), totals={"a": 90})
    assert found.values[POD].value_milli == expected


def test_parts_that_are_not_all_there_do_not_count():
    assert (
        duty(answer({"a": 80}), answer({"a": 30}), totals={"a": 39}).values[POD]
        == (duty(answer({"a": 80})).values[POD])
    )


def test_an_own_part_that_is_stale_is_no_value():
    found = duty(answer({"a": 80}), answer({"a": 30}, age=61))
    assert "more than 60 s" in found.missing[POD]


def test_temperature_is_that_of_the_hottest_gpu():
    series = "nvidia_gpu_temperature_celsius"
    found = metric_answer(Metric.TEMPERATURE_CELSIUS, OURS, {series: answer({"a": 61, "b": 40})})
    assert found.values[POD].value_milli == 61_000


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        pytest.param(
            {
                "used": answer({"a": 30, "b": 10}),
                "free": answer({"a": 60, "b": 90}),
                "reserved": answer({"a": 10, "b": 0}),
            },
            20_000,
            id="what is reserved is part of the total",
        ),
        pytest.param(
            {"used": answer({"a": 25}), "free": answer({"a": 75})},
            25_000,
            id="versions that show nothing reserved",
        ),
    ],
)
def test_the_total_of_dcgm_is_a_sum(answers, expected):
    assert percent(**answers).values[POD].value_milli == expected


def test_the_oldest_sample_of_a_sum_counts():
    found = percent(
        used=answer({"a": 1}, age=2), free=answer({"a": 1}, age=40), reserved=answer({"a": 1})
    )
    assert found.values[POD].sampled_seconds == ASKED - 40


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        pytest.param(
            {"used": answer({"a": 1})}, f"there is no {FREE} for this pod", id="a series is missing"
        ),
        pytest.param(
            {"used": answer({"a": 1, "b": 1}), "free": answer({"a": 1})},
            "memory_used_percent is known for only 1 of the 2 GPUs of this pod",
            id="a GPU is missing in one series",
        ),
        pytest.param(
            {
                "used": answer({"a": 1, "b": 1}),
                "free": answer({"a": 1, "b": 1}),
                "reserved": answer({"a": 1}),
            },
            "known for only 1 of the 2 GPUs",
            id="a GPU is missing in what may be missing for all",
        ),
        pytest.param(
            {"used": answer({"a": 1}), "free": answer({"a": 1}, age=59.8, took=0.5)},
            f"the last {FREE} of this pod is 60 s old, more than 60 s",
            id="stale by the time that the answer took",
        ),
        pytest.param(
            {
                "used": answer({"a": 1}),
                "free": answer({"a": 1}),
                "reserved": answer({"a": 1}, age=600),
            },
            f"the last {RESERVED} of this pod is 600 s old",
            id="stale in what may be missing",
        ),
        pytest.param(
            {"used": answer({"a": 1}, problems={POD: "NaN"}), "free": answer({"a": 1})},
            f"{USED}: NaN",
            id="a value that may not be used",
        ),
        pytest.param(
            {"used": answer({"a": 0}), "free": answer({"a": 0})},
            "known for only 0 of the 1 GPUs",
            id="no memory at all",
        ),
    ],
)
def test_a_pod_without_a_value(answers, reason):
    found = percent(**answers)
    assert found.values == {}
    assert reason in found.missing[POD]
    assert found.missing[POD].startswith("Prometheus: ")


def test_one_failed_query_is_the_problem_of_the_whole_metric():
    found = percent(used=answer({"a": 1}), free=failed("gone"), reserved=answer(None))
    assert (found.values, found.missing, found.problem) == ({}, {}, "gone")
    reading = reading_of(Metric.MEMORY_USED_PERCENT, DCGM, [pod("web-0")], found)
    assert (reading.values, reading.missing, reading.problem) == ({}, {}, "gone")


def pod(name: str, **changes: object) -> PodState:
    state = {
        "ref": ObjectRef(namespace="default", name=name),
        "uid": name,
        "phase": PodPhase.RUNNING,
        "deleting": False,
        "ready_since_seconds": 0.0,
        "node_name": "node-1",
    }
    return PodState(**(state | changes))  # type: ignore[arg-type]


def test_only_living_pods_are_in_the_reading():
    """Windows and lookback keep dead pods' series alive for minutes."""
    found = duty(answer({"a": 80}))
    ended = pod("web-0", phase=PodPhase.SUCCEEDED)
    for gone in ([], [ended], [pod("web-0", deleting=True)], [pod("web-0", node_name=None)]):
        reading = reading_of(Metric.DUTY_CYCLE, OURS, gone, found)
        assert (reading.values, reading.missing) == ({}, {})


def test_a_pod_that_prometheus_does_not_know_is_missing_by_the_labels_looked_for():
    reading = reading_of(Metric.MEMORY_USED_PERCENT, DCGM, [pod("web-9")], percent())
    assert reading.missing == {
        pod("web-9").ref: f"Prometheus has no {USED} or {FREE} whose labels namespace and pod name"
        " this pod"
    }


def test_series_that_two_families_share_are_asked_for_once():
    assert series_of(Metric.MEMORY_USED_PERCENT, DCGM) == (USED, FREE, RESERVED)
