# SPDX-License-Identifier: Apache-2.0
"""Pods that are model servers as processes: a test's scheduler and kubelet for them."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

from simulator import podstatus
from simulator.podrunner import timestamp
from simulator.retrying_client import STRATEGIC_MERGE_PATCH, persist

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from scaler.kube.client import KubeClient
    from tests.servers.process import ServerProcess

    JsonObject = dict[str, Any]
    Start = Callable[[str], AbstractAsyncContextManager[ServerProcess]]

PODS: Final = "/api/v1/namespaces/default/pods"
NODE: Final = "server-node"
HOST: Final = "127.0.0.1"
_LOOK_SECONDS: Final = 0.05
_addresses = (
    f"127.18.{third}.{fourth}" for third, fourth in itertools.product(range(256), range(1, 255))
)


class _Order(Enum):
    END = auto()
    RESTART = auto()
    LEAVE = auto()


class ServerPods:
    """Runs a server for each pod with the label `app`; `servers` are those that run, by pod name.

    `ending` are those that were told to end and have not ended yet.
    A pod is Ready when its server is. Nothing here notices by itself that a server hangs or has
    ended, as a kubelet does not before its next probes.
    """

    def __init__(
        self, client: KubeClient, group: asyncio.TaskGroup, start: Start, *, app: str
    ) -> None:
        """`start` runs a server on an address, which is the pod's IP."""
        self.servers: dict[str, ServerProcess] = {}
        self.ending: dict[str, ServerProcess] = {}
        self._client = client
        self._group = group
        self._start = start
        self._selector = {"labelSelector": f"app={app}"}
        self._orders: dict[str, asyncio.Queue[_Order]] = {}
        self._uids: dict[str, str] = {}
        self._stopped = False

    def restart(self, name: str) -> None:
        """End a pod's server, and start it again in the same pod."""
        self._orders[self._uids[name]].put_nowait(_Order.RESTART)

    def stop(self) -> None:
        """End all servers and leave their pods as they are."""
        self._stopped = True
        for orders in self._orders.values():
            orders.put_nowait(_Order.LEAVE)

    async def run(self) -> None:
        """Look at the pods until `stop`."""
        while not self._stopped:
            # A watch would have to be cancelled, which may leave its connection open.
            listed = (await self._client.list_(PODS, params=self._selector))["items"]
            pods = {pod["metadata"]["uid"]: pod for pod in listed}
            for uid, pod in pods.items():
                if uid not in self._orders and not self._stopped:
                    self._uids[pod["metadata"]["name"]] = uid
                    self._orders[uid] = asyncio.Queue()
                    self._group.create_task(self._run(pod, self._orders[uid]))
            for uid, orders in self._orders.items():
                if uid not in pods or pods[uid]["metadata"].get("deletionTimestamp"):
                    orders.put_nowait(_Order.END)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _run(self, pod: JsonObject, orders: asyncio.Queue[_Order]) -> None:
        name, address = pod["metadata"]["name"], next(_addresses)
        await self._bind(pod)
        order = _Order.RESTART
        while order is _Order.RESTART:
            now = timestamp()
            starting = podstatus.started(pod, pod_ip=address, host_ip=HOST, now=now)
            await self._patch(pod, starting)
            async with self._start(address) as server:
                self.servers[name] = server
                await self._patch(pod, podstatus.ready(pod, started_at=now, now=timestamp()))
                order = await orders.get()
                self.ending[name] = self.servers.pop(name)
            del self.ending[name]
        if order is _Order.LEAVE:
            return
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
        await persist(self._client.delete, f"{PODS}/{name}", body=options)

    async def _bind(self, pod: JsonObject) -> None:
        metadata = {key: pod["metadata"][key] for key in ("name", "namespace", "uid")}
        target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": metadata,
            "target": target,
        }
        path = f"{PODS}/{metadata['name']}/binding"
        await persist(self._client.post, path, binding)

    async def _patch(self, pod: JsonObject, status: JsonObject) -> None:
        body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}
        path = f"{PODS}/{pod['metadata']['name']}/status"
        await persist(self._client.patch, path, body, content_type=STRATEGIC_MERGE_PATCH)


@asynccontextmanager
async def running_server_pods(
    client: KubeClient, start: Start, *, app: str
) -> AsyncIterator[ServerPods]:
    """Run the servers of these pods, also of those still to come, while the context lasts."""
    async with asyncio.TaskGroup() as group:
        pods = ServerPods(client, group, start, app=app)
        group.create_task(pods.run())
        yield pods
        pods.stop()
