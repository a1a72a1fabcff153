# SPDX-License-Identifier: Apache-2.0
"""The exporter's bars: scrape latency, CPU and RSS with 8 GPUs, and with 16 under MIG.

The exporter runs as a process of its own over the simulated driver; the kubelet and the scrapers
are in this process, so that RSS and CPU are the exporter's (and the simulated driver's). Between
its scrapes a plain server of the same bytes is scraped, whose latencies are those of the machine,
of aiohttp and of the client.
"""

from __future__ import annotations

import asyncio
import compileall
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

from benchmarks.processes import cpu_seconds, rss_megabytes
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
FORMATS = {
    "text": {"Accept": "text/plain;version=0.0.4", "Accept-Encoding": "identity"},
    "OpenMetrics + gzip": {
        "Accept": "application/openmetrics-text;version=1.0.0",
        "Accept-Encoding": "gzip",
    },
}


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
    # An installed program is compiled when it is installed and not when it starts.
    for package in ("exporter", "simulator", "toolkit"):
        compileall.compile_dir(package, quiet=1)
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
        await until_ready(session, url)
        cpu_percent = await _cpu_percent(pid, IDLE_SECONDS)
        figures = [
            Figure(
                bar=f"{gpus}, 1 s sampling, no scrapes: CPU",
                value=cpu_percent,
                unit="% of a core",
                limit=bars.cpu_percent,
            )
        ]
        for name, headers in FORMATS.items():
            async with _plain_server(url, headers) as plain_url:
                before = cpu_seconds(pid)
                ours, plain, size = await _scrape(session, url, plain_url, headers)
            used = (cpu_seconds(pid) - before) / len(ours)
            label = f"{gpus}, {SCRAPES_PER_SECOND} scrapes/s, {name}"
            figures += [
                *_distribution(label, ours, p99_limit=bars.p99_milliseconds),
                *_distribution(f"{label}, plain aiohttp beside it", plain),
                Figure(bar=f"{label}: CPU per scrape", value=used * 1000, unit="ms", limit=None),
                Figure(bar=f"{label}: size", value=size / 1000, unit="kB", limit=None),
            ]
        rss = rss_megabytes(pid)
    figures.append(
        Figure(bar=f"{gpus}: RSS after that", value=rss, unit="MB", limit=bars.rss_megabytes)
    )
    return figures


def _distribution(
    label: str, milliseconds: list[float], *, p99_limit: float | None = None
) -> list[Figure]:
    return [
        Figure(
            bar=f"{label}: {name}",
            value=percentile(milliseconds, percent),
            unit="ms",
            limit=p99_limit if percent == 99 else None,
        )
        for name, percent in (("p50", 50), ("p90", 90), ("p99", 99), ("max", 100))
    ]


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


@asynccontextmanager
async def _plain_server(url: str, headers: dict[str, str]) -> AsyncIterator[str]:
    """Run a server of the bytes that the exporter answers to these headers; yields its URL."""
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(f"{url}/metrics", headers=headers) as response,
    ):
        body = await response.read()
        coding = response.headers.get("Content-Encoding")
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.plainserver", file.name),
            *((coding,) if coding else ()),
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            yield (await process.stdout.readline()).decode().strip()
        finally:
            process.terminate()
            await process.wait()


async def _scrape(
    session: aiohttp.ClientSession, url: str, plain_url: str, headers: dict[str, str]
) -> tuple[list[float], list[float], int]:
    """Scrape both at a fixed rate, by turns.

    Returns the exporter's latencies in milliseconds, the plain server's, and the uncompressed size
    of the exporter's answer in bytes.
    """
    begin = time.perf_counter()
    latencies: dict[str, list[float]] = {url: [], plain_url: []}
    sizes: list[int] = []

    async def one(target: str) -> None:
        start = time.perf_counter()
        async with session.get(f"{target}/metrics", headers=headers) as response:
            body = await response.read()
        latencies[target].append((time.perf_counter() - start) * 1000)
        sizes.append(len(body))
        if response.status != 200 or not body:
            msg = f"scrape answered {response.status}"
            raise RuntimeError(msg)

    async with asyncio.TaskGroup() as group:
        for n in range(2 * SCRAPES_PER_SECOND * SCRAPE_SECONDS):
            due = begin + n / SCRAPES_PER_SECOND / 2
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(one((url, plain_url)[n % 2]))
    return latencies[url], latencies[plain_url], max(sizes)


async def _cpu_percent(pid: int, seconds: float) -> float:
    before, begin = cpu_seconds(pid), time.monotonic()
    await asyncio.sleep(seconds)
    return 100 * (cpu_seconds(pid) - before) / (time.monotonic() - begin)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
