# SPDX-License-Identifier: Apache-2.0
"""A standing cluster and the scaler as processes, and the scaler's loops as it counts them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from simulator.apiserver.server import kubeconfig_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

START_SECONDS: Final = 600
MOST_SHOWN: Final = 3
"""How often a line of the scaler's log is shown; hundreds of Deployments may have the same."""
LOOP: Final = "gpu_scaler_loop_duration_seconds"
STAGE: Final = "gpu_scaler_loop_stage_duration_seconds"
ASKED: Final = "&".join(
    f"name[]={name}" for name in (f"{LOOP}_count", f"{LOOP}_sum", f"{STAGE}_sum")
)
"""The rest, with its series for each Deployment, is asked every few seconds by nobody."""


async def counts(session: aiohttp.ClientSession, url: str) -> dict[str, int]:
    """Return how many requests there were, by kind."""
    async with session.get(url) as answer:
        return dict(await answer.json())


async def next_loop(session: aiohttp.ClientSession, url: str, after: float) -> dict[str, float]:
    """Return the scaler's own metrics once more than `after` loops have ended."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            async with session.get(url) as answer:
                samples = _samples(await answer.text())
        except aiohttp.ClientError:
            samples = {}
        if samples.get(f"{LOOP}_count", 0) > after:
            return samples
        await asyncio.sleep(0.05)
    msg = f"no loop ended within {START_SECONDS} s"
    raise RuntimeError(msg)


def _samples(text: str) -> dict[str, float]:
    """The loop's sums and counts by name."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in (f"{LOOP}_count", f"{LOOP}_sum"):
                found[sample.name] = sample.value
            elif sample.name == f"{STAGE}_sum":
                found[f"{sample.name}/{sample.labels['stage']}"] = sample.value
    return found


@asynccontextmanager
async def running_cluster(
    nodes: int, servers: int = 0, *, are_read: bool = True
) -> AsyncIterator[dict[str, Any]]:
    """Run `benchmarks.bigcluster`; yield what it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.bigcluster", f"--nodes={nodes}"),
        f"--servers={servers}",
        *(() if are_read else ("--unread",)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            line = await process.stdout.readline()
        yield json.loads(line)
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def running_scaler(
    urls: dict[str, Any], source: str = "exporters", *, interval: str = "1s"
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """Run the scaler on one core; yield its process and its port."""
    flags = [f"--source={source}"]
    if source == "prometheus":
        flags.append(f"--prometheus.url={urls['prometheus']}")
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        kubeconfig = Path(folder) / "kubeconfig"
        kubeconfig.write_text(kubeconfig_text(urls["url"]))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "scaler", "run", f"--kubeconfig={kubeconfig}"),
            *("--web.listen-address=127.0.0.1:0", f"--interval={interval}", "--log.format=json"),
            *flags,
            stderr=asyncio.subprocess.PIPE,
        )
        on_one_core(process.pid)
        assert process.stderr is not None
        port = await _port(process.stderr)
        reading = asyncio.create_task(_show_problems(process.stderr))
        try:
            yield process, port
        finally:
            process.terminate()
            await process.wait()
            await reading


def on_one_core(pid: int) -> None:
    """Keep a process on the first core that this one may use."""
    os.sched_setaffinity(pid, {min(os.sched_getaffinity(0))})


async def _port(log: asyncio.StreamReader) -> int:
    async for line in log:
        entry = json.loads(line)
        if entry["msg"] == "Listening":
            return int(entry["addresses"][0].rpartition(":")[2])
    msg = "the scaler ended before it listened"
    raise RuntimeError(msg)


async def _show_problems(log: asyncio.StreamReader) -> None:
    shown: Counter[str] = Counter()
    async for line in log:
        entry = json.loads(line)
        shown[entry["msg"]] += 1
        if entry["level"] not in ("debug", "info") and shown[entry["msg"]] <= MOST_SHOWN:
            print(f"  {line.decode().strip()[:300]}", flush=True)
