# SPDX-License-Identifier: Apache-2.0
"""A large cluster that stands still, as a process: its API, all its exporters, and a Prometheus.

`python -m benchmarks.bigcluster --nodes 5000` prints one line of JSON when it answers: the URLs of
the API, of the Prometheus and of the counts of requests to the API, and the exporters' port. Each
node has 8 GPUs, all held by one-GPU pods of Deployments with 20 replicas. With `--servers 5000`
there are as many pods of model servers beside them, in Deployments of 20. The exporters and the
servers are one listener each on every loopback address, so that each node and each server has an
address and connections of its own; every answer is made once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from benchmarks.bigprometheus import answer_to_query, running_prometheus
from simulator.apiserver import running_apiserver
from simulator.apiserver.resources import DEPLOYMENTS, NAMESPACES, PODS, REPLICA_SETS
from simulator.podstatus import ready, started

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from simulator.apiserver.faults import Faults
    from simulator.apiserver.store import Store

    JsonObject = dict[str, Any]

GPUS_PER_NODE: Final = 8
PODS_PER_DEPLOYMENT: Final = 20
NAMESPACES_COUNT: Final = 50
TARGET_PERCENT: Final = 40
TARGET_REQUESTS: Final = 24
SERVER_PAGE: Final = Path("tests/fixtures/servers/vllm-loaded.txt")
SERVER_PAGE_BYTES: Final = 58_000
DUTY_CYCLE: Final = "nvidia_gpu_duty_cycle"
OWN: Final = (
    "# HELP nvidia_gpu_exporter_snapshot_age_seconds Age of the readings in this answer\n"
    "# TYPE nvidia_gpu_exporter_snapshot_age_seconds gauge\n"
    "nvidia_gpu_exporter_snapshot_age_seconds 0.5\n"
    "# HELP nvidia_gpu_exporter_interval_seconds Time between two samples\n"
    "# TYPE nvidia_gpu_exporter_interval_seconds gauge\n"
    "nvidia_gpu_exporter_interval_seconds 1\n"
)


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--servers", type=int, default=0)
    parser.add_argument("--unread", action="store_true", help="the servers' pods declare no port")
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(_serve(arguments.nodes, arguments.servers, is_read=not arguments.unread))


async def _serve(nodes: int, servers: int, *, is_read: bool) -> None:
    answers: dict[str, bytes] = {}
    series: list[JsonObject] = []
    counts: Counter[str] = Counter()
    exporters, port = await _listening(lambda: _Answers(answers, counts, "exporter"))
    page = _server_page()
    listener, servers_port = await _listening(lambda: _Answers({}, counts, "server", page))
    async with running_apiserver(controls=False) as api, exporters, listener:
        _count(api.faults, counts)
        for node, held in enumerate(_fill(api.store, nodes, port)):
            labels = [_labels(node, gpu, pod) for gpu, pod in enumerate(held)]
            answers[address(node)] = _answer(labels)
            series += labels
        _fill_servers(api.store, servers, servers_port if is_read else None)
        answer = answer_to_query(series, TARGET_PERCENT)
        series.clear()
        async with running_prometheus(answer) as prometheus, _showing(counts) as counts_url:
            urls = {"url": api.url, "prometheus": prometheus, "counts": counts_url}
            print(json.dumps(urls | {"exporters_port": port}), flush=True)
            await asyncio.Event().wait()


async def _listening(
    protocol: Callable[[], asyncio.Protocol],
) -> tuple[asyncio.Server, int]:
    server = await asyncio.get_running_loop().create_server(
        protocol, host="0.0.0.0", port=0, backlog=4096
    )
    return server, server.sockets[0].getsockname()[1]


def _count(faults: Faults, counts: Counter[str]) -> None:
    """Count requests to the API by what they are for, from now on."""

    def count(request: web.Request) -> bool:
        # KEDA is not installed here: instead of a watch, it is looked for once a minute.
        is_watch = request.query.get("watch") in ("1", "true") or "keda.sh" in request.path
        kind = "lease" if "/leases" in request.path else "watch" if is_watch else "other"
        counts[kind] += 1
        return False

    faults.applies_to = count


@asynccontextmanager
async def _showing(counts: Counter[str]) -> AsyncIterator[str]:
    async def handle(_: web.Request) -> web.Response:
        return web.json_response(counts)

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


class _Answers(asyncio.Protocol):
    """Answers every request on a connection with the address's page, else with `page`."""

    def __init__(
        self, answers: dict[str, bytes], counts: Counter[str], kind: str, page: bytes = b""
    ) -> None:
        self._answers = answers
        self._counts = counts
        self._kind = kind
        self._answer = page
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        address = transport.get_extra_info("sockname")[0]
        self._answer = self._answers.get(address, self._answer)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            self._received = self._received[end + 4 :]
            self._counts[self._kind] += 1
            self._transport.write(self._answer)


def _fill(store: Store, nodes: int, port: int) -> Iterator[list[JsonObject]]:
    """Create everything; yield the pods of each node."""
    since = _an_hour_ago()
    for name in ("gpu-scaler", "gpu-exporter", *map(_namespace, range(NAMESPACES_COUNT))):
        store.create(NAMESPACES, "", {"metadata": {"name": name}})
    held: list[JsonObject] = []
    for number in range(nodes * GPUS_PER_NODE // PODS_PER_DEPLOYMENT):
        name, target = f"serving-{number}", ("gpu-scaler/target-duty-cycle", TARGET_PERCENT)
        replica_set = _deployment(store, name, number, target, _pod_spec())
        for replica in range(PODS_PER_DEPLOYMENT):
            node = (number * PODS_PER_DEPLOYMENT + replica) // GPUS_PER_NODE
            held.append(_pod(store, replica_set, replica, node, since))
    for node in range(nodes):
        _exporter_pod(store, node, port, since)
        yield held[node * GPUS_PER_NODE : (node + 1) * GPUS_PER_NODE]


def _fill_servers(store: Store, servers: int, port: int | None) -> None:
    """Create Deployments of model servers, which request no GPU; without a port none is read."""
    since = _an_hour_ago()
    container = {"name": "main", "image": "example.com/server:1"}
    ports = [{"name": "metrics", "containerPort": port, "protocol": "TCP"}]
    spec = {"containers": [container | ({} if port is None else {"ports": ports})]}
    for number in range(servers // PODS_PER_DEPLOYMENT):
        target = ("gpu-scaler/target-requests", TARGET_REQUESTS)
        replica_set = _deployment(store, f"llm-{number}", number, target, spec)
        for replica in range(PODS_PER_DEPLOYMENT):
            pod = _owned_pod(replica_set, replica, {**spec, "nodeName": _node(0)})
            created = store.create(PODS, replica_set["metadata"]["namespace"], pod)
            _run(store, created, server_address(number * PODS_PER_DEPLOYMENT + replica), since)


def _server_page() -> bytes:
    """The page of a vLLM under load, as tests/fixtures/servers has it, padded to its usual size."""
    body = SERVER_PAGE.read_bytes()
    rest = SERVER_PAGE_BYTES - len(body)
    line = b'vllm:request_success_total{engine="0",finished_reason="stop",model_name="m%06d"} 1\n'
    body += b"".join(line % number for number in range(max(0, rest) // len(line % 0)))
    return _response(body)


def _deployment(
    store: Store, name: str, number: int, target: tuple[str, int], pod_spec: JsonObject
) -> JsonObject:
    labels = {"app": name}
    annotations = {
        "gpu-scaler/enabled": "true",
        "gpu-scaler/max-replicas": "40",
        target[0]: str(target[1]),
    }
    deployment = store.create(
        DEPLOYMENTS,
        _namespace(number),
        {
            "metadata": {"name": name, "annotations": annotations},
            "spec": {
                "replicas": PODS_PER_DEPLOYMENT,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod_spec},
            },
        },
    )
    return store.create(
        REPLICA_SETS,
        _namespace(number),
        {
            "metadata": {
                "name": f"{name}-5d8f6c7b9d",
                "labels": labels,
                "ownerReferences": [_owner("Deployment", deployment)],
            },
            "spec": deployment["spec"],
        },
    )


def _pod(store: Store, replica_set: JsonObject, replica: int, node: int, since: str) -> JsonObject:
    pod = _owned_pod(replica_set, replica, {**_pod_spec(), "nodeName": _node(node)})
    created = store.create(PODS, replica_set["metadata"]["namespace"], pod)
    pod_ip = f"10.{replica}.{node // 250}.{node % 250 + 1}"
    return _run(store, created, pod_ip, since)


def _owned_pod(replica_set: JsonObject, replica: int, spec: JsonObject) -> JsonObject:
    metadata = replica_set["metadata"]
    return {
        "metadata": {
            "name": f"{metadata['name']}-{replica:05d}",
            "labels": metadata["labels"],
            "ownerReferences": [_owner("ReplicaSet", replica_set)],
        },
        "spec": spec,
    }


def _exporter_pod(store: Store, node: int, port: int, since: str) -> None:
    pod = {
        "metadata": {
            "name": f"gpu-exporter-{node:05d}",
            "labels": {"app.kubernetes.io/name": "gpu-exporter"},
        },
        "spec": {
            "nodeName": _node(node),
            "containers": [
                {
                    "name": "gpu-exporter",
                    "image": "example.com/gpu-exporter:1",
                    "ports": [{"name": "metrics", "containerPort": port, "protocol": "TCP"}],
                }
            ],
        },
    }
    _run(store, store.create(PODS, "gpu-exporter", pod), address(node), since)


def _run(store: Store, pod: JsonObject, pod_ip: str, since: str) -> JsonObject:
    begun = started(pod, pod_ip=pod_ip, host_ip="10.0.0.1", now=since)
    serving = ready(pod, started_at=since, now=since)
    conditions = {one["type"]: one for one in (*begun["conditions"], *serving["conditions"])}
    running = {**pod, "status": begun | serving | {"conditions": [*conditions.values()]}}
    return store.replace(PODS, pod["metadata"]["namespace"], running, subresource="status")


def _an_hour_ago() -> str:
    """When all pods began to serve, so that they count from the first loop on."""
    return (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _labels(node: int, gpu: int, pod: JsonObject) -> JsonObject:
    return {
        "minor_number": str(gpu),
        "uuid": f"GPU-{node:08x}-0000-0000-0000-{gpu:012x}",
        "name": "NVIDIA H100 80GB HBM3",
        "node_name": _node(node),
        "namespace_name": pod["metadata"]["namespace"],
        "pod_name": pod["metadata"]["name"],
        "container_name": "main",
        "allocate_mode": "exclusive",
    }


def _answer(held: list[JsonObject]) -> bytes:
    lines = [
        f"# HELP {DUTY_CYCLE} Percent of the averaging window in which a kernel ran",
        f"# TYPE {DUTY_CYCLE} gauge",
    ]
    for labels in held:
        text = ",".join(f'{name}="{value}"' for name, value in labels.items())
        lines.append(f"{DUTY_CYCLE}{{{text}}} {TARGET_PERCENT}")
    return _response(("\n".join(lines) + "\n" + OWN).encode())


def _response(body: bytes) -> bytes:
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _pod_spec() -> JsonObject:
    container = {
        "name": "main",
        "image": "example.com/serving:1",
        "env": [{"name": f"SETTING_{n}", "value": "x" * 40} for n in range(10)],
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
    }
    return {"containers": [container]}


def _owner(kind: str, owner: JsonObject) -> JsonObject:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _namespace(number: int) -> str:
    return f"team-{number % NAMESPACES_COUNT}"


def _node(number: int) -> str:
    return f"gpu-node-{number:05d}"


def address(node: int) -> str:
    """Return the address of a node's exporter."""
    return f"127.1.{node // 250}.{node % 250 + 1}"


def server_address(number: int) -> str:
    """Return the address of a model server."""
    return f"127.2.{number // 250}.{number % 250 + 1}"


if __name__ == "__main__":
    main()
