# SPDX-License-Identifier: Apache-2.0
"""Prometheus with the scrape configuration that we ship."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import yaml

from tests.cluster import tools
from tests.cluster.processes import free_ports
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.cluster.controlplane import ControlPlane
    from tests.cluster.processes import Processes

    JsonObject = dict[str, Any]

SCRAPE_FILE: Final = Path(__file__).parents[3] / "daemonset" / "prometheus-scrape.yaml"
ACCOUNT: Final = "monitoring/prometheus"
START_SECONDS: Final = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prometheus:
    """A running Prometheus."""

    url: str
    session: aiohttp.ClientSession

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """Return the `data` of an answer of the HTTP API; raises aiohttp.ClientResponseError."""
        async with self.session.get(f"{self.url}/api/v1/{path}", params=params) as response:
            response.raise_for_status()
            return (await response.json())["data"]

    async def query(self, expression: str) -> list[JsonObject]:
        """Return the series of an instant query; with a range in brackets, their samples."""
        result: list[JsonObject] = (await self.get("query", {"query": expression}))["result"]
        return result

    async def targets(self) -> list[JsonObject]:
        """Return the active targets, each with its last scrape."""
        found: list[JsonObject] = (await self.get("targets", {"state": "active"}))["activeTargets"]
        return found

    async def is_ready(self) -> bool:
        """Whether it serves queries."""
        try:
            async with self.session.get(f"{self.url}/-/ready") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False


def shipped_jobs() -> list[JsonObject]:
    """Return the jobs of the scrape configuration that we ship: exporters, and scaler."""
    jobs: list[JsonObject] = yaml.safe_load(SCRAPE_FILE.read_text())["scrape_configs"]
    return jobs


@asynccontextmanager
async def running_prometheus(
    plane: ControlPlane,
    folder: Path,
    *,
    jobs: list[JsonObject],
    scrape_interval: str | None,
    port: int | None = None,
) -> AsyncIterator[Prometheus]:
    """Run Prometheus with an empty database in `folder`, which is there.

    The jobs stay as they are, save that they are told where the API server is, which a pod knows by
    itself. Without a scrape interval it is Prometheus's own default.
    """
    kubeconfig = await asyncio.to_thread(plane.kubeconfig_for, ACCOUNT)
    configuration = _configuration(jobs, kubeconfig, scrape_interval)
    async with serving_prometheus(plane.processes, folder, configuration, port=port) as prometheus:
        yield prometheus


@asynccontextmanager
async def serving_prometheus(
    processes: Processes, folder: Path, configuration: JsonObject, *, port: int | None = None
) -> AsyncIterator[Prometheus]:
    """Run Prometheus by this configuration, with an empty database in `folder`, which is there."""
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration))
    port = port or free_ports(1)[0]
    name = folder.name
    processes.start(
        name,
        [
            tools.path_of("prometheus"),
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
    )
    try:
        async with aiohttp.ClientSession() as session:
            prometheus = Prometheus(url=f"http://127.0.0.1:{port}", session=session)
            await until(
                prometheus.is_ready,
                deadline_seconds=START_SECONDS,
                what=f"Prometheus is ready; its log is {processes.log_file(name)}",
            )
            yield prometheus
    finally:
        await asyncio.to_thread(processes.stop, name)


def _configuration(
    jobs: list[JsonObject], kubeconfig: Path, scrape_interval: str | None
) -> JsonObject:
    jobs = deepcopy(jobs)
    for job in jobs:
        for discovery in job.get("kubernetes_sd_configs", ()):
            discovery["kubeconfig_file"] = str(kubeconfig)
    interval = {"scrape_interval": scrape_interval, "scrape_timeout": scrape_interval}
    return {"global": interval if scrape_interval else {}, "scrape_configs": jobs}
