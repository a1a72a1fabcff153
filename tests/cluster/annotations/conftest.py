# SPDX-License-Identifier: Apache-2.0
"""The demo's serving Deployment on the real control plane, with one simulated node of 8 GPUs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from exporter.cli.config import ExporterConfig
from scaler.kube.errors import NotFound
from simulator.nodes import NodeSpec, running_nodes
from tests.cluster.annotations.audit import Audit
from tests.scaled import DEPLOYMENTS, LEASE, Scaled
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from scaler.kube.client import KubeClient
    from tests.cluster.controlplane import ControlPlane

ACCOUNT = "gpu-scaler/gpu-scaler"


@pytest.fixture
async def scaled(installed: ControlPlane, admin: KubeClient) -> AsyncIterator[Scaled]:
    """A cluster for one test, empty and without a leader at its end."""
    config = ExporterConfig(nvml_interval_seconds=0.2, nvml_window_seconds=0.5)
    spec = NodeSpec(name="gpu-node-1", gpus=("H100",) * 8)
    async with running_nodes(admin, [spec], startup_seconds=0.1, exporter_config=config) as nodes:
        yield Scaled(client=admin, nodes=nodes)
        await empty(admin)


async def empty(client: KubeClient) -> None:
    """Delete all Deployments and see their pods go, while there are nodes to end them."""
    for found in (await client.list_(DEPLOYMENTS))["items"]:
        path = f"{DEPLOYMENTS}/{found['metadata']['name']}"
        await client.delete(path, body={"propagationPolicy": "Foreground"})

    async def is_empty() -> bool:
        pods = await client.list_("/api/v1/namespaces/default/pods")
        return not (pods["items"] or (await client.list_(DEPLOYMENTS))["items"])

    await until(is_empty, what="the namespace default is empty")
    try:
        await client.delete(LEASE)
    except NotFound:
        return


@pytest.fixture
async def kubeconfig(installed: ControlPlane) -> Path:
    """The scaler's own service account, with the rights that we ship."""
    return await asyncio.to_thread(installed.kubeconfig_for, ACCOUNT)


@pytest.fixture
async def audit(installed: ControlPlane) -> Audit:
    """What the API server was asked for since the test began."""
    return await asyncio.to_thread(Audit, installed)
