# SPDX-License-Identifier: Apache-2.0
"""One load step on the real control plane, followed from the GPU to the patched Deployment."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import aiohttp

    from scaler.kube.client import KubeClient
    from simulator.nodes import SimulatedNodes
    from tests.cluster.chain.prometheus import Prometheus

    JsonObject = dict[str, Any]

FAMILY: Final = "nvidia_gpu_duty_cycle"
METRIC: Final = "duty_cycle_current"
METRICS_API: Final = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/pods"
POLL_SECONDS: Final = 0.1
DEADLINE_SECONDS: Final = 180.0
STAGES: Final = ("shown", "scraped", "answered", "decided", "patched")


class NotScaledError(Exception):
    """A load step that nobody acted on."""


@dataclass(slots=True, kw_only=True)
class Timeline:
    """Seconds from the load step until each stage of `STAGES` that was seen."""

    kind: str
    seconds: dict[str, float] = field(default_factory=dict)


class Patches:
    """Successful writes of more than `above` replicas in the audit log, by Deployment.

    Each is (the API server received the request, it answered), in seconds since the epoch.
    """

    def __init__(self, audit_log: Path, *, above: int = 1) -> None:
        self._log = audit_log
        self._above = above
        self._read_bytes = 0
        self._found: dict[str, tuple[float, float]] = {}

    def of(self, deployment: str) -> tuple[float, float] | None:
        """Return the first write to this Deployment, as far as the log is written."""
        with self._log.open("rb") as log:
            log.seek(self._read_bytes)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._read_bytes += len(line)
                self._take(json.loads(line))
        return self._found.get(deployment)

    def _take(self, event: JsonObject) -> None:
        what = event.get("objectRef", {})
        if (
            (what.get("resource"), what.get("subresource")) == ("deployments", "scale")
            and event["verb"] in ("patch", "update")
            and event["responseStatus"]["code"] == 200
            and event["requestObject"]["spec"]["replicas"] > self._above
        ):
            moments = (event["requestReceivedTimestamp"], event["stageTimestamp"])
            received, answered = (datetime.fromisoformat(moment).timestamp() for moment in moments)
            self._found.setdefault(what["name"], (received, answered))


class Way(StrEnum):
    """Which way values go from the exporter to who decides."""

    EXPORTERS = "ours"
    PROMETHEUS = "ours by Prometheus"
    CHAIN = "chain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What runs while steps are made; `chain` is the Prometheus that the metrics API asks.

    A value above `threshold_percent` makes a scaler act.
    """

    client: KubeClient
    nodes: SimulatedNodes
    http: aiohttp.ClientSession
    prometheus: Prometheus
    patches: Patches
    threshold_percent: float
    loads: dict[str, float] = field(default_factory=dict)

    async def step(self, deployment: str, kind: str, *, way: Way) -> Timeline:
        """Load the only GPU of `deployment`, and idle it again when the replicas are patched.

        Raises NotScaledError when they are not within `DEADLINE_SECONDS`.
        """
        pod, device = self._holder(deployment)
        timeline = Timeline(kind=kind)
        begin = time.time()
        self._load(device, 100.0)
        while (patch := self.patches.of(deployment)) is None:
            if time.time() - begin > DEADLINE_SECONDS:
                msg = f"{deployment} was not scaled within {DEADLINE_SECONDS:g} s: {timeline}"
                raise NotScaledError(msg)
            await self._look(timeline, begin, pod, device, way=way)
            await asyncio.sleep(POLL_SECONDS)
        for stage, moment in zip(("decided", "patched"), patch, strict=True):
            timeline.seconds[stage] = moment - begin
        self._load(device, 0.0)
        return timeline

    async def _look(
        self, timeline: Timeline, begin: float, pod: str, device: str, *, way: Way
    ) -> None:
        seen = timeline.seconds
        if "shown" not in seen:
            if await self._exporter_shows(pod, device):
                seen["shown"] = time.time() - begin
        elif way is Way.EXPORTERS:
            return
        elif "scraped" not in seen:
            expression = f'timestamp({FAMILY}{{pod_name="{pod}"}} > {self.threshold_percent})'
            for found in await self.prometheus.query(expression):
                seen["scraped"] = float(found["value"][1]) - begin
        elif way is Way.CHAIN and "answered" not in seen:
            answer = await self.client.get(f"{METRICS_API}/{pod}/{METRIC}")
            if any(milli_units(item) > self.threshold_percent * 1000 for item in answer["items"]):
                seen["answered"] = time.time() - begin

    async def _exporter_shows(self, pod: str, device: str) -> bool:
        for node in self.nodes.nodes.values():
            if device in node.driver.uuids:
                host, port = node.exporter_address
        async with self.http.get(
            f"http://{host}:{port}/metrics", params={"name[]": FAMILY}
        ) as response:
            text = await response.text()
        return any(
            sample.labels["pod_name"] == pod and sample.value > self.threshold_percent
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        )

    def _holder(self, deployment: str) -> tuple[str, str]:
        (pod,) = (
            found["metadata"]
            for found in self.nodes.pods()
            if found["metadata"].get("labels", {}).get("app") == deployment
        )
        (device,) = self.nodes.devices_of(pod["namespace"], pod["name"])
        return pod["name"], device

    def _load(self, device: str, percent: float) -> None:
        self.loads[device] = percent
        self.nodes.set_loads(self.loads)


def milli_units(item: Mapping[str, Any]) -> int:
    """Return the value of an item of the metrics API."""
    text: str = item["value"]
    return int(text[:-1]) if text.endswith("m") else int(text) * 1000
