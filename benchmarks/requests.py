# SPDX-License-Identifier: Apache-2.0
"""The scaler on 5,000 model servers beside GPU nodes: time to read all of them, memory, GPU loop.

Pods of model servers with pages of 58 KB stand beside 500 nodes with GPUs, in a process of their
own (`benchmarks.bigcluster`). The scaler runs on one core with its default interval: without the
servers (`alone`), with their 250 Deployments but with pods that declare no port (`unread`), and
with pods that are read (`beside`). The runs take turns, so that a slow or busy machine is not taken
for a slow scaler.

There is one loop for all Deployments. `beside` against `alone` is all that a cluster pays for
having them, which includes 250 more decisions and their records in each loop. `beside` against
`unread` is what reading costs a loop that decides for as many Deployments. The bar is on the first.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass
from statistics import fmean
from typing import Final, NamedTuple

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
LOOPS: Final = 25
ROUNDS: Final = 2
WARM_LOOPS: Final = 10
BETWEEN_SECONDS: Final = 1.0
MOST_CYCLE_SECONDS: Final = 5.0
MOST_MEGABYTES: Final = 300.0
MOST_SLOWER: Final = 1.2


class Cluster(NamedTuple):
    """Nodes with GPUs, and pods of model servers."""

    nodes: int
    servers: int
    are_read: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Loop times, memory, CPU share and answered pages per second of one run."""

    loops: list[float]
    stages: dict[str, list[float]]
    rss_megabytes: float
    cpu_share: float
    pages_per_second: float


def main() -> None:
    """Measure without, with and beside the servers, print and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--servers", type=int, default=SERVERS)
    parser.add_argument("--loops", type=int, default=LOOPS, help="in each round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    clusters = {
        "alone": Cluster(given.nodes, 0, are_read=False),
        "unread": Cluster(given.nodes, given.servers, are_read=False),
        "beside": Cluster(given.nodes, given.servers, are_read=True),
    }
    runs: dict[str, list[Measured]] = {name: [] for name in clusters}
    for _ in range(given.rounds):
        for name, cluster in clusters.items():
            runs[name].append(asyncio.run(_measure(cluster, given.loops)))
            _show(name, runs[name][-1])
    loops = {name: [took for run in some for took in run.loops] for name, some in runs.items()}
    p99 = {name: percentile(some, 99) for name, some in loops.items()}
    p50 = {name: percentile(some, 50) for name, some in loops.items()}
    beside, alone = runs["beside"], runs["alone"]
    pages = fmean(run.pages_per_second for run in beside)
    more = fmean(run.rss_megabytes for run in beside) - fmean(run.rss_megabytes for run in alone)
    what = f"{given.servers} servers beside {given.nodes} nodes"
    publish(
        "requests",
        [
            Figure(
                bar=f"{what}: time to read all",
                value=given.servers / pages if pages else float("inf"),
                unit="s",
                limit=MOST_CYCLE_SECONDS,
            ),
            Figure(bar=f"{what}: RSS more", value=more, unit="MB", limit=MOST_MEGABYTES),
            Figure(
                bar=f"{what}: GPU loop's p99 / alone",
                value=p99["beside"] / p99["alone"],
                unit="x",
                limit=MOST_SLOWER,
            ),
            *(
                Figure(bar=f"{what}: GPU loop's {title}", value=value, unit="x", limit=None)
                for title, value in (
                    ("p99 / unread", p99["beside"] / p99["unread"]),
                    ("median / alone", p50["beside"] / p50["alone"]),
                    ("median / unread", p50["beside"] / p50["unread"]),
                )
            ),
            Figure(bar="GPU loop's p99 alone", value=p99["alone"], unit="s", limit=None),
            *(
                Figure(
                    bar=f"CPU share, {name}",
                    value=fmean(run.cpu_share for run in some),
                    unit="",
                    limit=None,
                )
                for name, some in runs.items()
            ),
        ],
    )


def _show(name: str, run: Measured) -> None:
    medians = {stage: percentile(values, 50) for stage, values in run.stages.items()}
    text = "  ".join(f"{stage} {seconds:.3f} s" for stage, seconds in medians.items())
    median = percentile(run.loops, 50)
    print(f"{name:<7} median {median:.3f} s, p99 {percentile(run.loops, 99):.3f} s; {text}")


async def _measure(cluster: Cluster, loops: int) -> Measured:
    async with (
        running_cluster(cluster.nodes, cluster.servers, are_read=cluster.are_read) as urls,
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
                # The page is made again at most once a second: not while the next loop runs.
                await asyncio.sleep(BETWEEN_SECONDS)
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
