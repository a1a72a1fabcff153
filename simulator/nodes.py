# SPDX-License-Identifier: Apache-2.0
"""Simulated GPU nodes that join any Kubernetes API: the embedded one or a real control plane.

Each node is a Node object with a Lease, a kubelet with its pod-resources socket, and the real
exporter over a simulated NVML, published as a Pod that the scaler discovers. Pods that are bound
to a node run there; pending pods are bound by a scheduler of our own.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exporter.app import running
from exporter.cli.config import ExporterConfig
from scaler.kube.reflector import Reflector
from simulator.driver import SimulatedDriver
from simulator.kubelet import SimulatedKubelet
from simulator.nodeobjects import NodeSpec, Site
from simulator.nvml.binding import bind
from simulator.podrunner import PodRunner, Spawn
from simulator.registered_nodes import RegisteredNodes
from simulator.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping, Sequence

    from scaler.kube.client import KubeClient

    JsonObject = dict[str, Any]

__all__ = ["NodeSpec", "SimulatedNode", "SimulatedNodes", "Site", "running_nodes"]

log = logging.getLogger(__name__)

EXPORTER_NAMESPACE: Final = "gpu-exporter"
HEARTBEAT_SECONDS: Final = 10.0
REMOVAL_TIMEOUT_SECONDS: Final = 5.0
# Nodes that join or leave at the same time: more would only queue up at the API server.
CONCURRENT_NODES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedNode:
    """One node that has joined: its parts for tests and demos to reach into."""

    spec: NodeSpec
    driver: SimulatedDriver
    kubelet: SimulatedKubelet
    exporter_address: tuple[str, int]

    @property
    def name(self) -> str:
        """The name of the Node object."""
        return self.spec.name


class SimulatedNodes:
    """All nodes of one `running_nodes`; `nodes` by name."""

    def __init__(
        self,
        client: KubeClient,
        spawn: Spawn,
        *,
        startup_seconds: float,
        exporter_config: ExporterConfig,
        schedules: bool,
        site: Site,
        pod_ips: Iterator[str],
    ) -> None:
        self.nodes: dict[str, SimulatedNode] = {}
        self._client = client
        self._spawn = spawn
        self._node_of_pod: dict[tuple[str, str], SimulatedNode] = {}
        self._objects = RegisteredNodes(client, site, EXPORTER_NAMESPACE)
        self._startup_seconds = startup_seconds
        self._exporter_config = exporter_config
        self._schedules = schedules
        self._site = site
        self._runners: dict[str, PodRunner] = {}
        self._pod_ips = pod_ips
        self._joining = asyncio.Semaphore(CONCURRENT_NODES)
        self._node_objects: Reflector[JsonObject] = Reflector(
            client, "/api/v1/nodes", _as_it_is, changed=lambda _old, _new: self._scheduler.wake()
        )
        self._pods: Reflector[JsonObject] = Reflector(
            client, "/api/v1/pods", _as_it_is, changed=self._pod_changed
        )
        self._scheduler = Scheduler(
            client, nodes=self._our_node_objects, pods=lambda: dict(self._pods.objects)
        )

    def pods(self) -> list[JsonObject]:
        """Return all pods of the cluster as last seen."""
        return list(self._pods.objects.values())

    def devices_of(self, namespace: str, pod: str) -> frozenset[str]:
        """Return the UUIDs of the GPUs and MIG instances that a pod holds."""
        node = self._node_of_pod.get((namespace, pod))
        return frozenset() if node is None else node.kubelet.uuids_of(namespace, pod)

    def set_loads(self, percent: Mapping[str, float]) -> None:
        """Set the load of these devices by UUID, and of all others to 0."""
        for node in self.nodes.values():
            for uuid in node.driver.uuids:
                node.driver.set_load(uuid, percent.get(uuid, 0.0))

    async def join(self, specs: Iterable[NodeSpec], socket_directory: Path) -> None:
        """Start the nodes and return when all of them have joined."""
        await self._objects.prepare()
        background = [self._pods.run(), self._node_objects.run(), self._heartbeats()]
        if self._schedules:
            background.append(self._scheduler.run())
        for work in background:
            self._spawn(work)
        joined = []
        for number, spec in enumerate(specs):
            event = asyncio.Event()
            socket_path = str(socket_directory / f"{number}.sock")
            port = self._site.first_port and self._site.first_port + number
            self._spawn(self._run_node(spec, socket_path, port, event))
            joined.append(event)
        await self._pods.synced.wait()
        for event in joined:
            await event.wait()

    async def remove(self) -> None:
        """Delete what the nodes put into the cluster; failures are logged and left behind."""
        self._objects.close()
        try:
            async with asyncio.timeout(REMOVAL_TIMEOUT_SECONDS):
                await asyncio.gather(*(self._remove_node(name) for name in self.nodes))
        except TimeoutError:
            log.warning(
                "The nodes could not all be deleted from the cluster",
                extra={"timeout_seconds": REMOVAL_TIMEOUT_SECONDS},
            )

    async def _run_node(
        self, spec: NodeSpec, socket_path: str, port: int, joined: asyncio.Event
    ) -> None:
        with SimulatedDriver(spec.gpus, seed=spec.name) as driver:
            kubelet = SimulatedKubelet(
                driver,
                socket_path,
                replicas=spec.replicas,
                resource_name=spec.resource_name,
                gke_names=spec.gke_names,
            )
            config = replace(
                self._exporter_config,
                listen_host=self._site.host,
                listen_port=port,
                node_name=spec.name,
                pod_resources_socket=socket_path,
                # This machine's own files describe another node's pods.
                cgroup_folder=f"{socket_path}.cgroup",
                logs_folder=f"{socket_path}.log",
            )
            async with kubelet, running(config, bind(driver)) as exporter:
                node = SimulatedNode(
                    spec=spec,
                    driver=driver,
                    kubelet=kubelet,
                    exporter_address=exporter.address,
                )
                async with self._joining:
                    await self._register(node)
                joined.set()
                await asyncio.Event().wait()

    async def _register(self, node: SimulatedNode) -> None:
        """Create its objects, and run what is bound to the node already."""
        name = node.name
        self.nodes[name] = node
        self._runners[name] = PodRunner(
            self._client,
            self._spawn,
            driver=node.driver,
            kubelet=node.kubelet,
            pod_ips=self._pod_ips,
            startup_seconds=self._startup_seconds,
        )
        await self._objects.add(
            node.spec, node.driver, node.kubelet.capacity(), node.exporter_address
        )
        for bound in self.pods():
            if bound["spec"].get("nodeName") == name:
                self._pod_changed(None, bound)

    async def _remove_node(self, name: str) -> None:
        async with self._joining:
            await self._objects.remove(name)

    async def _heartbeats(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            for name in [*self.nodes]:
                await self._objects.renew(name)

    def _our_node_objects(self) -> list[JsonObject]:
        return [
            thing
            for thing in self._node_objects.objects.values()
            if thing["metadata"]["name"] in self.nodes
        ]

    def _pod_changed(self, old: JsonObject | None, new: JsonObject | None) -> None:
        self._scheduler.wake()
        pod = new or old or {}
        name = pod["spec"].get("nodeName")
        if name not in self.nodes:
            return
        key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        if new is not None:
            self._node_of_pod[key] = self.nodes[name]
            self._runners[name].seen(new)
        else:
            self._node_of_pod.pop(key, None)
            self._runners[name].gone(pod["metadata"]["uid"])


def _as_it_is(thing: JsonObject, _previous: JsonObject | None) -> JsonObject:
    return thing


def _pod_addresses() -> Iterator[str]:
    # A block that no network routes (RFC 2544): nobody else's addresses are taken for a pod's.
    for numbers in itertools.product(range(256), range(1, 255)):
        yield "198.19." + ".".join(map(str, numbers))


@asynccontextmanager
async def running_nodes(
    client: KubeClient,
    specs: Sequence[NodeSpec],
    *,
    startup_seconds: float = 2.0,
    exporter_config: ExporterConfig | None = None,
    schedules: bool = True,
    site: Site | None = None,
    pod_ips: Iterator[str] | None = None,
) -> AsyncIterator[SimulatedNodes]:
    """Run the nodes while the context lasts; the body begins when all have joined.

    Pods without the annotation `simulator/startup-seconds` are Ready after `startup_seconds`. Of
    `exporter_config` the address, the node name and the socket are each node's own. `schedules` is
    False where the cluster has a scheduler. `site` says where they run: this machine without it.
    Pods get the addresses `pod_ips`; without them nothing can listen there.
    At the end Nodes, Leases and exporter Pods are deleted.
    Raises ApiError for what no waiting mends, such as missing permissions.
    """
    with tempfile.TemporaryDirectory(prefix="gpus-") as directory:
        try:
            async with asyncio.TaskGroup() as group:
                running_tasks: set[asyncio.Task[None]] = set()

                def spawn(work: Coroutine[Any, Any, None]) -> None:
                    task = group.create_task(work)
                    running_tasks.add(task)
                    task.add_done_callback(running_tasks.discard)

                nodes = SimulatedNodes(
                    client,
                    spawn,
                    startup_seconds=startup_seconds,
                    exporter_config=exporter_config or ExporterConfig(),
                    schedules=schedules,
                    site=site or Site(),
                    pod_ips=pod_ips or _pod_addresses(),
                )
                try:
                    await nodes.join(specs, Path(directory))
                    yield nodes
                finally:
                    await nodes.remove()
                    for task in running_tasks:
                        task.cancel()
        except BaseExceptionGroup as failures:
            # The caller gets what went wrong, not how the tasks are organised.
            if len(failures.exceptions) == 1:
                raise failures.exceptions[0] from None
            raise
