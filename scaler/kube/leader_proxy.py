# SPDX-License-Identifier: Apache-2.0
"""Requests to the leader's pod through the API server's pod proxy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scaler.budgets import clipped
from scaler.kube.errors import ClusterError, NotFound, ServerError, Unauthorized
from scaler.kube.fields import is_name
from scaler.kube.lease import PAGE_ANNOTATION

if TYPE_CHECKING:
    from scaler.kube.client import JsonObject, KubeClient

DEFAULT_PORT = 9446
MAX_PAGE_BYTES = 64 * 2**20
"""Decisions take about 2 KB per Deployment."""


class NoLeaderError(ClusterError):
    """No replica holds the Lease, so there are no decisions."""


class LeaderNotAPodError(ClusterError):
    """The Lease's holder cannot be a pod, so the API server has no way to it."""


class PageProtectedError(ClusterError):
    """The page wants a password or a certificate, which the pod proxy does not pass on."""

    def __init__(self, why: str, *, namespace: str, pod: str, scheme: str, port: int) -> None:
        super().__init__(
            f"the status page of {namespace}/{pod} {why}. Run 'kubectl -n {namespace} port-forward"
            f" pod/{pod} {port}' and ask with --server {scheme}://localhost:{port}; --help lists"
            " the flags for passwords and certificates"
        )


async def get_from_leader(
    client: KubeClient,
    path: str,
    *,
    lease_namespace: str,
    lease_name: str,
    port: int | None = None,
) -> JsonObject:
    """GET `path` from the pod that holds the Lease, through the API server.

    The Lease says by which scheme and at which port the pod answers; `port` is another one. The
    caller needs `get` on the Lease and on `pods/proxy` in its namespace, and no network path to
    the pod. The API server verifies no certificate of the pod, but it proxies only to pods of this
    namespace, by name. Whoever can write the Lease could otherwise lead to any path of the API.

    Raises:
        NoLeaderError: there is no Lease, or nobody holds it.
        LeaderNotAPodError: the holder's identity is not the name of a pod.
        PageProtectedError: the pod wants a password or a client certificate.
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
    holder = _mapping(lease, "spec").get("holderIdentity")
    if not holder:
        msg = f"nobody holds the Lease {lease_namespace}/{lease_name}: no scaler is acting now"
        raise NoLeaderError(msg)
    if not isinstance(holder, str) or not is_name(holder):
        msg = (
            f"the Lease {lease_namespace}/{lease_name} is held by {clipped(repr(holder), 100)},"
            " which is not the name of a pod: pass the scaler's address with --server"
        )
        raise LeaderNotAPodError(msg)
    scheme, found_port = _page(lease, holder)
    port = port or found_port
    name = f"{holder}:{port}" if scheme == "http" else f"{scheme}:{holder}:{port}"
    pod = f"/api/v1/namespaces/{lease_namespace}/pods/{name}"
    try:
        return await client.get(f"{pod}/proxy{path}", max_bytes=MAX_PAGE_BYTES)
    except NotFound as error:
        if "identity" in error.body:
            # This 404 is the scaler's response, with its reason, and not the API server's.
            return dict(error.body)
        raise
    except Unauthorized as error:
        if error.body:
            # A Status: it is the API server that does not accept us.
            raise
        why = "asks for a password, which the Kubernetes API does not pass on"
    except ServerError as error:
        if scheme == "http" or "error trying to reach service" not in error.message:
            raise
        why = (
            f"did not answer the Kubernetes API over TLS ({error.message}); if it demands client"
            " certificates, the Kubernetes API has none for it"
        )
    raise PageProtectedError(why, namespace=lease_namespace, pod=holder, scheme=scheme, port=port)


def _page(lease: JsonObject, holder: str) -> tuple[str, int]:
    """Return the scheme and the port of the holder's page, the defaults where it is not told."""
    annotations = _mapping(_mapping(lease, "metadata"), "annotations")
    # One that an earlier holder left names that one.
    pattern = rf"(https?):{re.escape(holder)}:([0-9]{{1,5}})"
    found = re.fullmatch(pattern, str(annotations.get(PAGE_ANNOTATION, "")))
    if found is None or not 0 < int(found[2]) <= 65535:
        return "http", DEFAULT_PORT
    return found[1], int(found[2])


def _mapping(thing: JsonObject, key: str) -> JsonObject:
    found = thing.get(key)
    return found if isinstance(found, dict) else {}
