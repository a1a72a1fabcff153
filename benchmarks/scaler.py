# SPDX-License-Identifier: Apache-2.0
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
import resource
import sys
import time
from typing import Any, Final

import aiohttp

from benchmarks.curvefiles import write_rows
from benchmarks.processes import cpu_seconds, rss_megabytes
from benchmarks.report import percentile, publish
from benchmarks.scalerprocess import (
    ASKED,
    LOOP,
    STAGE,
    counts,
    next_loop,
    on_one_core,
    running_cluster,
    running_scaler,
)
from benchmarks.scalertable import (
    CURVE,
    REQUESTS,
    STAGES,
    Measured,
    costs_of,
    figures,
    print_curve,
)

SIZES: Final = (500, 1000, 2500, 5000, 20000)
LOOPS: Final = 20
BARE_ROUNDS: Final = 5
SPARE_FILES: Final = 500
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
    if (arguments.nodes, arguments.sources) == (SIZES, SOURCES):
        write_rows(CURVE, costs_of(measured))


def _has_files(nodes: int) -> bool:
    """Whether one process may hold a connection to each node's exporter; say so where not."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY or most >= nodes + SPARE_FILES:
        return True
    print(f"{nodes} nodes: left out, a process may open {most} files here and needs one per node")
    return False


async def _measure(nodes: int, source: str) -> Measured:
    print(f"{nodes} nodes, {source} ...", flush=True)
    async with running_cluster(nodes) as urls:
        bare = [await _bare(nodes, urls)] if source == "exporters" else []
        async with running_scaler(urls, source) as (process, port):
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
    on_one_core(process.pid)
    answer, _ = await process.communicate()
    return dict(json.loads(answer))


async def _watch_loops(nodes: int, source: str, pid: int, port: int, counts_url: str) -> Measured:
    metrics_url = f"http://127.0.0.1:{port}/metrics?{ASKED}"
    begun = time.monotonic()
    async with aiohttp.ClientSession() as session:
        start = await next_loop(session, metrics_url, 0)
        started = time.monotonic() - begun
        if start[f"{LOOP}_count"] != 1:
            msg = "the first loop's time cannot be told from the second's"
            raise RuntimeError(msg)
        before = await next_loop(session, metrics_url, 1)
        cpu, asked = cpu_seconds(pid), await counts(session, counts_url)
        first = before
        loops: list[float] = []
        stages: dict[str, list[float]] = {stage: [] for stage in STAGES}
        while len(loops) < LOOPS:
            now = await next_loop(session, metrics_url, before[f"{LOOP}_count"])
            count = now[f"{LOOP}_count"] - before[f"{LOOP}_count"]
            loops.append((now[f"{LOOP}_sum"] - before[f"{LOOP}_sum"]) / count)
            for stage, values in stages.items():
                name = f"{STAGE}_sum/{stage}"
                values.append((now[name] - before[name]) / count)
            before = now
        done = before[f"{LOOP}_count"] - first[f"{LOOP}_count"]
        asked_since = await counts(session, counts_url)
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


if __name__ == "__main__":
    main()
