# SPDX-License-Identifier: Apache-2.0
"""`gpu-scaler status` through a real API server's pod proxy, however the page is protected."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from scaler.kube.leader_proxy import PageProtectedError, get_from_leader
from scaler.kube.lease import LeaseElection
from tests.cluster.certificates import Authority
from tests.exporterweb import WebFile, hashed
from tests.ownaddress import own_address
from tests.statuspage import IDENTITY, Scene, decision, status_page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scaler.kube.client import KubeClient

NAMESPACE = "default"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/gpu-scaler"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"

# API servers ask no pod at a loopback address.
pytestmark = pytest.mark.needs("network")


@pytest.fixture
async def pod(admin: KubeClient) -> AsyncIterator[None]:
    """A pod whose address is this machine's."""
    await admin.post(
        PODS,
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": IDENTITY},
            "spec": {"containers": [{"name": "scaler", "image": "none"}]},
        },
    )
    address = own_address()
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
    await admin.patch(f"{PODS}/{IDENTITY}/status", {"status": status})
    yield
    await admin.delete(f"{PODS}/{IDENTITY}", body={"gracePeriodSeconds": 0})
    await admin.delete(LEASE)


@asynccontextmanager
async def leading(admin: KubeClient, config_file: str) -> AsyncIterator[None]:
    """Serve the page of the pod, which holds the Lease, while the context lasts."""
    scene = Scene()
    scene.decide(decision())
    async with status_page(scene, host="0.0.0.0", config_file=config_file) as url:
        scheme, _, rest = url.partition("://")
        election = LeaseElection(admin, namespace=NAMESPACE, name="gpu-scaler", identity=IDENTITY)
        election.page = lambda: (scheme, int(rest.rpartition(":")[2]))
        assert await election.try_once()
        yield
        await election.release()


@pytest.mark.usefixtures("pod")
async def test_however_the_page_is_protected(admin, tmp_path):
    file = WebFile(tmp_path, Authority(tmp_path, "ca"))

    async def ask() -> dict[str, object]:
        return await get_from_leader(
            admin, "/api/v1/decisions", lease_namespace=NAMESPACE, lease_name="gpu-scaler"
        )

    async with leading(admin, ""):
        assert (await ask())["identity"] == IDENTITY
    file.write(tls_server_config=file.tls)
    async with leading(admin, str(file.path)):
        assert (await ask())["identity"] == IDENTITY
    file.write(tls_server_config=file.tls, basic_auth_users={"us": hashed("secret")})
    async with leading(admin, str(file.path)):
        with pytest.raises(PageProtectedError, match="asks for a password"):
            await ask()
    verified = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.crt"}
    file.write(tls_server_config=file.tls | verified)
    async with leading(admin, str(file.path)):
        with pytest.raises(PageProtectedError, match="demands client certificates"):
            await ask()
