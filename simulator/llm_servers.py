# SPDX-License-Identifier: Apache-2.0
"""Model servers for the demo: a page per pod, shaped like vLLM's, and GPUs that one request fills.

Each user pod has a number of requests in flight, which are spread over the servers that are Ready.
A server runs as many as it has slots, and the others wait.
"""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from simulator.llm_script import FULL_PERCENT, REQUESTS_ANNOTATION, SLOTS_ANNOTATION
from simulator.podstatus import is_ready, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from simulator.workload import Cluster

    JsonObject = dict[str, Any]

INTERVAL_SECONDS: Final = 0.2
CACHE_PER_SLOT: Final = 0.15
_LABELS: Final = '{engine="0",model_name="llama"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLoad:
    """What one server has in hand."""

    running: int = 0
    waiting: int = 0

    def page(self) -> str:
        """Return its metrics as vLLM writes them."""
        values = {
            "vllm:num_requests_running": float(self.running),
            "vllm:num_requests_waiting": float(self.waiting),
            "vllm:kv_cache_usage_perc": min(1.0, CACHE_PER_SLOT * self.running),
        }
        return "".join(
            f"# TYPE {name} gauge\n{name}{_LABELS} {value}\n" for name, value in values.items()
        )


def loads(requests: int, slots: Mapping[str, int]) -> dict[str, ServerLoad]:
    """Spread the requests over servers by name, with their `slots`."""
    each, rest = divmod(requests, len(slots)) if slots else (0, 0)
    shares = {name: each + (place < rest) for place, name in enumerate(sorted(slots))}
    return {
        name: ServerLoad(running=min(share, slots[name]), waiting=max(0, share - slots[name]))
        for name, share in shares.items()
    }


def pod_addresses() -> Iterator[str]:
    """Return addresses on which a process of this machine can listen, one for each pod."""
    for numbers in itertools.product(range(256), range(1, 255)):
        yield "127.77." + ".".join(map(str, numbers))


class ModelServers:
    """The servers of all pods with slots, at the pods' own addresses and on one port."""

    def __init__(self, cluster: Cluster, *, port: int) -> None:
        self._cluster = cluster
        self._port = port
        self._sites: dict[str, web.TCPSite] = {}
        self._loads: Mapping[str, ServerLoad] = {}
        self.offered = 0.0

    @property
    def busy_percent(self) -> float:
        """The mean duty cycle of the servers' GPUs."""
        busy = [FULL_PERCENT if one.running else 0.0 for one in self._loads.values()]
        return sum(busy) / len(busy) if busy else 0.0

    async def run(self) -> None:
        """Serve and spread requests until cancelled."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        async with AsyncExitStack() as stack:
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            while True:
                await self._apply(runner)
                await asyncio.sleep(INTERVAL_SECONDS)

    async def _apply(self, runner: web.AppRunner) -> None:
        pods = self._cluster.pods()
        servers = {
            pod["status"]["podIP"]: pod
            for pod in pods
            if _number(pod, SLOTS_ANNOTATION) and (pod.get("status") or {}).get("podIP")
        }
        await self._listen(runner, [*servers])
        ready = {address: pod for address, pod in servers.items() if is_ready(pod)}
        requests = sum(_number(pod, REQUESTS_ANNOTATION) for pod in pods if is_ready(pod))
        self.offered = float(requests)
        slots = {address: _number(pod, SLOTS_ANNOTATION) for address, pod in ready.items()}
        self._loads = loads(requests, slots)
        self._cluster.set_loads(
            {
                uuid: FULL_PERCENT
                for address, load in self._loads.items()
                if load.running
                for uuid in self._devices(ready[address])
            }
        )

    async def _listen(self, runner: web.AppRunner, addresses: Sequence[str]) -> None:
        for address in self._sites.keys() - {*addresses}:
            await self._sites.pop(address).stop()
        for address in addresses:
            if address not in self._sites:
                self._sites[address] = web.TCPSite(runner, address, self._port)
                await self._sites[address].start()

    def _devices(self, pod: JsonObject) -> frozenset[str]:
        return self._cluster.devices_of(pod["metadata"]["namespace"], pod["metadata"]["name"])

    async def _metrics(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        address = request.transport.get_extra_info("sockname")[0]
        return web.Response(text=self._loads.get(address, ServerLoad()).page())


def _number(pod: JsonObject, annotation: str) -> int:
    return int(number(pod, annotation) or 0)
