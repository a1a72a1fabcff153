# SPDX-License-Identifier: Apache-2.0
"""From requests per second to the duty cycle of GPUs."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.workload import (
    ServingPod,
    Workload,
    device_loads,
    offered,
    serving_pods,
    spread,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


def serving(name: str, cost: float = 0.01, namespace: str = "a") -> ServingPod:
    return ServingPod(namespace=namespace, name=name, gpu_seconds_per_request=cost)


@pytest.mark.parametrize(
    ("rate", "pods", "duty", "served", "saturated"),
    [
        pytest.param(63, 1, 63, 63, 0, id="one pod below its limit"),
        pytest.param(63, 2, 31.5, 63, 0, id="the load is shared"),
        pytest.param(100, 1, 100, 100, 1, id="just saturated"),
        pytest.param(450, 2, 100, 200, 2, id="more than can be served"),
        pytest.param(0, 3, 0, 0, 0, id="idle"),
    ],
)
def test_the_load_is_spread_evenly(rate, pods, duty, served, saturated):
    traffic = spread({"a": rate}, [serving(f"p{n}") for n in range(pods)])
    assert [*traffic.duty_cycle_percent.values()] == pytest.approx([duty] * pods)
    assert traffic.offered_requests_per_second == rate
    assert traffic.served_requests_per_second == pytest.approx(served)
    assert traffic.saturated_pods == saturated


def test_without_serving_pods_nothing_is_served():
    traffic = spread({"a": 50}, [])
    assert traffic.offered_requests_per_second == 50
    assert traffic.served_requests_per_second == 0


def test_traffic_stays_in_its_namespace():
    one, other = serving("p"), serving("p", namespace="b")
    traffic = spread({"a": 20}, [one, other])
    assert traffic.duty_cycle_percent == pytest.approx({one: 20, other: 0})


@given(
    rate=st.floats(0, 1e4),
    costs=st.lists(st.floats(0, 2), min_size=1, max_size=8),
)
def test_no_pod_is_busier_than_full_and_no_more_is_served_than_offered(rate, costs):
    traffic = spread({"a": rate}, [serving(f"p{n}", cost) for n, cost in enumerate(costs)])
    assert all(0 <= percent <= 100 for percent in traffic.duty_cycle_percent.values())
    assert traffic.served_requests_per_second <= rate * (1 + 1e-9)


def test_pods_of_a_shared_gpu_add_up_to_a_full_one():
    one, two, three = serving("p1"), serving("p2"), serving("p3")
    loads = device_loads({one: 70, two: 20, three: 45}, {one: {"x"}, two: {"x", "y"}, three: {"x"}})
    assert loads == {"x": 100, "y": 20}


def pod(name: str, *, ready: bool = True, **annotations: str) -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": "a",
            "name": name,
            "annotations": {
                f"simulator/{key.replace('_', '-')}": value for key, value in annotations.items()
            },
        },
        "status": {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


def test_only_ready_pods_press_and_serve():
    ending = pod("p5", requests_per_second="5")
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    pods = [
        pod("p1", requests_per_second="30"),
        pod("p2", requests_per_second="12.5"),
        pod("p3", requests_per_second="9", ready=False),
        ending,
        pod("s1", gpu_seconds_per_request="0.02"),
        pod("s2", gpu_seconds_per_request="0.02", ready=False),
        pod("neither"),
    ]
    assert offered(pods) == {"a": 42.5}
    assert serving_pods(pods) == [serving("s1", 0.02)]


@pytest.mark.parametrize("text", ["", "many", "-1", "inf", "nan"])
def test_a_wrong_annotation_is_named_and_left_out(text, caplog):
    wrong = pod("p1", requests_per_second=text)
    right = pod("p2", requests_per_second="3")
    assert offered([wrong, right]) == {"a": 3}
    workload = Workload(Cluster([wrong, right]))
    workload.apply()
    workload.apply()
    (record,) = caplog.records
    assert "a/p1: annotation simulator/requests-per-second" in record.error


class Cluster:
    def __init__(self, pods: list[dict[str, Any]]) -> None:
        self.listed = pods
        self.loads: dict[str, float] = {}

    def pods(self) -> list[dict[str, Any]]:
        return self.listed

    def devices_of(self, namespace: str, pod: str) -> frozenset[str]:
        return frozenset({f"GPU-{namespace}-{pod}"})

    def set_loads(self, percent: Mapping[str, float]) -> None:
        self.loads = dict(percent)


def test_the_load_follows_the_press():
    press = pod("press", requests_per_second="63")
    cluster = Cluster([press, pod("s1", gpu_seconds_per_request="0.01")])
    workload = Workload(cluster)
    workload.apply()
    assert cluster.loads == pytest.approx({"GPU-a-s1": 63})
    cluster.listed.append(pod("s2", gpu_seconds_per_request="0.01"))
    workload.apply()
    assert cluster.loads == pytest.approx({"GPU-a-s1": 31.5, "GPU-a-s2": 31.5})
    cluster.listed.remove(press)
    assert workload.apply().offered_requests_per_second == 0
    assert cluster.loads == {"GPU-a-s1": 0, "GPU-a-s2": 0}


def test_noise_is_the_seeds_and_leaves_idle_gpus_idle():
    def loads(seed: int, rate: str) -> list[float]:
        cluster = Cluster(
            [
                pod("press", requests_per_second=rate),
                pod("s1", gpu_seconds_per_request="0.01"),
            ]
        )
        workload = Workload(cluster, noise=random.Random(seed), noise_percent=2)
        values = []
        for _ in range(200):
            workload.apply()
            values.append(cluster.loads["GPU-a-s1"])
        return values

    noisy = loads(1, "60")
    assert noisy == loads(1, "60")
    assert noisy != loads(2, "60")
    assert sum(noisy) / len(noisy) == pytest.approx(60, abs=1)
    assert {*loads(1, "0")} == {0}
    assert {*loads(1, "300")} == {100}
