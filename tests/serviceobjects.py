# SPDX-License-Identifier: Apache-2.0
"""Services with their pods and EndpointSlices, as the real control plane would write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scaler.kube.client import KubeClient

LABELS = {"app": "gateway"}


def service(name: str = "gateway", **spec: Any) -> dict[str, Any]:
    """A Service with port 80 (http) that selects `LABELS`."""
    ports = [{"name": "http", "port": 80, "targetPort": 8000, "protocol": "TCP"}]
    return {"metadata": {"name": name}, "spec": {"selector": LABELS, "ports": ports, **spec}}


def pod(name: str, address: str, **spec: Any) -> dict[str, Any]:
    """A running pod with `LABELS` at an address."""
    return {
        "metadata": {"name": name, "namespace": "default", "labels": LABELS},
        "spec": {"containers": [{"name": "c", "image": "i"}], **spec},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    }


def endpoint(
    pod_name: str, address: str, conditions: Mapping[str, bool | None] | None = None
) -> dict[str, Any]:
    """An endpoint that is a pod of namespace default."""
    return {
        "addresses": [address],
        "conditions": {"ready": True} if conditions is None else dict(conditions),
        "targetRef": {"kind": "Pod", "namespace": "default", "name": pod_name},
    }


def endpoint_slice(
    *endpoints: dict[str, Any],
    name: str = "gateway-1",
    of: str = "gateway",
    port: int | None = 8000,
    port_name: str = "http",
) -> dict[str, Any]:
    """An EndpointSlice of a Service with one port."""
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": of}},
        "addressType": "IPv4",
        "ports": [{"name": port_name, "port": port, "protocol": "TCP"}],
        "endpoints": list(endpoints),
    }


CORE = "/api/v1/namespaces/default"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


async def create(
    client: KubeClient,
    *pods: dict[str, Any],
    services: Sequence[dict[str, Any]] = (),
    slices: Sequence[dict[str, Any]] = (),
) -> None:
    """Create all of these in namespace default."""
    for one in pods:
        name = one["metadata"]["name"]
        await client.post(f"{CORE}/pods", one)
        await client.patch(f"{CORE}/pods/{name}/status", {"status": one["status"]})
    for one in services:
        await client.post(f"{CORE}/services", one)
    for one in slices:
        await client.post(SLICES, one)
