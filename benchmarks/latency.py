# SPDX-License-Identifier: Apache-2.0
"""Load step to patched replicas: our scaler beside Prometheus + adapter + HPA, on one cluster.

Every repetition is a Deployment of its own on a GPU of its own: one pod, 0 to 100 % at a moment
that is uniform over the whole run, target 40. The cluster is the test bed's real control plane with
simulated nodes and their real exporters; the scaler is a process with its own service account. All
moments are of one machine's clock; the last two stages are from the API server's audit log.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from benchmarks.latencytable import report
from benchmarks.timeline import FAMILY, Bench, Patches, Timeline, Way
from exporter.cli.config import ExporterConfig
from scaler.kube.client import KubeClient
from simulator.nodes import NodeSpec, running_nodes
from tests.cluster.chain.access import allow
from tests.cluster.chain.adapter import running_adapter
from tests.cluster.chain.prometheus import running_prometheus, shipped_jobs
from tests.cluster.controlplane import ControlPlane, running_control_plane
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.cluster.chain.prometheus import Prometheus

    JsonObject = dict[str, Any]

BY_PROMETHEUS: Final = "by-prometheus"
"""The namespace of those that the scaler with --source prometheus scales."""
HPAS: Final = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
TARGET_PERCENT: Final = 40
TOLERANCE: Final = 0.1
MAX_REPLICAS: Final = 10
GPUS_PER_NODE: Final = 8
READY_AGE_SECONDS: Final = 30
TUNED_MINUTES: Final = 2.0
SETTLE_SECONDS: Final = 240.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How fast everything goes; empty flags and no scrape interval are the programs' defaults."""

    name: str
    exporter: ExporterConfig
    scaler_flags: tuple[str, ...]
    scrape_interval: str | None
    adapter_flags: tuple[str, ...]
    controller_flags: tuple[str, ...]
    ours: int
    by_prometheus: int
    chains: int
    last_step_seconds: float


def defaults(minutes: float) -> Setting:
    """Return the documented defaults, with as many Deployments of the chain as fit."""
    return Setting(
        name="defaults",
        exporter=ExporterConfig(),
        scaler_flags=(),
        scrape_interval=None,
        adapter_flags=(),
        controller_flags=(),
        ours=max(5, round(minutes)),
        by_prometheus=max(5, round(minutes)),
        chains=max(5, round(3 * minutes)),
        # The chain needs up to 100 s for the last one.
        last_step_seconds=max(20.0, minutes * 60 - 100),
    )


TUNED: Final = Setting(
    name="tuned",
    exporter=ExporterConfig(nvml_interval_seconds=1, nvml_window_seconds=1),
    scaler_flags=("--interval=1s",),
    scrape_interval="1s",
    adapter_flags=("--metrics-relist-interval=1s", "--metrics-max-age=1m"),
    controller_flags=("--horizontal-pod-autoscaler-sync-period=1s",),
    ours=10,
    by_prometheus=10,
    chains=15,
    last_step_seconds=TUNED_MINUTES * 60 - 20,
)


def main() -> None:
    """Run both settings on one cluster, print the tables and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15, help="of steps at defaults")
    minutes = parser.parse_args().minutes
    with (
        tempfile.TemporaryDirectory(prefix="latency-") as folder,
        running_control_plane(Path(folder)) as plane,
    ):
        timelines = asyncio.run(_run(plane, minutes))
    report(timelines)


async def _run(plane: ControlPlane, minutes: float) -> list[Timeline]:
    await asyncio.to_thread(plane.install)
    await asyncio.to_thread(allow, plane)
    await asyncio.to_thread(plane.kubectl, "create", "namespace", BY_PROMETHEUS)
    slow = await _measure(plane, defaults(minutes))
    return slow + await _measure(plane, TUNED)


async def _measure(plane: ControlPlane, setting: Setting) -> list[Timeline]:
    counts = {
        Way.EXPORTERS: setting.ours,
        Way.PROMETHEUS: setting.by_prometheus,
        Way.CHAIN: setting.chains,
    }
    ways = [way for way, count in counts.items() for _ in range(count)]
    steps = [(f"{setting.name}-{way.name.lower()}-{n}", way) for n, way in enumerate(ways)]
    specs = [
        NodeSpec(name=f"{setting.name}-{n}", gpus=("H100",) * GPUS_PER_NODE)
        for n in range(-(-len(steps) // GPUS_PER_NODE))
    ]
    folder = plane.files.folder / f"prometheus-{setting.name}"
    folder.mkdir()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(await KubeClient.load(str(plane.admin)))
        await asyncio.to_thread(plane.restart_controller_manager, *setting.controller_flags)
        nodes = await stack.enter_async_context(
            running_nodes(client, specs, startup_seconds=0.1, exporter_config=setting.exporter)
        )
        await stack.enter_async_context(
            _scaler(plane, ("--namespaces=default", *setting.scaler_flags))
        )
        for name, way in steps:
            await client.post(_deployments(way), _deployment(name, annotated=way is not Way.CHAIN))
        await until(
            lambda: _are_ready(client), deadline_seconds=SETTLE_SECONDS, what="every pod is Ready"
        )
        ready = time.monotonic()
        prometheus = await stack.enter_async_context(
            running_prometheus(
                plane, folder, jobs=shipped_jobs(), scrape_interval=setting.scrape_interval
            )
        )
        await until(
            lambda: _are_scraped(prometheus, len(steps)),
            deadline_seconds=SETTLE_SECONDS,
            what="every pod is in Prometheus",
        )
        await stack.enter_async_context(
            running_adapter(
                plane,
                client,
                f"adapter-{setting.name}",
                prometheus_url=prometheus.url,
                flags=setting.adapter_flags,
            )
        )
        await stack.enter_async_context(
            _scaler(
                plane,
                (
                    *("--source=prometheus", f"--prometheus.url={prometheus.url}"),
                    # The account may hold one Lease, which is the other's.
                    *(f"--namespaces={BY_PROMETHEUS}", "--no-leader-elect"),
                    *setting.scaler_flags,
                ),
            )
        )
        for name, way in steps:
            if way is Way.CHAIN:
                await client.post(HPAS, _hpa(name))
        await until(
            lambda: _have_values(client),
            deadline_seconds=SETTLE_SECONDS,
            what="every HPA has a value",
        )
        await asyncio.sleep(max(0.0, ready + READY_AGE_SECONDS + 3 - time.monotonic()))
        bench = Bench(
            client=client,
            nodes=nodes,
            http=await stack.enter_async_context(aiohttp.ClientSession()),
            prometheus=prometheus,
            patches=Patches(plane.files.audit_log),
            threshold_percent=TARGET_PERCENT * (1 + TOLERANCE),
        )
        print(f"{setting.name}: {len(steps)} steps begin", flush=True)
        moments = random.Random()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(
                    _step(
                        bench,
                        step,
                        setting.name,
                        after_seconds=moments.uniform(0, setting.last_step_seconds),
                    )
                )
                for step in steps
            ]
        return [task.result() for task in tasks]


async def _step(
    bench: Bench, step: tuple[str, Way], setting: str, *, after_seconds: float
) -> Timeline:
    name, way = step
    await asyncio.sleep(after_seconds)
    timeline = await bench.step(name, f"{way}, {setting}", way=way)
    if way is Way.CHAIN:
        await bench.client.delete(f"{HPAS}/{name}")
    await bench.client.delete(f"{_deployments(way)}/{name}")
    taken = timeline.seconds["patched"]
    print(f"  {timeline.kind:<28} {taken:6.1f} s", flush=True)
    return timeline


async def _are_ready(client: KubeClient) -> bool:
    found = [item for way in Way for item in (await client.list_(_deployments(way)))["items"]]
    return all(item.get("status", {}).get("readyReplicas") == 1 for item in found)


async def _are_scraped(prometheus: Prometheus, pods: int) -> bool:
    return len(await prometheus.query(f'{FAMILY}{{pod_name!=""}}')) == pods


async def _have_values(client: KubeClient) -> bool:
    """Whether every HPA has read its metric."""
    found = (await client.list_(HPAS))["items"]
    return all(item.get("status", {}).get("currentMetrics") for item in found)


@asynccontextmanager
async def _scaler(plane: ControlPlane, flags: tuple[str, ...]) -> AsyncIterator[None]:
    kubeconfig = await asyncio.to_thread(plane.kubeconfig_for, "gpu-scaler/gpu-scaler")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scaler", "run", f"--kubeconfig={kubeconfig}"),
        *("--web.listen-address=127.0.0.1:0", "--log.level=error", *flags),
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


def _deployments(way: Way) -> str:
    namespace = BY_PROMETHEUS if way is Way.PROMETHEUS else "default"
    return f"/apis/apps/v1/namespaces/{namespace}/deployments"


def _deployment(name: str, *, annotated: bool) -> JsonObject:
    annotations = {
        "gpu-scaler/enabled": "true",
        "gpu-scaler/max-replicas": str(MAX_REPLICAS),
        "gpu-scaler/target-duty-cycle": str(TARGET_PERCENT),
    }
    labels = {"app": name}
    limits = {"nvidia.com/gpu": "1"}
    container = {"name": "main", "image": "example.com/x:1", "resources": {"limits": limits}}
    return {
        "metadata": {"name": name, "annotations": annotations if annotated else {}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def _hpa(name: str) -> JsonObject:
    target = {"type": "AverageValue", "averageValue": str(TARGET_PERCENT)}
    pods = {"metric": {"name": "duty_cycle_current"}, "target": target}
    return {
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": 1,
            "maxReplicas": MAX_REPLICAS,
            "metrics": [{"type": "Pods", "pods": pods}],
        },
    }


if __name__ == "__main__":
    main()
