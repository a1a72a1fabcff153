# SPDX-License-Identifier: Apache-2.0
"""Two replicas of the scaler that serve the metrics API, and nodes with GPUs."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest_asyncio

from exporter.cli.config import ExporterConfig
from scaler.kube.client import KubeClient
from simulator.nodes import NodeSpec, running_nodes
from tests.cluster.metricsapi import installing
from tests.cluster.processes import free_ports
from tests.running import running_scaler
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from simulator.nodes import SimulatedNodes
    from tests.cluster.controlplane import ControlPlane
    from tests.running import ScalerProcess

SCALER = "system:serviceaccount:gpu-scaler:gpu-scaler"
NODES = (
    NodeSpec(name="api-1", gpus=("H100",) * 8),
    NodeSpec(name="api-2", gpus=("T4",) * 4),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What runs; the Service leads to the second replica, which does not lead.

    `before` are the scaler's requests in the audit log from before these replicas: those of tests
    that refuse it something.
    """

    plane: ControlPlane
    client: KubeClient
    nodes: SimulatedNodes
    leader: ScalerProcess
    follower: ScalerProcess
    leader_port: int
    follower_port: int
    before: int

    def requests(self) -> list[dict[str, Any]]:
        """Return the replicas' requests from the audit log."""
        return self.plane.audit(user=SCALER)[self.before :]


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def served(installed: ControlPlane) -> AsyncIterator[Served]:
    """The metrics API at short intervals, and no Prometheus anywhere."""
    plane = installed
    before = len(await asyncio.to_thread(plane.audit, user=SCALER))
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(
            plane.restart_controller_manager, "--horizontal-pod-autoscaler-sync-period=1s"
        )
        stack.push_async_callback(asyncio.to_thread, plane.restart_controller_manager)
        client = await stack.enter_async_context(await KubeClient.load(str(plane.admin)))
        config = ExporterConfig(nvml_interval_seconds=0.5, nvml_window_seconds=2)
        nodes = await stack.enter_async_context(
            running_nodes(client, NODES, startup_seconds=0.1, exporter_config=config)
        )
        await asyncio.to_thread(installing.install, plane)
        stack.push_async_callback(_uninstalled, plane, client)
        kubeconfig = await asyncio.to_thread(plane.kubeconfig_for, installing.ACCOUNT)
        ports = free_ports(2)
        replicas = []
        for n, port in enumerate(ports):
            process = await stack.enter_async_context(
                running_scaler(
                    kubeconfig,
                    f"--identity=replica-{n}",
                    *installing.flags(port, service_port=ports[1]),
                )
            )
            replicas.append(process)
            await until(lambda process=process: installing.is_ready(process))  # type: ignore[misc]
        for version in ("v1beta1", "v1beta2"):
            await until(
                lambda version=version: installing.is_available(client, version),  # type: ignore[misc]
                what=f"{version} is available",
            )
        yield Served(
            plane=plane,
            client=client,
            nodes=nodes,
            leader=replicas[0],
            follower=replicas[1],
            leader_port=ports[0],
            follower_port=ports[1],
            before=before,
        )


async def _uninstalled(plane: ControlPlane, client: KubeClient) -> None:
    await asyncio.to_thread(installing.uninstall, plane)
    await until(
        lambda: installing.are_gone(client),
        what="the APIServices have gone with their owner",
    )
