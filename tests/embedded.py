# SPDX-License-Identifier: Apache-2.0
"""The embedded API with one simulated node of 8 GPUs, which the scaler runs against."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.cli.config import ExporterConfig
from scaler.kube.client import KubeClient
from simulator.apiserver import running_apiserver
from simulator.nodes import NodeSpec, running_nodes
from tests.scaled import LEASE, Scaled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from simulator.apiserver import ApiServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster(Scaled):
    """The embedded API, and the Deployment of the demo on it."""

    api: ApiServer
    kubeconfig: Path

    async def annotate_lease(self, paused: str | None) -> None:
        annotations = {"gpu-scaler/paused": paused}
        await self.client.patch(LEASE, {"metadata": {"annotations": annotations}})


@asynccontextmanager
async def running_cluster(folder: Path) -> AsyncIterator[Cluster]:
    async with running_apiserver() as api, KubeClient(api.url) as client:
        config = ExporterConfig(nvml_interval_seconds=0.2, nvml_window_seconds=0.5)
        spec = NodeSpec(name="gpu-node-1", gpus=("H100",) * 8)
        await client.post(
            "/api/v1/namespaces",
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gpu-scaler"}},
        )
        async with running_nodes(client, [spec], startup_seconds=0.1, exporter_config=config) as n:
            yield Cluster(
                api=api,
                client=client,
                nodes=n,
                kubeconfig=api.write_kubeconfig(folder / "kubeconfig"),
            )
