# SPDX-License-Identifier: Apache-2.0
"""docs/from-prometheus-adapter.md, command by command, on a cluster that has the whole chain.

The commands of docs/metrics-api.md are tried where they fit in between.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest
import pytest_asyncio
import yaml

from exporter.cli.config import ExporterConfig
from simulator.nodes import NodeSpec, running_nodes
from simulator.scenario import NAME_SERVING
from tests.cluster.api_services import API_SERVICES
from tests.cluster.chain.access import allow, disallow
from tests.cluster.chain.adapter import running_adapter
from tests.cluster.chain.prometheus import running_prometheus, shipped_jobs
from tests.cluster.conftest import ROOT
from tests.cluster.hpa import ServingUnderHpa, serving_under_hpa
from tests.cluster.metricsapi import installing
from tests.cluster.processes import free_ports
from tests.pages.reading import read_through, run
from tests.running import running_scaler
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from scaler.kube.client import KubeClient
    from tests.cluster.controlplane import ControlPlane
    from tests.pages.markdown import Block

pytestmark = [pytest.mark.needs("prometheus"), pytest.mark.needs("prometheus-adapter")]

PAGE: Final = ROOT / "docs" / "from-prometheus-adapter.md"
NAMESPACE: Final = "migrating"
RAW: Final = "/apis/custom.metrics.k8s.io/v1beta1/namespaces/{}/pods/*/temperature_celsius_current"


class Reader:
    """Follows the page: runs what each step says, in a folder with what is shipped."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self._folder = folder
        (folder / "bin").mkdir()
        (folder / "bin" / "kubectl").symlink_to(plane.tool("kubectl"))
        self._environment = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "KUBECONFIG": str(plane.admin),
        }
        shutil.copytree(ROOT / "daemonset", folder / "daemonset")
        # The exporters are parts of the simulated nodes; the Service leads to this machine.
        self._change("exporter.yaml", lambda one: None if one["kind"] == "DaemonSet" else one)
        self._change(
            "custom-metrics.yaml",
            lambda one: (
                yaml.safe_load(installing.LOCAL_SERVICE) if one["kind"] == "Service" else one
            ),
        )

    async def run(self, blocks: list[Block]) -> str:
        """Run blocks, each command of which must succeed; return what they printed."""
        printed = [
            await asyncio.to_thread(run, block, self._folder, self._environment) for block in blocks
        ]
        return "".join(printed)

    def _change(self, name: str, change: Any) -> None:
        path = self._folder / "daemonset" / name
        documents = [change(one) for one in yaml.safe_load_all(path.read_text())]
        path.write_text(yaml.safe_dump_all([one for one in documents if one is not None]))


@pytest_asyncio.fixture
async def serving(
    installed: ControlPlane, admin: KubeClient, tmp_path: Path
) -> AsyncIterator[ServingUnderHpa]:
    """The tutorial's end: the HPA scales on what Prometheus Adapter says."""
    plane = installed
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(allow, plane)
        stack.push_async_callback(asyncio.to_thread, disallow, plane)
        await asyncio.to_thread(
            plane.restart_controller_manager, "--horizontal-pod-autoscaler-sync-period=1s"
        )
        stack.push_async_callback(asyncio.to_thread, plane.restart_controller_manager)
        nodes = await stack.enter_async_context(
            running_nodes(
                admin,
                [NodeSpec(name="migrating-1", gpus=("H100",) * 10)],
                startup_seconds=0.1,
                exporter_config=ExporterConfig(nvml_interval_seconds=0.5, nvml_window_seconds=2),
            )
        )
        folder = tmp_path / "prometheus-to-go"
        folder.mkdir()
        prometheus = await stack.enter_async_context(
            running_prometheus(plane, folder, jobs=shipped_jobs(), scrape_interval="1s")
        )
        await stack.enter_async_context(
            running_adapter(
                plane,
                admin,
                "adapter-to-go",
                prometheus_url=prometheus.url,
                flags=("--metrics-relist-interval=1s", "--metrics-max-age=30s"),
            )
        )
        yield await stack.enter_async_context(serving_under_hpa(admin, nodes, NAMESPACE))


async def test_the_way_from_the_adapter_to_ours(serving, installed, admin, tmp_path):
    reader = Reader(installed, tmp_path)
    await serving.press(1)
    await serving.until_replicas(lambda count: count >= 2, "2 replicas by the adapter")
    before = (await admin.get(f"{serving.hpas}/{NAME_SERVING}"))["spec"]

    with (
        read_through("docs/from-prometheus-adapter.md") as page,
        read_through("docs/metrics-api.md") as other,
    ):
        printed = await reader.run(page.take("1. "))
        assert "monitoring/prometheus-adapter" in printed
        assert f"{NAMESPACE}/{NAME_SERVING} duty_cycle_current" in printed

        await reader.run(page.take("2. "))
        await reader.run(other.take(containing="GPU_SCALER_METRICS_API=true"))
        kubeconfig = await asyncio.to_thread(installed.kubeconfig_for, installing.ACCOUNT)
        (port,) = free_ports(1)
        # What the Deployment's pods would run, told by flag what the command told by environment.
        async with running_scaler(kubeconfig, *installing.flags(port)) as scaler:
            waits = (
                "v1beta1.custom.metrics.k8s.io belongs to the Service"
                " monitoring/prometheus-adapter; gpu-scaler leaves it unchanged"
            )
            await until(
                lambda: any(
                    "Metrics API is not ready" in line and waits in line for line in scaler.log
                ),
                what="the scaler says whom it waits for",
            )

            await reader.run(page.take("3. "))
            for version in ("v1beta1", "v1beta2"):
                path = f"{API_SERVICES}/{version}.{installing.GROUP}"
                assert (await admin.get(path))["spec"]["service"]["name"] == installing.SERVICE

            printed = await reader.run(page.take("4. "))
            assert '"kind":"MetricValueList"' in printed
            assert NAME_SERVING in printed
            assert RAW.format("default") in PAGE.read_text()
            looked = await reader.run(other.take(containing="--raw"))
            assert '"kind":"MetricValueList"' in looked
            answer = await admin.get(RAW.format(NAMESPACE))
            assert answer["items"]
            await serving.press(5)
            await serving.until_replicas(lambda count: count >= 5, "5 replicas by the scaler's API")

            await reader.run(page.take("5. "))
            await serving.press(0)
            await serving.until_replicas(lambda count: count == 1, "1 replica without the adapter")
            assert (await admin.get(f"{serving.hpas}/{NAME_SERVING}"))["spec"] == before
            await reader.run(other.take(containing="delete apiservices"))

        await reader.run(page.take("6. "))
        (uninstall,) = other.take()
        assert uninstall.text in PAGE.read_text()
    await until(lambda: installing.are_gone(admin), what="the APIServices have gone")
    await admin.delete(
        "/apis/apps/v1/namespaces/gpu-scaler/deployments/gpu-scaler",
        body={"propagationPolicy": "Foreground"},
    )
