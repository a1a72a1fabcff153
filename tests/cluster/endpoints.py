# SPDX-License-Identifier: Apache-2.0
"""Endpoints of a Service of the real control plane, at ports of this machine's own address.

The API accepts no loopback address in an EndpointSlice, so this needs the "network".
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.ownaddress import own_address
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from scaler.kube.client import KubeClient

LABELS = {"app": "gateway"}


@asynccontextmanager
async def endpoints_at(
    admin: KubeClient, namespace: str, ports: Sequence[int]
) -> AsyncIterator[None]:
    """Have a pod for each port, and the Service `gateway` with its port `http` before them."""
    core, node = f"/api/v1/namespaces/{namespace}", f"node-of-{namespace}"
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    # A pod without a node is no endpoint.
    await admin.post("/api/v1/nodes", {"metadata": {"name": node}})
    try:
        for number, port in enumerate(ports):
            await _add_pod(admin, f"{core}/pods", f"gateway-{number}", node, port)
        spec = {"selector": LABELS, "ports": [{"name": "http", "port": 80, "targetPort": "page"}]}
        await admin.post(f"{core}/services", {"metadata": {"name": "gateway"}, "spec": spec})

        async def are_endpoints() -> bool:
            listed = (await admin.list_(slices))["items"]
            return sum(len(one.get("endpoints") or ()) for one in listed) == len(ports)

        await until(are_endpoints, what="the Service has its endpoints")
        yield
        await admin.delete(f"{core}/services/gateway")
        for number in range(len(ports)):
            await admin.delete(f"{core}/pods/gateway-{number}", body={"gracePeriodSeconds": 0})
    finally:
        await admin.delete(f"/api/v1/nodes/{node}")


async def _add_pod(admin: KubeClient, pods: str, name: str, node: str, port: int) -> None:
    """Add a pod as a kubelet would report it: running, ready, at this machine's address."""
    address = own_address()
    ports = [{"name": "page", "containerPort": port}]
    spec = {"containers": [{"name": "c", "image": "none", "ports": ports}], "nodeName": node}
    metadata = {"name": name, "labels": LABELS}
    await admin.post(pods, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    status = {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    await admin.patch(f"{pods}/{name}/status", {"status": status})
