# SPDX-License-Identifier: Apache-2.0
"""Containers' own parts of shared GPUs: from NVML's processes by /proc to the series."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import pytest
from pynvml import NVML_ERROR_FUNCTION_NOT_FOUND, NVML_ERROR_UNKNOWN

from exporter.app import running
from exporter.processes.process_owner import OwnerUnknownError, ProcessOwners
from scaler.metricsapi.grouping import by_target
from scaler.metricsapi.history import Target
from scaler.metricsapi.names import Resource
from scaler.readings.exposition import read_page
from scaler.readings.gpus import node_gpus
from simulator.driver import SimulatedDriver
from simulator.gpus import GpuSpec
from simulator.kubelet import SimulatedKubelet
from simulator.nvml.binding import bind
from simulator.plugin_devices import PluginDevice
from tests.sharednode import (
    DEVICE_MEMORY,
    DUTY_CYCLE,
    GIB,
    MEMORY,
    UIDS,
    FakeNode,
    becomes,
    configured,
    exporter,
    one_gpu,
    process,
    values,
)

pytestmark = pytest.mark.usefixtures("frequent_listings")

CYCLES = "nvidia_gpu_exporter_cycle_duration_seconds_count"
MPS_PROCESSES = "nvmlDeviceGetMPSComputeRunningProcesses_v3"


@pytest.fixture
def node(tmp_path):
    return FakeNode(tmp_path)


async def test_each_container_of_a_shared_gpu_has_its_own_part(node):
    node.process_of(10, "web")
    node.process_of(11, "web", "side")
    node.process_of(12, "batch")
    node.process(13, "0::/system.slice/monitor.service")
    driver = one_gpu(process(10, 2, 30), process(11, 1), process(12, 4, 50), process(13, 1, 5))
    async with exporter(node, driver, "web/main", "web/side", "batch/main") as url:
        parts = {"web/main": 2 * GIB, "web/side": 1 * GIB, "batch/main": 4 * GIB}
        await becomes(url, MEMORY, parts)
        # What readers of allocate_mode="share" add up.
        assert await values(url, DEVICE_MEMORY) == parts
        await becomes(url, DUTY_CYCLE, {"web/main": 30, "web/side": 0, "batch/main": 50})
        driver.set_processes(0, [process(12, 4, 50)])
        await becomes(url, MEMORY, {"web/main": 0, "web/side": 0, "batch/main": 4 * GIB})


async def test_the_metrics_api_reads_the_parts_as_values_of_pods(node):
    """The sum over a pod's containers, beside what the whole GPU shows."""
    node.process_of(10, "web")
    node.process_of(11, "web", "side")
    node.process_of(12, "batch")
    driver = one_gpu(process(10, 2, 30), process(11, 1, 10), process(12, 4, 50))
    async with exporter(node, driver, "web/main", "web/side", "batch/main") as url:
        await becomes(url, DUTY_CYCLE, {"web/main": 30, "web/side": 10, "batch/main": 50})
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            page = read_page(await response.text())
    read = node_gpus(page, "node-1", {MEMORY, DUTY_CYCLE})
    targets = {
        family: [Target(Resource.PODS, "default", pod, family) for pod in ("web", "batch")]
        for family in (MEMORY, DUTY_CYCLE)
    }
    assert {
        (target.name, family): sample.value
        for family, some in targets.items()
        for target, by_gpu in by_target(family, read[family], some).items()
        for sample in by_gpu.values()
    } == {
        ("web", MEMORY): 3 * GIB,
        ("batch", MEMORY): 4 * GIB,
        ("web", DUTY_CYCLE): 40,
        ("batch", DUTY_CYCLE): 50,
    }


async def test_a_process_whose_pod_is_not_known_leaves_the_parts_out_until_it_is(node, caplog):
    caplog.set_level(logging.INFO)
    node.process_of(10, "web")
    folder = node.logs / "pods" / f"default_batch_{UIDS['batch']}"
    folder.rmdir()
    node.process_of(12, "batch")
    driver = one_gpu(process(10, 2), process(12, 4))
    async with exporter(node, driver, "web/main", "batch/main") as url:
        await becomes(url, "nvidia_gpu_duty_cycle", {"web/main": 0, "batch/main": 0})
        assert await values(url, MEMORY) == {}
        assert await values(url, DEVICE_MEMORY) == {}
        folder.mkdir()
        await becomes(url, MEMORY, {"web/main": 2 * GIB, "batch/main": 4 * GIB})
    messages = [one.message for one in caplog.records if "duty cycle per container" in one.message]
    assert messages == [
        "Memory and duty cycle per container are unknown",
        "Memory and duty cycle per container are known again",
    ]


async def test_without_the_runtimes_links_a_pods_only_holder_is_known_and_one_of_two_is_not(node):
    for link in (node.logs / "containers").iterdir():
        link.unlink()
    node.process_of(10, "web")
    node.process_of(12, "batch")
    driver = one_gpu(process(10, 2), process(12, 4))
    async with exporter(node, driver, "web/main", "web/side", "batch/main") as url:
        await becomes(url, MEMORY, {"batch/main": 4 * GIB})


async def test_memory_that_nvml_does_not_tell_is_absent(node):
    node.process_of(10, "web")
    node.process_of(12, "batch")
    driver = one_gpu(process(10, None, 20), process(12, 4))
    async with exporter(node, driver, "web/main", "batch/main") as url:
        await becomes(url, MEMORY, {"batch/main": 4 * GIB})
        await becomes(url, DUTY_CYCLE, {"web/main": 20, "batch/main": 0})


async def test_clients_of_mps_have_memory_and_no_time_until_the_driver_tells_it(node):
    for pid, cgroups in ((10, "web"), (12, "batch")):
        node.process_of(pid, cgroups)
    node.process(14, "0::/system.slice/nvidia-mps.service")
    server = process(14, 1, 70)
    web, batch = (replace(process(pid, gib), is_mps_client=True) for pid, gib in ((10, 2), (12, 4)))
    driver = one_gpu(server, web, batch)
    async with exporter(node, driver, "web/main", "batch/main") as url:
        await becomes(url, MEMORY, {"web/main": 2 * GIB, "batch/main": 4 * GIB})
        assert await values(url, DEVICE_MEMORY) == {"web/main": 2 * GIB, "batch/main": 4 * GIB}
        assert await values(url, DUTY_CYCLE) == {}
        driver.set_processes(0, [server, replace(web, sm_percent=30), batch])
        await becomes(url, DUTY_CYCLE, {"web/main": 30})
        driver.set_processes(0, [server, web, batch])
        await becomes(url, DUTY_CYCLE, {"web/main": 0})


async def test_a_driver_that_knows_no_clients_of_mps_tells_the_others(node):
    node.process_of(10, "web")
    driver = one_gpu(process(10, 2))
    driver.faults.fail(MPS_PROCESSES, NVML_ERROR_FUNCTION_NOT_FOUND)
    async with exporter(node, driver, "web/main", "batch/main") as url:
        await becomes(url, MEMORY, {"web/main": 2 * GIB, "batch/main": 0})


async def test_while_one_kind_of_processes_is_not_told_there_are_no_parts(node):
    node.process_of(10, "web")
    driver = one_gpu(replace(process(10, 2), is_mps_client=True))
    async with exporter(node, driver, "web/main", "batch/main") as url:
        await becomes(url, MEMORY, {"web/main": 2 * GIB, "batch/main": 0})
        driver.faults.fail(MPS_PROCESSES, NVML_ERROR_UNKNOWN)
        await becomes(url, MEMORY, {})
        driver.faults.heal(MPS_PROCESSES)
        await becomes(url, MEMORY, {"web/main": 2 * GIB, "batch/main": 0})


async def test_cycles_shorter_than_the_drivers_samples_do_not_count_as_idle(node):
    node.process_of(10, "web")
    driver = one_gpu(process(10, 1, 20))
    async with exporter(node, driver, "web/main") as url:
        await becomes(url, DUTY_CYCLE, {"web/main": 20})
        begun = await values(url, CYCLES)
        while (await values(url, CYCLES))["/"] < begun["/"] + 20:
            assert await values(url, DUTY_CYCLE) == {"web/main": 20}
        driver.set_processes(0, [process(10, 1)])
        await becomes(url, DUTY_CYCLE, {"web/main": 0})


async def test_a_clock_that_was_set_back_does_not_freeze_the_duty_cycle(node):
    ahead_seconds = 3600.0
    driver = SimulatedDriver([GpuSpec()], clock=lambda: time.time() + ahead_seconds)
    node.process_of(10, "web")
    driver.set_processes(0, [process(10, 1, 20)])
    async with exporter(node, driver, "web/main") as url:
        await becomes(url, DUTY_CYCLE, {"web/main": 20})
        ahead_seconds = 0.0
        driver.set_processes(0, [process(10, 1, 60)])
        await becomes(url, DUTY_CYCLE, {"web/main": 60})


async def test_a_plugin_that_chooses_the_gpu_whatever_the_ids_say(node):
    node.process_of(10, "web")
    driver = SimulatedDriver(["T4", "T4"])
    first, second = (gpu.uuid for gpu in driver.gpus)
    with TemporaryDirectory(prefix="gpu-") as folder:
        socket_path = str(Path(folder) / "kubelet.sock")
        config = configured(node, socket_path)
        async with SimulatedKubelet(driver, socket_path) as kubelet:
            kubelet.devices[:] = [
                replace(one, device_id=f"{one.uuid}-0") for one in kubelet.devices
            ]
            assert kubelet.allocate("default", "web", "main", "nvidia.com/gpu", 1) == (
                f"{first}-0",
            )
            driver.set_processes(second, [process(10, 3)])
            async with running(config, bind(driver)) as started:
                url = "http://{}:{}/metrics".format(*started.address)
                await becomes(url, MEMORY, {"web/main": 3 * GIB})
                assert await values(url, DEVICE_MEMORY, by="uuid") == {first: 0, second: 3 * GIB}
                assert await values(url, DEVICE_MEMORY) == {"/": 0, "web/main": 3 * GIB}
                driver.set_processes(second, [])
                driver.set_processes(first, [process(10, 2)])
                await becomes(url, DEVICE_MEMORY, {"/": 0, "web/main": 2 * GIB})


@pytest.mark.parametrize("others", [[], ["T4"]], ids=["one GPU", "two GPUs"])
async def test_a_plugin_that_gives_instances_of_mig_by_the_ids_of_the_gpu(node, others):
    node.process_of(10, "web")
    driver = SimulatedDriver([GpuSpec(model="H100", mig_profiles=("1g.10gb", "1g.10gb")), *others])
    board = driver.gpus[0]
    first, second = (one.uuid for one in board.mig_devices if one is not None)
    with TemporaryDirectory(prefix="gpu-") as folder:
        socket_path = str(Path(folder) / "kubelet.sock")
        async with SimulatedKubelet(driver, socket_path) as kubelet:
            resource, device_id = "nvidia.com/gpu", f"{board.uuid}-3"
            kubelet.devices[:] = [
                PluginDevice(resource_name=resource, device_id=device_id, uuid=board.uuid)
            ]
            assert kubelet.allocate("default", "web", "main", resource, 1) == (device_id,)
            driver.set_processes(second, [process(10, 3)])
            async with running(configured(node, socket_path), bind(driver)) as started:
                url = "http://{}:{}/metrics".format(*started.address)
                await becomes(url, MEMORY, {"web/main": 3 * GIB})
                holders = await values(url, "nvidia_gpu_memory_total_bytes", by="uuid,pod_name")
                assert {one for one in holders if not one.startswith("GPU-")} == {
                    f"{first},",
                    f"{second},web",
                }
                power = await values(url, "nvidia_gpu_power_usage_milliwatts", by="uuid,pod_name")
                assert f"{board.uuid}," in power, "the board is nobody's"
                driver.set_processes(second, [])
                await becomes(url, MEMORY, {})


async def test_instances_of_mig_have_memory_and_no_duty_cycle(node):
    node.process_of(10, "web")
    driver = SimulatedDriver([GpuSpec(model="H100", mig_profiles=("1g.10gb",))])
    (instance,) = (one for one in driver.gpus[0].mig_devices if one is not None)
    driver.set_processes(instance.uuid, [process(10, 3)])
    async with exporter(node, driver, "web/main") as url:
        await becomes(url, MEMORY, {"web/main": 3 * GIB})
        assert await values(url, DUTY_CYCLE) == {}
        driver.set_processes(instance.uuid, [])
        await becomes(url, MEMORY, {"web/main": 0})
        await becomes(url, "nvidia_gpu_duty_cycle", {"web/main": 0})
        assert await values(url, DUTY_CYCLE) == {}


@pytest.mark.parametrize(
    ("break_node", "why"),
    [
        pytest.param(
            lambda node: _point(node.proc / "self" / "ns" / "pid", "pid:[4026532001]"),
            "its pod needs hostPID: true",
            id="a PID namespace of its own",
        ),
        pytest.param(
            lambda node: (node.proc / "1" / "cgroup").unlink(), "hidepid", id="hidden processes"
        ),
        pytest.param(
            lambda node: (node.proc / "self" / "ns" / "pid").unlink(),
            "cannot be read",
            id="no /proc",
        ),
        pytest.param(
            lambda node: (node.logs / "pods").rename(node.logs / "other"),
            "pods is not mounted",
            id="no logs",
        ),
    ],
)
async def test_where_processes_cannot_be_told_there_are_no_parts_and_that_is_said_once(
    node, caplog, break_node, why
):
    node.process_of(10, "web")
    break_node(node)
    driver = one_gpu(process(10, 2))
    async with exporter(node, driver, "web/main", "batch/main") as url:
        await becomes(url, "nvidia_gpu_duty_cycle", {"web/main": 0, "batch/main": 0})
        assert await values(url, MEMORY) == {}
        assert await values(url, DUTY_CYCLE) == {}
        cycles = len(caplog.records)
        await becomes(url, DEVICE_MEMORY, {})
        assert len(caplog.records) == cycles
    records = [one for one in caplog.records if "duty cycle per container" in one.message]
    assert len(records) == 1
    assert why in records[0].error


def _point(link: Path, target: str) -> None:
    link.unlink()
    link.symlink_to(target)


def test_a_process_that_may_not_be_looked_at_is_not_taken_for_an_ended_one(node):
    (node.proc / "20").mkdir()
    (node.proc / "20" / "cgroup").mkdir()
    with pytest.raises(OwnerUnknownError, match="cgroup cannot be read"):
        ProcessOwners(proc=node.proc, logs=node.logs).owner_of(20)


def test_a_process_that_has_ended_belongs_to_nobody(node):
    assert ProcessOwners(proc=node.proc, logs=node.logs).owner_of(21) is None
