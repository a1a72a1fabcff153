# SPDX-License-Identifier: Apache-2.0
"""What is answered from what was read: items, no items, and failures."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from prometheus_client import CollectorRegistry

from scaler.cluster.pod_cache import CachedNode, CachedPod, PodCache
from scaler.kube.client import KubeClient
from scaler.kube.errors import ApiError
from scaler.kube.selectors import parse_selector
from scaler.metricsapi.answering import Responder
from scaler.metricsapi.names import ServedKind, catalog, parse_alias
from scaler.metricsapi.paths import read_path
from scaler.metricsapi.target_reader import LOOK_BACK_AGAIN_SECONDS, TargetReader
from scaler.metricsapi.telemetry import Telemetry
from scaler.metricsapi.workloads import TooManyWorkloads
from scaler.model import ObjectRef
from scaler.readings.devices import (
    CONTAINER_DUTY_CYCLE,
    CONTAINER_MEMORY_USED,
    DUTY_CYCLE,
    MEMORY_USED,
)
from scaler.readings.gpus import GpuAnswer, GpuSample
from tests.waiting import until

if TYPE_CHECKING:
    from scaler.kube.selectors import Selector
    from scaler.metricsapi.workloads import WorkloadSelectors

API = "/apis/custom.metrics.k8s.io/v1beta1"
PODS = f"{API}/namespaces/default/pods"
WORKLOADS = f"{API}/namespaces/default/deployments.apps"
GROUP_KIND = "leaderworkersets.leaderworkerset.x-k8s.io"
GROUPS = f"{API}/namespaces/default/{GROUP_KIND}"


def gpu(value, *, pod="web-1", node="n1", uuid="a", namespace="default", at=99.0):
    ref = ObjectRef(namespace=namespace, name=pod) if pod else None
    return GpuSample(node, ref, f"GPU-{uuid}", value, at, 15)


class Source:
    """Shows `samples` by family; counts what it was asked."""

    def __init__(self):
        self.samples: Any = {DUTY_CYCLE: [], MEMORY_USED: []}
        self.past: Any = []
        self.failed_nodes = {}
        self.failed_families = {}
        self.asked = []
        self.asked_past = []
        self.go_on = asyncio.Event()
        self.go_on.set()

    def need(self, wanted):
        pass

    async def read_gpus(self, wanted):
        self.asked.append({node: set(families) for node, families in wanted.items()})
        await self.go_on.wait()
        return GpuAnswer(
            samples={
                family: [one for one in some if one.node not in self.failed_nodes]
                for family, some in self.samples.items()
                if family not in self.failed_families
            },
            failed_nodes=self.failed_nodes,
            failed_families=self.failed_families,
        )

    async def read_past(self, family, namespaces, *, seconds, step_seconds):
        self.asked_past.append((family, set(namespaces)))
        return self.past


class Objects(PodCache):
    """Pods web-1 and web-2 on n1 and n2 with the label app=web, other-1 on n2; no GPU for cpu-1."""

    def __init__(self):
        self._pods = {
            name: CachedPod(
                namespace="default",
                name=name,
                labels={"app": name.partition("-")[0]},
                node_name=node,
                created_seconds=0.0,
                asks_for_devices=name != "cpu-1",
                serves=True,
            )
            for name, node in (
                ("web-1", "n1"),
                ("web-2", "n2"),
                ("other-1", "n2"),
                ("cpu-1", "without-exporter"),
            )
        }

    def pods(self, namespace):
        return self._pods.values() if namespace == "default" else ()

    def pod(self, namespace, name):
        return self._pods.get(name) if namespace == "default" else None

    def nodes(self):
        return [CachedNode(name=name, labels={"zone": name}) for name in ("n1", "n2")]


class Workloads:
    """Deployments web and cpu select what is named after them; gone is not there."""

    def __init__(self):
        self.error = None

    async def named(self, kind, namespace, name):
        assert kind in ("deployments.apps", GROUP_KIND)
        assert namespace == "default"
        if self.error:
            raise self.error
        return {} if name == "gone" else {name: parse_selector(f"app={name}")}

    async def listed(self, kind, namespace, selector):
        names = ("web", "cpu") if selector.text != "tier=web" else ("web",)
        return {name: (await self.named(kind, namespace, name))[name] for name in names}


@asynccontextmanager
async def running(interval=3600.0):
    now = SimpleNamespace(seconds=100.0)
    source = Source()
    objects = Objects()
    reader = TargetReader(
        source=source,
        objects=objects,
        telemetry=Telemetry(CollectorRegistry()),
        clock=lambda: now.seconds,
    )
    workloads = Workloads()
    aliases = [
        parse_alias("DCGM_FI_DEV_GPU_UTIL=duty_cycle_current"),
        parse_alias("DCGM_FI_DEV_FB_USED=memory_used_bytes_current/1048576"),
        parse_alias("gpu_load=duty_cycle_sum_current/100"),
    ]
    answers = Responder(
        reader=reader,
        objects=objects,
        workloads=cast("WorkloadSelectors", workloads),
        catalog=catalog(
            {
                "deployments.apps": ServedKind(kind="Deployment", api_version="apps/v1"),
                GROUP_KIND: ServedKind(
                    kind="LeaderWorkerSet", api_version="leaderworkerset.x-k8s.io/v1"
                ),
            },
            aliases,
        ),
        clock=lambda: now.seconds,
        wall_clock=lambda: now.seconds + 1_764_000_000,
    )
    task = asyncio.create_task(reader.run(interval_seconds=interval))

    async def ask(path, **query):
        return await answers.answer(read_path(path)[0], query)

    try:
        yield SimpleNamespace(
            ask=ask,
            source=source,
            now=now,
            answers=answers,
            reader=reader,
            objects=objects,
            workloads=workloads,
        )
    finally:
        task.cancel()


@pytest.fixture
async def api():
    async with running() as parts:
        yield parts


def values(answer) -> dict[str, str]:
    return {one["describedObject"]["name"]: one["value"] for one in answer["items"]}


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
