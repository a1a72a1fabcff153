# SPDX-License-Identifier: Apache-2.0
"""The metrics API as shipped, on a test bed whose API server may dial only loopback addresses."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from tests.cluster import api_services
from tests.cluster.api_services import API_SERVICES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scaler.kube.client import KubeClient
    from tests.cluster.controlplane import ControlPlane
    from tests.running import ScalerProcess

    JsonObject = dict[str, Any]

FILE: Final = Path(__file__).parents[3] / "daemonset" / "custom-metrics.yaml"
ACCOUNT: Final = "gpu-scaler/gpu-scaler"
SERVICE: Final = "gpu-metrics-api"
HOST: Final = f"{SERVICE}.gpu-scaler.svc"
GROUP: Final = "custom.metrics.k8s.io"
API: Final = f"/apis/{GROUP}"
# Endpoints on loopback are refused; an ExternalName that is an address is dialled as it is.
LOCAL_SERVICE: Final = f"""
apiVersion: v1
kind: Service
metadata: {{name: {SERVICE}, namespace: gpu-scaler}}
spec: {{type: ExternalName, externalName: 127.0.0.1}}
"""


def install(plane: ControlPlane) -> None:
    """Apply the manifest, with another Service."""
    plane.apply(FILE)
    done = plane.kubectl("replace", "--force", "-f", "-", stdin=LOCAL_SERVICE)
    assert done.returncode == 0, done.stderr


def uninstall(plane: ControlPlane) -> None:
    """Delete what was applied, as the page says."""
    done = plane.kubectl("delete", "--ignore-not-found", "--wait=false", "-f", FILE)
    assert done.returncode == 0, done.stderr


def flags(port: int, *, service_port: int | None = None) -> tuple[str, ...]:
    """Return the flags of a replica that listens there."""
    return (
        "--metrics-api",
        f"--metrics-api.listen-address=127.0.0.1:{port}",
        f"--metrics-api.service-port={service_port or port}",
        "--metrics-api.interval=500ms",
        "--metrics-api.alias=DCGM_FI_DEV_GPU_UTIL=duty_cycle_current",
    )


async def is_ready(process: ScalerProcess) -> bool:
    """Whether a replica says so itself."""
    return await process.text("/readyz") == "ok\n"


async def is_available(client: KubeClient, version: str) -> bool:
    """Whether the API server sends requests to who serves a version."""
    return await api_services.is_available(client, GROUP, version)


async def are_gone(client: KubeClient) -> bool:
    """Whether no APIService of the group is left."""
    listed = await client.list_(API_SERVICES)
    return not any(one["spec"].get("group") == GROUP for one in listed["items"])


@asynccontextmanager
async def direct(plane: ControlPlane, port: int) -> AsyncIterator[Direct]:
    """Ask a replica itself, as the admin: by client certificate, past the API server."""
    tls = ssl.create_default_context()
    # Whom it shows is seen to by the API server in the other tests.
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    tls.load_cert_chain(plane.files.admin.certificate, plane.files.admin.key)
    connector = aiohttp.TCPConnector(ssl=tls)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Direct(session, f"https://127.0.0.1:{port}")


class Direct:
    """One replica's answers."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def get(self, path: str) -> tuple[int, JsonObject]:
        """Return status and document; 0 and nothing while it does not answer."""
        try:
            async with self._session.get(self._url + path) as answer:
                document: JsonObject = await answer.json(content_type=None)
                return answer.status, document
        except (aiohttp.ClientError, ValueError):
            return 0, {}
