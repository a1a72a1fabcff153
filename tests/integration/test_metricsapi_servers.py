# SPDX-License-Identifier: Apache-2.0
"""What HPAs read of pods' model servers: from real pages, shared with the loop's own requests."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from yarl import URL

from scaler.cluster.pod_cache import PodCache
from scaler.kube.client import KubeClient
from scaler.kube.selectors import Selector, parse_selector
from scaler.metricsapi.answering import Responder
from scaler.metricsapi.names import ServedKind, catalog
from scaler.metricsapi.paths import read_path
from scaler.metricsapi.target_reader import TargetReader
from scaler.metricsapi.telemetry import Telemetry
from scaler.model import DeploymentState, Metric, ObjectRef
from scaler.readings.settings import ExportersSettings, ServersSettings
from scaler.readings.source import ReadingRequest
from scaler.readings.sources import Sources
from simulator.apiserver import running_apiserver
from tests.serviceobjects import CORE, create, pod
from tests.serving import serving
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scaler.metricsapi.workloads import WorkloadSelectors

GROUP_KIND = "leaderworkersets.leaderworkerset.x-k8s.io"
API = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default"
PAGE = """
vllm:num_requests_running{{engine="0"}} {running}
vllm:num_requests_waiting{{engine="0"}} 2
vllm:kv_cache_usage_perc{{engine="0"}} 0.25
"""


class OneSelector:
    """Every workload selects the pods with the label app=llm."""

    async def named(self, kind: str, namespace: str, name: str) -> dict[str, Selector]:
        return {name: parse_selector("app=llm")}


class Bed:
    """Two pods whose server is one real page, and what an HPA asks."""

    def __init__(self) -> None:
        self.running = 5
        self.status = 200
        self.asked = 0

    client: KubeClient
    answers: Responder
    sources: Sources
    objects: PodCache
    deployments: tuple[DeploymentState, ...] = ()

    async def page(self, request: web.Request) -> web.Response:
        self.asked += 1
        if request.path == "/own":
            return web.Response(
                text="llamacpp:requests_processing 1\nllamacpp:requests_deferred 2\n"
            )
        return web.Response(text=PAGE.format(running=self.running), status=self.status)

    async def ask(self, metric: str, name: str = "*", **query: str) -> Any:
        return await self.answers.answer(read_path(f"{API}/pods/{name}/{metric}")[0], query)

    async def values(self, metric: str, **query: str) -> dict[str, str]:
        found = (await self.ask(metric, **query)).get("items", ())
        return {one["describedObject"]["name"]: one["value"] for one in found}

    def start(self, sources: Sources, objects: PodCache, reader: TargetReader) -> None:
        self.sources, self.objects = sources, objects
        served = ServedKind(kind="LeaderWorkerSet", api_version="leaderworkerset.x-k8s.io/v1")
        self.answers = Responder(
            reader=reader,
            objects=objects,
            workloads=cast("WorkloadSelectors", OneSelector()),
            catalog=catalog({GROUP_KIND: served}),
        )


def served(name: str, port: int, **labels: str) -> dict[str, Any]:
    container = {"name": "c", "image": "i", "ports": [{"containerPort": port, "name": "metrics"}]}
    made = pod(name, "127.0.0.1", nodeName="node-1", containers=[container])
    made["metadata"]["labels"] = {"app": "llm", **labels}
    return made


@asynccontextmanager
async def bed(*, every_seconds: float = 0.1) -> AsyncIterator[Bed]:
    made = Bed()
    async with AsyncExitStack() as stack:
        port = URL(await stack.enter_async_context(serving(made.page))).port
        assert port is not None
        api = await stack.enter_async_context(running_apiserver(controls=False))
        client = await stack.enter_async_context(KubeClient(api.url))
        pods = [served("llm-1", port), served("llm-2", port, canary="yes")]
        pending = served("llm-3", port)
        pending["status"]["phase"] = "Pending"
        await create(client, *pods, pending)
        objects = PodCache(client)
        sources = Sources(
            exporters=ExportersSettings(),
            scrape_timeout_seconds=2.0,
            prometheus=None,
            gpus_from_prometheus=False,
            servers=ServersSettings(loopback_pods=True, timeout_seconds=30.0),
        )
        gpus: Any = await stack.enter_async_context(sources.gpus(dict, every_seconds=every_seconds))
        servers = await stack.enter_async_context(sources.servers(every_seconds=every_seconds))
        reader = TargetReader(
            source=gpus,
            objects=objects,
            telemetry=Telemetry(CollectorRegistry()),
            servers=servers,
            deployments=lambda: made.deployments,
        )
        made.start(sources, objects, reader)
        tasks = [
            asyncio.create_task(one)
            for one in (objects.run(), reader.run(interval_seconds=every_seconds))
        ]
        await objects.wait_synced()
        made.client = client
        try:
            yield made
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("requests_current", "7"),
        ("requests_waiting_current", "2"),
        ("kv_cache_percent_current", "25"),
        ("requests_over_time", "7"),
    ],
)
async def test_pods_that_run_have_a_value_at_the_first_request(metric: str, value: str) -> None:
    async with bed() as it:
        assert await it.values(metric) == {"llm-1": value, "llm-2": value}
        assert await it.values(metric, labelSelector="canary=yes") == {"llm-2": value}


async def test_the_servers_of_groups_are_on_their_leaders() -> None:
    async with bed() as it:
        # Nothing answers on the worker, and nothing has to.
        label = "leaderworkerset.sigs.k8s.io/worker-index"
        await create(it.client, served("llm-1-1", 1, **{label: "1"}))
        await until(lambda: it.objects.pod("default", "llm-1-1") is not None)
        path = f"{API}/{GROUP_KIND}/llm/requests_sum_current"
        (item,) = (await it.answers.answer(read_path(path)[0], {}))["items"]
        assert item["value"] == "14"


async def test_values_follow_the_server_and_end_with_it() -> None:
    async with bed() as it:
        assert await it.values("requests_current")
        it.running = 9

        async def is_new() -> bool:
            return await it.values("requests_current") == {"llm-1": "11", "llm-2": "11"}

        await until(is_new)
        it.status = 503

        async def fails() -> bool:
            return bool((await it.ask("requests_current")).get("code") == 500)

        await until(fails, what="no pod has a value, and none is 0")


async def test_a_deployment_says_where_the_servers_of_its_pods_are() -> None:
    async with bed() as it:
        one = it.objects.pod("default", "llm-1")
        assert one is not None

        def says(**annotations: str) -> None:
            it.deployments = (
                DeploymentState(
                    ref=ObjectRef("default", "llm"),
                    uid="llm-uid",
                    annotations={
                        f"gpu-scaler/{key}": message for key, message in annotations.items()
                    },
                    spec_replicas=1,
                    pods=(one.state,),
                ),
            )

        async def becomes(expected: dict[str, str]) -> None:
            async def is_so() -> bool:
                return await it.values("requests_current") == expected

            await until(is_so, what=f"{expected}")

        says(enabled="false", **{"metrics-path": "/own"})
        await becomes({"llm-1": "3", "llm-2": "7"})
        says(enabled="false", server="nosuch")
        await becomes({"llm-2": "7"})
        says(enabled="false")
        await becomes({"llm-1": "7", "llm-2": "7"})


async def test_nodes_and_namespaces_have_none() -> None:
    async with bed() as it:
        for path in (
            "/apis/custom.metrics.k8s.io/v1beta2/nodes/*/requests_current",
            f"{API}/metrics/requests_current",
        ):
            answer = await it.answers.answer(read_path(path)[0], {})
            assert answer["code"] == 404


async def test_the_loop_and_hpas_share_the_requests() -> None:
    async with bed(every_seconds=3600.0) as it, AsyncExitStack() as stack:
        loop = await it.sources.for_loop(stack, interval_seconds=3600.0, once=True)
        running = asyncio.create_task(loop.run())
        pods = tuple(
            found.state
            for name in ("llm-1", "llm-2")
            if (found := it.objects.pod("default", name)) is not None
        )
        request = ReadingRequest(
            deployment=ObjectRef("default", "llm"),
            metrics=(Metric.REQUESTS,),
            pods=pods,
            window_seconds=0.0,
        )
        try:
            answer = await loop.read([request], {})
            reading = answer.readings[request.deployment][Metric.REQUESTS]
            assert len(reading.values) == 2
            assert it.asked == 2
            assert await it.values("requests_current") == {"llm-1": "7", "llm-2": "7"}
            assert it.asked == 2
        finally:
            running.cancel()
            await asyncio.wait({running})


async def test_a_pod_that_gets_another_address_is_seen() -> None:
    async with bed() as it:
        before = it.objects.pod("default", "llm-1")
        assert before is not None
        status = {"podIP": "127.0.0.9", "podIPs": [{"ip": "127.0.0.9"}]}
        await it.client.patch(f"{CORE}/pods/llm-1/status", {"status": status})
        await until(
            lambda: (
                (found := it.objects.pod("default", "llm-1")) is not None
                and found.address == "127.0.0.9"
            )
        )
