"""The scaler on large clusters: time per loop by stage, memory, and what it asks the API for.

A cluster of each size runs as a process of its own (`benchmarks.bigcluster`), and so does the
scaler, on one core, once for each source. Nothing changes in the cluster, so that every loop does
the same: read each node's exporter, or Prometheus' one large answer, and decide for each
Deployment. A bare client (`benchmarks.bareclient`) fetches the same pages on the same core before
and after, so that a slow or busy machine is not taken for a slow scaler.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.processes import cpu_seconds, rss_megabytes
from benchmarks.report import percentile, publish
from benchmarks.scalertable import REQUESTS, STAGES, Measured, figures, print_curve
from simulator.apiserver.server import kubeconfig_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SIZES: Final = (500, 1000, 2500, 5000, 20000)
LOOPS: Final = 20
BARE_ROUNDS: Final = 5
SPARE_FILES: Final = 500
START_SECONDS: Final = 600
LOOP: Final = "gpu_scaler_loop_duration_seconds"
STAGE: Final = "gpu_scaler_loop_stage_duration_seconds"
ASKED: Final = "&".join(
    f"name[]={name}" for name in (f"{LOOP}_count", f"{LOOP}_sum", f"{STAGE}_sum")
)
"""The rest, with its series for each Deployment, is asked every few seconds by nobody."""
SOURCES: Final = ("exporters", "prometheus")


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
        if _has_files(nodes)
    ]
    print_curve(measured)
    publish("scaler", figures(measured))


def _has_files(nodes: int) -> bool:
    """Whether one process may hold a connection to each node's exporter; say so where not."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY or most >= nodes + SPARE_FILES:
        return True
    print(f"{nodes} nodes: left out, a process may open {most} files here and needs one per node")
    return False


async def _measure(nodes: int, source: str) -> Measured:
    print(f"{nodes} nodes, {source} ...", flush=True)
    async with _cluster(nodes) as urls:
        bare = [await _bare(nodes, urls)] if source == "exporters" else []
        async with _scaler(urls, source) as (process, port):
            measured = await _watch_loops(nodes, source, process.pid, port, str(urls["counts"]))
        if bare:
            bare.append(await _bare(nodes, urls))
            measured.bare = {
                clock: percentile([seconds for one in bare for seconds in one[clock]], 50)
                for clock in ("wall", "cpu")
            }
        return measured


async def _bare(nodes: int, urls: dict[str, Any]) -> dict[str, list[float]]:
    """Return a bare client's seconds for fetching all pages, by clock, on the scaler's core."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.bareclient", f"--nodes={nodes}"),
        *(f"--port={urls['exporters_port']}", f"--rounds={BARE_ROUNDS}"),
        stdout=asyncio.subprocess.PIPE,
    )
    _on_one_core(process.pid)
    answer, _ = await process.communicate()
    return dict(json.loads(answer))


async def _watch_loops(nodes: int, source: str, pid: int, port: int, counts_url: str) -> Measured:
    metrics_url = f"http://127.0.0.1:{port}/metrics?{ASKED}"
    begun = time.monotonic()
    async with aiohttp.ClientSession() as session:
        start = await _next_loop(session, metrics_url, 0)
        started = time.monotonic() - begun
        if start[f"{LOOP}_count"] != 1:
            msg = "the first loop's time cannot be told from the second's"
            raise RuntimeError(msg)
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
            first_loop_seconds=start[f"{LOOP}_sum"],
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
async def _cluster(nodes: int) -> AsyncIterator[dict[str, Any]]:
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
    urls: dict[str, Any], source: str
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
        _on_one_core(process.pid)
        assert process.stderr is not None
        port = await _port(process.stderr)
        reading = asyncio.create_task(_show_problems(process.stderr))
        try:
            yield process, port
        finally:
            process.terminate()
            await process.wait()
            await reading


def _on_one_core(pid: int) -> None:
    os.sched_setaffinity(pid, {min(os.sched_getaffinity(0))})


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


if __name__ == "__main__":
    main()
