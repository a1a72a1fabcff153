# SPDX-License-Identifier: Apache-2.0
"""Pods that come and go by the hundred, thousands of pods, and a kubelet that refuses."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import aiohttp
import grpc
import pytest

from simulator.driver import SimulatedDriver
from simulator.kubelet import SimulatedKubelet
from tests.exporting import PREFIX, exporter
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("frequent_listings")

SCRAPE_TIMEOUT = aiohttp.ClientTimeout(60)
REPLICAS = 4
GPUS = 4


@pytest.fixture
async def node():
    # A short path: a socket address holds about a hundred bytes.
    with (
        tempfile.TemporaryDirectory(prefix="gpu-") as folder,
        SimulatedDriver(["T4"] * GPUS) as driver,
    ):
        path = str(Path(folder) / "kubelet.sock")
        async with SimulatedKubelet(driver, path, replicas=REPLICAS) as kubelet:
            yield driver, kubelet


async def pod_of_each_gpu(reader):
    async with reader.session.get(
        f"http://127.0.0.1:{reader.port}/metrics", timeout=SCRAPE_TIMEOUT
    ) as answer:
        assert answer.status == 200
    return await reader.pods()


def held(driver, kubelet, pods):
    """What the kubelet knows: {uuid: {pod}}."""
    return {
        gpu.uuid: {pod for pod in pods if gpu.uuid in kubelet.uuids_of("ns", pod)}
        for gpu in driver.gpus
    }


async def test_hundreds_of_pods_come_and_go_while_it_is_scraped(node):
    driver, kubelet = node
    pods = [f"pod-{number}" for number in range(GPUS * REPLICAS)]
    async with exporter(driver, pod_resources_socket=kubelet.socket_path) as reader:
        await until(reader.ready)
        for pod in pods:
            kubelet.allocate("ns", pod, "main", "nvidia.com/gpu", 1)
        for number in range(400):
            place = number % len(pods)
            kubelet.release("ns", pods[place])
            pods[place] = f"pod-{place}-{number}"
            assert kubelet.allocate("ns", pods[place], "main", "nvidia.com/gpu", 1)
            if number % 20 == 0:
                shown = await pod_of_each_gpu(reader)
                names = [pod for holders in shown.values() for pod, _ in holders]
                assert len(names) <= GPUS * REPLICAS, "a replica belongs to one pod at a time"

        async def are_those_of_the_kubelet():
            shown = await pod_of_each_gpu(reader)
            return {uuid: {pod for pod, _ in holders} for uuid, holders in shown.items()} == held(
                driver, kubelet, pods
            )

        await until(are_those_of_the_kubelet, what="exactly the pods that hold GPUs now")
        assert await reader.value(f"{PREFIX}pod_resources_up") == 1.0


async def test_thousands_of_pods_on_the_node(node):
    driver, kubelet = node
    for number in range(5000):
        kubelet.admit("many", f"pod-{number}", [f"container-{place}" for place in range(3)])
    kubelet.allocate("ns", "the-one", "main", "nvidia.com/gpu", 1)
    async with exporter(driver, pod_resources_socket=kubelet.socket_path) as reader:

        async def labelled():
            shown = await pod_of_each_gpu(reader)
            return [pod for holders in shown.values() for pod, _ in holders] == ["the-one"]

        await until(labelled)
        assert await reader.values(f"{PREFIX}pod_resources_errors_total", "code") == {}


async def test_a_kubelet_that_refuses_most_calls(node):
    driver, kubelet = node
    kubelet.allocate("ns", "pod", "main", "nvidia.com/gpu", 1)
    async with exporter(driver, pod_resources_socket=kubelet.socket_path) as reader:

        async def labelled():
            shown = await pod_of_each_gpu(reader)
            return [pod for holders in shown.values() for pod, _ in holders] == ["pod"]

        await until(labelled)
        kubelet.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected by rate limit")

        async def refused():
            errors = await reader.values(f"{PREFIX}pod_resources_errors_total", "code")
            return errors.get("RESOURCE_EXHAUSTED", 0) >= 10

        await until(refused)
        assert await labelled(), "the last mapping stays"
        assert await reader.ready(), "the GPUs are read all the same"
        kubelet.recover()
        kubelet.release("ns", "pod")

        async def free():
            return await pod_of_each_gpu(reader) == {}

        await until(free)


async def test_restarts_of_the_kubelet_leave_no_file_open(node):
    driver, kubelet = node
    async with exporter(driver, pod_resources_socket=kubelet.socket_path) as reader:

        async def listed(up):
            async def is_so():
                return await reader.value(f"{PREFIX}pod_resources_up") == up

            await until(is_so)

        async def restarted():
            await kubelet.stop()
            await listed(0.0)
            await kubelet.start()
            await listed(1.0)

        def open_files():
            return len(os.listdir("/proc/self/fd"))

        await restarted()
        first = open_files()
        for _ in range(10):
            await restarted()
        # A call that is under way has a file at either end.
        await until(lambda: open_files() <= first + 1, what="no more open files than at first")


async def test_a_slow_scraper_delays_nobody(node):
    driver, kubelet = node
    async with exporter(driver, pod_resources_socket=kubelet.socket_path) as reader:
        await until(reader.ready)
        slow = [await asyncio.open_connection("127.0.0.1", reader.port) for _ in range(50)]
        try:
            for _, writer in slow:
                writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")  # and never the rest
            assert await pod_of_each_gpu(reader) == {}
        finally:
            for _, writer in slow:
                writer.close()
