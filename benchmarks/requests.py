"""The scaler on 5,000 model servers beside GPU nodes: time to read all of them, memory, GPU loop.

Pods of model servers with pages of 58 KB stand beside 500 nodes with GPUs, in a process of their
own (`benchmarks.bigcluster`). The scaler runs on one core with its default interval, first without
the servers, then with them, and then without them again, so that a slow or busy machine is not
taken for a slow scaler.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass
from typing import Final

import aiohttp

from benchmarks.processes import cpu_seconds, rss_megabytes
from benchmarks.report import Figure, percentile, publish
from benchmarks.scalerprocess import (
    ASKED,
    LOOP,
    STAGE,
    counts,
    next_loop,
    running_cluster,
    running_scaler,
)
from benchmarks.scalertable import STAGES

NODES: Final = 500
SERVERS: Final = 5000
LOOPS: Final = 50
WARM_LOOPS: Final = 10
MOST_CYCLE_SECONDS: Final = 5.0
MOST_MEGABYTES: Final = 300.0
MOST_SLOWER: Final = 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Loop times, memory, CPU share and answered pages per second of one run."""

    loops: list[float]
    stages: dict[str, list[float]]
    rss_megabytes: float
    cpu_share: float
    pages_per_second: float

    @property
    def p99(self) -> float:
        """The 99th percentile of the loops, in seconds."""
        return percentile(self.loops, 99)


def main() -> None:
    """Measure without, with and without the servers, print and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--servers", type=int, default=SERVERS)
    parser.add_argument("--loops", type=int, default=LOOPS)
    given = parser.parse_args()
    before, beside, after = (
        asyncio.run(_measure(given.nodes, servers, given.loops))
        for servers in (0, given.servers, 0)
    )
    alone = percentile([*before.loops, *after.loops], 99)
    for title, one in (("alone", before), ("beside", beside), ("alone", after)):
        medians = {stage: percentile(values, 50) for stage, values in one.stages.items()}
        text = "  ".join(f"{stage} {seconds:.3f} s" for stage, seconds in medians.items())
        print(f"{title:<7} median {percentile(one.loops, 50):.3f} s, p99 {one.p99:.3f} s; {text}")
    what = f"{given.servers} servers beside {given.nodes} nodes"
    cycle = given.servers / beside.pages_per_second if beside.pages_per_second else float("inf")
    more = beside.rss_megabytes - (before.rss_megabytes + after.rss_megabytes) / 2
    publish(
        "requests",
        [
            Figure(
                bar=f"{what}: time to read all",
                value=cycle,
                unit="s",
                limit=MOST_CYCLE_SECONDS,
            ),
            Figure(bar=f"{what}: RSS more", value=more, unit="MB", limit=MOST_MEGABYTES),
            Figure(
                bar=f"{what}: GPU loop's p99 / alone",
                value=beside.p99 / alone,
                unit="x",
                limit=MOST_SLOWER,
            ),
            Figure(bar="GPU loop's p99 alone", value=alone, unit="s", limit=None),
            Figure(bar="CPU share alone", value=before.cpu_share, unit="", limit=None),
            Figure(bar="CPU share beside the servers", value=beside.cpu_share, unit="", limit=None),
        ],
    )


async def _measure(nodes: int, servers: int, loops: int) -> Measured:
    print(f"{nodes} nodes, {servers} servers ...", flush=True)
    async with (
        running_cluster(nodes, servers) as urls,
        running_scaler(urls, interval="2s") as (process, port),
    ):
        url = f"http://127.0.0.1:{port}/metrics?{ASKED}"
        async with aiohttp.ClientSession() as session:
            last = await next_loop(session, url, WARM_LOOPS)
            begun, cpu = time.monotonic(), cpu_seconds(process.pid)
            pages = (await counts(session, str(urls["counts"]))).get("server", 0)
            durations: list[float] = []
            stages: dict[str, list[float]] = {stage: [] for stage in STAGES}
            while len(durations) < loops:
                now = await next_loop(session, url, last[f"{LOOP}_count"])
                done = now[f"{LOOP}_count"] - last[f"{LOOP}_count"]
                durations.append((now[f"{LOOP}_sum"] - last[f"{LOOP}_sum"]) / done)
                for stage, values in stages.items():
                    name = f"{STAGE}_sum/{stage}"
                    values.append((now[name] - last[name]) / done)
                last = now
            took = time.monotonic() - begun
            answered = (await counts(session, str(urls["counts"]))).get("server", 0) - pages
            return Measured(
                loops=durations,
                stages=stages,
                rss_megabytes=rss_megabytes(process.pid),
                cpu_share=(cpu_seconds(process.pid) - cpu) / took,
                pages_per_second=answered / took,
            )


if __name__ == "__main__":
    main()
