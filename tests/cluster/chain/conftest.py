# SPDX-License-Identifier: Apache-2.0
"""The chain, started once for the tests of this folder and taken away after them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import pytest_asyncio

from exporter.cli.config import ExporterConfig
from exporter.model import Collector
from scaler.kube.client import KubeClient
from simulator.nodes import running_nodes
from tests.cluster.chain.access import allow, disallow
from tests.cluster.chain.adapter import running_adapter
from tests.cluster.chain.prometheus import Prometheus, running_prometheus, shipped_jobs
from tests.cluster.chain.running import LOADS, NAMESPACE, NODES, PODS, Chain, pods, remove_pods
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.cluster.controlplane import ControlPlane

NEEDED = ("prometheus", "promtool", "prometheus-adapter")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "chain" in getattr(item, "fixturenames", ()):
            for program in NEEDED:
                item.add_marker(pytest.mark.needs(program))


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def chain(
    installed: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Chain]:
    """The chain at short intervals, and five GPUs that three pods hold."""
    plane = installed
    folder = tmp_path_factory.mktemp("prometheus")
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(allow, plane)
        stack.push_async_callback(asyncio.to_thread, disallow, plane)
        await asyncio.to_thread(
            plane.restart_controller_manager, "--horizontal-pod-autoscaler-sync-period=1s"
        )
        stack.push_async_callback(asyncio.to_thread, plane.restart_controller_manager)
        client = await stack.enter_async_context(await KubeClient.load(str(plane.admin)))
        config = ExporterConfig(
            nvml_interval_seconds=0.5, nvml_window_seconds=2, collectors=frozenset(Collector)
        )
        nodes = await stack.enter_async_context(
            running_nodes(client, NODES, startup_seconds=0.1, exporter_config=config)
        )
        stack.push_async_callback(remove_pods, client, NAMESPACE)
        for pod in pods():
            await client.post(PODS, pod)
        prometheus = await stack.enter_async_context(
            running_prometheus(plane, folder, jobs=_jobs(), scrape_interval="1s")
        )
        await until(lambda: _has_pods(prometheus), what="pods in Prometheus")
        await stack.enter_async_context(
            running_adapter(
                plane,
                client,
                "prometheus-adapter",
                prometheus_url=prometheus.url,
                flags=("--metrics-relist-interval=1s", "--metrics-max-age=30s"),
            )
        )
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield Chain(plane=plane, client=client, nodes=nodes, prometheus=prometheus, http=http)


@pytest_asyncio.fixture(loop_scope="package")
async def busy(chain: Chain) -> Chain:
    """The chain with the pods' GPUs at their loads, and shown so, whatever ran before."""

    async def are_shown() -> bool:
        shown = {
            labels["uuid"]: value
            for labels, value in (await chain.series())["nvidia_gpu_duty_cycle"]
            if labels.get("namespace_name") == NAMESPACE
        }
        return shown == percent

    percent = {
        uuid: load
        for name, loads in LOADS.items()
        for uuid, load in zip(sorted(chain.nodes.devices_of(NAMESPACE, name)), loads, strict=True)
    }
    chain.nodes.set_loads(percent)
    await until(are_shown, what="the exporters show the loads")
    return chain


def _jobs() -> list[dict[str, Any]]:
    """The shipped job, and the same once more in each exposition format.

    So every exporter is scraped three times, which must not make any value three times as large.
    """
    shipped, _ = shipped_jobs()
    return [
        shipped,
        shipped | {"job_name": "text", "scrape_protocols": ["PrometheusText0.0.4"]},
        shipped | {"job_name": "openmetrics", "scrape_protocols": ["OpenMetricsText1.0.0"]},
    ]


async def _has_pods(prometheus: Prometheus) -> bool:
    series = 'nvidia_gpu_temperature_celsius{pod_name!="",job="gpu-exporter"}'
    found = await prometheus.query(f"max({series}) by (pod_name, uuid)")
    return len(found) == sum(len(loads) for loads in LOADS.values())
