# SPDX-License-Identifier: Apache-2.0
"""Simulated nodes on the embedded API: they join, schedule, run pods and leave."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

import simulator.nodes
from exporter.cli.config import ExporterConfig
from scaler.kube.client import KubeClient
from scaler.kube.errors import NotFound
from simulator.apiserver import running_apiserver
from simulator.gpus import GpuSpec
from simulator.nodes import CONCURRENT_NODES, NodeSpec, SimulatedNodes, running_nodes
from simulator.plugin_devices import SHARED_GPU_RESOURCE
from simulator.workload import Workload
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from simulator.apiserver import ApiServer

PODS = "/api/v1/namespaces/default/pods"
FAST_EXPORTER = ExporterConfig(nvml_interval_seconds=0.1, nvml_window_seconds=0.5)


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with running_apiserver() as api:
        yield api


@pytest.fixture
async def client(api: ApiServer) -> AsyncIterator[KubeClient]:
    async with KubeClient(api.url) as client:
        yield client


@asynccontextmanager
async def joined(client: KubeClient, *specs: NodeSpec) -> AsyncIterator[SimulatedNodes]:
    async with running_nodes(
        client, specs, startup_seconds=0.05, exporter_config=FAST_EXPORTER
    ) as nodes:
        yield nodes


async def eventually(condition: Callable[[], Any], *, what: str) -> None:
    await until(condition, what=what)


def manifest(
    name: str, *, gpus: int = 1, resource: str = "nvidia.com/gpu", **annotations: str
) -> dict[str, Any]:
    limits = {resource: str(gpus)} if gpus else {}
    return {
        "metadata": {
            "name": name,
            "annotations": {
                f"simulator/{key.replace('_', '-')}": value for key, value in annotations.items()
            },
        },
        "spec": {"containers": [{"name": "main", "image": "i", "resources": {"limits": limits}}]},
    }


def conditions(pod: dict[str, Any]) -> dict[str, str]:
    return {entry["type"]: entry["status"] for entry in pod["status"].get("conditions", ())}


async def condition_of(client: KubeClient, name: str, kind: str) -> dict[str, Any]:
    pod = await client.get(f"{PODS}/{name}")
    found = [entry for entry in pod["status"].get("conditions", ()) if entry["type"] == kind]
    return found[0] if found else {}


async def is_ready(client: KubeClient, name: str) -> bool:
    return (await condition_of(client, name, "Ready")).get("status") == "True"


async def is_gone(client: KubeClient, path: str) -> bool:
    try:
        await client.get(path)
    except NotFound:
        return True
    return False


async def exposition(nodes: SimulatedNodes, name: str) -> str:
    host, port = nodes.nodes[name].exporter_address
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}/metrics") as response,
    ):
        return await response.text()


async def reading(nodes: SimulatedNodes, node: str, family: str, pod: str) -> float | None:
    for metric in text_string_to_metric_families(await exposition(nodes, node)):
        for sample in metric.samples:
            if (sample.name, sample.labels.get("pod_name")) == (family, pod):
                return float(sample.value)
    return None


async def test_a_node_joins_with_its_gpus_and_leaves_nothing_behind(client):
    spec = NodeSpec(name="n1", gpus=("H100", "H100"), labels={"pool": "a"})
    async with joined(client, spec):
        node = await client.get("/api/v1/nodes/n1")
        labels = node["metadata"]["labels"]
        assert labels["pool"] == "a"
        assert labels["nvidia.com/gpu.present"] == "true"
        assert labels["nvidia.com/gpu.product"] == "NVIDIA-H100-80GB-HBM3"
        assert node["status"]["allocatable"]["nvidia.com/gpu"] == "2"
        assert conditions(node)["Ready"] == "True"
        lease_path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1"
        assert (await client.get(lease_path))["spec"]["holderIdentity"] == "n1"
    assert (await client.list_("/api/v1/nodes"))["items"] == []
    assert (await client.list_("/api/v1/pods"))["items"] == []
    assert await is_gone(client, lease_path)


async def test_the_exporter_is_published_as_a_pod_and_answers(client):
    async with joined(client, NodeSpec(name="n1", gpus=("T4",))) as nodes:
        path = "/api/v1/namespaces/gpu-exporter/pods/gpu-exporter-n1"
        pod = await client.get(path)
        await eventually(lambda: _has_ip(client, path), what="an IP of the exporter pod")
        pod = await client.get(path)
        (port,) = pod["spec"]["containers"][0]["ports"]
        assert pod["metadata"]["labels"]["app.kubernetes.io/name"] == "gpu-exporter"
        assert port["name"] == "metrics"
        assert (pod["status"]["podIP"], port["containerPort"]) == nodes.nodes["n1"].exporter_address
        assert 'nvidia_gpu_num_devices{node_name="n1"} 1.0' in await exposition(nodes, "n1")


async def _has_ip(client: KubeClient, path: str) -> bool:
    return bool((await client.get(path))["status"].get("podIP"))


async def test_a_pod_runs_becomes_ready_and_is_deleted(client):
    async with joined(client, NodeSpec(name="n1", gpus=("T4",))) as nodes:
        created = await client.post(PODS, manifest("p1", startup_seconds="0.3"))
        await eventually(lambda: _phase_is(client, "p1", "Running"), what="Running")
        starting = await client.get(f"{PODS}/p1")
        assert conditions(starting)["PodScheduled"] == "True"
        await eventually(lambda: is_ready(client, "p1"), what="Ready")
        pod = await client.get(f"{PODS}/p1")
        assert pod["spec"]["nodeName"] == "n1"
        assert pod["status"]["podIP"].startswith("198.19.")
        assert pod["status"]["startTime"]
        assert {"Initialized", "ContainersReady", "Ready"} <= conditions(pod).keys()
        (container,) = pod["status"]["containerStatuses"]
        assert (container["name"], container["ready"]) == ("main", True)
        assert nodes.devices_of("default", "p1") == {nodes.nodes["n1"].driver.gpus[0].uuid}
        await client.delete(f"{PODS}/p1")
        await eventually(lambda: is_gone(client, f"{PODS}/p1"), what="the pod's end")
        await eventually(lambda: not nodes.devices_of("default", "p1"), what="free devices")
        again = await client.post(PODS, manifest("p1"))
        assert again["metadata"]["uid"] != created["metadata"]["uid"]
        await eventually(lambda: is_ready(client, "p1"), what="Ready again")


async def _phase_is(client: KubeClient, name: str, phase: str) -> bool:
    return bool((await client.get(f"{PODS}/{name}"))["status"].get("phase") == phase)


async def test_a_pod_is_not_ready_before_its_startup_time_is_over(client):
    async with joined(client, NodeSpec(name="n1")):
        await client.post(PODS, manifest("p1", startup_seconds="3600"))
        await eventually(lambda: _phase_is(client, "p1", "Running"), what="Running")
        ready = await condition_of(client, "p1", "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "ContainersNotReady")
        await client.delete(f"{PODS}/p1")
        await eventually(lambda: is_gone(client, f"{PODS}/p1"), what="the end of a starting pod")


async def test_a_pod_without_a_free_gpu_waits_and_says_why(client):
    async with joined(client, NodeSpec(name="n1"), NodeSpec(name="n2")) as nodes:
        for name in ("p1", "p2"):
            await client.post(PODS, manifest(name))
            await eventually(partial(is_ready, client, name), what=f"{name} Ready")
        await client.post(PODS, manifest("p3"))
        await client.post(PODS, manifest("cpu-only", gpus=0))
        await eventually(lambda: condition_of(client, "p3", "PodScheduled"), what="Unschedulable")
        waiting = await condition_of(client, "p3", "PodScheduled")
        assert (waiting["status"], waiting["reason"]) == ("False", "Unschedulable")
        assert waiting["message"] == "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
        await eventually(lambda: is_ready(client, "cpu-only"), what="a pod without GPUs")
        (freed,) = nodes.devices_of("default", "p1")
        await client.delete(f"{PODS}/p1")
        await eventually(lambda: is_ready(client, "p3"), what="the freed GPU's next pod")
        assert nodes.devices_of("default", "p3") == {freed}
        assert (await condition_of(client, "p3", "PodScheduled"))["status"] == "True"


async def test_pods_wait_for_the_first_node(client):
    await client.post(PODS, manifest("p1"))
    async with joined(client, NodeSpec(name="n1")):
        await eventually(lambda: is_ready(client, "p1"), what="a pod older than its node")


async def test_shared_and_mig_devices(client):
    mig = GpuSpec(model="A100-80GB", mig_profiles=("1g.10gb",))
    specs = [
        NodeSpec(name="n1", replicas=2, resource_name=SHARED_GPU_RESOURCE),
        NodeSpec(name="n2", gpus=(mig,)),
    ]
    async with joined(client, *specs) as nodes:
        for name in ("s1", "s2"):
            await client.post(PODS, manifest(name, resource=SHARED_GPU_RESOURCE))
        await client.post(PODS, manifest("m1", resource="nvidia.com/mig-1g.10gb"))
        for name in ("s1", "s2", "m1"):
            await eventually(partial(is_ready, client, name), what=f"{name} Ready")
        shared = nodes.nodes["n1"].driver.gpus[0]
        assert nodes.devices_of("default", "s1") == nodes.devices_of("default", "s2")
        assert nodes.devices_of("default", "s1") == {shared.uuid}
        _board, instance = nodes.nodes["n2"].driver.uuids
        assert nodes.devices_of("default", "m1") == {instance}


async def test_two_scheduled_onto_one_gpu_fail_as_on_a_real_kubelet(client):
    async with joined(client, NodeSpec(name="n1")):
        await client.post(PODS, manifest("p1"))
        await eventually(lambda: is_ready(client, "p1"), what="p1 Ready")
        forced = manifest("p2")
        forced["spec"]["nodeName"] = "n1"
        await client.post(PODS, forced)
        await eventually(lambda: _phase_is(client, "p2", "Failed"), what="p2 Failed")
        assert (await client.get(f"{PODS}/p2"))["status"]["reason"] == "UnexpectedAdmissionError"


async def test_load_on_a_pod_shows_in_the_exporters_metrics(client):
    async with joined(client, NodeSpec(name="n1", gpus=("T4", "T4"))) as nodes:
        await client.post(
            PODS,
            manifest("serving", gpu_seconds_per_request="0.01", gpu_memory_bytes=str(3 << 30)),
        )
        await client.post(PODS, manifest("press", gpus=0, requests_per_second="63"))
        for name in ("serving", "press"):
            await eventually(partial(is_ready, client, name), what=f"{name} Ready")
        workload = Workload(nodes)

        async def busy() -> bool:
            workload.apply()
            return await reading(nodes, "n1", "nvidia_gpu_duty_cycle", "serving") == 63

        await eventually(busy, what="a duty cycle of 63")
        assert await reading(nodes, "n1", "nvidia_gpu_memory_used_bytes", "serving") == 3 << 30
        assert workload.traffic.served_requests_per_second == pytest.approx(63)
        await client.delete(f"{PODS}/press")
        await eventually(lambda: is_gone(client, f"{PODS}/press"), what="the press pod's end")
        await eventually(
            lambda: workload.apply().offered_requests_per_second == 0, what="no more requests"
        )


async def test_nodes_outlive_a_break_of_the_api(api, client):
    async with joined(client, NodeSpec(name="n1")):
        api.compact()
        api.faults.drop_watches()
        await client.post(PODS, manifest("p1"))
        await eventually(lambda: is_ready(client, "p1"), what="a pod after the break")


async def test_nodes_that_come_back_take_their_pods_up_again(client):
    async with joined(client, NodeSpec(name="n1")):
        await client.post(PODS, manifest("p1"))
        await eventually(lambda: is_ready(client, "p1"), what="p1 Ready")
    async with joined(client, NodeSpec(name="n1")) as nodes:
        await eventually(lambda: nodes.devices_of("default", "p1"), what="the pod's GPU again")
        await client.delete(f"{PODS}/p1")
        await eventually(lambda: is_gone(client, f"{PODS}/p1"), what="the pod's end")


async def test_a_pod_keeps_its_address_when_its_node_comes_back(client):
    async with joined(client, NodeSpec(name="a", gpus=("H100",))):
        for name in ("first", "second"):
            await client.post(PODS, manifest(name, gpus=0))
            await eventually(partial(is_ready, client, name), what=name)
        await client.delete(f"{PODS}/first")
        await eventually(lambda: is_gone(client, f"{PODS}/first"), what="the first one is gone")
        address = (await client.get(f"{PODS}/second"))["status"]["podIP"]
    async with joined(client, NodeSpec(name="a", gpus=("H100",))):
        await client.post(PODS, manifest("third", gpus=0))
        await eventually(lambda: is_ready(client, "third"), what="the third one")
        await eventually(lambda: is_ready(client, "second"), what="the second one again")
        assert (await client.get(f"{PODS}/second"))["status"]["podIP"] == address


async def test_a_hundred_nodes_join_one_process(client):
    specs = [NodeSpec(name=f"n{number}") for number in range(100)]
    async with running_nodes(client, specs, startup_seconds=0.05) as nodes:
        listed = (await client.list_("/api/v1/nodes"))["items"]
        assert len(listed) == 100
        assert len({node.exporter_address for node in nodes.nodes.values()}) == 100
        uuids = {uuid for node in nodes.nodes.values() for uuid in node.driver.uuids}
        assert len(uuids) == 100
        for number in range(100):
            await client.post(PODS, manifest(f"p{number}"))
        await eventually(
            lambda: sum(conditions(pod).get("Ready") == "True" for pod in nodes.pods()) == 200,
            what="100 pods and 100 exporters Ready",
        )
        assert len({pod["spec"]["nodeName"] for pod in nodes.pods()}) == 100


async def test_a_node_that_cannot_start_is_seen(client):
    with pytest.raises(ValueError, match="GPU model 'Z9' is not known"):
        async with joined(client, NodeSpec(name="n1", gpus=("Z9",))):
            pass


class SlowToPost(KubeClient):
    """Its creation of pods waits to be let through, as on a busy API server."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.is_posting = asyncio.Event()
        self.may_post = asyncio.Event()

    async def post(
        self, path: str, body: Mapping[str, Any], *, timeout_seconds: float | None = None
    ) -> dict[str, Any]:
        if path.endswith("/pods"):
            self.is_posting.set()
            await self.may_post.wait()
        return await super().post(path, body, timeout_seconds=timeout_seconds)


async def test_nodes_that_leave_while_they_join_leave_nothing_behind(api, client, monkeypatch):
    monkeypatch.setattr(simulator.nodes, "REMOVAL_TIMEOUT_SECONDS", 60.0)
    # More than join at once: the others begin when the first are being deleted.
    specs = [NodeSpec(name=f"n{number}") for number in range(CONCURRENT_NODES + 4)]
    async with SlowToPost(api.url) as slow:

        async def run() -> None:
            async with joined(slow, *specs):
                pass

        running = asyncio.create_task(run())
        await slow.is_posting.wait()
        running.cancel()
        asyncio.get_running_loop().call_later(0.1, slow.may_post.set)
        with pytest.raises(asyncio.CancelledError):
            await running
    for path in ("/api/v1/nodes", "/api/v1/pods", "/apis/coordination.k8s.io/v1/leases"):
        assert (await client.list_(path))["items"] == []
