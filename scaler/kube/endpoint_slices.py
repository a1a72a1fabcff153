# SPDX-License-Identifier: Apache-2.0
"""Whether a Service has a ready endpoint.

Source: https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scaler.kube.client import KubeClient


async def has_ready_endpoint(client: KubeClient, *, namespace: str, service: str) -> bool:
    """Return whether a Service has a ready endpoint; raises ApiError.

    A terminating pod is not ready; a restarting container may still count as ready.
    """
    listed = await client.list_(
        f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
        params={"labelSelector": f"kubernetes.io/service-name={service}"},
    )
    return any(
        # By the API's definition an unset condition means ready.
        (endpoint.get("conditions") or {}).get("ready") is not False
        for one in listed["items"]
        for endpoint in one.get("endpoints") or ()
    )
