# SPDX-License-Identifier: Apache-2.0
"""The exporter as a process of its own over simulated GPUs, and the bare processes beside it.

The kubelet is in this process, so that RSS and CPU are the exporter's (and the simulated driver's).
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from simulator.exporter import busy_driver, hold_all_but_one
from simulator.kubelet import SimulatedKubelet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

START_DEADLINE_SECONDS = 20
START_ROUNDS = 9
POLL_SECONDS = 0.002
FIRST_READING = b"\nnvidia_gpu_duty_cycle{"
FIRST_METRIC = b"\npython_info{"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What is measured: the GPUs of a node and the exporter's flags."""

    gpus: int
    mig_instances: int = 0
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExporterProcess:
    """A running exporter."""

    pid: int
    url: str


@asynccontextmanager
async def bare_process(module: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a module of the benchmarks while the context lasts; its output can be read."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"benchmarks.{module}", *arguments), stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def exporter_process(node: Node) -> AsyncIterator[ExporterProcess]:
    """Run an exporter on a node whose kubelet gave all GPUs but the last to pods."""
    async with _kubelet(node) as path, _started(node, path) as process:
        yield process


async def until_ready(session: aiohttp.ClientSession, url: str) -> None:
    """Wait for the exporter's first readings."""
    end = time.monotonic() + START_DEADLINE_SECONDS
    while True:
        try:
            async with session.get(f"{url}/readyz") as response:
                if response.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        if time.monotonic() > end:
            msg = f"the exporter was not ready within {START_DEADLINE_SECONDS} s"
            raise RuntimeError(msg)
        await asyncio.sleep(0.05)


async def start_seconds(node: Node) -> tuple[float, float]:
    """Return how long the exporter takes to its first readings, and a bare program to its answer.

    Each is the best of rounds by turns: others on the machine only ever add.
    """
    ours, bare = [], []
    async with _kubelet(node) as path:
        for _ in range(START_ROUNDS):
            begin = time.perf_counter()
            async with _started(node, path) as process:
                await _until_answered(process.url, FIRST_READING)
                ours.append(time.perf_counter() - begin)
            port = _free_port()
            begin = time.perf_counter()
            async with bare_process("barestart", str(port)):
                await _until_answered(f"http://127.0.0.1:{port}", FIRST_METRIC)
                bare.append(time.perf_counter() - begin)
    return min(ours), min(bare)


async def _until_answered(url: str, content: bytes) -> None:
    port = int(url.rpartition(":")[2])
    request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    async with asyncio.timeout(START_DEADLINE_SECONDS):
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                continue
            writer.write(request)
            body = await reader.read(-1)
            writer.close()
            if content in body:
                return


@asynccontextmanager
async def _kubelet(node: Node) -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        path = str(Path(folder) / "kubelet.sock")
        driver = busy_driver("H100", node.gpus, node.mig_instances)
        async with SimulatedKubelet(driver, path) as kubelet:
            hold_all_but_one(driver, kubelet)
            yield path


@asynccontextmanager
async def _started(node: Node, socket_path: str) -> AsyncIterator[ExporterProcess]:
    address = f"127.0.0.1:{_free_port()}"
    command = [
        *(sys.executable, "-m", "simulator.exporter", f"--gpus={node.gpus}"),
        f"--mig-instances={node.mig_instances}",
        *(f"--pod-resources.socket={socket_path}", f"--web.listen-address={address}"),
        *("--nvml.interval=1s", "--log.level=warning", *node.flags),
    ]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
    try:
        yield ExporterProcess(pid=process.pid, url=f"http://{address}")
    finally:
        process.terminate()
        await process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
