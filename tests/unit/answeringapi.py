# SPDX-License-Identifier: Apache-2.0
"""The metrics API over pods, workloads and GPU values from memory."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from prometheus_client import CollectorRegistry

from scaler.cluster.pod_cache import CachedNode, CachedPod, PodCache
from scaler.kube.selectors import parse_selector
from scaler.metricsapi.answering import Responder
from scaler.metricsapi.names import ServedKind, catalog, parse_alias
from scaler.metricsapi.paths import read_path
from scaler.metricsapi.target_reader import TargetReader
from scaler.metricsapi.telemetry import Telemetry
from scaler.model import ObjectRef
from scaler.readings.devices import (
    DUTY_CYCLE,
    MEMORY_USED,
)
from scaler.readings.gpus import GpuAnswer, GpuSample

if TYPE_CHECKING:
    from scaler.metricsapi.workloads import WorkloadSelectors

API = "/apis/custom.metrics.k8s.io/v1beta1"
PODS = f"{API}/namespaces/default/pods"
GROUP_KIND = "leaderworkersets.leaderworkerset.x-k8s.io"


def gpu(value, *, pod="web-1", node="n1", uuid="a", namespace="default", at=99.0):
    ref = ObjectRef(namespace=namespace, name=pod) if pod else None
    return GpuSample(node, ref, f"GPU-{uuid}", value, at, 15)


class Source:
    """Shows `samples` by family; counts what it was asked."""

    def __init__(self):
        self.samples: Any = {DUTY_CYCLE: [], MEMORY_USED: []}
        self.past: Any = []
        self.failed_nodes = {}
        self.failed_families = {}
        self.asked = []
        self.asked_past = []
        self.go_on = asyncio.Event()
        self.go_on.set()

    def need(self, wanted):
        pass

    async def read_gpus(self, wanted):
        self.asked.append({node: set(families) for node, families in wanted.items()})
        await self.go_on.wait()
        return GpuAnswer(
            samples={
                family: [one for one in some if one.node not in self.failed_nodes]
                for family, some in self.samples.items()
                if family not in self.failed_families
            },
            failed_nodes=self.failed_nodes,
            failed_families=self.failed_families,
        )

    async def read_past(self, family, namespaces, *, seconds, step_seconds):
        self.asked_past.append((family, set(namespaces)))
        return self.past


class Objects(PodCache):
    """Pods web-1 and web-2 on n1 and n2 with the label app=web, other-1 on n2; no GPU for cpu-1."""

    def __init__(self):
        self._pods = {
            name: CachedPod(
                namespace="default",
                name=name,
                labels={"app": name.partition("-")[0]},
                node_name=node,
                created_seconds=0.0,
                asks_for_devices=name != "cpu-1",
                serves=True,
            )
            for name, node in (
                ("web-1", "n1"),
                ("web-2", "n2"),
                ("other-1", "n2"),
                ("cpu-1", "without-exporter"),
            )
        }

    def pods(self, namespace):
        return self._pods.values() if namespace == "default" else ()

    def pod(self, namespace, name):
        return self._pods.get(name) if namespace == "default" else None

    def nodes(self):
        return [CachedNode(name=name, labels={"zone": name}) for name in ("n1", "n2")]


class Workloads:
    """Deployments web and cpu select what is named after them; gone is not there."""

    def __init__(self):
        self.error = None

    async def named(self, kind, namespace, name):
        assert kind in ("deployments.apps", GROUP_KIND)
        assert namespace == "default"
        if self.error:
            raise self.error
        return {} if name == "gone" else {name: parse_selector(f"app={name}")}

    async def listed(self, kind, namespace, selector):
        names = ("web", "cpu") if selector.text != "tier=web" else ("web",)
        return {name: (await self.named(kind, namespace, name))[name] for name in names}


@asynccontextmanager
async def running(interval=3600.0):
    now = SimpleNamespace(seconds=100.0)
    source = Source()
    objects = Objects()
    reader = TargetReader(
        source=source,
        objects=objects,
        telemetry=Telemetry(CollectorRegistry()),
        clock=lambda: now.seconds,
    )
    workloads = Workloads()
    aliases = [
        parse_alias("DCGM_FI_DEV_GPU_UTIL=duty_cycle_current"),
        parse_alias("DCGM_FI_DEV_FB_USED=memory_used_bytes_current/1048576"),
        parse_alias("gpu_load=duty_cycle_sum_current/100"),
    ]
    answers = Responder(
        reader=reader,
        objects=objects,
        workloads=cast("WorkloadSelectors", workloads),
        catalog=catalog(
            {
                "deployments.apps": ServedKind(kind="Deployment", api_version="apps/v1"),
                GROUP_KIND: ServedKind(
                    kind="LeaderWorkerSet", api_version="leaderworkerset.x-k8s.io/v1"
                ),
            },
            aliases,
        ),
        clock=lambda: now.seconds,
        wall_clock=lambda: now.seconds + 1_764_000_000,
    )
    task = asyncio.create_task(reader.run(interval_seconds=interval))

    async def ask(path, **query):
        return await answers.answer(read_path(path)[0], query)

    try:
        yield SimpleNamespace(
            ask=ask,
            source=source,
            now=now,
            answers=answers,
            reader=reader,
            objects=objects,
            workloads=workloads,
        )
    finally:
        task.cancel()


def values(answer) -> dict[str, str]:
    return {one["describedObject"]["name"]: one["value"] for one in answer["items"]}
