# SPDX-License-Identifier: Apache-2.0
"""The loop, the metrics API and the map read one store: who is asked how often, who waits."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from aiohttp import web
from prometheus_client import CollectorRegistry

from scaler.decision.model import Outcome
from scaler.metricsapi.history import Target
from scaler.metricsapi.names import Resource
from scaler.metricsapi.target_reader import TargetReader
from scaler.metricsapi.telemetry import Telemetry
from scaler.readings.devices import DUTY_CYCLE, MEMORY_USED, TEMPERATURE
from scaler.readings.prometheus.queries import PART
from scaler.readings.settings import ExportersSettings, PrometheusSettings
from scaler.readings.sources import Sources
from scaler.web import gpu_detail_reader, gpu_reader
from scaler.web.gpu_detail_reader import GpuDetailReader
from scaler.web.gpu_details import GpuDetail
from scaler.web.gpu_reader import NODES_AT_ONCE, GpuReader
from tests.integration.test_sources_exporters import exporter
from tests.serving import serving
from tests.unit.controllerworld import World, deployment
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from scaler.model import ExporterEndpoint
    from scaler.readings.gpus import GpuAnswer, GpuSource

NODES = [f"node-{n}" for n in range(5)]
PODS = 50


class Counted:
    """A consumer's view of the store, which counts how often it is read."""

    def __init__(self, source: GpuSource) -> None:
        self._source = source
        self.need = source.need
        self.read_past = source.read_past
        self.reads = 0

    async def read_gpus(self, wanted: Mapping[str, Any]) -> GpuAnswer:
        answer = await self._source.read_gpus(wanted)
        self.reads += 1
        return answer


class Cluster(World):
    """A Deployment with its pods spread over the nodes, whose exporters are really asked."""

    def __init__(self, endpoints: Mapping[str, ExporterEndpoint], nodes: list[str]) -> None:
        web_server = deployment(replicas=PODS, max_replicas=str(2 * PODS))
        pods = tuple(
            replace(pod, node_name=nodes[number % len(nodes)])
            for number, pod in enumerate(web_server.pods)
        )
        super().__init__(replace(web_server, pods=pods))
        self.endpoints = endpoints
        self.node_of = {pod.ref.name: pod.node_name for pod in pods}

    def exporter_endpoints(self) -> Any:
        return self.endpoints


class Bed:
    """The consumers on one store, with one clock."""

    def __init__(self, cluster: Cluster, api: Counted, gpu_map: Counted, details: Counted) -> None:
        self.cluster = cluster
        self.api_source, self.map_source = api, gpu_map
        objects: Any = SimpleNamespace(
            pod=lambda _, name: SimpleNamespace(node_name=cluster.node_of[name])
        )
        self.api = TargetReader(
            source=api,
            objects=objects,
            telemetry=Telemetry(CollectorRegistry()),
            clock=lambda: cluster.now,
        )
        self.map = GpuReader(
            gpu_map, lambda: cluster.endpoints, by_node=True, clock=lambda: cluster.now
        )
        self.details = GpuDetailReader(details, by_node=True, clock=lambda: cluster.now)

    async def hpas(self) -> None:
        """Ask the metrics API for each pod, each pod twice: 50 HPAs with two metrics."""
        answers = await asyncio.gather(
            *(
                self.api.histories(
                    [Target(Resource.PODS, "default", name, family)], over_time=False
                )
                for name in self.cluster.node_of
                for family in (DUTY_CYCLE, MEMORY_USED)
            )
        )
        for (series,) in (found.values() for found in answers):
            assert series.problem is None
            assert series.value(over_time=False, now_seconds=self.cluster.now) is not None


@asynccontextmanager
async def bed(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
    nodes: list[str],
    more: list[str] | None = None,
) -> AsyncIterator[Bed]:
    """Run the consumers; the Deployment's pods are on `nodes`, exporters on `more` as well."""
    async with exporter(answer) as endpoint, AsyncExitStack() as stack:
        endpoints = {
            node: replace(endpoint, url=f"{endpoint.url}?node={node}")
            for node in (*nodes, *(more or ()))
        }
        cluster = Cluster(endpoints, nodes)
        sources = Sources(
            exporters=ExportersSettings(),
            scrape_timeout_seconds=3600,
            prometheus=None,
            gpus_from_prometheus=False,
            clock=lambda: cluster.now,
        )
        cluster.controller._source = await sources.for_loop(stack, interval_seconds=2, once=False)
        views = [
            Counted(
                await stack.enter_async_context(
                    sources.gpus(lambda: endpoints, every_seconds=every)
                )
            )
            for every in (5.0, 2.0, 5.0)
        ]
        made = Bed(cluster, *views)
        tasks = [
            asyncio.create_task(made.api.run(interval_seconds=0.01)),
            asyncio.create_task(made.map.run()),
            asyncio.create_task(made.details.run()),
        ]
        try:
            yield made
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


def page(cluster_node: str, duty: float = 80) -> str:
    """What the exporter of a node shows of its pods."""
    rows = []
    for number in range(PODS):
        if NODES[number % len(NODES)] == cluster_node or cluster_node == "well":
            labels = f'uuid="GPU-{number}",namespace_name="default",pod_name="web-{number}"'
            rows += [f"{DUTY_CYCLE}{{{labels}}} {duty}", f"{MEMORY_USED}{{{labels}}} 1e9"]
    rows += [
        "nvidia_gpu_exporter_snapshot_age_seconds 0.5",
        "nvidia_gpu_exporter_interval_seconds 2",
    ]
    return "\n".join(rows) + "\n"


async def test_an_exporter_is_asked_once_per_loop_however_many_read(monkeypatch):
    monkeypatch.setattr(gpu_reader, "SLICE_SECONDS", 0.01)
    monkeypatch.setattr(gpu_reader, "ROUND_SECONDS", 0.01)
    asked: Counter[str] = Counter()

    async def answer(request: web.Request) -> web.Response:
        asked[request.query["node"]] += 1
        return web.Response(text=page(request.query["node"], duty=40))

    async with bed(answer, NODES) as made:

        async def loop() -> None:
            made.cluster.now += 2
            await made.cluster.controller.cycle()
            assert made.cluster.outcome()[0] is Outcome.UNCHANGED
            made.map.ask()
            before = made.api_source.reads, made.map_source.reads
            await made.hpas()
            await until(
                lambda: made.api_source.reads > before[0] + 1 and made.map_source.reads > before[1]
            )

        await loop()
        asked.clear()
        for _ in range(10):
            await loop()
        assert asked == dict.fromkeys(NODES, 10)
        assert all(made.map.nodes[node] for node in NODES)


async def test_details_are_asked_of_the_nodes_on_screen_with_what_others_need(monkeypatch):
    monkeypatch.setattr(gpu_detail_reader, "SLICE_SECONDS", 0.01)
    asked: defaultdict[str, list[set[str]]] = defaultdict(list)

    async def answer(request: web.Request) -> web.Response:
        node = request.query["node"]
        asked[node].append(
            {name for name in request.query.getall("name[]") if "exporter" not in name}
        )
        lines = [f'{TEMPERATURE}{{uuid="GPU-{n}"}} 61' for n in range(2)]
        return web.Response(text="\n".join((page(node, duty=40), *lines, "")))

    async with bed(answer, NODES) as made:
        details = made.details
        for _ in range(2):
            details.ask(["node-1"])
        await until(lambda: "node-1" in details.details)
        assert {node: len(some) for node, some in asked.items()} == {"node-1": 1}
        assert details.details["node-1"]["GPU-0"] == GpuDetail(temperature_celsius=61.0)
        # The loop's next read has the details in it.
        asked.clear()
        made.cluster.now += 2
        await made.cluster.controller.cycle()
        assert all(len(some) == 1 for some in asked.values())
        assert {n for n, (families,) in asked.items() if TEMPERATURE in families} == {"node-1"}
        made.cluster.now += 4
        await made.cluster.controller.cycle()
        before = len(asked["node-1"])
        await until(lambda: details._read_seconds["node-1"] == made.cluster.now)
        assert len(asked["node-1"]) == before


async def test_the_loop_decides_while_the_map_waits_for_500_hanging_nodes():
    hanging = [f"hanging-{number}" for number in range(500)]
    waiting: set[str] = set()
    release = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        node = request.query["node"]
        if node != "well":
            waiting.add(node)
            await release.wait()
        return web.Response(text=page(node))

    async with bed(answer, ["well"], hanging) as made:
        made.map.ask()
        await until(lambda: len(waiting) == NODES_AT_ONCE)
        await made.cluster.controller.cycle()
        assert made.cluster.patched == [("web", 2 * PODS)]
        assert made.map_source.reads == 0
        assert len(waiting) == NODES_AT_ONCE
        release.set()


async def test_a_replica_that_leads_no_more_frees_what_its_loop_read():
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=page(request.query["node"]))

    async with bed(answer, NODES) as made:
        await made.cluster.controller.cycle()
        loop: Any = made.cluster.controller._source
        source = loop._others
        assert source._demand._store._pages.keys() == set(NODES)
        made.cluster.leads = False
        await made.cluster.controller.cycle()
        assert not source._demand._store._pages


async def test_a_family_is_asked_of_prometheus_once_for_all_who_need_it():
    now = [1000.0]
    asked: Counter[str] = Counter()

    async def answer(request: web.Request) -> web.Response:
        asked[str((await request.post())["query"])] += 1
        sample = [1_800_000_000, "63"]
        labels = {"node_name": "n1", "uuid": "GPU-a", PART: "value"}
        times = labels | {PART: "time"}
        result = [
            {"metric": labels, "value": sample},
            {"metric": times, "value": [1_800_000_000, "1799999999"]},
        ]
        data = {"resultType": "vector", "result": result}
        return web.json_response({"status": "success", "data": data})

    async with serving(answer) as url:
        sources = Sources(
            exporters=ExportersSettings(),
            scrape_timeout_seconds=2,
            prometheus=PrometheusSettings(url=url),
            gpus_from_prometheus=True,
            clock=lambda: now[0],
        )
        async with (
            sources.gpus(dict, every_seconds=20.0) as gpu_map,
            sources.gpus(dict, every_seconds=5.0) as api,
        ):
            for _ in range(3):
                now[0] += 5
                found = [
                    await view.read_gpus({node: {DUTY_CYCLE}})
                    for view, node in ((api, "n1"), (gpu_map, ""), (gpu_map, ""))
                ]
                assert [
                    [(gpu.value, gpu.sampled_seconds) for gpu in one.samples[DUTY_CYCLE]]
                    for one in found
                ] == [[(63.0, now[0] - 1)]] * 3
    assert list(asked.values()) == [3]
