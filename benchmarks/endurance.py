# SPDX-License-Identifier: Apache-2.0
"""A day of the exporter in some minutes: does its memory stay flat, and its files closed?

A day at the defaults is 43,200 cycles; on 16 GPUs that is 691,200 readings of a GPU. Here one cycle
follows the other at `CYCLE_SECONDS`, the kubelet lists at `LIST_SECONDS`, and every pod is replaced
again and again, each under a new name, so that whatever is remembered by name would pile up. The
exporter is a process of its own; the curve goes to `benchmarks/curves/endurance.csv`.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import os
import re
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp

from benchmarks.exporterprocess import until_ready
from benchmarks.processes import rss_megabytes
from benchmarks.report import Figure, publish
from exporter.app import running
from exporter.cli.config import ExporterConfig
from exporter.podresources import client
from simulator.exporter import busy_driver
from simulator.kubelet import SimulatedKubelet
from simulator.nvml.binding import bind
from simulator.plugin_devices import GPU_RESOURCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GPUS: Final = 16
REPLICAS: Final = 4
CYCLE_SECONDS: Final = 0.005
LIST_SECONDS: Final = 0.02
READINGS: Final = 1_000_000
SCRAPES: Final = 100_000
POD_CHANGES: Final = 100_000
SCRAPERS: Final = 4
WARM_UP: Final = 0.1
POINTS: Final = 100
CURVE: Final = Path("benchmarks/curves/endurance.csv")
# What scrapers in the field ask for, one after the other.
REQUESTS: Final[tuple[tuple[str, dict[str, str]], ...]] = (
    ("/metrics", {"Accept": "text/plain;version=0.0.4"}),
    ("/metrics", {"Accept": "application/openmetrics-text;version=1.0.0"}),
    ("/metrics?name[]=nvidia_gpu_duty_cycle", {"Accept-Encoding": "identity"}),
    ("/readyz", {}),
)
REQUESTS_PER_CONNECTION: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The exporter at one moment, and what it has done until then."""

    seconds: float
    gpu_readings: int
    scrapes: int
    pod_changes: int
    rss_megabytes: float
    open_files: int
    threads: int

    @property
    def progress(self) -> float:
        """The share that is done, of what is furthest behind."""
        return min(
            self.gpu_readings / READINGS, self.scrapes / SCRAPES, self.pod_changes / POD_CHANGES
        )


class _Load:
    """What is asked of the exporter; each part stops asking when enough is done."""

    def __init__(self, kubelet: SimulatedKubelet, address: str) -> None:
        self._kubelet = kubelet
        self._address = address
        self.scrapes = 0
        self.pod_changes = 0

    async def scrape(self) -> None:
        """Scrape again and again, over connections that end now and then."""
        while True:
            async with aiohttp.ClientSession(self._address) as session:
                for number in range(REQUESTS_PER_CONNECTION):
                    path, headers = REQUESTS[number % len(REQUESTS)]
                    async with session.get(path, headers=headers) as response:
                        if response.status != 200 or not await response.read():
                            msg = f"{path} answered {response.status}"
                            raise RuntimeError(msg)
                    self.scrapes += path != "/readyz"

    async def replace_pods(self) -> None:
        """Replace all pods, one by one, whenever the kubelet has listed them."""
        pods = [f"serving-{number}" for number in range(GPUS * REPLICAS - 1)]
        for pod in pods:
            self._kubelet.allocate("default", pod, "main", GPU_RESOURCE, 1)
        listed = self._kubelet.list_calls
        while True:
            for place, pod in enumerate(pods):
                self._kubelet.release("default", pod)
                self.pod_changes += 1
                pods[place] = f"serving-{place}-{self.pod_changes}"
                self._kubelet.allocate("default", pods[place], "main", GPU_RESOURCE, 1)
                if place % GPUS == 0:
                    while self._kubelet.list_calls == listed:  # noqa: ASYNC110  nobody tells
                        await asyncio.sleep(LIST_SECONDS / 4)
                    listed = self._kubelet.list_calls


def main() -> None:
    """Measure and publish; as `--exporter` be the process that is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exporter", metavar="SOCKET", help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.exporter:
        asyncio.run(_export(parsed.exporter))
        return
    points = asyncio.run(_measure())
    _write(points)
    publish("endurance", _figures(points))


def _figures(points: list[Point]) -> list[Figure]:
    warm = [point for point in points if point.progress >= WARM_UP]
    half = len(warm) // 2
    early = sum(point.rss_megabytes for point in warm[:half]) / half
    late = sum(point.rss_megabytes for point in warm[half:]) / (len(warm) - half)
    first, last = warm[0], points[-1]
    return [
        Figure(
            bar="GPU readings", value=last.gpu_readings, unit="", limit=READINGS, better="higher"
        ),
        Figure(bar="scrapes", value=last.scrapes, unit="", limit=SCRAPES, better="higher"),
        Figure(
            bar="pod changes", value=last.pod_changes, unit="", limit=POD_CHANGES, better="higher"
        ),
        Figure(bar="RSS after warm-up", value=first.rss_megabytes, unit="MB", limit=None),
        Figure(bar="RSS at the end", value=last.rss_megabytes, unit="MB", limit=None),
        Figure(
            bar="mean RSS, second half less first half", value=late - early, unit="MB", limit=1.0
        ),
        Figure(
            bar="open files, most less after warm-up",
            value=max(point.open_files for point in warm) - first.open_files,
            unit="",
            limit=SCRAPERS,
        ),
        Figure(
            bar="threads, most less after warm-up",
            value=max(point.threads for point in warm) - first.threads,
            unit="",
            limit=0,
        ),
        Figure(bar="time", value=last.seconds, unit="s", limit=None),
    ]


async def _measure() -> list[Point]:
    points: list[Point] = []
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        path = str(Path(folder) / "kubelet.sock")
        driver = busy_driver("H100", GPUS)
        async with (
            SimulatedKubelet(driver, path, replicas=REPLICAS) as kubelet,
            _exporter(path) as (pid, address),
        ):
            load = _Load(kubelet, address)
            async with asyncio.TaskGroup() as tasks:
                working = [tasks.create_task(load.scrape()) for _ in range(SCRAPERS)]
                working.append(tasks.create_task(load.replace_pods()))
                await _watch(points, load, pid, address)
                for task in working:
                    task.cancel()
    return points


async def _watch(points: list[Point], load: _Load, pid: int, address: str) -> None:
    """Note how the exporter is, at every hundredth of the way."""
    begin = time.monotonic()
    async with aiohttp.ClientSession(address) as session:
        while not points or points[-1].progress < 1:
            await asyncio.sleep(0.2)
            point = Point(
                seconds=round(time.monotonic() - begin, 1),
                gpu_readings=GPUS * await _cycles(session),
                scrapes=load.scrapes,
                pod_changes=load.pod_changes,
                rss_megabytes=round(rss_megabytes(pid), 2),
                open_files=len(os.listdir(f"/proc/{pid}/fd")),
                threads=len(os.listdir(f"/proc/{pid}/task")),
            )
            if point.progress >= len(points) / POINTS:
                points.append(point)
                print(
                    f"\r{point.progress:4.0%}  {point.rss_megabytes:.1f} MB"
                    f"  {point.open_files} open files  {point.gpu_readings} readings"
                    f"  {point.scrapes} scrapes  {point.pod_changes} pod changes",
                    end="",
                    flush=True,
                )


async def _cycles(session: aiohttp.ClientSession) -> int:
    name = "nvidia_gpu_exporter_cycle_duration_seconds"
    async with session.get(f"/metrics?name[]={name}") as response:
        text = await response.text()
    match = re.search(rf"^{name}_count (\S+)$", text, re.MULTILINE)
    return int(float(match[1])) if match else 0


@asynccontextmanager
async def _exporter(socket_path: str) -> AsyncIterator[tuple[int, str]]:
    """Run the process that is measured; yields its PID and address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.endurance", f"--exporter={socket_path}"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        address = (await process.stdout.readline()).decode().strip()
        async with aiohttp.ClientSession() as session:
            await until_ready(session, address)
        yield process.pid, address
    finally:
        process.terminate()
        await process.wait()


async def _export(socket_path: str) -> None:
    client.MIN_INTERVAL_SECONDS = LIST_SECONDS  # type: ignore[misc]
    config = ExporterConfig(
        listen_host="127.0.0.1",
        listen_port=0,
        node_name="node",
        pod_resources_socket=socket_path,
        nvml_interval_seconds=CYCLE_SECONDS,
    )
    async with running(config, bind(busy_driver("H100", GPUS))) as exporter:
        print("http://{}:{}".format(*exporter.address), flush=True)
        await asyncio.Event().wait()


def _write(points: list[Point]) -> None:
    CURVE.parent.mkdir(exist_ok=True)
    with CURVE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Point))
        writer.writerows(astuple(point) for point in points)
    print(f"\nwritten to {CURVE}")


if __name__ == "__main__":
    main()
