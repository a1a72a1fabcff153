# SPDX-License-Identifier: Apache-2.0
"""Nodes with all collectors on, a scaler with its metrics API, and a Prometheus with our rules."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from yarl import URL

from exporter.cli.config import ExporterConfig
from exporter.model import Collector
from scaler.kube.client import KubeClient
from simulator.apiserver import running_apiserver
from simulator.gpus import GpuSpec
from simulator.llm_servers import ServerLoad
from simulator.nodes import NodeSpec, running_nodes
from simulator.plugin_devices import SHARED_GPU_RESOURCE
from simulator.podstatus import POD_IP_ANNOTATION, STARTUP_ANNOTATION
from tests.cluster.certificates import Authority
from tests.cluster.chain.prometheus import Prometheus, serving_prometheus, shipped_jobs
from tests.cluster.chain.running import PODS, pods
from tests.cluster.processes import Processes, free_ports
from tests.running import running_scaler
from tests.serving import serving
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from simulator.nodes import SimulatedNodes

    JsonObject = dict[str, Any]

RULES: Final = Path(__file__).parents[3] / "daemonset" / "prometheus-rules.yaml"
MIG: Final = GpuSpec(model="H100", mig_profiles=("3g.40gb", "3g.40gb"))
NODES: Final = (
    NodeSpec(name="seen-1", gpus=("H100", "H100", MIG)),
    NodeSpec(name="seen-2", gpus=("RTX-A6000",) * 6),
    NodeSpec(name="seen-3", gpus=("T4",) * 2, replicas=2, resource_name=SHARED_GPU_RESOURCE),
)
NAMESPACE: Final = "watched"
LOAD_PERCENT: Final = 80.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitored:
    """What runs, and the Prometheus that watches it."""

    nodes: SimulatedNodes
    prometheus: Prometheus


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "monitored" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.needs("prometheus"))


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def monitored(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Monitored]:
    """Deployments at their highest count, with a wrong annotation, without GPUs, pages; Xids."""
    folder = tmp_path_factory.mktemp("monitored")
    async with AsyncExitStack() as stack:
        processes = stack.enter_context(Processes(folder))
        api = await stack.enter_async_context(running_apiserver())
        client = await stack.enter_async_context(KubeClient(api.url))
        for name in ("gpu-scaler", NAMESPACE):
            await client.post("/api/v1/namespaces", {"metadata": {"name": name}})
        config = ExporterConfig(
            nvml_interval_seconds=0.5, nvml_window_seconds=2, collectors=frozenset(Collector)
        )
        nodes = await stack.enter_async_context(
            running_nodes(client, NODES, startup_seconds=0.1, exporter_config=config)
        )
        for pod in pods():
            await client.post(PODS, pod)
        page = await stack.enter_async_context(serving(_answer))
        for body in (
            _deployment("full"),
            _deployment("wrong", target="95"),
            _deployment("blind", limits={}),
            _server("served", page),
            _server("unreadable", page, path="/elsewhere"),
        ):
            await client.post(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments", body)
        (api_port,) = free_ports(1)
        kubeconfig = api.write_kubeconfig(folder / "kubeconfig")
        scaler = await stack.enter_async_context(
            running_scaler(kubeconfig, *_metrics_api(api_port, folder))
        )
        prometheus = await stack.enter_async_context(
            serving_prometheus(processes, folder, _configuration(nodes, scaler.url))
        )
        for work in (_load(nodes), _ask(api_port)):
            stack.callback(asyncio.create_task(work).cancel)
        await until(
            lambda: _is_at_its_highest(prometheus),
            what="a Deployment asks for more than its highest count",
        )
        yield Monitored(nodes=nodes, prometheus=prometheus)


def _configuration(nodes: SimulatedNodes, scaler_url: str) -> JsonObject:
    """Return the shipped jobs with fixed targets in place of pods that are discovered.

    The exporters are scraped by one more job: what two jobs scrape counts once all the same.
    """
    exporters, scaler = (
        {key: job[key] for key in ("job_name", "honor_labels")} for job in shipped_jobs()
    )
    exporters["static_configs"] = [
        {"targets": ["{}:{}".format(*node.exporter_address)], "labels": {"instance": name}}
        for name, node in nodes.nodes.items()
    ]
    scaler["static_configs"] = [
        {"targets": [scaler_url.removeprefix("http://")], "labels": {"instance": "gpu-scaler-0"}}
    ]
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [exporters, exporters | {"job_name": "again"}, scaler],
    }


def _metrics_api(port: int, folder: Path) -> tuple[str, ...]:
    certificate = Authority(folder, "ca").issue(
        "api", hosts=["localhost"], lifetime=timedelta(days=90)
    )
    return (
        "--metrics-api",
        f"--metrics-api.listen-address=127.0.0.1:{port}",
        "--metrics-api.no-register",
        f"--metrics-api.tls-cert-file={certificate.certificate}",
        f"--metrics-api.tls-key-file={certificate.key}",
        "--metrics-api.interval=500ms",
    )


async def _load(nodes: SimulatedNodes) -> None:
    """Keep every GPU of the Deployments' pods busy, and one GPU in trouble."""
    while True:
        busy = {
            uuid: LOAD_PERCENT
            for pod in nodes.pods()
            if pod["metadata"]["namespace"] == NAMESPACE
            for uuid in nodes.devices_of(NAMESPACE, pod["metadata"]["name"])
        }
        nodes.set_loads(busy)
        nodes.nodes["seen-1"].driver.report_xid(0, 79)
        await asyncio.sleep(0.2)


async def _ask(port: int) -> None:
    """Ask the metrics API for a metric again and again, as HPAs do."""
    url = f"https://127.0.0.1:{port}/apis/custom.metrics.k8s.io/v1beta1"
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url, ssl=False) as response:
                    await response.read()
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.5)


async def _is_at_its_highest(prometheus: Prometheus) -> bool:
    asks = "gpu_scaler_proposed_replicas > gpu_scaler_max_replicas"
    return bool(await prometheus.query(f"{asks} and gpu_scaler_current_replicas == 2"))


async def _answer(request: web.Request) -> web.Response:
    """Answer as a vLLM with requests, on its own path."""
    if request.path != "/metrics":
        raise web.HTTPNotFound
    return web.Response(text=ServerLoad(running=2, waiting=1).page())


def _server(name: str, page: str, *, path: str = "/metrics") -> JsonObject:
    """Return a Deployment whose pod has the page of a model server at a URL of this machine."""
    url = URL(page)
    made = _deployment(name, limits={})
    annotations = made["metadata"]["annotations"]
    del annotations["gpu-scaler/target-duty-cycle"]
    annotations |= {"gpu-scaler/target-requests": "4", "gpu-scaler/metrics-path": path}
    template = made["spec"]["template"]
    template["metadata"]["annotations"][POD_IP_ANNOTATION] = url.host
    template["spec"]["containers"][0]["ports"] = [{"name": "http", "containerPort": url.port}]
    return made


def _deployment(name: str, *, target: str = "40", limits: JsonObject | None = None) -> JsonObject:
    labels = {"app": name}
    named = {"enabled": "true", "max-replicas": "2", "target-duty-cycle": target, "ready-age": "1s"}
    container = {
        "name": "main",
        "image": "example.com/x:1",
        "resources": {"limits": {"nvidia.com/gpu": "1"} if limits is None else limits},
    }
    return {
        "metadata": {
            "name": name,
            "annotations": {f"gpu-scaler/{key}": value for key, value in named.items()},
        },
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": {STARTUP_ANNOTATION: "0.1"}},
                "spec": {"containers": [container]},
            },
        },
    }
