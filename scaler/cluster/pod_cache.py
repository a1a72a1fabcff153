# SPDX-License-Identifier: Apache-2.0
"""A cache of pods and nodes with their labels, for the selectors of metrics API clients."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass
from sys import intern
from typing import TYPE_CHECKING, Any

from scaler.cluster.decode import Instant
from scaler.cluster.pod_network import pod_address, pod_network
from scaler.kube import fields
from scaler.kube.reflector import Reflector
from scaler.model import ObjectRef, PodNetwork, PodPhase, PodState

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from scaler.kube.client import JsonObject, KubeClient
    from scaler.kube.selectors import Selector

PODS = "/api/v1/pods"
NODES = "/api/v1/nodes"
NO_NETWORK = PodNetwork()
ENDED = (PodPhase.SUCCEEDED, PodPhase.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedPod:
    """A scheduled pod that has not terminated; `created_seconds` is monotonic.

    `asks_for_devices` is whether it requests a resource of a device plugin or a DRA driver,
    `serves` whether it runs and is not being deleted.
    """

    namespace: str
    name: str
    labels: Mapping[str, str]
    node_name: str
    created_seconds: float
    asks_for_devices: bool
    uid: str = ""
    serves: bool = False
    address: str | None = None
    network: PodNetwork = NO_NETWORK

    @property
    def state(self) -> PodState:
        """What readers of model servers need to know about it."""
        return PodState(
            ref=ObjectRef(namespace=self.namespace, name=self.name),
            uid=self.uid,
            phase=PodPhase.RUNNING if self.serves else PodPhase.UNKNOWN,
            deleting=False,
            ready_since_seconds=None,
            node_name=self.node_name,
            address=self.address,
            network=self.network,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedNode:
    """A node with its labels."""

    name: str
    labels: Mapping[str, str]


class PodCache:
    """Watches pods and nodes while `run` runs; the other methods read from memory."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._by_namespace: defaultdict[str, dict[str, CachedPod]] = defaultdict(dict)
        self._labels: dict[frozenset[tuple[str, str]], Mapping[str, str]] = {}
        pods = Reflector(client, PODS, self._decode_pod, changed=self._pod_changed)
        self._nodes = Reflector(client, NODES, _decode_node)
        self._reflectors: tuple[Reflector[Any], ...] = (pods, self._nodes)

    async def run(self) -> None:
        """Keep watching until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector in self._reflectors:
                group.create_task(reflector.run())

    @property
    def synced(self) -> bool:
        """Whether both kinds have been listed once."""
        return all(reflector.synced.is_set() for reflector in self._reflectors)

    async def wait_synced(self) -> None:
        """Wait until both kinds have been listed once."""
        for reflector in self._reflectors:
            await reflector.synced.wait()

    def pods(self, namespace: str) -> Collection[CachedPod]:
        """Return the pods of a namespace."""
        return self._by_namespace.get(namespace, {}).values()

    def selected(self, namespace: str, selector: Selector) -> Collection[CachedPod]:
        """Return the pods of a namespace that match a selector."""
        # Many pods share few sets of labels: match each set once.
        picked: dict[int, bool] = {}
        found = []
        for pod in self.pods(namespace):
            labels = id(pod.labels)
            is_picked = picked.get(labels)
            if is_picked is None:
                is_picked = picked[labels] = selector.matches(pod.labels)
            if is_picked:
                found.append(pod)
        return found

    def pod(self, namespace: str, name: str) -> CachedPod | None:
        """Return a pod, None if it does not exist or has terminated."""
        return self._by_namespace.get(namespace, {}).get(name)

    def nodes(self) -> Collection[CachedNode]:
        """Return all nodes."""
        return self._nodes.objects.values()

    def _decode_pod(self, raw: JsonObject, previous: CachedPod | None) -> CachedPod | None:
        metadata, spec, status = raw["metadata"], raw["spec"], raw.get("status") or {}
        node = spec.get("nodeName")
        if not node or status.get("phase") in ENDED:
            return None
        if previous is None:
            now = Instant(
                wall_seconds=self._client.clock.seconds(), monotonic_seconds=time.monotonic()
            )
            created = now.place(metadata.get("creationTimestamp"))
        else:
            created = previous.created_seconds
        return CachedPod(
            namespace=intern(fields.text(metadata, "namespace")),
            name=fields.text(metadata, "name"),
            labels=self._shared(fields.texts(metadata.get("labels") or {})),
            node_name=intern(node),
            created_seconds=created,
            asks_for_devices=_asks_for_devices(spec),
            uid=fields.text(metadata, "uid"),
            serves=status.get("phase") == PodPhase.RUNNING
            and metadata.get("deletionTimestamp") is None,
            address=pod_address(status, None if previous is None else previous.address),
            network=pod_network(metadata, spec),
        )

    def _shared(self, labels: Mapping[str, str]) -> Mapping[str, str]:
        """Return one shared mapping for equal labels, as the pods of a ReplicaSet have."""
        if len(self._labels) > 10_000:
            self._labels.clear()
        return self._labels.setdefault(frozenset(labels.items()), labels)

    def _pod_changed(self, old: CachedPod | None, new: CachedPod | None) -> None:
        if old is not None:
            siblings = self._by_namespace[old.namespace]
            # A new pod may have taken the name already.
            if siblings.get(old.name) == old:
                del siblings[old.name]
            if not siblings:
                del self._by_namespace[old.namespace]
        if new is not None:
            self._by_namespace[new.namespace][new.name] = new


def _asks_for_devices(spec: JsonObject) -> bool:
    # Names of device plugin resources have a domain; native Kubernetes resources have none.
    return bool(spec.get("resourceClaims")) or any(
        "/" in resource
        for containers in ("containers", "initContainers")
        for container in spec.get(containers) or ()
        for resource in (container.get("resources") or {}).get("limits") or ()
    )


def _decode_node(raw: JsonObject, _: CachedNode | None) -> CachedNode:
    metadata = raw["metadata"]
    return CachedNode(
        name=intern(fields.text(metadata, "name")),
        labels=fields.texts(metadata.get("labels") or {}),
    )
