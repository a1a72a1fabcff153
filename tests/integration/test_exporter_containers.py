"""Containers' own parts of shared GPUs: from NVML's processes by /proc to the series."""

from __future__ import annotations

import logging
import os
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pynvml import NVML_ERROR_FUNCTION_NOT_FOUND, NVML_ERROR_UNKNOWN

from exporter.app import running
from exporter.config import Config
from exporter.model import Collector
from exporter.processes import owners
from exporter.processes.owners import OwnerUnknownError, ProcessOwners
from scaler.metricsapi.grouping import by_target
from scaler.metricsapi.history import Target
from scaler.metricsapi.names import Resource
from scaler.sources.gpus import read_node
from simulator.driver import GpuSpec, SimulatedDriver, SimulatedProcess
from simulator.kubelet import PluginDevice, SimulatedKubelet
from simulator.nvml.binding import bind
from tests.forbidding import CODES, forbidden, unprivileged
from tests.nvmlnode import Node as NvmlNode
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

GIB = 2**30
MEMORY = "nvidia_gpu_container_memory_used_bytes"
DUTY_CYCLE = "nvidia_gpu_container_duty_cycle"
DEVICE_MEMORY = "nvidia_gpu_memory_used_bytes"
CYCLES = "nvidia_gpu_exporter_cycle_duration_seconds_count"
HOLDER = ("pod_name", "container_name")
MPS_PROCESSES = "nvmlDeviceGetMPSComputeRunningProcesses_v3"
UIDS = {pod: f"0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f{n}" for n, pod in enumerate(("web", "batch"))}
IDS = {("web", "main"): "1" * 64, ("web", "side"): "2" * 64, ("batch", "main"): "3" * 64}


class FakeNode:
    """The node's /proc and /var/log, as far as they are read."""

    def __init__(self, folder: Path) -> None:
        self.proc = folder / "proc"
        self.logs = folder / "log"
        (self.proc / "self" / "ns").mkdir(parents=True)
        (self.proc / "self" / "ns" / "pid").symlink_to(owners.INITIAL_PID_NAMESPACE)
        self.process(1, "0::/init.scope")
        for pod, uid in UIDS.items():
            (self.logs / "pods" / f"default_{pod}_{uid}").mkdir(parents=True)
        (self.logs / "containers").mkdir()
        for (pod, container), id_ in IDS.items():
            (self.logs / "containers" / f"{pod}_default_{container}-{id_}.log").touch()

    def process(self, pid: int, cgroups: str) -> None:
        (self.proc / str(pid)).mkdir()
        (self.proc / str(pid) / "cgroup").write_text(cgroups + "\n")

    def process_of(self, pid: int, pod: str, container: str = "main") -> None:
        self.process(pid, f"0::/kubepods/burstable/pod{UIDS[pod]}/{IDS[pod, container]}")


@pytest.fixture
def node(tmp_path):
    return FakeNode(tmp_path)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr("exporter.podresources.client.MIN_INTERVAL_SECONDS", 0.05)


def configured(node: FakeNode, socket_path: str) -> Config:
    return Config(
        listen_host="127.0.0.1",
        listen_port=0,
        node_name="node-1",
        pod_resources_socket=socket_path,
        nvml_interval_seconds=0.1,
        nvml_window_seconds=0.5,
        collectors=frozenset({Collector.CONTAINERS}),
        proc_folder=str(node.proc),
        logs_folder=str(node.logs),
    )


@asynccontextmanager
async def exporter(node: FakeNode, driver: SimulatedDriver, *holders: str) -> AsyncIterator[str]:
    """Run an exporter on a node whose GPU is given away in replicas; yields its URL.

    `holders` are POD/CONTAINER.
    """
    with TemporaryDirectory(prefix="gpu-") as folder:
        socket_path = str(Path(folder) / "kubelet.sock")
        config = configured(node, socket_path)
        replicas = max(2, len(holders))
        async with SimulatedKubelet(driver, socket_path, replicas=replicas) as kubelet:
            for holder in holders:
                pod, _, container = holder.partition("/")
                resource = kubelet.devices[0].resource_name
                assert kubelet.allocate("default", pod, container, resource, 1)
            async with running(config, bind(driver)) as started:
                yield "http://{}:{}/metrics".format(*started.address)


async def values(url: str, name: str, *, by: str = "") -> dict[str, float]:
    """Return a family's values by POD/CONTAINER, or by labels joined with commas."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        text = await response.text()
    return {
        (
            ",".join(sample.labels[one] for one in by.split(","))
            if by
            else "{}/{}".format(*(sample.labels.get(one, "") for one in HOLDER))
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


async def becomes(url: str, name: str, expected: Mapping[str, float]) -> None:
    async def is_so() -> bool:
        return await values(url, name) == expected

    await until(is_so, what=f"{name} {expected}")


def one_gpu(*processes: SimulatedProcess, **spec) -> SimulatedDriver:
    driver = SimulatedDriver([GpuSpec(**spec)])
    driver.set_processes(0, processes)
    return driver


def process(pid: int, gib: int | None, sm_percent: int = 0) -> SimulatedProcess:
    used = None if gib is None else gib * GIB
    return SimulatedProcess(pid=pid, memory_used_bytes=used, sm_percent=sm_percent)


def nvml_on(node: FakeNode, *gpus: str) -> NvmlNode:
    owners_there = ProcessOwners(proc=node.proc, logs=node.logs)
    return NvmlNode(*gpus, collectors=[Collector.CONTAINERS], owners=owners_there)


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
            read = read_node(await response.text(), "node-1", asked_seconds=100, known={})
    targets = {
        family: [Target(Resource.PODS, "default", pod, family) for pod in ("web", "batch")]
        for family in (MEMORY, DUTY_CYCLE)
    }
    assert {
        (target.name, family): sample.value
        for family, some in targets.items()
        for target, by_gpu in by_target(family, read.samples[family], some).items()
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
    told = [one.message for one in caplog.records if "own parts of the GPUs" in one.message]
    assert told == [
        "containers' own parts of the GPUs are unknown",
        "containers' own parts of the GPUs are known again",
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
    told = [one for one in caplog.records if "own parts of the GPUs" in one.message]
    assert len(told) == 1
    assert why in told[0].why


def _point(link: Path, target: str) -> None:
    link.unlink()
    link.symlink_to(target)


@pytest.mark.parametrize("code", CODES, ids=os.strerror)
@pytest.mark.parametrize(
    "kept",
    ["proc/1/cgroup", "proc/1", "proc/10/cgroup", "proc/10", "proc", "log/pods", "log"],
)
def test_what_is_kept_from_the_exporter_leaves_all_else(node, tmp_path, caplog, code, kept):
    """Only the containers' own parts are missing, and the log says once why."""
    node.process_of(10, "web")
    with nvml_on(node, "T4", "T4") as gpus:
        for number in (0, 1):
            gpus.driver.set_processes(number, [process(10, 2, 30)])
        with forbidden(tmp_path / kept, code):
            for _ in range(3):
                readings = gpus.readings()
                assert readings.unreadable_count == 0
                assert [one.memory_used_bytes for one in readings.devices] == [2 * GIB] * 2
                assert [one.uses for one in readings.devices] == [None, None]
        (said,) = [one for one in caplog.records if one.name.startswith("exporter.")]
        assert os.strerror(code) in vars(said)["why"]
        assert str(tmp_path / kept) in vars(said)["why"]
        readings = gpus.readings()
        assert [len(one.uses or ()) for one in readings.devices] == [1, 1]


@pytest.mark.parametrize("code", CODES, ids=os.strerror)
def test_containers_that_cannot_be_told_apart_leave_pods_with_one_holder(
    node, tmp_path, caplog, code
):
    caplog.set_level(logging.INFO)
    node.process_of(10, "web")
    node.process_of(12, "batch")
    found = ProcessOwners(proc=node.proc, logs=node.logs)
    with forbidden(tmp_path / "log" / "containers", code):
        for _ in range(3):
            owned = [found.owner_of(pid) for pid in (10, 12)]
            assert [(one.pod_name, one.container_name) for one in owned if one] == [
                ("web", None),
                ("batch", None),
            ]
        assert found.problem() is None
    owner = found.owner_of(10)
    assert owner is not None
    assert owner.container_name == "main"
    assert [one.levelname for one in caplog.records] == ["WARNING", "INFO"]


@pytest.fixture
def guarded_node():
    """A node whose cgroups, logs and first process only privileged users may look into."""
    with TemporaryDirectory(prefix="gpu-") as folder:
        root = Path(folder)
        root.chmod(0o777)
        node = FakeNode(root)
        node.process_of(10, "web")
        (root / "cgroup").mkdir()
        guarded = (node.proc / "1", node.logs / "pods", root / "cgroup")
        for one in guarded:
            one.chmod(0o000)
        yield node
        for one in guarded:
            one.chmod(0o700)


async def test_without_the_privilege_to_read_them_all_but_the_parts_is_there(guarded_node, caplog):
    """As uid 0 without capabilities, in whose way the owners and the modes of files stand."""
    root = guarded_node.proc.parent
    driver = one_gpu(process(10, 2))
    config = replace(
        configured(guarded_node, f"{root}/kubelet.sock"), cgroup_folder=f"{root}/cgroup"
    )
    with unprivileged():
        async with (
            SimulatedKubelet(driver, config.pod_resources_socket) as kubelet,
            running(config, bind(driver)) as started,
        ):
            kubelet.allocate("default", "web", "main", "nvidia.com/gpu", 1)
            url = "http://{}:{}/metrics".format(*started.address)
            await becomes(url, "nvidia_gpu_duty_cycle", {"web/main": 0})
            assert await values(url, DEVICE_MEMORY) == {"web/main": 2 * GIB}
            assert await values(url, MEMORY) == {}
    whys = [vars(one)["why"] for one in caplog.records if hasattr(one, "why")]
    assert len(whys) == 2, "the parts and the finished pods, once each"
    assert all("cannot be read: Permission denied" in one for one in whys)


def test_a_process_that_may_not_be_looked_at_is_not_taken_for_an_ended_one(node):
    (node.proc / "20").mkdir()
    (node.proc / "20" / "cgroup").mkdir()
    with pytest.raises(OwnerUnknownError, match="cgroup cannot be read"):
        ProcessOwners(proc=node.proc, logs=node.logs).owner_of(20)


def test_a_process_that_has_ended_belongs_to_nobody(node):
    assert ProcessOwners(proc=node.proc, logs=node.logs).owner_of(21) is None
