# SPDX-License-Identifier: Apache-2.0
"""What is answered from what was read: items, no items, and failures."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from scaler.cluster.pod_cache import PodCache
from scaler.kube.client import KubeClient
from scaler.metricsapi.target_reader import LOOK_BACK_AGAIN_SECONDS
from scaler.readings.devices import (
    CONTAINER_DUTY_CYCLE,
    CONTAINER_MEMORY_USED,
    DUTY_CYCLE,
    MEMORY_USED,
)
from tests.unit.answeringapi import (
    API,
    PODS,
    Objects,
    gpu,
    running,
    values,
)
from tests.waiting import until

if TYPE_CHECKING:
    from scaler.kube.selectors import Selector


@pytest.fixture
async def api():
    async with running() as parts:
        yield parts


async def test_pods_by_label(api):
    api.source.samples[DUTY_CYCLE] = [
        gpu(63),
        gpu(20, uuid="b"),
        gpu(10, pod="web-2", node="n2", uuid="c"),
        gpu(99, pod="other-1", node="n2", uuid="d"),
    ]
    answer = await api.ask(f"{PODS}/%2A/duty_cycle_current", labelSelector="app=web")
    assert values(answer) == {"web-1": "41500m", "web-2": "10"}
    # The readings' own time, not that of the answer.
    assert {one["timestamp"] for one in answer["items"]} == {"2025-11-24T16:01:39Z"}
    assert api.source.asked == [{"n1": {DUTY_CYCLE}, "n2": {DUTY_CYCLE}}]


def test_labels_that_many_pods_share_are_looked_at_once():
    looked_at = []

    class Counting:
        def matches(self, labels):
            looked_at.append(labels)
            return labels["app"] == "web"

    objects = Objects()
    shared = [{"app": "web"}, {"app": "other"}]
    objects._pods = {
        f"pod-{n}": replace(objects._pods["web-1"], name=f"pod-{n}", labels=shared[n % 2])
        for n in range(1000)
    }
    selected = objects.selected("default", cast("Selector", Counting()))
    assert [pod.name for pod in selected] == [f"pod-{n}" for n in range(0, 1000, 2)]
    assert looked_at == shared


@pytest.mark.parametrize(
    ("spec", "asks"),
    [
        pytest.param({"containers": [{}]}, False, id="nothing"),
        pytest.param(
            {"containers": [{"resources": {"limits": {"cpu": "1", "hugepages-2Mi": "4Mi"}}}]},
            False,
            id="what every node has",
        ),
        pytest.param(
            {"containers": [{}, {"resources": {"limits": {"nvidia.com/mig-1g.10gb": "1"}}}]},
            True,
            id="of a plugin",
        ),
        pytest.param(
            {
                "containers": [{}],
                "initContainers": [{"resources": {"limits": {"example.com/gpu": 1}}}],
            },
            True,
            id="of a sidecar",
        ),
        pytest.param(
            {"containers": [{}], "resourceClaims": [{"name": "gpu"}]}, True, id="by a claim"
        ),
    ],
)
def test_which_pods_ask_for_devices(spec, asks):
    objects = PodCache(KubeClient("http://nobody"))
    metadata = {"namespace": "default", "name": "web-1", "uid": "u1"}
    pod = objects._decode_pod({"metadata": metadata, "spec": {"nodeName": "n1"} | spec}, None)
    assert pod is not None
    assert pod.asks_for_devices is asks


async def test_only_the_nodes_and_families_that_are_asked_for_are_read(api):
    api.source.samples[DUTY_CYCLE] = [gpu(63)]
    await api.ask(f"{PODS}/web-1/nvidia_gpu_duty_cycle_current")
    assert api.source.asked == [{"n1": {DUTY_CYCLE}}]
    await api.ask(f"{PODS}/web-1/duty_cycle_over_time")
    assert len(api.source.asked) == 1


async def test_a_pods_containers_on_one_gpu(api):
    api.source.samples[DUTY_CYCLE] = [gpu(20), gpu(30)]
    api.source.samples[MEMORY_USED] = [gpu(2**30), gpu(2**31)]
    assert values(await api.ask(f"{PODS}/web-1/duty_cycle_current")) == {"web-1": "30"}
    answer = await api.ask(f"{PODS}/web-1/memory_used_bytes_current")
    assert values(answer) == {"web-1": str(3 * 2**30)}


async def test_the_containers_own_parts_of_a_shared_gpu_add_up(api):
    api.source.samples[CONTAINER_DUTY_CYCLE] = [gpu(20), gpu(30), gpu(7, uuid="b")]
    api.source.samples[CONTAINER_MEMORY_USED] = [gpu(2**30), gpu(2**31), gpu(5, pod="web-2")]
    answer = await api.ask(f"{PODS}/web-1/container_duty_cycle_current")
    assert values(answer) == {"web-1": "28500m"}
    answer = await api.ask(f"{PODS}/web-1/nvidia_gpu_container_memory_used_bytes_over_time")
    assert values(answer) == {"web-1": str(3 * 2**30)}


async def test_without_the_exporters_collector_the_containers_parts_are_no_items(api):
    answer = await api.ask(f"{PODS}/*/container_duty_cycle_current")
    assert answer["items"] == []


async def test_metrics_by_uuid(api):
    api.source.samples[DUTY_CYCLE] = [gpu(30), gpu(61, uuid="b")]
    path = f"{PODS}/web-1/duty_cycle_current"
    answer = await api.ask(path, metricLabelSelector="uuid=GPU-b")
    assert values(answer) == {"web-1": "61"}
    assert answer["items"][0]["selector"] == {"matchLabels": {"uuid": "GPU-b"}}
    answer = await api.ask(path, metricLabelSelector="uuid=GPU-c")
    assert (answer["code"], answer["message"]) == (
        404,
        "the server could not find the metric duty_cycle_current for pods web-1"
        " with selector uuid=GPU-c",
    )


async def test_a_pod_of_which_a_gpu_is_missing_is_no_item(api):
    path = f"{PODS}/*/duty_cycle_current"
    api.source.samples[DUTY_CYCLE] = [
        gpu(0),
        gpu(100, uuid="b"),
        gpu(10, pod="web-2", node="n2", uuid="c"),
    ]
    assert values(await api.ask(path)) == {"web-1": "50", "web-2": "10"}
    del api.source.samples[DUTY_CYCLE][1]
    await api.reader._read_safely(api.reader._histories.wanted(api.now.seconds))
    assert values(await api.ask(path)) == {"web-2": "10"}
    # Nodes and namespaces go on with what they have.
    answer = await api.ask(f"{API}/namespaces/default/metrics/duty_cycle_current")
    assert values(answer) == {"default": "5"}


async def test_nodes_with_their_free_gpus(api):
    api.source.samples[DUTY_CYCLE] = [
        gpu(60),
        gpu(0, pod=None, uuid="b"),
        gpu(10, pod="web-2", node="n2", uuid="c"),
    ]
    assert values(await api.ask(f"{API}/nodes/*/duty_cycle_current")) == {"n1": "30", "n2": "10"}
    assert values(await api.ask(f"{API}/nodes/n1/duty_cycle_current")) == {"n1": "30"}
    answer = await api.ask(f"{API}/nodes/*/duty_cycle_current", labelSelector="zone=n2")
    assert values(answer) == {"n2": "10"}


async def test_a_namespace(api):
    api.source.samples[DUTY_CYCLE] = [gpu(60), gpu(10, pod="web-2", node="n2", uuid="c")]
    path = f"{API}/namespaces/default/metrics/duty_cycle_current"
    (item,) = (await api.ask(path))["items"]
    assert item["describedObject"] == {"kind": "Namespace", "name": "default", "apiVersion": "/v1"}
    assert item["value"] == "35"
    answer = await api.ask(f"{API}/namespaces/none/metrics/duty_cycle_current")
    assert answer["message"] == (
        "the server could not find the metric duty_cycle_current for namespaces none"
    )


async def test_of_a_namespace_only_the_nodes_of_pods_with_devices_are_read(api):
    """Others have no exporter: the mean is not missing because of them."""
    api.source.samples[DUTY_CYCLE] = [gpu(60), gpu(10, pod="web-2", node="n2", uuid="c")]
    api.source.failed_nodes = {
        "without-exporter": "the exporter of node without-exporter is missing"
    }
    answer = await api.ask(f"{API}/namespaces/default/metrics/duty_cycle_current")
    assert values(answer) == {"default": "35"}
    assert api.source.asked == [{"n1": {DUTY_CYCLE}, "n2": {DUTY_CYCLE}}]


async def test_of_half_a_namespace_there_is_no_value(api):
    api.source.samples[DUTY_CYCLE] = [gpu(60), gpu(10, pod="web-2", node="n2", uuid="c")]
    api.source.failed_nodes = {"n2": "the exporter of node n2 is missing"}
    answer = await api.ask(f"{API}/namespaces/default/metrics/duty_cycle_current")
    assert answer["code"] == 500
    # The same of one of two pods is a value of the other.
    answer = await api.ask(f"{PODS}/*/duty_cycle_current")
    assert values(answer) == {"web-1": "60"}


async def test_an_alias_may_have_another_unit(api):
    api.source.samples[MEMORY_USED] = [gpu(20 * 2**30)]
    answer = await api.ask(f"{PODS}/web-1/DCGM_FI_DEV_FB_USED")
    assert values(answer) == {"web-1": "20480"}
    assert answer["items"][0]["metricName"] == "DCGM_FI_DEV_FB_USED"


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        pytest.param(
            f"{PODS}/*/gpu_temperature",
            404,
            "the server could not find the metric gpu_temperature for pods",
            id="another metric",
        ),
        pytest.param(
            f"{PODS}/gone/duty_cycle_current",
            404,
            "the server could not find the metric duty_cycle_current for pods gone",
            id="no such pod",
        ),
        pytest.param(
            f"{PODS}/web-1/duty_cycle_current",
            404,
            "the server could not find the metric duty_cycle_current for pods web-1",
            id="a pod without a GPU",
        ),
        pytest.param(
            f"{API}/nodes/gone/duty_cycle_current",
            404,
            "the server could not find the metric duty_cycle_current for nodes gone",
            id="no such node",
        ),
        pytest.param(
            f"{PODS}/web-1", 404, "the server could not find the requested resource", id="no path"
        ),
    ],
)
async def test_what_is_not_there(api, path, code, message):
    answer = await api.ask(path)
    assert (answer["kind"], answer["code"], answer["message"]) == ("Status", code, message)


async def test_no_pod_with_a_value_is_an_empty_list(api):
    assert (await api.ask(f"{PODS}/*/duty_cycle_current", labelSelector="app=x"))["items"] == []
    assert (await api.ask(f"{PODS}/*/duty_cycle_current"))["items"] == []


async def test_stale_samples_are_no_items(api):
    api.source.samples[DUTY_CYCLE] = [gpu(63)]
    assert values(await api.ask(f"{PODS}/*/duty_cycle_current")) == {"web-1": "63"}
    api.now.seconds += 20
    assert (await api.ask(f"{PODS}/*/duty_cycle_current"))["items"] == []


async def test_a_source_that_fails_is_a_500_without_details(api):
    api.source.failed_families = {DUTY_CYCLE: "Prometheus at http://secret: refused"}
    answer = await api.ask(f"{PODS}/*/duty_cycle_current")
    assert (answer["code"], answer["reason"], answer["message"]) == (
        500,
        "InternalError",
        "Internal error occurred: unable to fetch metrics",
    )


@pytest.mark.parametrize(
    "query",
    [
        {"labelSelector": "app in web"},
        {"metricLabelSelector": "uuid=*"},
        {"metricLabelSelector": "pod_name=web-1"},
        {"fieldSelector": "metadata.name=web-2"},
        {"fieldSelector": "spec.nodeName=n1"},
    ],
)
async def test_a_query_that_cannot_be_read(api, query):
    answer = await api.ask(f"{PODS}/web-1/duty_cycle_current", **query)
    assert (answer["code"], answer["reason"]) == (400, "BadRequest")


async def test_a_field_selector_may_repeat_the_name(api):
    api.source.samples[DUTY_CYCLE] = [gpu(63)]
    path = f"{PODS}/web-1/duty_cycle_current"
    answer = await api.ask(path, fieldSelector="metadata.name=web-1", labelSelector="app=x")
    assert values(answer) == {"web-1": "63"}


async def test_the_past_is_looked_for_once(api):
    api.source.samples[DUTY_CYCLE] = [gpu(100)]
    api.source.past = [gpu(0, at=99 - 5 * n) for n in range(36, 0, -1)]
    await api.ask(f"{PODS}/web-1/duty_cycle_current")
    assert api.source.asked_past == []
    for _ in range(2):
        (item,) = (await api.ask(f"{PODS}/web-1/duty_cycle_over_time"))["items"]
        assert (item["value"], item["window"]) == ("5", 95)
    assert api.source.asked_past == [(DUTY_CYCLE, {"default"})]


@pytest.mark.parametrize("fails", ["all", "the past"])
async def test_a_past_that_could_not_be_read_is_looked_for_again(api, fails):
    """Prometheus may start together with the scaler, and takes longer."""
    path = f"{PODS}/web-1/duty_cycle_over_time"
    api.source.samples[DUTY_CYCLE] = [gpu(100)]
    api.source.past = None
    if fails == "all":
        api.source.failed_families = {DUTY_CYCLE: "Prometheus at http://x: refused"}
        assert (await api.ask(path))["code"] == 500
        # What its loop does meanwhile.
        api.source.failed_families = {}
        await api.reader._read_safely(api.reader._histories.wanted(api.now.seconds))
    else:
        await api.ask(path)
    api.source.past = [gpu(0, at=99 - 5 * n) for n in range(36, 0, -1)]
    (item,) = (await api.ask(path))["items"]
    assert (item["value"], item["window"]) == ("100", 0)
    api.now.seconds += LOOK_BACK_AGAIN_SECONDS
    for _ in range(2):
        api.source.samples[DUTY_CYCLE] = [gpu(100, at=api.now.seconds)]
        await api.reader._read_safely(api.reader._histories.wanted(api.now.seconds))
        (item,) = (await api.ask(path))["items"]
        assert (item["value"], item["window"]) == ("10", 111)
    assert len(api.source.asked_past) == 2


async def test_without_a_past_the_window_is_what_it_is(api):
    api.source.samples[DUTY_CYCLE] = [gpu(62.1)]
    (item,) = (await api.ask(f"{PODS}/web-1/duty_cycle_over_time"))["items"]
    assert (item["value"], item["window"]) == ("63", 0)


async def test_callers_at_the_same_time_wait_for_one_read(api):
    api.source.samples[DUTY_CYCLE] = [gpu(63)]
    api.source.go_on.clear()
    path = f"{PODS}/web-1/duty_cycle_current"
    asking = [asyncio.create_task(api.ask(path)) for _ in range(3)]
    await until(lambda: api.source.asked)
    asking[0].cancel()
    api.source.go_on.set()
    for answer in await asyncio.gather(*asking[1:]):
        assert values(answer) == {"web-1": "63"}
    assert len(api.source.asked) == 1
    with pytest.raises(asyncio.CancelledError):
        await asking[0]


async def test_what_was_asked_for_is_read_again_and_again():
    async with running(interval=0.01) as api:
        api.source.samples[DUTY_CYCLE] = [gpu(63)]
        await api.ask(f"{PODS}/*/duty_cycle_current")
        api.source.samples[DUTY_CYCLE] = [gpu(70, at=99.5)]

        async def is_newer() -> bool:
            answer = await api.ask(f"{PODS}/*/duty_cycle_current")
            return values(answer) == {"web-1": "70"}

        await until(is_newer)


async def test_a_read_that_breaks_is_not_the_last():
    async with running(interval=0.01) as api:
        api.source.samples[DUTY_CYCLE] = None
        await api.ask(f"{PODS}/*/duty_cycle_current")
        api.source.samples[DUTY_CYCLE] = [gpu(70)]

        async def is_there() -> bool:
            answer = await api.ask(f"{PODS}/*/duty_cycle_current")
            return values(answer) == {"web-1": "70"}

        await until(is_there)
