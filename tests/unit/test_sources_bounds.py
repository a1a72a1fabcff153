# SPDX-License-Identifier: Apache-2.0
"""What cannot be: values outside a family's bounds, in every source, cost their own pod alone."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.decision.replicas import MAX_INT64
from scaler.model import Metric, ObjectRef, PodValue
from scaler.readings import devices
from scaler.readings.devices import BOUNDS, FAMILIES, PARTS, out_of_bounds
from scaler.readings.exposition import read_page, stale_after_seconds, values_by_pod
from scaler.readings.gpus import node_gpus
from scaler.readings.prometheus.gpu_queries import GpuSeries, Holder, gpu_samples
from scaler.readings.prometheus.names import PRESETS
from scaler.readings.prometheus.queries import PART
from scaler.readings.prometheus.query_results import read_series, read_total
from scaler.readings.prometheus.response import Result

OURS = PRESETS["gpu-exporter"]
POD = ObjectRef(namespace="default", name="web-0")
OTHER = ObjectRef(namespace="default", name="web-1")
GPU_METRICS = tuple(FAMILIES)
IMPOSSIBLE = ["1e308", "1.8e308", "-1e308", "NaN", "+Inf", "-Inf", "-1000", "1.8446744073709552e19"]
SANE = {
    devices.DUTY_CYCLE: "50",
    devices.MEMORY_USED: "4e9",
    devices.MEMORY_TOTAL: "8e9",
    devices.POWER_USAGE: "250000",
    devices.TEMPERATURE: "60",
}


def line(
    family: str, value: str, *, pod: str = "web-0", uuid: str = "GPU-a", mode: str = ""
) -> str:
    return (
        f'{family}{{uuid="{uuid}",namespace_name="default",pod_name="{pod}",'
        f'allocate_mode="{mode}"}} {value}\n'
    )


def page(**changed: str) -> str:
    """The sane families of two pods, of which the first one's are changed."""
    return "".join(
        line(family, changed.get(family, value)) + line(family, value, pod="web-1", uuid="GPU-b")
        for family, value in SANE.items()
    )


class Found:
    """The values by pod, and what is told of pods whose values cannot be."""

    def __init__(self, text: str) -> None:
        page = read_page(text + "nvidia_gpu_exporter_snapshot_age_seconds 1\n")
        found = values_by_pod(page, GPU_METRICS)
        self.values = {
            metric: {pod: one for pod, one in some.items() if isinstance(one, PodValue)}
            for metric, some in found.items()
        }
        self.problems = {
            metric: {pod: one for pod, one in some.items() if isinstance(one, str)}
            for metric, some in found.items()
        }


@pytest.mark.parametrize("family", sorted(BOUNDS))
def test_a_part_of_a_sum_may_be_0_and_no_more_than_the_sum(family):
    lowest, highest = BOUNDS[family]
    assert out_of_bounds(family, 0.0, is_part=True) is None
    assert out_of_bounds(family, 2 * highest, is_part=True) is not None
    assert (out_of_bounds(family, 0.0) is None) == (lowest <= 0)


def test_what_is_sane_has_a_value_of_every_metric():
    found = Found(page())
    assert all(found.values[metric].keys() == {POD, OTHER} for metric in GPU_METRICS)
    assert not any(found.problems.values())


@pytest.mark.parametrize("value", IMPOSSIBLE)
@pytest.mark.parametrize("family", SANE)
def test_a_value_that_cannot_be_is_missing_and_named(family, value):
    found = Found(page(**{family: value}))
    for metric in GPU_METRICS:
        hit = family in FAMILIES[metric]
        assert (POD in found.values[metric]) is not hit
        assert OTHER in found.values[metric]
        assert (POD in found.problems[metric]) is hit
        if hit:
            assert family in found.problems[metric][POD]


def test_one_of_several_gpus_is_enough():
    found = Found(line(devices.DUTY_CYCLE, "40") + line(devices.DUTY_CYCLE, "101", uuid="GPU-b"))
    assert found.values[Metric.DUTY_CYCLE] == {}
    assert found.problems[Metric.DUTY_CYCLE] == {
        POD: "nvidia_gpu_duty_cycle 101, which is outside 0 to 100"
    }


def test_a_part_of_a_shared_gpu_that_cannot_be_hides_its_own_pod_alone():
    text = "".join(
        line(devices.DUTY_CYCLE, "80", pod=pod, mode="share")
        + line(devices.CONTAINER_DUTY_CYCLE, own, pod=pod, mode="share")
        for pod, own in (("web-0", "1e308"), ("web-1", "60"))
    )
    found = Found(text)
    assert found.values[Metric.DUTY_CYCLE].keys() == {OTHER}
    assert found.values[Metric.DUTY_CYCLE][OTHER].value_milli == 60_000


def test_an_average_of_floats_may_lie_a_rounding_past_its_bound():
    assert out_of_bounds(devices.DUTY_CYCLE, 100.00000000000001) is None
    assert out_of_bounds(devices.DUTY_CYCLE, 100.01) is not None


def test_every_family_that_is_read_has_bounds():
    assert {family for one in FAMILIES.values() for family in one} | {*PARTS.values()} <= {*BOUNDS}


@pytest.mark.parametrize("age", ["NaN", "+Inf", "-1", "-Inf"])
def test_readings_of_an_age_that_cannot_be_are_none(age):
    text = page() + f"nvidia_gpu_exporter_snapshot_age_seconds {age}\n"
    found = read_page(text)
    assert found.age_seconds is None
    assert node_gpus(found, "n1", BOUNDS) == {}


@pytest.mark.parametrize("interval", [1e308, math.inf, math.nan, -5.0, 1e9])
def test_an_interval_that_cannot_be_makes_nothing_fresh(interval):
    assert stale_after_seconds(interval) == 15.0


@pytest.mark.parametrize("value", IMPOSSIBLE)
@pytest.mark.parametrize("family", SANE)
def test_of_single_gpus_it_is_left_out(family, value):
    text = page(**{family: value}) + "nvidia_gpu_exporter_snapshot_age_seconds 1\n"
    found = node_gpus(read_page(text), "n1", BOUNDS)
    assert [sample.pod for sample in found[family]] == [OTHER]


def rows(value: str) -> Result:
    found = []
    for pod, text in (("web-0", value), ("web-1", "50")):
        labels = {"namespace_name": "default", "pod_name": pod, "uuid": f"GPU-{pod}"}
        for part, sample in (("value", text), ("time", "1000")):
            found.append({"metric": labels | {PART: part}, "value": [1000, sample]})
    return Result(type="vector", rows=found)


@pytest.mark.parametrize("value", IMPOSSIBLE)
@pytest.mark.parametrize("family", SANE)
@pytest.mark.parametrize("factor", [1, 1000, 2**20])
def test_from_prometheus_it_is_the_problem_of_its_pod(family, value, factor):
    values, _ = read_series(rows(value), OURS, factor=factor, pods=[POD, OTHER], family=family)
    assert POD in values.problems
    assert POD not in values.values
    if factor == 1:
        assert OTHER not in values.problems
        assert values.values[OTHER] == {"GPU-web-1": [50.0]}


@pytest.mark.parametrize("value", ["1e308", "NaN", "-5", "+Inf"])
def test_the_part_of_another_tenants_pod_changes_no_sum(value):
    labels = {"namespace_name": "evil", "pod_name": "x", "uuid": "GPU-a"}
    parts = [
        (labels, value),
        ({**labels, "namespace_name": "default", "pod_name": "web-0"}, "60"),
    ]
    found = [{"metric": one | {PART: "own_value"}, "value": [1000, text]} for one, text in parts]
    _, own = read_series(
        Result(type="vector", rows=found),
        OURS,
        factor=1,
        pods=[POD],
        family=devices.DUTY_CYCLE,
    )
    assert own.totals == {"GPU-a": 60.0}


@pytest.mark.parametrize("value", ["1e308", "101", "1e400"])
def test_of_single_gpus_from_prometheus_it_is_left_out(value):
    held = Holder(node="n1", pod=POD, uuid="GPU-a", container="")
    free = Holder(node="n1", pod=None, uuid="GPU-b", container="")
    series = GpuSeries(
        values={held: Decimal(value), free: Decimal(7)}, ages_seconds={held: 1.0, free: 1.0}
    )
    found = gpu_samples([series], factor=1, asked_seconds=50.0, family=devices.DUTY_CYCLE)
    assert [sample.uuid for sample in found] == ["GPU-b"]


@given(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from(sorted(SANE)))
def test_no_number_raises_and_what_counts_is_possible(value, family):
    found = Found(page(**{family: str(value)}))
    for metric in GPU_METRICS:
        for pod in (POD, OTHER):
            reading = found.values[metric].get(pod)
            # The most that a family may have is a pebibyte, in milli units.
            assert reading is None or -(2**17) * 1000 <= reading.value_milli <= 2**60 + 2**50
        if out_of_bounds(family, value) is None:
            assert POD in found.values[metric] or metric is Metric.MEMORY_USED_PERCENT


@pytest.mark.parametrize("text", ["1e20", "9.3e15", "1e300", "-1e20", "-1e300"])
def test_the_value_of_a_query_is_kept_within_an_int64(text):
    found = read_total(Result(type="scalar", rows=[1000, text]))
    assert found == (MAX_INT64 if not text.startswith("-") else -MAX_INT64)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_no_value_of_a_query_leaves_an_int64(value):
    assert abs(read_total(Result(type="scalar", rows=[1000, str(value)]))) <= MAX_INT64
