# SPDX-License-Identifier: Apache-2.0
"""The simulated kubelet's pod-resources API over a real unix socket."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest

from exporter.podresources.client import PodResourcesClient
from simulator.driver import SimulatedDriver
from simulator.gpus import GpuSpec
from simulator.kubelet import DAEMON_POD, SimulatedKubelet
from simulator.podresources_pb2 import ListPodResourcesRequest, ListPodResourcesResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def kubelet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SimulatedKubelet]:
    driver = SimulatedDriver(["T4", GpuSpec(model="A100-80GB", mig_profiles=("1g.10gb",))])
    socket = tmp_path_factory.mktemp("k") / "kubelet.sock"
    async with SimulatedKubelet(driver, str(socket)) as kubelet:
        yield kubelet


async def listed(
    kubelet: SimulatedKubelet, *, timeout_seconds: float = 60, max_bytes: int = 4 << 20
) -> ListPodResourcesResponse:
    options = [
        ("grpc.max_receive_message_length", max_bytes),
        ("grpc.default_authority", "localhost"),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    async with grpc.aio.insecure_channel(f"unix://{kubelet.socket_path}", options) as channel:
        call = channel.unary_unary(
            "/v1.PodResourcesLister/List",
            request_serializer=ListPodResourcesRequest.SerializeToString,
            response_deserializer=ListPodResourcesResponse.FromString,
        )
        answer = await call(ListPodResourcesRequest(), timeout=timeout_seconds)
        assert isinstance(answer, ListPodResourcesResponse)
        return answer


def socket_exists(kubelet: SimulatedKubelet) -> bool:
    return Path(kubelet.socket_path).exists()


def rows(response: ListPodResourcesResponse) -> list[tuple[str, str, str, str, list[str]]]:
    return [
        (pod.namespace, pod.name, container.name, devices.resource_name, [*devices.device_ids])
        for pod in response.pod_resources
        for container in pod.containers
        for devices in container.devices
    ]


async def test_list_names_pods_containers_and_devices(kubelet):
    assert rows(await listed(kubelet)) == []
    whole = kubelet.allocate("a", "one", "main", "nvidia.com/gpu", 1)
    mig = kubelet.allocate("a", "one", "side", "nvidia.com/mig-1g.10gb", 1)
    assert rows(await listed(kubelet)) == [
        ("a", "one", "main", "nvidia.com/gpu", [*whole]),
        ("a", "one", "side", "nvidia.com/mig-1g.10gb", [*mig]),
    ]
    kubelet.release("a", "one")
    assert rows(await listed(kubelet)) == []


async def test_the_exporters_client_reads_it(kubelet):
    (device_id,) = kubelet.allocate("a", "one", "main", "nvidia.com/gpu", 1)
    client = PodResourcesClient(kubelet.socket_path, (), node_name="")
    (allocation,) = (await client.list_pods()).allocations
    assert allocation.device_id == device_id
    assert allocation.container.pod_name == "one"


async def test_an_old_kubelet_lists_finished_pods_with_a_device_that_went_to_another(kubelet):
    kubelet.lists_finished_pods = True
    kubelet.allocate("a", "old", "main", "nvidia.com/gpu", 1)
    kubelet.release("a", "old")
    ids = kubelet.allocate("a", "new", "main", "nvidia.com/gpu", 1)
    assert [(row[1], row[4]) for row in rows(await listed(kubelet))] == [
        ("old", [*ids]),
        ("new", [*ids]),
    ]
    kubelet.forget_finished()
    assert [row[1] for row in rows(await listed(kubelet))] == ["new"]


async def test_the_order_may_change_from_call_to_call(kubelet):
    kubelet.allocate("a", "one", "main", "nvidia.com/gpu", 1)
    kubelet.allocate("a", "two", "main", "nvidia.com/mig-1g.10gb", 1)
    kubelet.shuffle = random.Random(1)
    orders = {tuple(row[1] for row in rows(await listed(kubelet))) for _ in range(20)}
    assert orders == {("one", "two"), ("two", "one")}


async def test_errors_and_silence(kubelet):
    kubelet.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected by rate limit")
    with pytest.raises(grpc.aio.AioRpcError, match="rejected by rate limit") as refused:
        await listed(kubelet)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    kubelet.hang()
    with pytest.raises(grpc.aio.AioRpcError) as silent:
        await listed(kubelet, timeout_seconds=0.1)
    assert silent.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    kubelet.recover()
    assert rows(await listed(kubelet)) == []


async def test_a_restart_makes_a_new_socket_and_keeps_allocations(kubelet):
    kubelet.allocate("a", "one", "main", "nvidia.com/gpu", 1)
    await kubelet.stop()
    assert not socket_exists(kubelet)
    with pytest.raises(grpc.aio.AioRpcError) as gone:
        await listed(kubelet)
    assert gone.value.code() is grpc.StatusCode.UNAVAILABLE
    await kubelet.start()
    await kubelet.restart()
    await listed(kubelet)
    assert [row[1] for row in rows(await listed(kubelet))] == ["one"]


def pods(response: ListPodResourcesResponse) -> dict[str, list[str]]:
    return {pod.name: [one.name for one in pod.containers] for pod in response.pod_resources}


async def test_pods_without_devices_are_listed(kubelet):
    (_, daemon) = DAEMON_POD
    assert pods(await listed(kubelet)) == {daemon: ["main"]}
    kubelet.admit("a", "one", ["main", "side"])
    kubelet.allocate("a", "one", "side", "nvidia.com/gpu", 1)
    kubelet.admit("a", "none", ["main"])
    assert pods(await listed(kubelet)) == {
        daemon: ["main"],
        "one": ["main", "side"],
        "none": ["main"],
    }
    kubelet.release("a", "one")
    kubelet.release("a", "none")
    assert pods(await listed(kubelet)) == {daemon: ["main"]}


async def test_after_a_restart_it_knows_its_static_pods_first(kubelet):
    kubelet.allocate("a", "one", "main", "nvidia.com/gpu", 1)
    await kubelet.restart()
    assert pods(await listed(kubelet)) == {}
    assert rows(await listed(kubelet)) != []
    kubelet.static_pods = {("kube-system", "proxy-node-1")}
    kubelet.unknowing_answers = 2
    for _ in range(2):
        assert pods(await listed(kubelet)) == {"proxy-node-1": ["main"]}
    assert pods(await listed(kubelet)).keys() == {DAEMON_POD[1], "one", "proxy-node-1"}


async def test_a_padded_answer_is_beyond_grpcs_own_limit(kubelet):
    kubelet.padding_bytes = 5 << 20
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await listed(kubelet)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    answer = await listed(kubelet, max_bytes=16 << 20)
    assert answer.ByteSize() > 5 << 20
