# SPDX-License-Identifier: Apache-2.0
"""500 HorizontalPodAutoscalers on the scaler's own metrics API: latency, CPU, memory.

The HPAs are real: the test bed's API server and kube-controller-manager at its default period of
15 s, one Deployment with one pod and one GPU for each of them, on simulated nodes with their real
exporters. Every duty cycle sits at its target, so that nothing is rescaled and each sync does the
same. The scaler is a process with its own service account and its defaults; the HPAs come to it
through the API server, whose audit log says how long each request took. The HPA controller has
20 workers and 200 requests/s: at its default of 20 requests/s (--kube-api-qps) it cannot ask for
500 metrics in 15 s, whoever serves them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
import tracemalloc
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.processes import cpu_seconds, rss_megabytes
from benchmarks.report import Figure, percentile, publish
from exporter.cli.config import ExporterConfig
from scaler.kube.client import KubeClient
from scaler.metricsapi.history import TargetSample, TargetSeries
from simulator.nodes import NodeSpec, running_nodes
from tests.cluster.controlplane import ControlPlane, running_control_plane
from tests.cluster.metricsapi import installing
from tests.cluster.processes import free_ports
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    JsonObject = dict[str, Any]

HPAS: Final = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
DEPLOYMENTS: Final = "/apis/apps/v1/namespaces/default/deployments"
PERIOD_SECONDS: Final = 15
TARGET_PERCENT: Final = 40
GPUS_PER_NODE: Final = 16
# What is measured is the metrics API: the many exporters of this one machine should not be busy.
EXPORTER: Final = ExporterConfig(nvml_interval_seconds=5)
CONTROLLER_FLAGS: Final = (
    f"--horizontal-pod-autoscaler-sync-period={PERIOD_SECONDS}s",
    "--concurrent-horizontal-pod-autoscaler-syncs=20",
    "--kube-api-qps=200",
    "--kube-api-burst=400",
)
SETTLE_SECONDS: Final = 300.0
CREATED_AT_ONCE: Final = 8
HISTORIES: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was seen during `seconds`; latencies in milliseconds, in the API server's eyes."""

    hpas: int
    seconds: float
    latencies: list[float]
    failed: int
    synced: int
    cpu_percent: float
    rss_before_megabytes: float
    rss_megabytes: float


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hpas", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=4)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="metrics-api-") as folder,
        running_control_plane(Path(folder)) as plane,
    ):
        measured = asyncio.run(_run(plane, arguments.hpas, 60 * arguments.minutes))
    publish("metricsapi", _figures(measured, _history_bytes()), is_cited=True)


def _figures(measured: Measured, history_bytes: float) -> list[Figure]:
    hpas = f"{measured.hpas} HPAs every {PERIOD_SECONDS} s"
    found = measured.latencies
    rows = (
        ("requests", len(found) / measured.seconds, "1/s", None),
        ("requests that failed", measured.failed, "", 0),
        ("HPAs without a value at the end", measured.hpas - measured.synced, "", 0),
        ("latency at the API server, median", statistics.median(found), "ms", None),
        ("latency at the API server, p90", percentile(found, 90), "ms", None),
        ("latency at the API server, p99", percentile(found, 99), "ms", None),
        ("latency at the API server, most", max(found), "ms", None),
        ("CPU of the scaler", measured.cpu_percent, "% of a core", None),
        ("RSS of the scaler before", measured.rss_before_megabytes, "MB", None),
        ("RSS of the scaler after", measured.rss_megabytes, "MB", None),
    )
    figures = [
        Figure(bar=f"{hpas}: {what}", value=value, unit=unit, limit=limit)
        for what, value, unit, limit in rows
    ]
    bar = "history of 3 minutes, full: each metric of a pod with one GPU"
    return [*figures, Figure(bar=bar, value=history_bytes, unit="bytes", limit=None)]


def _history_bytes() -> float:
    """What one metric of one pod and GPU takes when three minutes are full."""
    tracemalloc.start()
    histories = [TargetSeries() for _ in range(HISTORIES)]
    for second in range(300):
        for history in histories:
            history.record({"GPU-0": TargetSample(second * 0.37, float(second), 15.0)})
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return taken / HISTORIES


async def _run(plane: ControlPlane, hpas: int, seconds: float) -> Measured:
    await asyncio.to_thread(plane.install)
    await asyncio.to_thread(installing.install, plane)
    await asyncio.to_thread(plane.restart_controller_manager, *CONTROLLER_FLAGS)
    specs = [
        NodeSpec(name=f"bench-{n}", gpus=("H100",) * GPUS_PER_NODE)
        for n in range(-(-hpas // GPUS_PER_NODE))
    ]
    names = [f"serving-{n}" for n in range(hpas)]
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(await KubeClient.load(str(plane.admin)))
        nodes = await stack.enter_async_context(
            running_nodes(client, specs, startup_seconds=0.1, exporter_config=EXPORTER)
        )
        print(f"{len(specs)} nodes; {hpas} Deployments ...", flush=True)
        await _create(client, DEPLOYMENTS, [_deployment(name) for name in names])
        await until(
            lambda: _are_ready(client, hpas),
            deadline_seconds=SETTLE_SECONDS,
            what="every pod is Ready",
        )
        uuids = [uuid for node in nodes.nodes.values() for uuid in node.driver.uuids]
        nodes.set_loads(dict.fromkeys(uuids, TARGET_PERCENT))
        process = await stack.enter_async_context(_scaler(plane))
        for version in ("v1beta1", "v1beta2"):
            await until(
                lambda version=version: installing.is_available(client, version),  # type: ignore[misc]
                deadline_seconds=60,
                what=f"{version} is available",
            )
        before = rss_megabytes(process.pid)
        print(f"{hpas} HPAs ...", flush=True)
        await _create(client, HPAS, [_hpa(name) for name in names])
        await until(
            lambda: _all_synced(client, hpas),
            deadline_seconds=SETTLE_SECONDS,
            what="every HPA has a value",
        )
        print(f"measuring for {seconds:.0f} s ...", flush=True)
        begun, clock, cpu = time.time(), time.monotonic(), cpu_seconds(process.pid)
        await asyncio.sleep(seconds)
        taken, used = time.monotonic() - clock, cpu_seconds(process.pid) - cpu
        requests = _requests(plane.files.audit_log, begun, begun + taken)
        return Measured(
            hpas=hpas,
            seconds=taken,
            latencies=[milliseconds for _, milliseconds in requests],
            failed=sum(code != 200 for code, _ in requests),
            synced=await _synced(client),
            cpu_percent=100 * used / taken,
            rss_before_megabytes=before,
            rss_megabytes=rss_megabytes(process.pid),
        )


def _requests(audit_log: Path, begun: float, ended: float) -> list[tuple[int, float]]:
    """Status and milliseconds of each request for metrics in that time, by the wall clock."""
    found = []
    for line in audit_log.read_text().splitlines():
        event = json.loads(line)
        what = event.get("objectRef", {})
        if what.get("apiGroup") != installing.GROUP or what.get("resource") != "pods":
            continue
        received, answered = (
            datetime.fromisoformat(event[moment]).timestamp()
            for moment in ("requestReceivedTimestamp", "stageTimestamp")
        )
        if begun <= received and answered <= ended:
            found.append((event["responseStatus"]["code"], 1000 * (answered - received)))
    return found


async def _create(client: KubeClient, path: str, bodies: list[JsonObject]) -> None:
    bodies = bodies[::-1]

    async def worker() -> None:
        while bodies:
            await client.post(path, bodies.pop())

    async with asyncio.TaskGroup() as group:
        for _ in range(CREATED_AT_ONCE):
            group.create_task(worker())


async def _are_ready(client: KubeClient, count: int) -> bool:
    await asyncio.sleep(1)
    found = (await client.list_(DEPLOYMENTS))["items"]
    return sum(bool(one.get("status", {}).get("readyReplicas") == 1) for one in found) == count


async def _all_synced(client: KubeClient, count: int) -> bool:
    await asyncio.sleep(1)
    return await _synced(client) == count


async def _synced(client: KubeClient) -> int:
    """How many HPAs have read their metric and say so."""
    found = (await client.list_(HPAS))["items"]
    return sum(_is_active(one.get("status", {})) for one in found)


def _is_active(status: JsonObject) -> bool:
    return bool(status.get("currentMetrics")) and any(
        (one["type"], one["status"]) == ("ScalingActive", "True")
        for one in status.get("conditions", ())
    )


@asynccontextmanager
async def _scaler(plane: ControlPlane) -> AsyncIterator[asyncio.subprocess.Process]:
    kubeconfig = await asyncio.to_thread(plane.kubeconfig_for, installing.ACCOUNT)
    (port,) = free_ports(1)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scaler", "run", f"--kubeconfig={kubeconfig}"),
        *("--web.listen-address=127.0.0.1:0", "--log.level=error", "--metrics-api"),
        f"--metrics-api.listen-address=127.0.0.1:{port}",
        f"--metrics-api.service-port={port}",
    )
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


def _deployment(name: str) -> JsonObject:
    labels = {"app": name}
    limits = {"nvidia.com/gpu": "1"}
    container = {"name": "main", "image": "example.com/x:1", "resources": {"limits": limits}}
    return {
        "metadata": {"name": name},
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
            "maxReplicas": 4,
            "metrics": [{"type": "Pods", "pods": pods}],
        },
    }


if __name__ == "__main__":
    main()
