# SPDX-License-Identifier: Apache-2.0
"""The pod-resources client against a real gRPC server on a unix socket."""

from __future__ import annotations

import random

import pytest

from exporter.attribution.attribute import Holdings, remember
from exporter.podresources.client import (
    PodResourcesClient,
    PodResourcesError,
)
from simulator.driver import SimulatedDriver
from simulator.kubelet import SimulatedKubelet
from tests.exporting import PREFIX, exporter
from tests.podresourceslisting import listing
from tests.waiting import until


@pytest.fixture
async def kubelet(socket_path):
    with SimulatedDriver(["T4", "T4"]) as driver:
        async with SimulatedKubelet(driver, socket_path) as serving:
            yield serving


@pytest.fixture
def client(socket_path):
    return PodResourcesClient(socket_path, (), node_name="node-1")


async def test_a_list_larger_than_grpcs_default_limit(kubelet, client):
    kubelet.allocate("ns", "pod", "main", "nvidia.com/gpu", 1)
    kubelet.padding_bytes = 5 * 1024 * 1024
    (allocation,) = (await client.list_pods()).allocations
    assert allocation.container.pod_name == "pod"
    assert allocation.device_id.startswith("GPU-")


async def test_many_calls_list_several_devices(kubelet, client):
    kubelet.allocate("ns", "pod", "main", "nvidia.com/gpu", 2)
    lists = [(await client.list_pods()).allocations for _ in range(5)]
    assert len(lists[0]) == 2
    assert len(set(lists)) == 1
    assert kubelet.list_calls == 5


async def test_no_socket(client):
    with pytest.raises(PodResourcesError, match="No such file") as caught:
        await client.list_pods()
    assert caught.value.code == "UNAVAILABLE"


async def test_a_restarted_kubelet_is_found_at_the_next_call(kubelet, client):
    await client.list_pods()
    await kubelet.restart()
    await client.list_pods()


async def test_a_kubelet_that_was_away_is_found_at_once_when_it_is_back(kubelet, client):
    await kubelet.stop()
    for _ in range(3):
        with pytest.raises(PodResourcesError):
            await client.list_pods()
    await kubelet.start()
    assert (await client.list_pods()).allocations == frozenset()


async def test_a_call_without_an_answer_ends(kubelet, client, monkeypatch):
    monkeypatch.setattr("exporter.podresources.client.LIST_TIMEOUT_SECONDS", 0.1)
    kubelet.hang()
    with pytest.raises(PodResourcesError) as caught:
        await client.list_pods()
    assert caught.value.code == "DEADLINE_EXCEEDED"
    kubelet.recover()
    monkeypatch.setattr("exporter.podresources.client.LIST_TIMEOUT_SECONDS", 60)
    assert (await client.list_pods()).allocations == frozenset()


async def test_whatever_bytes_come_they_are_a_listing_or_an_error(kubelet, client):
    answer = listing(pod="a-pod-with-a-name")
    chance = random.Random(4)
    answers = [answer[:length] for length in range(len(answer))]
    for _ in range(200):
        garbled = bytearray(answer)
        for _ in range(chance.randint(1, 4)):
            garbled[chance.randrange(len(garbled))] = chance.randrange(256)
        answers.append(bytes(garbled))
    codes = set()
    for kubelet.answer_bytes in answers:
        try:
            assert (await client.list_pods()).allocations is not None
        except PodResourcesError as error:
            codes.add(error.code)
    assert codes == {"INTERNAL"}


async def test_an_undecodable_answer_leaves_the_exporter_and_its_labels_alone(
    socket_path, monkeypatch
):
    monkeypatch.setattr("exporter.podresources.client.MIN_INTERVAL_SECONDS", 0.02)
    with SimulatedDriver(["T4"]) as driver:
        uuid = driver.gpus[0].uuid
        async with (
            SimulatedKubelet(driver, socket_path) as kubelet,
            exporter(driver, pod_resources_socket=socket_path) as reader,
        ):
            kubelet.allocate("ns", "one", "main", "nvidia.com/gpu", 1)

            async def held():
                return await reader.pods() == {uuid: [("one", "exclusive")]}

            async def refused():
                errors = await reader.values(f"{PREFIX}pod_resources_errors_total", "code")
                return errors.get("INTERNAL", 0) >= 3

            await until(held)
            kubelet.answer_bytes = listing(device_id="##").replace(b"##", b"\xff\xfe")
            await until(refused)
            assert await held()
            assert await reader.ready()
            assert await reader.value(f"{PREFIX}pod_resources_up") == 0
            kubelet.answer_bytes = None
            kubelet.release("ns", "one")

            async def free():
                return await reader.pods() == {}

            await until(free)


async def test_a_finished_pod_that_is_still_listed_in_any_order(kubelet, client):
    kubelet.lists_finished_pods = True
    kubelet.shuffle = random.Random(7)
    kubelet.allocate("ns", "a-old", "main", "nvidia.com/gpu", 2)
    holdings = remember(Holdings(), (await client.list_pods()).allocations)
    kubelet.release("ns", "a-old")
    kubelet.allocate("ns", "b-new", "main", "nvidia.com/gpu", 2)
    holdings = remember(holdings, (await client.list_pods()).allocations)
    assert len(holdings.appeared) == 4, "both pods are listed with both devices"
    for _ in range(10):
        again = remember(holdings, (await client.list_pods()).allocations)
        assert again is holdings
