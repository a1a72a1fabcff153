# SPDX-License-Identifier: Apache-2.0
"""Attacks beside an innocent party: how much later its decisions come, and what they cost.

For each attack of `tests/attacks.py` a new scaler at its defaults meets three innocent Deployments,
whose GPUs go from 0 to 100 % one after another. The embedded API, the nodes, the evil party and
this clock are one process, so a delay includes what the attack costs the attacker here.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp

from benchmarks.processes import rss_megabytes
from benchmarks.report import Figure, percentile, publish
from exporter.cli.config import ExporterConfig
from scaler.budgets import PAGE_BYTES
from scaler.model import Metric
from scaler.readings.exposition import ExpositionError, read_page, values_by_pod
from tests.attacks import ATTACKS, Attack, of_party, running_world
from tests.running import running_scaler
from tests.scaled import DEPLOYMENTS
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.attacks import World
    from tests.running import ScalerProcess

INTERVAL_SECONDS: Final = 2.0
STEPS: Final = 3
SETTLE_SECONDS: Final = 10.0
STEP_DEADLINE_SECONDS: Final = 120.0
MANIFEST_LIMIT_MEGABYTES: Final = 512 * 2**20 / 1e6
HEALTH_PERIOD_SECONDS: Final = 0.1
HEALTH_TIMEOUT_SECONDS: Final = 10.0
PARSE_REPETITIONS: Final = 5
PAGES: Final = {
    "comments": "# HELP x\n",
    "short samples": 'x{a="1"} 1\n',
    "many labels": "x{" + ",".join(f'l{number}="1"' for number in range(500)) + "} 1\n",
    "escaped characters": 'x{a="' + "\\\\" * 3000 + '"} 1\n',
    "broken lines": 'x{a="1",' + "b" * 5000 + "\n",
}
"""What an exporter's page may be made of."""


@dataclass(slots=True)
class Watched:
    """What was seen of the scaler while an attack went on."""

    delays_seconds: list[float] = field(default_factory=list)
    health_seconds: list[float] = field(default_factory=list)
    rss_megabytes: float = 0.0
    log_kilobytes_per_minute: float = 0.0


def main() -> None:
    """Measure the attacks whose names contain the argument, or all, and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of the attacks' names (default all)")
    only = parser.parse_args().only
    publish("abuse", asyncio.run(_measure([one for one in ATTACKS if only in one.name])))


def _growth() -> list[Figure]:
    """How the time to parse an exporter's page grows with its bytes."""
    small, large = PAGE_BYTES // 40, PAGE_BYTES
    return [
        Figure(
            bar=f"a page of {kind}: time per byte, {large / 1e6:.1f} MB over {small / 1e6:.1f} MB",
            value=_seconds_per_byte(line, large) / _seconds_per_byte(line, small),
            unit="times",
            limit=1.5,
        )
        for kind, line in PAGES.items()
    ]


def _seconds_per_byte(line: str, size: int) -> float:
    text = line * (size // len(line))
    taken = []
    for _ in range(PARSE_REPETITIONS):
        begin = time.process_time()
        with contextlib.suppress(ExpositionError):
            values_by_pod(read_page(text), [Metric.DUTY_CYCLE])
        taken.append(time.process_time() - begin)
    return min(taken) / len(text)


async def _measure(attacks: list[Attack]) -> list[Figure]:
    without = await _watched(None)
    usual = statistics.median(without.delays_seconds)
    figures = [
        Figure(
            bar="nobody attacks: load step to patched replicas", value=usual, unit="s", limit=None
        )
    ]
    for attack in attacks:
        seen = await _watched(attack)
        later = statistics.median(seen.delays_seconds) - usual
        figures += [
            Figure(
                bar=f"{attack.name}: decision later by",
                value=later,
                unit="s",
                limit=2 * INTERVAL_SECONDS,
            ),
            Figure(
                bar=f"{attack.name}: RSS",
                value=seen.rss_megabytes,
                unit="MB",
                limit=0.8 * MANIFEST_LIMIT_MEGABYTES,
            ),
            Figure(
                bar=f"{attack.name}: /healthz p99",
                value=percentile(seen.health_seconds, 99) * 1000,
                unit="ms",
                limit=200,
            ),
            Figure(
                bar=f"{attack.name}: log",
                value=seen.log_kilobytes_per_minute,
                unit="kB/min",
                limit=10,
            ),
        ]
    return figures


async def _watched(attack: Attack | None) -> Watched:
    seen = Watched()
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        async with running_world(Path(folder), exporter=ExporterConfig()) as world:
            names = [f"serving-{n}" for n in range(STEPS)]
            for name in names:
                await world.client.post(DEPLOYMENTS, of_party("innocent", name))
            for name in names:
                await world.ready(1, path=f"{DEPLOYMENTS}/{name}")
            async with running_scaler(
                world.kubeconfig, f"--interval={INTERVAL_SECONDS:g}s"
            ) as scaler:
                await until(lambda: _all_decided(scaler, names), what="the first decisions")
                async with (
                    attack.begin(world, scaler) if attack else contextlib.nullcontext(),
                    _watching(scaler, seen),
                ):
                    await asyncio.sleep(SETTLE_SECONDS)
                    for name in names:
                        seen.delays_seconds.append(await _step(world, name))
    print(f"{attack.name if attack else 'nobody attacks'}: {seen.delays_seconds}")
    return seen


async def _all_decided(scaler: ScalerProcess, names: list[str]) -> bool:
    return all([await scaler.decision("default", name) for name in names])


async def _step(world: World, name: str) -> float:
    pods = [
        pod["metadata"]["name"]
        for pod in world.nodes.pods()
        if pod["metadata"]["name"].startswith(f"{name}-")
    ]
    devices = [uuid for pod in pods for uuid in world.nodes.devices_of("default", pod)]
    begin = time.monotonic()
    world.nodes.set_loads(dict.fromkeys(devices, 100.0))
    await until(lambda: _is_scaled(world, name), deadline_seconds=STEP_DEADLINE_SECONDS, what=name)
    taken = time.monotonic() - begin
    world.nodes.set_loads({})
    return taken


async def _is_scaled(world: World, name: str) -> bool:
    return await world.replicas(f"{DEPLOYMENTS}/{name}") > 1


@asynccontextmanager
async def _watching(scaler: ScalerProcess, seen: Watched) -> AsyncIterator[None]:
    """Ask for /healthz and look at the memory all the while; count what is logged."""

    async def look() -> None:
        timeout = aiohttp.ClientTimeout(total=HEALTH_TIMEOUT_SECONDS)
        while True:
            begin = time.monotonic()
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with (
                    aiohttp.ClientSession(timeout=timeout) as session,
                    session.get(f"{scaler.url}/healthz") as answer,
                ):
                    await answer.read()
            seen.health_seconds.append(time.monotonic() - begin)
            rss = rss_megabytes(scaler.process.pid)
            seen.rss_megabytes = max(seen.rss_megabytes, rss)
            await asyncio.sleep(HEALTH_PERIOD_SECONDS)

    begin, logged = time.monotonic(), sum(map(len, scaler.log))
    task = asyncio.create_task(look())
    try:
        yield
    finally:
        task.cancel()
        minutes = (time.monotonic() - begin) / 60
        seen.log_kilobytes_per_minute = (sum(map(len, scaler.log)) - logged) / 1000 / minutes


if __name__ == "__main__":
    main()
