# SPDX-License-Identifier: Apache-2.0
"""Parties that misbehave beside an innocent one: a node, a tenant, a caller, on the embedded API.

`tests/integration/test_attacks.py` shows that the innocent party's decision is still taken, and
`benchmarks/abuse.py` how much later.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from scaler.kube.client import KubeClient
from simulator import nodeobjects
from simulator.apiserver import running_apiserver
from simulator.nodes import EXPORTER_NAMESPACE, NodeSpec, running_nodes
from tests.scaled import Scaled, deployment
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from exporter.cli.config import ExporterConfig
    from tests.running import ScalerProcess

    JsonObject = dict[str, Any]

INNOCENT_NODE: Final = "gpu-node-1"
EVIL_NODE: Final = "evil-1"
EVIL_NAMESPACE: Final = "evil"
EVIL_DEPLOYMENTS: Final = f"/apis/apps/v1/namespaces/{EVIL_NAMESPACE}/deployments"
EVIL_PODS: Final = f"/api/v1/namespaces/{EVIL_NAMESPACE}/pods"
INNOCENT_PODS: Final = "/api/v1/namespaces/default/pods"
HONEST: Final = (
    "nvidia_gpu_exporter_snapshot_age_seconds 0.1\nnvidia_gpu_exporter_interval_seconds 2\n"
)
CALLERS: Final = 40
MANY: Final = 80


@dataclass(slots=True)
class Page:
    """What the evil node's exporter answers."""

    body: bytes = HONEST.encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class World(Scaled):
    """An innocent Deployment's namespace and node, and a node and a namespace of somebody evil."""

    kubeconfig: Path
    page: Page = field(default_factory=Page)

    async def evil_pods(self) -> list[str]:
        return [one["metadata"]["name"] for one in (await self.client.list_(EVIL_PODS))["items"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """What somebody does while the context of `begin` lasts, and whom that party is."""

    name: str
    begin: Callable[[World, ScalerProcess], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def running_world(
    folder: Path, *, exporter: ExporterConfig, gpus: int = 8
) -> AsyncIterator[World]:
    """Run the API, both nodes, and the evil one's exporter; Deployments are the caller's."""
    async with running_apiserver() as api, KubeClient(api.url) as client:
        for name in ("gpu-scaler", EVIL_NAMESPACE):
            await client.post("/api/v1/namespaces", {"metadata": {"name": name}})
        specs = [
            NodeSpec(name=INNOCENT_NODE, gpus=("H100",) * gpus, labels={"party": "innocent"}),
            NodeSpec(name=EVIL_NODE, gpus=("H100",) * 4, labels={"party": "evil"}),
        ]
        async with running_nodes(
            client, specs, startup_seconds=0.1, exporter_config=exporter
        ) as nodes:
            kubeconfig = api.write_kubeconfig(folder / "kubeconfig")
            world = World(client=client, nodes=nodes, kubeconfig=kubeconfig)
            async with _evil_exporter(world):
                await client.post(EVIL_DEPLOYMENTS, of_party("evil", "evil"))
                yield world


def of_party(party: str, name: str, *, replicas: int = 1, **annotations: str) -> JsonObject:
    """Return a Deployment whose pods run on the party's node."""
    body = deployment(name=name, replicas=replicas, **annotations)
    body["spec"]["template"]["spec"]["nodeSelector"] = {"party": party}
    return body


@asynccontextmanager
async def _evil_exporter(world: World) -> AsyncIterator[None]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=world.page.body, content_type="text/plain")

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    pods = f"/api/v1/namespaces/{EXPORTER_NAMESPACE}/pods"
    path = f"{pods}/{nodeobjects.exporter_name(EVIL_NODE)}"
    try:
        await world.client.delete(path, body={"gracePeriodSeconds": 0})
        pod = nodeobjects.exporter_pod(EVIL_NODE, EXPORTER_NAMESPACE, host, port)
        await world.client.post(pods, pod)
        yield
    finally:
        await runner.cleanup()


def _sample(pod: str, value: str, *, namespace: str = EVIL_NAMESPACE, more: str = "") -> str:
    labels = f'uuid="GPU-evil",namespace_name="{namespace}",pod_name="{pod}"{more}'
    return f"nvidia_gpu_duty_cycle{{{labels}}} {value}\n"


@asynccontextmanager
async def _page(world: World, make: Callable[[str], str]) -> AsyncIterator[None]:
    (pod, *_) = await until(world.evil_pods, what="the evil Deployment has a pod")
    world.page.body = (HONEST + make(pod)).encode()
    try:
        yield
    finally:
        world.page.body = HONEST.encode()


def _pages(make: Callable[[str], str]) -> Callable[..., AbstractAsyncContextManager[None]]:
    return lambda world, _: _page(world, make)


@asynccontextmanager
async def _deployments(world: World, bodies: list[JsonObject]) -> AsyncIterator[None]:
    for body in bodies:
        await world.client.post(EVIL_DEPLOYMENTS, body)
    try:
        yield
    finally:
        for body in bodies:
            await world.client.delete(f"{EVIL_DEPLOYMENTS}/{body['metadata']['name']}")


@asynccontextmanager
async def _very_many_annotations(world: World, _: ScalerProcess) -> AsyncIterator[None]:
    body = of_party("evil", "annotated", replicas=0)
    body["metadata"]["annotations"] |= {f"gpu-scaler/a{number}": "" for number in range(14_000)}
    async with _deployments(world, [body]):
        yield


@asynccontextmanager
async def _large_behaviors(world: World, _: ScalerProcess) -> AsyncIterator[None]:
    policy = {"type": "Pods", "value": 1, "periodSeconds": 15}
    text = json.dumps({"scaleUp": {"policies": [policy] * 300}})
    bodies = [
        of_party("evil", f"behaves-{number}", replicas=0, behavior=text) for number in range(MANY)
    ]

    async def again_and_again() -> None:
        # Another text each time: what was parsed before does not help.
        turn = 0
        while True:
            turn += 1
            for body in bodies:
                path = f"{EVIL_DEPLOYMENTS}/{body['metadata']['name']}"
                annotations = {"gpu-scaler/behavior": text + " " * (turn % 100)}
                await world.client.patch(path, {"metadata": {"annotations": annotations}})

    async with _deployments(world, bodies), _while_it_lasts(again_and_again()):
        yield


@asynccontextmanager
async def _forged_owner(world: World, _: ScalerProcess) -> AsyncIterator[None]:
    """Pods of another namespace that claim to be owned by the innocent's ReplicaSets."""
    owned = (await world.client.list_(INNOCENT_PODS))["items"]
    forged = []
    for number, pod in enumerate(owned):
        forged.append(
            {
                "metadata": {
                    "name": f"forged-{number}",
                    "namespace": EVIL_NAMESPACE,
                    "labels": pod["metadata"].get("labels", {}),
                    "ownerReferences": pod["metadata"]["ownerReferences"],
                },
                "spec": {
                    "nodeName": EVIL_NODE,
                    "containers": [{"name": "main", "image": "example.com/x"}],
                },
            }
        )
    for pod in forged:
        await world.client.post(EVIL_PODS, pod)
    world.page.body = (
        HONEST + "".join(_sample(f"forged-{n}", "0") for n in range(len(forged)))
    ).encode()
    try:
        yield
    finally:
        world.page.body = HONEST.encode()
        for pod in forged:
            await world.client.delete(
                f"{EVIL_PODS}/{pod['metadata']['name']}", body={"gracePeriodSeconds": 0}
            )


@asynccontextmanager
async def _while_it_lasts(*work: Any) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


def _calling(
    one: Callable[[str, int], Awaitable[None]],
) -> Callable[..., AbstractAsyncContextManager[None]]:
    """Many callers of the status server that do the same again and again."""

    @asynccontextmanager
    async def begin(_: World, scaler: ScalerProcess) -> AsyncIterator[None]:
        parts = urlsplit(scaler.url)

        async def again_and_again() -> None:
            while True:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                    async with asyncio.timeout(5):
                        await one(parts.hostname or "", parts.port or 0)
                await asyncio.sleep(0.01)

        async with _while_it_lasts(*(again_and_again() for _ in range(CALLERS))):
            yield

    return begin


async def _pipeline(host: str, port: int) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        await reader.read(2**20)
    finally:
        writer.transport.abort()


async def _reset(host: str, port: int) -> None:
    _, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    await writer.drain()
    writer.transport.abort()


async def _broken_gzip(host: str, port: int) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        lines = (
            b"POST /metrics HTTP/1.1",
            b"Host: x",
            b"Content-Encoding: gzip",
            b"Content-Length: 9",
        )
        writer.write(b"\r\n".join((*lines, b"", b"not gzip!")))
        await reader.read(2**16)
    finally:
        writer.transport.abort()


async def _no_reading(host: str, port: int) -> None:
    _, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"GET /api/v1/decisions HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(4)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def _few_descriptors(_: World, scaler: ScalerProcess) -> AsyncIterator[None]:
    parts = urlsplit(scaler.url)
    resource.prlimit(scaler.process.pid, resource.RLIMIT_NOFILE, (64, 64))
    held: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    while len(held) < 200:
        held.append(await asyncio.open_connection(parts.hostname, parts.port))
    try:
        yield
    finally:
        for _reader, writer in held:
            writer.transport.abort()


@asynccontextmanager
async def _large_answers(_: World, scaler: ScalerProcess) -> AsyncIterator[None]:
    async def again_and_again() -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(f"{scaler.url}/api/v1/decisions") as answer:
                        await answer.read()
                await asyncio.sleep(0.01)

    async with _while_it_lasts(*(again_and_again() for _ in range(CALLERS))):
        yield


ATTACKS: Final = (
    Attack(name="an exporter says 1e308", begin=_pages(lambda pod: _sample(pod, "1e308") * 3)),
    Attack(name="an exporter says NaN", begin=_pages(lambda pod: _sample(pod, "NaN"))),
    Attack(
        name="an exporter's page has a line with 200,000 labels",
        begin=_pages(
            lambda pod: _sample(pod, "50", more="".join(f',l{n}=""' for n in range(200_000)))
        ),
    ),
    Attack(
        name="an exporter's page has 300,000 equal lines",
        begin=_pages(lambda _: "x 1\n" * 300_000),
    ),
    Attack(
        name="an exporter's page has 20,000 series with long labels",
        begin=_pages(
            lambda pod: "".join(_sample(pod, "50", more=f',l{n:0150}="1"') for n in range(19_000))
        ),
    ),
    Attack(name="an exporter's page has 64 MB", begin=_pages(lambda _: "# \n" * 22_000_000)),
    Attack(
        name="an exporter's page is made of escape sequences",
        begin=_pages(lambda _: "\x1b[2J\x1b]0;owned\x07" * 200_000),
    ),
    Attack(name="a Deployment has 14,000 annotations", begin=_very_many_annotations),
    Attack(name="80 Deployments change 20 kB of behavior all the time", begin=_large_behaviors),
    Attack(name="pods claim an owner in another namespace", begin=_forged_owner),
    Attack(name="callers pipeline /metrics", begin=_calling(_pipeline)),
    Attack(name="callers reset their connections", begin=_calling(_reset)),
    Attack(name="callers send broken gzip", begin=_calling(_broken_gzip)),
    Attack(name="callers do not read", begin=_calling(_no_reading)),
    Attack(name="callers ask for all decisions", begin=_large_answers),
    Attack(name="there are 64 file descriptors", begin=_few_descriptors),
)
