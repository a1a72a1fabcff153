# SPDX-License-Identifier: Apache-2.0
"""The exporter's bars: start, scrape latency, CPU and RSS with 8 GPUs, and with 16 under MIG.

Machines differ, so most bars are ratios to something bare in the same run: a Python that imports
the same libraries and answers, a loop of the same NVML calls, a plain server of the same bytes that
is scraped between the exporter's scrapes.
"""

from __future__ import annotations

import asyncio
import compileall
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from benchmarks.exporterprocess import (
    Node,
    bare_process,
    exporter_process,
    start_seconds,
    until_ready,
)
from benchmarks.processes import cpu_seconds, rss_megabytes, thread_seconds
from benchmarks.report import Figure, percentile, publish
from benchmarks.sitepackages import size_megabytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

GPUS = 8
MIG_GPUS, MIG_INSTANCES = 16, 7
SCRAPES_PER_SECOND = 50
SCRAPE_SECONDS = 20
IDLE_SECONDS = 20
# Until the window of the duty cycle is full: from then on each second is like the one before.
SETTLE_SECONDS = 13
FORMATS = {
    "text": {"Accept": "text/plain;version=0.0.4", "Accept-Encoding": "identity"},
    "OpenMetrics + gzip": {
        "Accept": "application/openmetrics-text;version=1.0.0",
        "Accept-Encoding": "gzip",
    },
}
START_RATIO, CPU_RATIO, SITE_PACKAGES_MEGABYTES = 1.5, 1.5, 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """What it is held against; ratios are to a bare program in the same run."""

    cpu_ratio: float | None = None
    p99_ratio: float | None = None
    rss_megabytes: float | None = None


ALL = ("--collectors=all",)
BARS = Bars(cpu_ratio=CPU_RATIO, p99_ratio=1.5, rss_megabytes=48)
MIG_BARS = Bars(p99_ratio=2)
NO_BARS = Bars()


def main() -> None:
    """Measure and publish."""
    # An installed program is compiled when it is installed and not when it starts.
    for package in ("benchmarks", "exporter", "simulator", "toolkit"):
        compileall.compile_dir(package, quiet=1)
    publish("exporter", asyncio.run(_measure()))


async def _measure() -> list[Figure]:
    # The bars are for the defaults; what all collectors add is shown beside them, in the same run.
    return [
        *await _measure_start(),
        *await _measure_one(f"{GPUS} GPUs", Node(gpus=GPUS), BARS),
        *await _measure_one(f"{GPUS} GPUs, all collectors", Node(gpus=GPUS, flags=ALL), NO_BARS),
        *await _measure_one(
            f"{MIG_GPUS} GPUs x {MIG_INSTANCES} MIG instances, all collectors",
            Node(gpus=MIG_GPUS, mig_instances=MIG_INSTANCES, flags=ALL),
            MIG_BARS,
        ),
        Figure(
            bar="image: site-packages",
            value=size_megabytes(),
            unit="MB",
            limit=SITE_PACKAGES_MEGABYTES,
        ),
    ]


async def _measure_start() -> list[Figure]:
    ours, bare = await start_seconds(Node(gpus=GPUS))
    label = f"{GPUS} GPUs: start to first metrics"
    return [
        Figure(bar=label, value=ours, unit="s", limit=None),
        Figure(bar=f"{label}, bare Python beside it", value=bare, unit="s", limit=None),
        Figure(bar=f"{label}, ratio", value=ours / bare, unit="x", limit=START_RATIO),
    ]


async def _measure_one(gpus: str, node: Node, bars: Bars) -> list[Figure]:
    async with exporter_process(node) as process, aiohttp.ClientSession() as session:
        await until_ready(session, process.url)
        figures = await _measure_idle(f"{gpus}, 1 s sampling, no scrapes: CPU", process.pid, bars)
        for name, headers in FORMATS.items():
            async with _plain_server(process.url, headers) as plain_url:
                before = cpu_seconds(process.pid)
                ours, plain, size = await _scrape(session, process.url, plain_url, headers)
            used = (cpu_seconds(process.pid) - before) / len(ours)
            label = f"{gpus}, {SCRAPES_PER_SECOND} scrapes/s, {name}"
            ratio = percentile(ours, 99) / percentile(plain, 99)
            figures += [
                *_distribution(label, ours),
                *_distribution(f"{label}, plain aiohttp beside it", plain),
                Figure(bar=f"{label}: p99, ratio", value=ratio, unit="x", limit=bars.p99_ratio),
                Figure(bar=f"{label}: CPU per scrape", value=used * 1000, unit="ms", limit=None),
                Figure(bar=f"{label}: size", value=size / 1000, unit="kB", limit=None),
            ]
        rss = rss_megabytes(process.pid)
    figures.append(
        Figure(bar=f"{gpus}: RSS after that", value=rss, unit="MB", limit=bars.rss_megabytes)
    )
    return figures


async def _measure_idle(label: str, pid: int, bars: Bars) -> list[Figure]:
    if bars.cpu_ratio is None:
        (ours,) = await _cpu_percents([pid])
        return [Figure(bar=label, value=ours, unit="% of a core", limit=None)]
    async with bare_process("barenvml", str(GPUS)) as bare_nvml:
        ours, bare = await _cpu_percents([pid, bare_nvml.pid])
    return [
        Figure(bar=label, value=ours, unit="% of a core", limit=None),
        Figure(bar=f"{label}, bare loop beside it", value=bare, unit="% of a core", limit=None),
        Figure(bar=f"{label}, ratio", value=ours / bare, unit="x", limit=bars.cpu_ratio),
    ]


async def _cpu_percents(pids: Iterable[int]) -> list[float]:
    """Return what each process takes, after a while in which a new one has started."""
    await asyncio.sleep(SETTLE_SECONDS)
    before, begin = [thread_seconds(pid) for pid in pids], time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    after, seconds = [thread_seconds(pid) for pid in pids], time.monotonic() - begin
    return [100 * (end - start) / seconds for start, end in zip(before, after, strict=True)]


def _distribution(label: str, milliseconds: list[float]) -> list[Figure]:
    return [
        Figure(
            bar=f"{label}: {name}", value=percentile(milliseconds, percent), unit="ms", limit=None
        )
        for name, percent in (("p50", 50), ("p90", 90), ("p99", 99), ("max", 100))
    ]


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
        arguments = (file.name, coding) if coding else (file.name,)
        async with bare_process("plainserver", *arguments) as process:
            assert process.stdout is not None
            yield (await process.stdout.readline()).decode().strip()


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


if __name__ == "__main__":
    main()
