"""Whether anybody is ready behind a Service.

Source: https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scaler.kube.client import KubeClient


async def has_ready_endpoint(client: KubeClient, *, namespace: str, service: str) -> bool:
    """Return whether a Service has an endpoint that requests are led to; raises ApiError.

    A pod that is being deleted is none, a container that is only started anew still is one.
    """
    listed = await client.list_(
        f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
        params={"labelSelector": f"kubernetes.io/service-name={service}"},
    )
    return any(
        # As the API has it: what nobody has said counts as ready.
        (endpoint.get("conditions") or {}).get("ready") is not False
        for one in listed["items"]
        for endpoint in one.get("endpoints") or ()
    )
