# SPDX-License-Identifier: Apache-2.0
"""The objects of simulated nodes in a cluster: Node, Lease and the exporter's Pod of each."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from scaler.kube.errors import ApiError, NotFound
from simulator import nodeobjects
from simulator.nodeobjects import LEASE_NAMESPACE, NodeSpec, Site
from simulator.podrunner import timestamp
from simulator.retrying_client import persist

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaler.kube.client import KubeClient
    from simulator.driver import SimulatedDriver

log = logging.getLogger(__name__)


class RegisteredNodes:
    """Creates, renews and deletes the objects; `namespace` is that of the exporters.

    Each node's objects are written by one at a time: what a node that is still joining creates
    after they were deleted would stay in the cluster for good.
    """

    def __init__(self, client: KubeClient, site: Site, namespace: str) -> None:
        self._client = client
        self._site = site
        self._namespace = namespace
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._is_closed = False

    def close(self) -> None:
        """Let nothing be created or renewed that has not begun: from now on nodes only leave."""
        self._is_closed = True

    async def prepare(self) -> None:
        """Create the namespaces and what they need."""
        for namespace in (self._namespace, LEASE_NAMESPACE):
            await _create(self._client, "/api/v1/namespaces", namespace)
        # Pods are refused until their namespace has this one; nobody else may be there to make it.
        accounts = f"/api/v1/namespaces/{self._namespace}/serviceaccounts"
        await _create(self._client, accounts, "default")

    async def add(
        self,
        spec: NodeSpec,
        driver: SimulatedDriver,
        capacity: Mapping[str, int],
        exporter_address: tuple[str, int],
    ) -> None:
        """Create the objects of a node, in place of those of an earlier run."""
        async with self._turns[spec.name]:
            if not self._is_closed:
                await self._add(spec, driver, capacity, exporter_address)

    async def renew(self, name: str) -> None:
        """Renew the Lease of a node, or create it."""
        async with self._turns[name]:
            if not self._is_closed:
                await self._renew(name)

    async def remove(self, name: str) -> None:
        """Delete the objects of a node; failures are logged and left behind."""
        async with self._turns[name]:
            await self._remove(name)

    async def _add(
        self,
        spec: NodeSpec,
        driver: SimulatedDriver,
        capacity: Mapping[str, int],
        exporter_address: tuple[str, int],
    ) -> None:
        name = spec.name
        thing = self._site.owned(nodeobjects.node(spec, driver, capacity, timestamp()))
        await persist(self._client.post, "/api/v1/nodes", thing)
        # A node of that name may be left from an earlier run, with other GPUs, labels and owners.
        metadata = {"metadata": thing["metadata"]}
        await persist(self._client.patch, f"/api/v1/nodes/{name}", metadata)
        status = {"status": thing["status"]}
        await persist(self._client.patch, f"/api/v1/nodes/{name}/status", status)
        await self._renew(name)
        pods_path = f"/api/v1/namespaces/{self._namespace}/pods"
        old_path = f"{pods_path}/{nodeobjects.exporter_name(name)}"
        await persist(self._client.delete, old_path, body={"gracePeriodSeconds": 0})
        host, port = exporter_address
        pod = self._site.owned(nodeobjects.exporter_pod(name, self._namespace, host, port))
        await persist(self._client.post, pods_path, pod)

    async def _renew(self, name: str) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        lease = self._site.owned(nodeobjects.lease(name, now))
        path = _lease_path(name)
        renewal = {"spec": lease["spec"]}
        renewed = await persist(self._client.patch, path, renewal)
        if renewed is None:
            await persist(self._client.post, path.rpartition("/")[0], lease)

    async def _remove(self, name: str) -> None:
        exporter_name = nodeobjects.exporter_name(name)
        for path in (
            f"/api/v1/namespaces/{self._namespace}/pods/{exporter_name}",
            f"/api/v1/nodes/{name}",
            _lease_path(name),
        ):
            try:
                await self._client.delete(path, body={"gracePeriodSeconds": 0})
            except NotFound:
                continue
            except ApiError as error:
                log.warning("An object is left in the cluster", extra={"error": str(error)})


def _lease_path(node_name: str) -> str:
    return f"/apis/coordination.k8s.io/v1/namespaces/{LEASE_NAMESPACE}/leases/{node_name}"


async def _create(client: KubeClient, path: str, name: str) -> None:
    """Create a bare object unless it exists; so no permission is needed where it does."""
    if await persist(client.get, f"{path}/{name}") is None:
        await persist(client.post, path, {"metadata": {"name": name}})
