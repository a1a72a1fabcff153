# SPDX-License-Identifier: Apache-2.0
"""The aggregated APIs of a real API server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scaler.kube.errors import NotFound, ServerError

if TYPE_CHECKING:
    from scaler.kube.client import KubeClient

API_SERVICES: Final = "/apis/apiregistration.k8s.io/v1/apiservices"


async def is_available(client: KubeClient, group: str, version: str) -> bool:
    """Whether the API server reaches who serves a version of a group, and sends requests there."""
    try:
        found = await client.get(f"{API_SERVICES}/{version}.{group}")
        # Its proxy hears what the object says a moment later than those who read the object.
        await client.get(f"/apis/{group}/{version}")
    except (NotFound, ServerError):
        return False
    return any(
        condition["type"] == "Available" and condition["status"] == "True"
        for condition in found.get("status", {}).get("conditions", [])
    )
