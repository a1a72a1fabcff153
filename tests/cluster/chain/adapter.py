"""Prometheus Adapter with the rules that we ship, behind the API server's aggregation layer."""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp

from scaler.kube.errors import NotFound
from tests.cluster.processes import free_ports
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scaler.kube.client import KubeClient
    from tests.cluster.controlplane import ControlPlane

RULES_FILE: Final = Path(__file__).parents[3] / "daemonset" / "prometheus-adapter-rules.yaml"
ACCOUNT: Final = "monitoring/prometheus-adapter"
SERVICE: Final = {"namespace": "monitoring", "name": "prometheus-adapter"}
GROUP: Final = "custom.metrics.k8s.io"
PRIORITIES: Final = {"v1beta1": 100, "v1beta2": 200}
API_SERVICES: Final = "/apis/apiregistration.k8s.io/v1/apiservices"
START_SECONDS: Final = 90.0
# An API that was not available is looked at again only every 30 s.
AVAILABLE_SECONDS: Final = 90.0


@asynccontextmanager
async def running_adapter(
    plane: ControlPlane,
    client: KubeClient,
    name: str,
    *,
    prometheus_url: str,
    flags: tuple[str, ...] = (),
) -> AsyncIterator[None]:
    """Run the adapter and register its API; the body begins when the API server reaches it.

    At the end the API is taken away again: while it is registered and nobody answers, namespaces
    cannot be deleted. `name` is that of its log and certificate.
    """
    kubeconfig = await asyncio.to_thread(plane.kubeconfig_for, ACCOUNT)
    # The API server asks for the certificate of the Service's name, whatever address it dials.
    serving = plane.issue(name, hosts=[f"{SERVICE['name']}.{SERVICE['namespace']}.svc"])
    (port,) = free_ports(1)
    plane.processes.start(
        name,
        [
            plane.tool("prometheus-adapter"),
            f"--config={RULES_FILE}",
            f"--prometheus-url={prometheus_url}",
            f"--lister-kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.key}",
            *flags,
        ],
    )
    try:
        await until(
            lambda: _is_ready(port),
            deadline_seconds=START_SECONDS,
            what=f"the adapter is ready; its log is {plane.processes.log_file(name)}",
        )
        for version in PRIORITIES:
            thing = _api_service(version, port, plane.files.ca.read_bytes())
            await client.post(API_SERVICES, thing)
        try:
            for version in PRIORITIES:
                await until(
                    lambda version=version: _is_available(client, version),  # type: ignore[misc]
                    deadline_seconds=AVAILABLE_SECONDS,
                    what=f"{version}.{GROUP} is available",
                )
            yield
        finally:
            for version in PRIORITIES:
                with suppress(NotFound):
                    await client.delete(f"{API_SERVICES}/{version}.{GROUP}")
    finally:
        await asyncio.to_thread(plane.processes.stop, name)


async def _is_ready(port: int) -> bool:
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"https://127.0.0.1:{port}/readyz", ssl=False) as response,
        ):
            return response.status == 200
    except aiohttp.ClientError:
        return False


def _api_service(version: str, port: int, authority: bytes) -> dict[str, object]:
    return {
        "metadata": {"name": f"{version}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "version": version,
            "groupPriorityMinimum": 100,
            "versionPriority": PRIORITIES[version],
            "caBundle": base64.b64encode(authority).decode(),
            "service": {**SERVICE, "port": port},
        },
    }


async def _is_available(client: KubeClient, version: str) -> bool:
    found = await client.get(f"{API_SERVICES}/{version}.{GROUP}")
    return any(
        condition["type"] == "Available" and condition["status"] == "True"
        for condition in found.get("status", {}).get("conditions", [])
    )
