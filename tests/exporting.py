# SPDX-License-Identifier: Apache-2.0
"""A whole exporter over a simulated driver, and a client that reads it through its HTTP port."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from exporter.app import RunningExporter, running
from exporter.cli.config import ExporterConfig
from simulator.nvml.binding import bind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PREFIX = "nvidia_gpu_exporter_"


def configuration(**changes):
    defaults: dict[str, Any] = {
        "listen_host": "127.0.0.1",
        "listen_port": 0,
        "node_name": "node-1",
        "pod_resources_socket": "",
        "nvml_interval_seconds": 0.05,
        # Those of the machine under test are another node's.
        "cgroup_folder": "/nonexistent/cgroup",
    }
    return ExporterConfig(**(defaults | changes))


@dataclass
class Reader:
    """An HTTP client of one exporter, which runs in this process."""

    session: aiohttp.ClientSession
    exporter: RunningExporter

    @property
    def port(self):
        return self.exporter.address[1]

    async def get(self, path="/metrics", **headers):
        async with self.session.get(f"http://127.0.0.1:{self.port}{path}", headers=headers) as got:
            return got.status, got.headers, await got.text()

    async def samples(self, query=""):
        _, _, text = await self.get(f"/metrics{query}")
        return [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    async def values(self, name, label="uuid", query=""):
        """Return {value of the label: value} of one metric."""
        return {
            sample.labels.get(label): sample.value
            for sample in await self.samples(query)
            if sample.name == name
        }

    async def value(self, name):
        values = [sample.value for sample in await self.samples() if sample.name == name]
        return values[0] if values else None

    async def pods(self):
        """Return {uuid: [(pod, mode)...]} of all duty cycle series that have a pod."""
        holders: dict[str, list[tuple[str, str]]] = {}
        for sample in await self.samples():
            if sample.name == "nvidia_gpu_memory_total_bytes" and sample.labels["pod_name"]:
                labels = sample.labels
                holders.setdefault(labels["uuid"], []).append(
                    (labels["pod_name"], labels["allocate_mode"])
                )
        return holders

    async def ready(self):
        return (await self.get("/readyz"))[0] == 200

    async def unready_reason(self):
        status, _, text = await self.get("/readyz")
        return None if status == 200 else text.strip()


@asynccontextmanager
async def exporter(driver, *, binding=None, **changes) -> AsyncIterator[Reader]:
    async with (
        running(configuration(**changes), binding or bind(driver)) as running_exporter,
        aiohttp.ClientSession() as session,
    ):
        yield Reader(session, running_exporter)
