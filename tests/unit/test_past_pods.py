# SPDX-License-Identifier: Apache-2.0
"""A GPU metric of pods in the past: each pod's value at each step, as live readings compute it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.model import Metric, ObjectRef
from scaler.quantities import measured_milli
from scaler.readings.devices import FAMILIES, pod_values
from scaler.readings.prometheus.names import PRESETS
from scaler.readings.prometheus.past_pods import PastMetric
from scaler.readings.prometheus.range_chunks import PastRow, RangeChunk, Span
from scaler.readings.prometheus.response import Result

WEB = ObjectRef(namespace="prod", name="web-1")
SPAN = Span(0.0, 15.0, 3)


def gpu(uuid: str, *texts: str, container: str = "", pod: str = "web-1") -> PastRow:
    labels = {"namespace_name": "prod", "pod_name": pod, "uuid": uuid, "node_name": "n"}
    if container:
        labels["container_name"] = container
    return row(labels, *texts)


def dcgm(*texts: str, index: str = "0") -> PastRow:
    labels = {"namespace": "prod", "pod": "web-1", "UUID": f"GPU-{index}", "Hostname": "n"}
    return row(labels, *texts)


def row(labels: dict[str, str], *texts: str) -> PastRow:
    points = tuple((15.0 * n, text) for n, text in enumerate(texts) if text)
    return PastRow(labels=labels, points=points)


def read(metric: Metric, *rows: list[PastRow], preset: str = "gpu-exporter"):
    past = PastMetric(metric, PRESETS[preset], matchers=(), pods=())
    missing = len(past.queries(60.0)) - len(rows)
    chunk = RangeChunk(span=SPAN, rows=tuple(tuple(one) for one in (*rows, *[[]] * missing)))
    return past.read(chunk)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([gpu("a", "40", "50", "60")], [(0, 40), (15, 50), (30, 60)], id="one GPU"),
        pytest.param([gpu("a", "40", "", "60")], [(0, 40), (30, 60)], id="a gap stays one"),
        pytest.param([gpu("a", "40", "0"), gpu("b", "60", "1")], [(0, 50), (15, 0.5)], id="mean"),
        pytest.param([gpu("a", "64.1")], [(0, 64.1)], id="exact"),
    ],
)
def test_the_value_of_a_pod_is_the_mean_over_its_gpus(rows, expected):
    found = read(Metric.DUTY_CYCLE, rows)[WEB]
    assert list(found.values) == expected
    assert found.gpus == len(rows)


@pytest.mark.parametrize("text", ["NaN", "101", "-1", "+Inf", "x"])
def test_an_impossible_value_is_missing_and_counted(text):
    found = read(Metric.DUTY_CYCLE, [gpu("a", "40", text, "60")])[WEB]
    assert list(found.values) == [(0, 40), (30, 60)]
    assert found.impossible == 1


@pytest.mark.parametrize(
    ("own", "total", "expected"),
    [
        pytest.param("30", "80", 30, id="its part"),
        pytest.param("10", "10", 80, id="parts that explain too little do not count"),
    ],
)
def test_on_a_shared_gpu_the_pods_own_part_counts(own, total, expected):
    found = read(
        Metric.DUTY_CYCLE,
        [gpu("a", "80")],
        [gpu("a", own, container="main")],
        [row({"uuid": "a"}, total)],
    )
    assert list(found[WEB].values) == [(0, expected)]


@pytest.mark.parametrize(
    ("reserved", "expected"),
    [([], 25), ([dcgm("200", "200")], 20)],
)
def test_a_family_is_the_sum_of_its_series(reserved, expected):
    used, free = [dcgm("200", "200")], [dcgm("600", "")]
    found = read(Metric.MEMORY_USED_PERCENT, used, used, free, reserved, preset="dcgm")
    assert list(found[WEB].values) == [(0, expected)]


def test_memory_of_containers_on_one_gpu_adds_up():
    rows = [gpu("a", "100", container="one"), gpu("a", "200", container="two")]
    assert list(read(Metric.MEMORY_USED_BYTES, rows)[WEB].values) == [(0, 300)]


def test_units_are_converted_exactly():
    found = read(Metric.POWER_USAGE_MILLIWATTS, [dcgm("71.353")], preset="dcgm")
    assert list(found[WEB].values) == [(0, 71353)]


def test_each_pod_has_its_own_values_and_free_gpus_have_none():
    rows = [gpu("a", "1"), gpu("b", "2", pod="web-2"), row({"uuid": "c"}, "3")]
    found = read(Metric.DUTY_CYCLE, rows)
    assert {pod.name: list(one.values) for pod, one in found.items()} == {
        "web-1": [(0, 1)],
        "web-2": [(0, 2)],
    }


NUMBERS = st.lists(
    st.lists(st.floats(0, 100).map(lambda one: round(one, 3)), min_size=3, max_size=3),
    min_size=1,
    max_size=4,
)


@given(NUMBERS, st.sampled_from([Metric.DUTY_CYCLE, Metric.TEMPERATURE_CELSIUS]))
def test_values_are_those_that_a_live_reading_would_have(gpus, metric):
    rows = [gpu(f"{n}", *(str(value) for value in some)) for n, some in enumerate(gpus)]
    found = [measured_milli(value) for _, value in read(metric, rows)[WEB].values]
    live = []
    for step in range(3):
        devices = {WEB: {str(n): [some[step]] for n, some in enumerate(gpus)}}
        live += [milli for _, milli, _ in pod_values(metric, {FAMILIES[metric][0]: devices})]
    assert found == live


def test_old_samples_and_other_pods_are_left_to_prometheus():
    past = PastMetric(
        Metric.DUTY_CYCLE,
        PRESETS["dcgm"],
        matchers=('job="d"',),
        pods=('pod=~"web-.*"',),
    )
    assert past.queries(60.0) == (
        "max by (Hostname, namespace, pod, UUID, GPU_I_ID)"
        ' (DCGM_FI_DEV_GPU_UTIL{pod!="", pod=~"web-.*", job="d"} and time()'
        ' - timestamp(DCGM_FI_DEV_GPU_UTIL{pod!="", pod=~"web-.*", job="d"}) < 60)',
    )


def test_a_model_is_shown_on_terminals_and_written_to_files():
    past = PastMetric(Metric.DUTY_CYCLE, PRESETS["gpu-exporter"], matchers=(), pods=())
    labels = {"namespace_name": "prod", "pod_name": "web-1", "name": "A\x1b[2J" + "0" * 1000}
    rows = [{"metric": labels, "value": [0, "2"]}]
    ((pod, model, gpus),) = past.read_models(Result(type="vector", rows=rows))
    assert (pod, gpus) == (WEB, 2)
    assert model is not None
    assert model.isprintable()
    assert len(model) == 253
