"""The exporter's bars: scrape latency, CPU and RSS with 8 GPUs, and with 16 under MIG.

The exporter runs as a process of its own over the simulated driver; the kubelet and the scrapers
are in this process, so that RSS and CPU are the exporter's (and the simulated driver's).
"""

from __future__ import annotations

import asyncio
import os
import re
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

from benchmarks.report import Figure, percentile, publish
from simulator.exporter import busy_driver, hold_all_but_one
from simulator.kubelet import SimulatedKubelet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GPUS = 8
MIG_GPUS, MIG_INSTANCES = 16, 7
SCRAPES_PER_SECOND = 50
SCRAPE_SECONDS = 20
IDLE_SECONDS = 20
START_DEADLINE_SECONDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What is measured: the GPUs of a node and the exporter's flags."""

    gpus: int
    mig_instances: int = 0
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """What it is held against."""

    cpu_percent: float | None = None
    p99_milliseconds: float | None = None
    rss_megabytes: float | None = None


ALL = ("--collectors=all",)
BARS = Bars(cpu_percent=1, p99_milliseconds=2, rss_megabytes=60)
MIG_BARS = Bars(p99_milliseconds=10)
NO_BARS = Bars()


def main() -> None:
    """Measure and publish."""
    publish("exporter", asyncio.run(_measure()))


async def _measure() -> list[Figure]:
    # The bars are for the defaults; what all collectors add is shown beside them, in the same run.
    return [
        *await _measure_one(f"{GPUS} GPUs", Node(gpus=GPUS), BARS),
        *await _measure_one(f"{GPUS} GPUs, all collectors", Node(gpus=GPUS, flags=ALL), NO_BARS),
        *await _measure_one(
            f"{MIG_GPUS} GPUs x {MIG_INSTANCES} MIG instances, all collectors",
            Node(gpus=MIG_GPUS, mig_instances=MIG_INSTANCES, flags=ALL),
            MIG_BARS,
        ),
    ]


async def _measure_one(gpus: str, node: Node, bars: Bars) -> list[Figure]:
    async with _exporter(node) as (pid, url), aiohttp.ClientSession() as session:
        await _until_ready(session, url)
        cpu_percent = await _cpu_percent(pid, IDLE_SECONDS)
        figures = [
            Figure(
                bar=f"{gpus}, 1 s sampling, no scrapes: CPU",
                value=cpu_percent,
                unit="% of a core",
                limit=bars.cpu_percent,
            )
        ]
        for name, headers in (
            ("text", {"Accept": "text/plain;version=0.0.4"}),
            ("OpenMetrics + gzip", {"Accept": "application/openmetrics-text;version=1.0.0"}),
        ):
            encoding = {"Accept-Encoding": "gzip" if "gzip" in name else "identity"}
            before = _cpu_seconds(pid)
            latencies, size = await _scrape(session, url, headers | encoding)
            used = (_cpu_seconds(pid) - before) / len(latencies)
            label = f"{gpus}, {SCRAPES_PER_SECOND} scrapes/s, {name}"
            p50, p99 = percentile(latencies, 50), percentile(latencies, 99)
            figures += [
                Figure(bar=f"{label}: p50", value=p50, unit="ms", limit=None),
                Figure(bar=f"{label}: p99", value=p99, unit="ms", limit=bars.p99_milliseconds),
                Figure(bar=f"{label}: max", value=max(latencies), unit="ms", limit=None),
                Figure(bar=f"{label}: CPU per scrape", value=used * 1000, unit="ms", limit=None),
                Figure(bar=f"{label}: size", value=size / 1000, unit="kB", limit=None),
            ]
        rss = _rss_mb(pid)
    figures.append(
        Figure(bar=f"{gpus}: RSS after that", value=rss, unit="MB", limit=bars.rss_megabytes)
    )
    return figures


@asynccontextmanager
async def _exporter(node: Node) -> AsyncIterator[tuple[int, str]]:
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        path = str(Path(folder) / "kubelet.sock")
        driver = busy_driver("H100", node.gpus, node.mig_instances)
        async with SimulatedKubelet(driver, path) as kubelet:
            hold_all_but_one(driver, kubelet)
            address = f"127.0.0.1:{_free_port()}"
            command = [
                *(sys.executable, "-m", "simulator.exporter", f"--gpus={node.gpus}"),
                f"--mig-instances={node.mig_instances}",
                *(f"--pod-resources.socket={path}", f"--web.listen-address={address}"),
                *("--nvml.interval=1s", "--log.level=warning", *node.flags),
            ]
            process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
            try:
                yield process.pid, f"http://{address}"
            finally:
                process.terminate()
                await process.wait()


async def _until_ready(session: aiohttp.ClientSession, url: str) -> None:
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


async def _scrape(
    session: aiohttp.ClientSession, url: str, headers: dict[str, str]
) -> tuple[list[float], int]:
    """Scrape at a fixed rate; return the latencies in milliseconds, waiting included, and a size.

    The size is the uncompressed answer's in bytes.
    """
    begin = time.perf_counter()
    latencies: list[float] = []
    sizes: list[int] = []

    async def one(due: float) -> None:
        async with session.get(f"{url}/metrics", headers=headers) as response:
            body = await response.read()
        latencies.append((time.perf_counter() - due) * 1000)
        sizes.append(len(body))
        if response.status != 200 or not body:
            msg = f"scrape answered {response.status}"
            raise RuntimeError(msg)

    async with asyncio.TaskGroup() as group:
        for n in range(SCRAPES_PER_SECOND * SCRAPE_SECONDS):
            due = begin + n / SCRAPES_PER_SECOND
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(one(time.perf_counter()))
    return latencies, max(sizes)


async def _cpu_percent(pid: int, seconds: float) -> float:
    before, begin = _cpu_seconds(pid), time.monotonic()
    await asyncio.sleep(seconds)
    return 100 * (_cpu_seconds(pid) - before) / (time.monotonic() - begin)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+) kB", status)
    if match is None:
        msg = f"/proc/{pid}/status has no VmRSS"
        raise RuntimeError(msg)
    return int(match.group(1)) * 1024 / 1e6


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
