# SPDX-License-Identifier: Apache-2.0
"""What is answered about workloads: the mean and the sum of their pods, groups, and failures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scaler.kube.errors import ApiError
from scaler.metricsapi.workloads import TooManyWorkloads
from scaler.readings.devices import (
    DUTY_CYCLE,
)
from tests.unit.answeringapi import (
    API,
    GROUP_KIND,
    PODS,
    gpu,
    running,
    values,
)

WORKLOADS = f"{API}/namespaces/default/deployments.apps"
GROUPS = f"{API}/namespaces/default/{GROUP_KIND}"


@pytest.fixture
async def api():
    async with running() as parts:
        yield parts


TWO_PODS = (
    gpu(60),
    gpu(31, uuid="b"),
    gpu(10, pod="web-2", node="n2", uuid="c"),
    gpu(99, pod="other-1", node="n2", uuid="d"),
)


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("duty_cycle_current", "27750m"),
        ("duty_cycle_sum_current", "55500m"),
        ("nvidia_gpu_duty_cycle_over_time", "28"),
        ("duty_cycle_sum_over_time", "56"),
        ("gpu_load", "555m"),
        ("DCGM_FI_DEV_GPU_UTIL", "27750m"),
    ],
)
async def test_a_workload_has_the_mean_and_the_sum_of_its_pods(api, metric, value):
    """The mean is that of the values that its pods have, as an HPA computes it of pods."""
    api.source.samples[DUTY_CYCLE] = TWO_PODS
    (item,) = (await api.ask(f"{WORKLOADS}/web/{metric}"))["items"]
    assert item["value"] == value
    assert item["describedObject"] == {
        "kind": "Deployment",
        "namespace": "default",
        "name": "web",
        "apiVersion": "apps/v1",
    }


async def test_workloads_by_label(api):
    api.source.samples[DUTY_CYCLE] = TWO_PODS
    path = f"{WORKLOADS}/%2A/duty_cycle_sum_current"
    assert values(await api.ask(path, labelSelector="tier=web")) == {"web": "55500m"}
    assert values(await api.ask(path)) == {"web": "55500m"}
    api.workloads.error = TooManyWorkloads("more than 100 deployments.apps match")
    assert (await api.ask(path))["code"] == 400


async def test_a_workload_by_uuid(api):
    api.source.samples[DUTY_CYCLE] = TWO_PODS
    path = f"{WORKLOADS}/web/duty_cycle_sum_current"
    assert values(await api.ask(path, metricLabelSelector="uuid=GPU-b")) == {"web": "31"}
    assert (await api.ask(path, metricLabelSelector="uuid=GPU-d"))["code"] == 404


@pytest.mark.parametrize("metric", ["duty_cycle_current", "duty_cycle_sum_current"])
async def test_a_workload_has_no_value_while_a_running_pod_has_none(api, metric):
    """Its sum would be too low, and its mean that of the others."""
    path = f"{WORKLOADS}/web/{metric}"
    api.source.samples[DUTY_CYCLE] = TWO_PODS[:2]
    answer = await api.ask(path)
    assert (answer["code"], answer["message"]) == (
        404,
        f"the server could not find the metric {metric} for deployments.apps web",
    )
    # It has not started yet, and holds no GPU.
    pods = api.objects._pods
    pods["web-2"] = replace(pods["web-2"], serves=False)
    assert (await api.ask(path))["items"]
    api.source.failed_nodes = {"n1": "the exporter of node n1 is missing"}
    await api.reader._read_safely(api.reader._histories.wanted(api.now.seconds))
    api.now.seconds += 20
    assert (await api.ask(path))["code"] == 500


async def test_a_pod_that_asks_for_no_gpu_may_have_no_value(api):
    pods = api.objects._pods
    pods["web-3"] = replace(pods["cpu-1"], name="web-3", labels={"app": "web"})
    api.source.samples[DUTY_CYCLE] = TWO_PODS
    assert values(await api.ask(f"{WORKLOADS}/web/duty_cycle_sum_current")) == {"web": "55500m"}
    answer = await api.ask(f"{WORKLOADS}/cpu/duty_cycle_sum_current")
    assert answer["code"] == 404


@pytest.fixture
def groups(api):
    """Two groups of two pods, which the selector app=llm finds."""
    prefix = "leaderworkerset.sigs.k8s.io"
    for pod, group, worker in (
        ("llm-0", "0", "0"),
        ("llm-0-1", "0", "1"),
        ("llm-1", "1", "0"),
        ("llm-1-1", "1", "1"),
    ):
        labels = {"app": "llm", f"{prefix}/group-index": group, f"{prefix}/worker-index": worker}
        api.objects._pods[pod] = replace(api.objects._pods["web-1"], name=pod, labels=labels)
    return api.objects._pods


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("duty_cycle_current", "35"),
        ("duty_cycle_sum_current", "70"),
        ("duty_cycle_over_time", "35"),
        ("duty_cycle_sum_over_time", "70"),
    ],
)
async def test_all_pods_of_a_group_make_the_value_of_one_replica(api, groups, metric, value):
    """As the GPUs of a pod do, so a target is the same for groups of any size."""
    api.source.samples[DUTY_CYCLE] = [
        gpu(value, pod=pod, uuid=pod)
        for pod, value in (("llm-0", 0), ("llm-0-1", 100), ("llm-1", 10), ("llm-1-1", 30))
    ]
    assert values(await api.ask(f"{GROUPS}/llm/{metric}")) == {"llm": value}


async def test_a_group_without_a_workers_value_has_none(api, groups):
    api.source.samples[DUTY_CYCLE] = [
        gpu(10, pod=pod, uuid=pod) for pod in ("llm-0", "llm-1", "llm-1-1")
    ]
    assert (await api.ask(f"{GROUPS}/llm/duty_cycle_current"))["code"] == 404


async def test_pods_of_other_kinds_with_such_labels_are_replicas_of_their_own(api, groups):
    """The StatefulSet of a group's workers has them too."""
    api.source.samples[DUTY_CYCLE] = [
        gpu(10, pod=pod, uuid=pod) for pod in groups if pod.startswith("llm")
    ]
    assert values(await api.ask(f"{WORKLOADS}/llm/duty_cycle_sum_current")) == {"llm": "40"}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (f"{WORKLOADS}/gone/duty_cycle_current", "metric duty_cycle_current for deployments.apps"),
        (f"{WORKLOADS}/web/nonsense", "metric nonsense for deployments.apps"),
        (f"{PODS}/web-1/duty_cycle_sum_current", "metric duty_cycle_sum_current for pods"),
        (
            f"{API}/namespaces/default/services/web/duty_cycle_current",
            "metric duty_cycle_current for services",
        ),
    ],
)
async def test_what_workloads_do_not_have(api, path, message):
    answer = await api.ask(path)
    assert answer["code"] == 404
    assert message in answer["message"]


async def test_a_workload_that_cannot_be_read_is_a_500_without_details(api):
    api.workloads.error = ApiError(request="GET /x", status=403, reason="Forbidden", message="m")
    answer = await api.ask(f"{WORKLOADS}/web/duty_cycle_current")
    assert (answer["code"], answer["message"]) == (
        500,
        "Internal error occurred: unable to fetch metrics",
    )
