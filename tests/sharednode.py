# SPDX-License-Identifier: Apache-2.0
"""A node whose GPUs are shared by containers: its files, its processes, and an exporter on it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from exporter.app import running
from exporter.cli.config import ExporterConfig
from exporter.model import Collector
from exporter.processes import process_owner
from exporter.processes.process_owner import ProcessOwners
from simulator.driver import SimulatedDriver
from simulator.gpus import GpuSpec, SimulatedProcess
from simulator.kubelet import SimulatedKubelet
from simulator.nvml.binding import bind
from tests.nvmlnode import Node as NvmlNode
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

GIB = 2**30
MEMORY = "nvidia_gpu_container_memory_used_bytes"
DUTY_CYCLE = "nvidia_gpu_container_duty_cycle"
DEVICE_MEMORY = "nvidia_gpu_memory_used_bytes"
HOLDER = ("pod_name", "container_name")
UIDS = {pod: f"0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f{n}" for n, pod in enumerate(("web", "batch"))}
IDS = {("web", "main"): "1" * 64, ("web", "side"): "2" * 64, ("batch", "main"): "3" * 64}


class FakeNode:
    """The node's /proc and /var/log, as far as they are read."""

    def __init__(self, folder: Path) -> None:
        self.proc = folder / "proc"
        self.logs = folder / "log"
        (self.proc / "self" / "ns").mkdir(parents=True)
        (self.proc / "self" / "ns" / "pid").symlink_to(process_owner.INITIAL_PID_NAMESPACE)
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


def configured(node: FakeNode, socket_path: str) -> ExporterConfig:
    return ExporterConfig(
        listen_host="127.0.0.1",
        listen_port=0,
        node_name="node-1",
        pod_resources_socket=socket_path,
        nvml_interval_seconds=0.1,
        nvml_window_seconds=0.5,
        collectors=frozenset({Collector.CONTAINERS}),
        proc_folder=str(node.proc),
        logs_folder=str(node.logs),
        # No cgroup of a pod: those of the machine under test are another node's.
        cgroup_folder=str(node.proc.parent / "cgroup"),
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
