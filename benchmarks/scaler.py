"""The scaler on large clusters: time per loop by stage, memory, and what it asks the API for.

A cluster of each size runs as a process of its own (`benchmarks.bigcluster`), and so does the
scaler, on one core, once for each source. Nothing changes in the cluster, so that every loop does
the same: read each node's exporter, or Prometheus' one large answer, and decide for each
Deployment.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import statistics
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.bigcluster import GPUS_PER_NODE, PODS_PER_DEPLOYMENT
from benchmarks.processes import cpu_seconds, rss_megabytes
from benchmarks.report import Figure, percentile, publish
from simulator.apiserver.server import kubeconfig_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SIZES: Final = (500, 1000, 2500, 5000)
LOOPS: Final = 20
REQUESTS: Final = ("watch", "lease", "other")
STAGES: Final = ("plan", "read", "decide", "act")
START_SECONDS: Final = 300
LOOP: Final = "gpu_scaler_loop_duration_seconds"
STAGE: Final = "gpu_scaler_loop_stage_duration_seconds"
ASKED: Final = "&".join(
    f"name[]={name}" for name in (f"{LOOP}_count", f"{LOOP}_sum", f"{STAGE}_sum")
)
"""The rest, with its series for each Deployment, is asked every few seconds by nobody."""
BARS: Final = {5000: (5.0, 500.0)}
SOURCES: Final = ("exporters", "prometheus")
MOST_GROWTH: Final = 1.1
"""Linear is 1, quadratic is 2; the tenth is what figures of a shared machine vary by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Of one cluster size; durations in seconds, `stages` by name in the order of `loops`."""

    source: str
    nodes: int
    started_seconds: float
    loops: list[float]
    stages: dict[str, list[float]]
    cpu_seconds_per_loop: float
    rss_megabytes: float
    requests_per_loop: dict[str, float]

    @property
    def loop_seconds(self) -> float:
        """The median of the loops."""
        return percentile(self.loops, 50)

    @property
    def pods(self) -> int:
        return self.nodes * GPUS_PER_NODE

    @property
    def deployments(self) -> int:
        return self.pods // PODS_PER_DEPLOYMENT


def main() -> None:
    """Measure each size with each source, print the curve and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--sources", nargs="*", choices=SOURCES, default=SOURCES)
    arguments = parser.parse_args()
    measured = [
        asyncio.run(_measure(nodes, source))
        for source in arguments.sources
        for nodes in arguments.nodes
    ]
    _print_curve(measured)
    figures = [figure for one in measured for figure in _figures(one)]
    for source in arguments.sources:
        figures += _growth([one for one in measured if one.source == source])
    publish("scaler", figures)


async def _measure(nodes: int, source: str) -> Measured:
    print(f"{nodes} nodes, {source} ...", flush=True)
    async with _cluster(nodes) as urls, _scaler(urls, source) as (process, port):
        return await _watch_loops(nodes, source, process.pid, port, urls["counts"])


async def _watch_loops(nodes: int, source: str, pid: int, port: int, counts_url: str) -> Measured:
    metrics_url = f"http://127.0.0.1:{port}/metrics?{ASKED}"
    begun = time.monotonic()
    async with aiohttp.ClientSession() as session:
        await _next_loop(session, metrics_url, 0)
        started = time.monotonic() - begun
        before = await _next_loop(session, metrics_url, 1)
        cpu, asked = cpu_seconds(pid), await _counts(session, counts_url)
        first = before
        loops: list[float] = []
        stages: dict[str, list[float]] = {stage: [] for stage in STAGES}
        while len(loops) < LOOPS:
            now = await _next_loop(session, metrics_url, before[f"{LOOP}_count"])
            count = now[f"{LOOP}_count"] - before[f"{LOOP}_count"]
            loops.append((now[f"{LOOP}_sum"] - before[f"{LOOP}_sum"]) / count)
            for stage, values in stages.items():
                name = f"{STAGE}_sum/{stage}"
                values.append((now[name] - before[name]) / count)
            before = now
        done = before[f"{LOOP}_count"] - first[f"{LOOP}_count"]
        asked_since = await _counts(session, counts_url)
        return Measured(
            source=source,
            nodes=nodes,
            started_seconds=started,
            loops=loops,
            stages=stages,
            cpu_seconds_per_loop=(cpu_seconds(pid) - cpu) / done,
            rss_megabytes=rss_megabytes(pid),
            requests_per_loop={
                kind: (asked_since.get(kind, 0) - asked.get(kind, 0)) / done for kind in REQUESTS
            },
        )


async def _counts(session: aiohttp.ClientSession, url: str) -> dict[str, int]:
    async with session.get(url) as answer:
        return dict(await answer.json())


async def _next_loop(session: aiohttp.ClientSession, url: str, after: float) -> dict[str, float]:
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
async def _cluster(nodes: int) -> AsyncIterator[dict[str, str]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.bigcluster", f"--nodes={nodes}"),
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
async def _scaler(
    urls: dict[str, str], source: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    flags = [f"--source={source}"]
    if source == "prometheus":
        flags.append(f"--prometheus.url={urls['prometheus']}")
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        kubeconfig = Path(folder) / "kubeconfig"
        kubeconfig.write_text(kubeconfig_text(urls["url"]))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "scaler", "run", f"--kubeconfig={kubeconfig}"),
            *("--web.listen-address=127.0.0.1:0", "--interval=1s", "--log.format=json"),
            *flags,
            stderr=asyncio.subprocess.PIPE,
        )
        os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
        assert process.stderr is not None
        port = await _port(process.stderr)
        reading = asyncio.create_task(_show_problems(process.stderr))
        try:
            yield process, port
        finally:
            process.terminate()
            await process.wait()
            await reading


async def _port(log: asyncio.StreamReader) -> int:
    async for line in log:
        entry = json.loads(line)
        if entry["msg"] == "Listening":
            return int(entry["addresses"][0].rpartition(":")[2])
    msg = "the scaler ended before it listened"
    raise RuntimeError(msg)


async def _show_problems(log: asyncio.StreamReader) -> None:
    async for line in log:
        if json.loads(line)["level"] not in ("debug", "info"):
            print(f"  {line.decode().strip()[:300]}", flush=True)


def _print_curve(measured: list[Measured]) -> None:
    print(
        f"\n{'source':<10} {'nodes':>6} {'pods':>7} {'deployments':>11} {'first loop s':>12}"
        f" {'loop s':>8}"
        + "".join(f" {stage + ' s':>9}" for stage in STAGES)
        + f" {'CPU s':>7} {'ms/node':>8} {'RSS MB':>7}"
        + "".join(f" {kind:>6}" for kind in REQUESTS)
    )
    for one in measured:
        print(
            f"{one.source:<10} {one.nodes:>6} {one.pods:>7} {one.deployments:>11}"
            f" {one.started_seconds:>12.1f} {one.loop_seconds:>8.2f}"
            + "".join(f" {percentile(one.stages[stage], 50):>9.3f}" for stage in STAGES)
            + f" {one.cpu_seconds_per_loop:>7.2f} {1000 * one.loop_seconds / one.nodes:>8.3f}"
            f" {one.rss_megabytes:>7.0f}"
            + "".join(f" {one.requests_per_loop[kind]:>6.2f}" for kind in REQUESTS)
        )
    longest = max(one.loop_seconds for one in measured)
    print("\nseconds per loop over nodes (watch, lease, other above: API requests per loop)")
    for one in measured:
        bar = "#" * max(1, round(60 * one.loop_seconds / longest))
        print(f"{one.source:<10} {one.nodes:>6} {bar} {one.loop_seconds:.2f}")


def _figures(one: Measured) -> list[Figure]:
    most_seconds, most_megabytes = BARS.get(one.nodes, (None, None))
    what = f"{one.source}, {one.nodes} nodes, {one.deployments} Deployments"
    return [
        Figure(
            bar=f"{what}: read + decide, median of {LOOPS} loops",
            value=one.loop_seconds,
            unit="s",
            limit=most_seconds,
        ),
        Figure(
            bar=f"{what}: read + decide, longest",
            value=max(one.loops),
            unit="s",
            limit=None,
        ),
        Figure(bar=f"{what}: RSS", value=one.rss_megabytes, unit="MB", limit=most_megabytes),
        Figure(
            bar=f"{what}: API requests per loop beside watches and Lease",
            value=one.requests_per_loop["other"],
            unit="",
            limit=0,
        ),
    ]


def _growth(measured: list[Measured]) -> list[Figure]:
    """The power of the number of nodes that the time grows with, over all sizes."""
    if len(measured) < 2:
        return []
    sizes = [math.log(one.nodes) for one in measured]
    times = [math.log(one.loop_seconds) for one in measured]
    nodes = sorted(one.nodes for one in measured)
    return [
        Figure(
            bar=f"{measured[0].source}: power of growth, {nodes[0]} to {nodes[-1]} nodes",
            value=statistics.linear_regression(sizes, times).slope,
            unit="",
            limit=MOST_GROWTH,
        )
    ]


if __name__ == "__main__":
    main()
