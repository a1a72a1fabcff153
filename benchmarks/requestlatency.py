# SPDX-License-Identifier: Apache-2.0
"""A step of requests to a patched count: ours beside KEDA and the adapter chain, on one cluster.

Every repetition is a Deployment of its own with one simulated vLLM server, or none: 0 to 60
requests at a moment that is uniform over the whole run, target 24. The cluster is the test bed's
real control plane; the scaler is a process with its own service account, KEDA's programs have all
rights. All moments are of one machine's clock; the last is from the API server's audit log.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from benchmarks.modelservers import RUNNING, ModelServers, running_model_servers
from benchmarks.report import Figure, percentile, publish
from benchmarks.requestways import (
    ADAPTER_RULES,
    DEPLOYMENTS,
    NAMESPACE,
    PROMETHEUS_ACCESS,
    SCALED_OBJECTS,
    SCRAPE_JOB,
    Way,
    deployment,
    gateway,
    hpa_of,
    query,
    scaler_object,
)
from benchmarks.timeline import DEADLINE_SECONDS, POLL_SECONDS, NotScaledError, Patches
from scaler.kube.client import KubeClient
from scaler.kube.errors import NotFound
from simulator.nodes import NodeSpec, running_nodes
from tests.cluster.chain.access import allow
from tests.cluster.chain.adapter import running_adapter
from tests.cluster.chain.keda import running_keda
from tests.cluster.chain.prometheus import running_prometheus
from tests.cluster.controlplane import ControlPlane, running_control_plane
from tests.ownaddress import own_address
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.cluster.chain.prometheus import Prometheus

    JsonObject = dict[str, Any]

STEPS: Final = 15
MINUTES: Final = 5.0
REQUESTS: Final = 60
READY_AGE_SECONDS: Final = 30
SETTLE_SECONDS: Final = 240.0
MOST_MEDIAN_SECONDS: Final = 3.0
LEAST_TIMES: Final = 10.0
NOTES: Final = """
Everything is at its defaults: our scaler reads pages every 2 s; Prometheus scrapes every 1m; KEDA
polls every 30 s from 0, and its HPA syncs every 15 s, as every HPA does; the adapter knew the names
before the steps. Each HPA had read its metric once. 0 to 60 requests, target 24. Only what ours
scales from 0 has a cooldown and a window of its own, for the way down to 0 before the steps.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One repetition; `name` is its Deployment's."""

    name: str
    way: Way


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What runs while steps are made."""

    client: KubeClient
    servers: ModelServers
    prometheus: Prometheus
    from_one: Patches
    from_zero: Patches

    async def take(self, step: Step, *, after_seconds: float) -> float:
        """Make the requests; return the seconds until the patched count, and remove all of it.

        Raises NotScaledError when there is none within `DEADLINE_SECONDS`.
        """
        await asyncio.sleep(after_seconds)
        counts = self.servers.queued if step.way.from_zero else self.servers.requests
        patches = self.from_zero if step.way.from_zero else self.from_one
        begin = time.time()
        counts[step.name] = REQUESTS
        while (patch := patches.of(step.name)) is None:
            if time.time() - begin > DEADLINE_SECONDS:
                msg = f"{step.name} was not scaled within {DEADLINE_SECONDS:g} s"
                raise NotScaledError(msg)
            await asyncio.sleep(POLL_SECONDS)
        counts[step.name] = 0
        _, answered = patch
        found = scaler_object(step.way, step.name, self.prometheus.url)
        if found is not None:
            await self.client.delete(f"{found[0]}/{step.name}")
        await self.client.delete(f"{DEPLOYMENTS}/{step.name}")
        print(f"  {step.way:<32} {answered - begin:6.1f} s", flush=True)
        return answered - begin

    async def are_ready(self) -> bool:
        """Whether every pod is Ready."""
        found = (await self.client.list_(DEPLOYMENTS))["items"]
        return all(
            item.get("status", {}).get("readyReplicas", 0) == item["spec"]["replicas"]
            for item in found
        )

    async def are_scraped(self, steps: list[Step]) -> bool:
        """Whether Prometheus has a value for every step."""
        found = await self.prometheus.query(f'count({RUNNING}{{app!=""}}) by (app)')
        seen = {one["metric"]["app"] for one in found}
        if not seen.issuperset(step.name for step in steps if not step.way.from_zero):
            return False
        last = next((step for step in steps if step.way.from_zero), None)
        return last is None or bool(await self.prometheus.query(query(last.way, last.name)))

    async def are_idle(self, steps: list[Step]) -> bool:
        """Whether every HPA has read its metric, and what shall begin at 0 is there."""
        return all([await self._is_idle(step) for step in steps])

    async def _is_idle(self, step: Step) -> bool:
        if step.way is Way.QUEUE:
            found = await self.client.get(f"{DEPLOYMENTS}/{step.name}")
            return bool(found["spec"]["replicas"] == 0)
        if step.way is Way.KEDA_QUEUE:
            return await self._is_taken_over(step.name)
        hpa = hpa_of(step.way, step.name)
        return hpa is None or await self._has_value(hpa)

    async def _has_value(self, hpa: str) -> bool:
        try:
            found = await self.client.get(hpa)
        except NotFound:
            return False
        return bool(found.get("status", {}).get("currentMetrics"))

    async def _is_taken_over(self, name: str) -> bool:
        status = (await self.client.get(f"{SCALED_OBJECTS}/{name}")).get("status") or {}
        conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
        return conditions.get("Ready") == "True" and conditions.get("Active") == "False"


def main() -> None:
    """Take all steps on one cluster, print the table and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS, help="of each way")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="in which they begin")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="requests-") as folder,
        running_control_plane(Path(folder)) as plane,
    ):
        taken = asyncio.run(_run(plane, steps=given.steps, minutes=given.minutes))
    print(NOTES)
    publish("requestlatency", _figures(taken), is_cited=True)


async def _run(plane: ControlPlane, *, steps: int, minutes: float) -> dict[Way, list[float]]:
    address = own_address()
    if address is None:
        sys.exit("A Service has no endpoint on loopback, and this machine has no other address")
    await asyncio.to_thread(plane.install)
    await asyncio.to_thread(allow, plane)
    await asyncio.to_thread(plane.apply, PROMETHEUS_ACCESS)
    all_steps = [
        Step(name=f"{way.name.lower().replace('_', '-')}-{number}", way=way)
        for number in range(steps)
        for way in Way
    ]
    async with _running(plane, all_steps, address) as bench:
        print(f"{len(all_steps)} steps begin", flush=True)
        moments = random.Random()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(bench.take(step, after_seconds=moments.uniform(0, minutes * 60)))
                for step in all_steps
            ]
    taken: dict[Way, list[float]] = {}
    for step, task in zip(all_steps, tasks, strict=True):
        taken.setdefault(step.way, []).append(task.result())
    return taken


@asynccontextmanager
async def _running(plane: ControlPlane, steps: list[Step], address: str) -> AsyncIterator[Bench]:
    """Run everything; the body begins when every way is idle and has its values."""
    folder = plane.files.folder / "prometheus"
    folder.mkdir()
    rules = plane.files.folder / "adapter-rules.yaml"
    rules.write_text(yaml.safe_dump(ADAPTER_RULES))
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(await KubeClient.load(str(plane.admin)))
        servers = await stack.enter_async_context(running_model_servers())
        node = NodeSpec(name="servers", gpus=("T4",))
        await stack.enter_async_context(running_nodes(client, [node], startup_seconds=0.1))
        for path, thing in gateway(address=address, port=servers.port):
            await client.post(path, thing)
        for step in steps:
            thing = deployment(
                step.way, step.name, address=servers.add(step.name), port=servers.port
            )
            await client.post(DEPLOYMENTS, thing)
        prometheus = await stack.enter_async_context(
            running_prometheus(plane, folder, jobs=[SCRAPE_JOB], scrape_interval=None)
        )
        bench = Bench(
            client=client,
            servers=servers,
            prometheus=prometheus,
            from_one=Patches(plane.files.audit_log, above=1),
            from_zero=Patches(plane.files.audit_log, above=0),
        )
        await until(bench.are_ready, deadline_seconds=SETTLE_SECONDS, what="every pod is Ready")
        ready = time.monotonic()
        await stack.enter_async_context(_scaler(plane, prometheus.url))
        await until(
            lambda: bench.are_scraped(steps),
            deadline_seconds=SETTLE_SECONDS,
            what="every pod is in Prometheus",
        )
        await stack.enter_async_context(running_keda(plane, client))
        await stack.enter_async_context(
            running_adapter(plane, client, "adapter", prometheus_url=prometheus.url, rules=rules)
        )
        for step in steps:
            found = scaler_object(step.way, step.name, prometheus.url)
            if found is not None:
                await client.post(*found)
        await until(
            lambda: bench.are_idle(steps),
            deadline_seconds=SETTLE_SECONDS,
            what="every HPA has a value, and what begins at 0 is there",
        )
        await asyncio.sleep(max(0.0, ready + READY_AGE_SECONDS + 3 - time.monotonic()))
        yield bench


@asynccontextmanager
async def _scaler(plane: ControlPlane, prometheus_url: str) -> AsyncIterator[None]:
    kubeconfig = await asyncio.to_thread(plane.kubeconfig_for, "gpu-scaler/gpu-scaler")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scaler", "run", f"--kubeconfig={kubeconfig}"),
        *("--web.listen-address=127.0.0.1:0", "--log.level=error"),
        *(f"--namespaces={NAMESPACE}", f"--prometheus.url={prometheus_url}"),
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


def _figures(taken: dict[Way, list[float]]) -> list[Figure]:
    ours = (Way.PAGES, Way.QUEUE)
    figures = []
    for way, found in taken.items():
        bar = f"{way} ({len(found)} steps)"
        limit = MOST_MEDIAN_SECONDS if way in ours else None
        median, p90 = statistics.median(found), percentile(found, 90)
        figures.append(Figure(bar=f"{bar}: median", value=median, unit="s", limit=limit))
        figures.append(Figure(bar=f"{bar}: p90", value=p90, unit="s", limit=None))
    for own, other, limit in (
        (Way.PAGES, Way.KEDA, LEAST_TIMES),
        (Way.PAGES, Way.CHAIN, None),
        (Way.QUEUE, Way.KEDA_QUEUE, None),
    ):
        figures.append(
            Figure(
                bar=f"{other} / {own}: medians",
                value=statistics.median(taken[other]) / statistics.median(taken[own]),
                unit="x",
                limit=limit,
                better="higher",
            )
        )
    return figures


if __name__ == "__main__":
    main()
