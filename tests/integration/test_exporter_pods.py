# SPDX-License-Identifier: Apache-2.0
"""A whole exporter beside a simulated kubelet: which pods its series are labelled with."""

from __future__ import annotations

import grpc
import pytest

from simulator.driver import SimulatedDriver
from simulator.gpus import GpuSpec
from simulator.kubelet import SimulatedKubelet
from tests.exporting import PREFIX, exporter
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("frequent_listings")


async def test_pods_come_and_go(socket_path):
    with SimulatedDriver(["T4", "T4"]) as driver:
        async with (
            SimulatedKubelet(driver, socket_path) as kubelet,
            exporter(driver, pod_resources_socket=socket_path) as reader,
        ):
            kubelet.allocate("ns", "serving", "main", "nvidia.com/gpu", 1)
            (uuid,) = kubelet.uuids_of("ns", "serving")
            await until(lambda: _holds(reader, {uuid: [("serving", "exclusive")]}))
            assert await reader.value(f"{PREFIX}pod_resources_up") == 1.0
            assert await reader.value(f"{PREFIX}pod_resources_unmatched_devices") == 0.0
            kubelet.release("ns", "serving")
            await until(lambda: _holds(reader, {}))


async def _holds(reader, expected):
    return await reader.pods() == expected


@pytest.mark.parametrize(
    "gke_names", [pytest.param(False, id="nvidia"), pytest.param(True, id="gke")]
)
async def test_shared_gpus(socket_path, gke_names):
    with SimulatedDriver(["T4"]) as driver:
        async with (
            SimulatedKubelet(driver, socket_path, replicas=2, gke_names=gke_names) as kubelet,
            exporter(driver, pod_resources_socket=socket_path) as reader,
        ):
            for pod in ("a", "b"):
                kubelet.allocate("ns", pod, "main", "nvidia.com/gpu", 1)
            uuid = driver.gpus[0].uuid
            await until(lambda: _holds(reader, {uuid: [("a", "share"), ("b", "share")]}))
            assert await reader.values("nvidia_gpu_memory_used_bytes") == {}


@pytest.mark.parametrize(
    "gke_names", [pytest.param(False, id="nvidia"), pytest.param(True, id="gke")]
)
async def test_mig_instances(socket_path, gke_names):
    spec = GpuSpec(model="A100-80GB", mig_profiles=("1g.10gb", None, "1g.10gb"))
    with SimulatedDriver([spec]) as driver:
        async with (
            SimulatedKubelet(driver, socket_path, gke_names=gke_names) as kubelet,
            exporter(driver, pod_resources_socket=socket_path) as reader,
        ):
            (resource,) = kubelet.capacity()
            kubelet.allocate("ns", "a", "main", resource, 1)
            (uuid,) = kubelet.uuids_of("ns", "a")
            await until(lambda: _holds(reader, {uuid: [("a", "mig")]}))
            assert uuid.startswith("MIG-")
            assert len(await reader.values("nvidia_gpu_memory_used_bytes")) == 2
            assert set(await reader.values("nvidia_gpu_power_usage_milliwatts")) == {
                driver.gpus[0].uuid
            }
            assert await reader.values("nvidia_gpu_duty_cycle") == {}


async def test_the_kubelet_restarts(socket_path):
    with SimulatedDriver(["T4"]) as driver:
        async with (
            SimulatedKubelet(driver, socket_path) as kubelet,
            exporter(driver, pod_resources_socket=socket_path) as reader,
        ):
            kubelet.allocate("ns", "a", "main", "nvidia.com/gpu", 1)
            uuid = driver.gpus[0].uuid
            await until(lambda: _holds(reader, {uuid: [("a", "exclusive")]}))
            await kubelet.stop()
            await until(lambda: reader.value(f"{PREFIX}pod_resources_errors_total"))
            assert await reader.pods() == {uuid: [("a", "exclusive")]}, "kept for a while"
            assert await reader.value(f"{PREFIX}pod_resources_up") == 0.0
            assert await reader.ready(), "readings do not depend on the kubelet"
            await kubelet.start()
            kubelet.release("ns", "a")
            kubelet.allocate("ns", "b", "main", "nvidia.com/gpu", 1)
            await until(lambda: _holds(reader, {uuid: [("b", "exclusive")]}))


async def test_a_kubelet_that_does_not_know_its_pods_yet(socket_path):
    with SimulatedDriver(["T4"]) as driver:
        async with (
            SimulatedKubelet(driver, socket_path) as kubelet,
            exporter(driver, pod_resources_socket=socket_path) as reader,
        ):
            kubelet.allocate("ns", "a", "main", "nvidia.com/gpu", 1)
            kubelet.static_pods = {("kube-system", "proxy-node-1")}
            held = {driver.gpus[0].uuid: [("a", "exclusive")]}
            await until(lambda: _holds(reader, held))
            kubelet.unknowing_answers = 1_000_000
            await kubelet.restart()

            async def is_reported():
                assert await reader.pods() == held
                codes = await reader.values(f"{PREFIX}pod_resources_errors_total", "code")
                return codes.get("NO_PODS", 0) >= 2

            await until(is_reported, what="two answers without pods are counted")
            assert await reader.value(f"{PREFIX}pod_resources_up") == 0.0
            kubelet.unknowing_answers = 0
            await until(lambda: reader.value(f"{PREFIX}pod_resources_up"))
            assert await reader.pods() == held
            kubelet.release("ns", "a")
            await until(lambda: _holds(reader, {}))


async def test_a_socket_that_appears_later(socket_path):
    with SimulatedDriver(["T4"]) as driver:
        async with exporter(driver, pod_resources_socket=socket_path) as reader:
            await until(
                lambda: reader.values(f"{PREFIX}pod_resources_errors_total", "code"),
                what="an error",
            )
            async with SimulatedKubelet(driver, socket_path) as kubelet:
                kubelet.allocate("ns", "a", "main", "nvidia.com/gpu", 1)
                uuid = driver.gpus[0].uuid
                await until(lambda: _holds(reader, {uuid: [("a", "exclusive")]}))


async def test_errors_of_the_kubelet_are_counted_by_code(socket_path):
    with SimulatedDriver(["T4"]) as driver:
        async with (
            SimulatedKubelet(driver, socket_path) as kubelet,
            exporter(driver, pod_resources_socket=socket_path) as reader,
        ):
            kubelet.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected by rate limit")

            async def counted():
                codes = await reader.values(f"{PREFIX}pod_resources_errors_total", "code")
                return codes.get("RESOURCE_EXHAUSTED", 0) >= 2

            await until(counted)
            kubelet.recover()
            await until(lambda: reader.value(f"{PREFIX}pod_resources_up"))
