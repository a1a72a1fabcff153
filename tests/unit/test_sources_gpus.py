# SPDX-License-Identifier: Apache-2.0
"""Single GPUs: from an exporter's text and from Prometheus's answers."""

from __future__ import annotations

import math

import pytest

from scaler.model import ObjectRef
from scaler.readings.devices import DUTY_CYCLE, MEMORY_USED
from scaler.readings.exposition import ExpositionError, read_page
from scaler.readings.gpus import GpuSample, node_gpus
from scaler.readings.prometheus.gpu_queries import (
    gpu_query,
    gpu_samples,
    past_query,
    past_samples,
    read_gpu_series,
)
from scaler.readings.prometheus.names import PRESETS
from scaler.readings.prometheus.queries import PART
from scaler.readings.prometheus.response import PromqlError, Result

OURS = PRESETS["gpu-exporter"]
DCGM = PRESETS["dcgm"]
POD = ObjectRef(namespace="default", name="web-1")
LABELS = {"node_name": "n1", "namespace_name": "default", "pod_name": "web-1", "uuid": "GPU-a"}


def read(text):
    return node_gpus(read_page(text, asked_seconds=100), "n1", {DUTY_CYCLE})


def test_an_exporters_gpus_held_and_free():
    text = (
        'nvidia_gpu_duty_cycle{uuid="GPU-a",name="NVIDIA L4",namespace_name="default",'
        'pod_name="web-1"} 63\n'
        'nvidia_gpu_duty_cycle{uuid="GPU-b",namespace_name="",pod_name=""} 0\n'
        'nvidia_gpu_num_devices{node_name="n1"} 2\n'
        "nvidia_gpu_exporter_snapshot_age_seconds 1.5\n"
        "nvidia_gpu_exporter_interval_seconds 10\n"
    )
    assert read(text) == {
        DUTY_CYCLE: [
            GpuSample("n1", POD, "GPU-a", 63, 98.5, 30, "NVIDIA L4"),
            GpuSample("n1", None, "GPU-b", 0, 98.5, 30),
        ]
    }


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1"])
def test_what_is_no_value_is_left_out(value):
    text = f'nvidia_gpu_duty_cycle{{uuid="GPU-a"}} {value}\n'
    assert read(text + "nvidia_gpu_exporter_snapshot_age_seconds 1\n") == {}


def test_other_families_of_the_page_are_left_out():
    text = (
        'nvidia_gpu_temperature_celsius{uuid="GPU-a"} 50\n'
        "nvidia_gpu_exporter_snapshot_age_seconds 1\n"
    )
    assert read(text) == {}


def test_without_an_age_there_are_no_readings():
    assert read('nvidia_gpu_duty_cycle{uuid="GPU-a"} 1\n') == {}


def test_what_is_no_exposition():
    with pytest.raises(ExpositionError):
        read("<html>")


def vector(*rows):
    return Result(
        type="vector",
        rows=[{"metric": labels | {PART: part}, "value": value} for labels, part, value in rows],
    )


def test_the_query_is_per_container_only_for_memory_in_use():
    assert gpu_query(DUTY_CYCLE, OURS, DUTY_CYCLE, matchers=('cluster="a"',)) == (
        'label_replace(max by (node_name, namespace_name, pod_name, uuid)'
        ' (nvidia_gpu_duty_cycle{cluster="a"}), "gpu_scaler_part", "value", "", "")'
        ' or label_replace(min by (node_name, namespace_name, pod_name, uuid)'
        ' (timestamp(nvidia_gpu_duty_cycle{cluster="a"})), "gpu_scaler_part", "time", "", "")'
    )  # fmt: skip
    assert "uuid, container_name)" in gpu_query(MEMORY_USED, OURS, MEMORY_USED)


def test_the_query_for_the_past():
    assert past_query(
        DUTY_CYCLE, OURS, DUTY_CYCLE, namespaces={"b", "a"}, seconds=180, step_seconds=5
    ) == (
        "max by (node_name, namespace_name, pod_name, uuid)"
        ' (nvidia_gpu_duty_cycle{namespace_name=~"a|b"}'
        ' and time() - timestamp(nvidia_gpu_duty_cycle{namespace_name=~"a|b"}) < 60)[180s:5s]'
    )


def test_gpus_from_prometheus():
    free = {"node_name": "n1", "uuid": "GPU-b"}
    series = read_gpu_series(
        vector(
            (LABELS, "value", [1000, "63"]),
            (LABELS, "time", [1000, "990"]),
            (free, "value", [1000, "0.5"]),
            (free, "time", [1000, "1003"]),
            ({"uuid": "GPU-c"}, "value", [1000, "NaN"]),
        ),
        OURS,
    )
    assert gpu_samples([series], factor=1, asked_seconds=50) == [
        GpuSample("n1", POD, "GPU-a", 63, 40, 60),
        GpuSample("n1", None, "GPU-b", 0.5, 50, 60),
    ]


def test_a_value_without_a_time_is_as_old_as_can_be():
    series = read_gpu_series(vector((LABELS, "value", [1000, "63"])), OURS)
    (found,) = gpu_samples([series], factor=1, asked_seconds=50)
    assert found.sampled_seconds == -math.inf


def test_a_family_that_is_a_sum_is_there_where_all_its_parts_are():
    labels = {"Hostname": "n1", "namespace": "default", "pod": "web-1", "UUID": "GPU-a"}
    mig = labels | {"GPU_I_ID": "7"}
    used, free = (
        read_gpu_series(vector((at, "value", [9, value]), (at, "time", [9, time])), DCGM)
        for at, value, time in ((labels, "100", "8"), (labels, "60.5", "5"))
    )
    (found,) = gpu_samples([used, free], factor=2**20, asked_seconds=50)
    assert found == GpuSample("n1", POD, "GPU-a", 160.5 * 2**20, 46, 60)
    other = read_gpu_series(vector((mig, "value", [9, "1"]), (mig, "time", [9, "9"])), DCGM)
    assert gpu_samples([used, other], factor=1, asked_seconds=50) == []
    (instance,) = gpu_samples([other], factor=1, asked_seconds=50)
    assert instance.uuid == "GPU-a/7"


def test_the_past_ends_now():
    result = Result(
        type="matrix",
        rows=[
            {"metric": LABELS, "values": [[1000, "1"], [1010, "3"], [1005, "NaN"]]},
            {"metric": {"uuid": "GPU-b"}, "values": [[1005, "2"]]},
        ],
    )
    assert past_samples([result], OURS, factor=1, asked_seconds=50) == [
        GpuSample("n1", POD, "GPU-a", 1, 40, 60),
        GpuSample("", None, "GPU-b", 2, 45, 60),
        GpuSample("n1", POD, "GPU-a", 3, 50, 60),
    ]


def test_nothing_is_stored():
    empty = Result(type="matrix", rows=[])
    assert past_samples([empty], OURS, factor=1, asked_seconds=50) == []


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(Result(type="string", rows=["1", "2"]), id="another type"),
        pytest.param(Result(type="vector", rows=[{"metric": {}}]), id="no value"),
        pytest.param(Result(type="vector", rows=[7]), id="no row"),
        pytest.param(Result(type="matrix", rows=[{"metric": {}, "values": [[1]]}]), id="no pair"),
        pytest.param(vector((LABELS, "value", [1, "a word"])), id="no number"),
    ],
)
def test_what_is_no_answer(result):
    with pytest.raises(PromqlError):
        read_gpu_series(result, OURS)
    with pytest.raises(PromqlError):
        past_samples([result], OURS, factor=1, asked_seconds=0)
