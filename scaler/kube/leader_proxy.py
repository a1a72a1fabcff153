"""Reaching the acting scaler from outside: its Lease, then the API server's pod proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaler.kube.errors import ClusterError, NotFound

if TYPE_CHECKING:
    from scaler.kube.client import JsonObject, KubeClient


class NoLeaderError(ClusterError):
    """Nobody holds the Lease, so nobody can say what was decided."""


async def get_from_leader(
    client: KubeClient, path: str, *, lease_namespace: str, lease_name: str, port: int
) -> JsonObject:
    """GET `path` from the pod that holds the Lease, through the API server.

    The caller needs `get` on the Lease and on `pods/proxy` in its namespace, and no network path to
    the pod.

    Raises:
        NoLeaderError: there is no Lease, or nobody holds it.
        ApiError: the API server or the pod refused.
    """
    try:
        lease = await client.get(
            f"/apis/coordination.k8s.io/v1/namespaces/{lease_namespace}/leases/{lease_name}"
        )
    except NotFound as error:
        msg = (
            f"there is no Lease {lease_namespace}/{lease_name}: is the scaler installed in that"
            " namespace? (--lease-namespace, --lease-name)"
        )
        raise NoLeaderError(msg) from error
    holder = lease.get("spec", {}).get("holderIdentity")
    if not holder:
        msg = f"nobody holds the Lease {lease_namespace}/{lease_name}: no scaler is acting now"
        raise NoLeaderError(msg)
    pod = f"/api/v1/namespaces/{lease_namespace}/pods/{holder}:{port}"
    try:
        return await client.get(f"{pod}/proxy{path}")
    except NotFound as error:
        if "identity" in error.body:
            # The scaler's own answer, not the API server's: it says what it does not know.
            return dict(error.body)
        raise
