# SPDX-License-Identifier: Apache-2.0
"""A simulated kubelet: the pod-resources API on a unix socket and the devices behind it.

The API is `v1.PodResourcesLister` of kubernetes/kubelet, pkg/apis/podresources/v1. Everything here
belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import grpc
import grpc.aio

from simulator.plugin_devices import GPU_RESOURCE, PluginDevice, plugin_devices
from simulator.podresources_pb2 import (
    ClaimResource,
    ContainerDevices,
    ContainerResources,
    DynamicResource,
    ListPodResourcesRequest,
    ListPodResourcesResponse,
    PodResources,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator, Mapping

    from simulator.driver import SimulatedDriver

# A node has pods of DaemonSets; the names of these end in five random characters.
DAEMON_POD: Final = ("kube-system", "network-4xk7q")
# sockaddr_un holds 108 bytes, and gRPC needs a few of them.
MAX_SOCKET_PATH_BYTES: Final = 99


@dataclass(frozen=True, slots=True, kw_only=True)
class _Holding:
    namespace: str
    pod: str
    container: str
    device: PluginDevice


class SimulatedKubelet:
    """Hands devices to containers and lists them; an async context manager that serves.

    As a real one it lists pods without devices too, one of a DaemonSet from the beginning; and once
    it was stopped, its first answer names only pods of `static_pods`.

    What a test may change while it serves: `lists_finished_pods` (as kubelets before 1.34 do),
    `shuffle` (the order of a List answer is not promised), `padding_bytes` (pods without devices
    that make the answer large), `static_pods` (namespace, name with the node's behind it),
    `unknowing_answers` (how many answers to come name only those), `answer_bytes` (what List sends
    instead of a message), and the faults `fail`, `hang` and `restart`.
    """

    def __init__(
        self,
        driver: SimulatedDriver,
        socket_path: str,
        *,
        replicas: int = 1,
        resource_name: str = GPU_RESOURCE,
        gke_names: bool = False,
        lists_finished_pods: bool = False,
    ) -> None:
        if len(socket_path.encode()) > MAX_SOCKET_PATH_BYTES:
            msg = (
                f"socket path {socket_path!r} is too long: at most {MAX_SOCKET_PATH_BYTES} bytes "
                "fit into a socket address; use a directory nearer to the root"
            )
            raise ValueError(msg)
        self.socket_path = socket_path
        self.devices: Final = plugin_devices(
            driver, replicas=replicas, resource_name=resource_name, gke_names=gke_names
        )
        self.lists_finished_pods = lists_finished_pods
        self.shuffle: random.Random | None = None
        self.padding_bytes = 0
        self.static_pods: set[tuple[str, str]] = set()
        self.unknowing_answers = 0
        self.answer_bytes: bytes | None = None
        self.list_calls = 0
        # (namespace, pod) -> names of its containers
        self._admitted: dict[tuple[str, str], tuple[str, ...]] = {DAEMON_POD: ("main",)}
        self._held: list[_Holding] = []
        # (namespace, pod, container) -> its claimed devices, as (driver, pool, device)
        self._claimed: dict[tuple[str, str, str], list[tuple[str, str, str]]] = {}
        self._finished: list[_Holding] = []
        self._failure: tuple[grpc.StatusCode, str] | None = None
        self._hung = False
        self._server: grpc.aio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def capacity(self) -> dict[str, int]:
        """Return how many devices there are of each resource."""
        return dict(Counter(device.resource_name for device in self.devices))

    def admit(self, namespace: str, pod: str, containers: Iterable[str]) -> None:
        """List a pod, whether its containers get devices or not, until it is released."""
        self._admitted[namespace, pod] = tuple(containers)

    def allocate(
        self, namespace: str, pod: str, container: str, resource_name: str, count: int
    ) -> tuple[str, ...] | None:
        """Give the container `count` devices; return their IDs, or None when too few are free.

        Replicas are taken from the GPU that is shared least, as the device plugin does.
        """
        taken = {holding.device.device_id for holding in self._held}
        free = [
            device
            for device in self.devices
            if device.resource_name == resource_name and device.device_id not in taken
        ]
        if len(free) < count:
            return None
        sharers = Counter(holding.device.uuid for holding in self._held)
        chosen: list[PluginDevice] = []
        for _ in range(count):
            device = min(free, key=lambda one: sharers[one.uuid])
            free.remove(device)
            sharers[device.uuid] += 1
            chosen.append(device)
        self._held += [
            _Holding(namespace=namespace, pod=pod, container=container, device=device)
            for device in chosen
        ]
        return tuple(device.device_id for device in chosen)

    def claim(
        self, namespace: str, pod: str, container: str, devices: Iterable[tuple[str, str, str]]
    ) -> None:
        """Give the container these (driver, pool, device), as a claim's DRA driver does."""
        self._claimed[namespace, pod, container] = list(devices)

    def release(self, namespace: str, pod: str) -> None:
        """Take the devices of a pod back; old kubelets go on listing it until `forget_finished`."""
        self._admitted.pop((namespace, pod), None)
        self._claimed = {
            key: devices for key, devices in self._claimed.items() if key[:2] != (namespace, pod)
        }
        gone = [one for one in self._held if (one.namespace, one.pod) == (namespace, pod)]
        self._held = [one for one in self._held if one not in gone]
        if self.lists_finished_pods:
            self._finished += gone

    def forget_finished(self) -> None:
        """Collect the finished pods: they are listed no more."""
        self._finished.clear()

    def uuids_of(self, namespace: str, pod: str) -> frozenset[str]:
        """Return the UUIDs of the GPUs and MIG instances that a pod holds."""
        return frozenset(
            holding.device.uuid
            for holding in self._held
            if (holding.namespace, holding.pod) == (namespace, pod)
        )

    def fail(self, code: grpc.StatusCode, details: str = "") -> None:
        """Answer List with this status, such as RESOURCE_EXHAUSTED of the rate limit."""
        self._failure = (code, details)

    def hang(self) -> None:
        """Leave List without an answer."""
        self._hung = True

    def recover(self) -> None:
        """End `fail` and `hang` for the calls to come."""
        self._failure = None
        self._hung = False

    async def start(self) -> None:
        """Create the socket and serve."""
        server = grpc.aio.server()
        list_handler = grpc.unary_unary_rpc_method_handler(  # type: ignore[no-untyped-call]
            self._list,
            request_deserializer=ListPodResourcesRequest.FromString,
        )
        handlers = grpc.method_handlers_generic_handler(  # type: ignore[no-untyped-call]
            "v1.PodResourcesLister", {"List": list_handler}
        )
        server.add_generic_rpc_handlers((handlers,))
        server.add_insecure_port(f"unix://{self.socket_path}")
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Break all calls off and remove the socket; allocations stay, as in a checkpoint."""
        self.unknowing_answers = max(self.unknowing_answers, 1)
        server, self._server = self._server, None
        if server is not None:
            await server.stop(grace=None)
        self._remove_socket()

    def _remove_socket(self) -> None:
        Path(self.socket_path).unlink(missing_ok=True)

    async def restart(self) -> None:
        """Stop and start: the socket becomes another one of the same name."""
        await self.stop()
        await self.start()

    async def _list(
        self, _request: ListPodResourcesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> bytes:
        self.list_calls += 1
        if self._hung:
            await asyncio.Event().wait()
        if self._failure is not None:
            await context.abort(*self._failure)
        if self.answer_bytes is not None:
            return self.answer_bytes
        return self._answer().SerializeToString()

    def _answer(self) -> ListPodResourcesResponse:
        unknowing = self.unknowing_answers > 0
        self.unknowing_answers -= unknowing
        grouped: dict[tuple[str, str], dict[str, dict[str, list[str]]]] = {
            pod: {name: {} for name in containers} for pod, containers in self._admitted.items()
        }
        grouped.update({pod: {"main": {}} for pod in self.static_pods - grouped.keys()})
        for holding in (*self._finished, *self._held):
            containers = grouped.setdefault((holding.namespace, holding.pod), {})
            resources = containers.setdefault(holding.container, {})
            device = holding.device
            resources.setdefault(device.resource_name, []).append(device.device_id)
        for namespace, pod, container in self._claimed:
            grouped.setdefault((namespace, pod), {}).setdefault(container, {})
        pods = [
            PodResources(
                namespace=namespace,
                name=pod,
                containers=[
                    ContainerResources(
                        name=name,
                        devices=_device_messages(resources),
                        dynamic_resources=_claim_messages(
                            self._claimed.get((namespace, pod, name), ())
                        ),
                    )
                    for name, resources in containers.items()
                ],
            )
            for (namespace, pod), containers in grouped.items()
            if not unknowing or (namespace, pod) in self.static_pods
        ]
        if unknowing:
            return ListPodResourcesResponse(pod_resources=pods)
        pods += _padding(self.padding_bytes)
        if self.shuffle is not None:
            self.shuffle.shuffle(pods)
        return ListPodResourcesResponse(pod_resources=pods)


def _device_messages(resources: Mapping[str, list[str]]) -> list[ContainerDevices]:
    return [
        ContainerDevices(resource_name=resource_name, device_ids=ids)
        for resource_name, ids in resources.items()
    ]


def _claim_messages(devices: Iterable[tuple[str, str, str]]) -> list[DynamicResource]:
    claimed = [
        ClaimResource(driver_name=driver, pool_name=pool, device_name=device)
        for driver, pool, device in devices
    ]
    return [DynamicResource(claim_name="claim", claim_resources=claimed)] if claimed else []


def _padding(size_bytes: int) -> Iterator[PodResources]:
    """Pods without devices, as most pods of a node are, of at least `size_bytes` together."""
    size, number = 0, 0
    while size < size_bytes:
        containers = [ContainerResources(name=f"container-{n}") for n in range(100)]
        pod = PodResources(namespace="padding", name=f"pod-{number}", containers=containers)
        yield pod
        size += pod.ByteSize()
        number += 1
