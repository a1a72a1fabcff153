# SPDX-License-Identifier: Apache-2.0
"""Load step to patched replicas: from 0 to 100 % on a GPU until `spec.replicas` has changed.

Every repetition is a Deployment of its own on a GPU of its own, so that none inherits another's
rate limits; steps begin at random moments of the programs' intervals. The embedded API, the
simulated nodes with their real exporters, and this clock are one process; the scaler is another.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.report import Figure, percentile, publish
from exporter.cli.config import ExporterConfig
from scaler.kube.client import KubeClient
from simulator.apiserver import running_apiserver
from simulator.nodes import NodeSpec, SimulatedNodes, running_nodes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from simulator.apiserver import ApiServer

REPETITIONS = 15
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
DEFAULT_READY_AGE_SECONDS = 30
STEP_DEADLINE_SECONDS = 60


def main() -> None:
    """Measure at all defaults and tuned for speed, and publish."""
    figures = [
        *asyncio.run(
            _measure(
                name="all defaults", exporter=ExporterConfig(), scaler_flags=(), limit_seconds=8
            )
        ),
        *asyncio.run(
            _measure(
                name="1 s sampling, 1 s window, 1 s loop",
                exporter=ExporterConfig(nvml_interval_seconds=1, nvml_window_seconds=1),
                scaler_flags=("--interval=1s",),
                limit_seconds=3,
            )
        ),
    ]
    publish("step", figures, is_cited=True)


async def _measure(
    *, name: str, exporter: ExporterConfig, scaler_flags: tuple[str, ...], limit_seconds: float
) -> list[Figure]:
    spec = NodeSpec(name="gpu-node-1", gpus=("H100",) * REPETITIONS)
    async with (
        running_apiserver() as api,
        KubeClient(api.url) as client,
        running_nodes(client, [spec], startup_seconds=0.1, exporter_config=exporter) as nodes,
        _scaler(api, client, scaler_flags),
    ):
        names = [f"serving-{n}" for n in range(REPETITIONS)]
        for one in names:
            await client.post(DEPLOYMENTS, _deployment(one))
        await _until_idle_and_old_enough(client)
        moments = random.Random(1)
        taken = []
        for one in names:
            await asyncio.sleep(moments.uniform(0, 4))
            taken.append(await _step(client, nodes, one))
    print(f"{name}: " + " ".join(f"{seconds:.2f}" for seconds in sorted(taken)))
    label = f"load step to patched replicas, {name} ({REPETITIONS} steps)"
    return [
        Figure(
            bar=f"{label}: median", value=statistics.median(taken), unit="s", limit=limit_seconds
        ),
        Figure(bar=f"{label}: p90", value=percentile(taken, 90), unit="s", limit=None),
    ]


async def _step(client: KubeClient, nodes: SimulatedNodes, name: str) -> float:
    pods = [
        p["metadata"]["name"] for p in nodes.pods() if p["metadata"]["name"].startswith(f"{name}-")
    ]
    devices = [uuid for pod in pods for uuid in nodes.devices_of("default", pod)]
    begin = time.monotonic()
    nodes.set_loads(dict.fromkeys(devices, 100.0))
    while True:
        deployment = await client.get(f"{DEPLOYMENTS}/{name}")
        taken = time.monotonic() - begin
        if deployment["spec"]["replicas"] > 1:
            nodes.set_loads({})
            await client.delete(f"{DEPLOYMENTS}/{name}")
            return taken
        if taken > STEP_DEADLINE_SECONDS:
            msg = f"{name} was not scaled within {STEP_DEADLINE_SECONDS} s"
            raise RuntimeError(msg)
        await asyncio.sleep(0.02)


async def _until_idle_and_old_enough(client: KubeClient) -> None:
    """Wait until all pods are Ready and have been for the default ready age."""
    while True:
        found = (await client.list_(DEPLOYMENTS))["items"]
        if all(item.get("status", {}).get("readyReplicas") == 1 for item in found):
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(DEFAULT_READY_AGE_SECONDS + 3)


@asynccontextmanager
async def _scaler(
    api: ApiServer, client: KubeClient, flags: tuple[str, ...]
) -> AsyncIterator[None]:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gpu-scaler"}}
    await client.post("/api/v1/namespaces", namespace)
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        kubeconfig = api.write_kubeconfig(Path(folder) / "kubeconfig")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "scaler", "run", f"--kubeconfig={kubeconfig}"),
            *("--web.listen-address=127.0.0.1:0", "--log.level=error", *flags),
        )
        try:
            yield
        finally:
            process.terminate()
            await process.wait()


def _deployment(name: str) -> dict[str, Any]:
    labels = {"app": name}
    container = {
        "name": "main",
        "image": "example.com/serving:1",
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "annotations": {
                "gpu-scaler/enabled": "true",
                "gpu-scaler/max-replicas": "10",
                "gpu-scaler/target-duty-cycle": "40",
            },
        },
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


if __name__ == "__main__":
    main()
