# SPDX-License-Identifier: Apache-2.0
"""How long a deleted namespace stays while nobody serves the metrics API, beside metrics-server.

On the test bed's real control plane an empty namespace is deleted once the API server has seen that
nobody answers; whoever served answers again 24 s after that. The scaler is the real one, killed or
told to end. So is metrics-server, killed, with an APIService as in its manifest. It has no kubelets
to read, and answers all the same: what holds a namespace is the APIService.

An API server looks at an APIService again when the endpoints of its Service change. The test bed's
Service has none, so that it is changed itself once somebody answers, whoever that is.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.report import Figure, publish
from scaler.kube.client import KubeClient
from tests.cluster.api_services import API_SERVICES
from tests.cluster.controlplane import ControlPlane, running_control_plane
from tests.cluster.hpa import namespace_is_gone
from tests.cluster.metricsapi import installing
from tests.cluster.processes import free_ports
from tests.running import running_scaler
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from tests.running import ScalerProcess

NAMESPACES: Final = "/api/v1/namespaces"
SERVICE: Final = f"/api/v1/namespaces/gpu-scaler/services/{installing.SERVICE}"
RESOURCE_METRICS: Final = "v1beta1.metrics.k8s.io"
OURS: Final = tuple(f"{version}.{installing.GROUP}" for version in ("v1beta1", "v1beta2"))
AWAY_SECONDS: Final = 24.0
START_SECONDS: Final = 3.5
METRICS_SERVER_START_SECONDS: Final = 1.5
"""What each needs from its start to its first answer."""
GONE_SECONDS: Final = 150.0
REPETITIONS: Final = 4


def main() -> None:
    """Measure all and publish."""
    with (
        tempfile.TemporaryDirectory(prefix="namespaces-") as folder,
        running_control_plane(Path(folder)) as plane,
    ):
        taken = asyncio.run(_run(plane))
    publish(
        "namespaces",
        [
            Figure(bar=f"{what}: {which}", value=value, unit="s", limit=None)
            for what, found in taken.items()
            for which, value in (("least", min(found)), ("most", max(found)))
        ],
    )


async def _run(plane: ControlPlane) -> dict[str, list[float]]:
    await asyncio.to_thread(plane.install)
    await asyncio.to_thread(installing.install, plane)
    async with await KubeClient.load(str(plane.admin)) as client:
        bench = _Bench(plane, client)
        rows = {
            "no such API": bench.without,
            "the scaler serves": bench.served,
            "the scaler's last replica was told to end": bench.ended,
            f"the scaler was killed, answers again after {AWAY_SECONDS:g} s": bench.killed,
            f"metrics-server was killed, answers again after {AWAY_SECONDS:g} s": (
                bench.metrics_server_killed
            ),
        }
        return {
            what: [await measure() for _ in range(REPETITIONS)] for what, measure in rows.items()
        }


class _Bench:
    def __init__(self, plane: ControlPlane, client: KubeClient) -> None:
        self._plane = plane
        self._client = client
        (self._port,) = free_ports(1)

    async def without(self) -> float:
        return await self._until_gone(await self._deleted())

    async def served(self) -> float:
        async with self._scaler() as scaler:
            await self._serves(scaler)
            return await self._until_gone(await self._deleted())

    async def ended(self) -> float:
        async with self._scaler() as scaler:
            await self._serves(scaler)
        return await self._until_gone(await self._deleted())

    async def killed(self) -> float:
        async with self._scaler() as scaler:
            await self._serves(scaler)
            scaler.process.kill()
        await self._until_available(*OURS, available=False)
        deleted = await self._deleted()
        await asyncio.sleep(AWAY_SECONDS - START_SECONDS)
        async with self._scaler() as scaler:
            await until(lambda: installing.is_ready(scaler), deadline_seconds=30)
            await self._service_changes()
            return await self._until_gone(deleted)

    async def metrics_server_killed(self) -> float:
        (port,) = free_ports(1)
        await self._client.post(API_SERVICES, _resource_metrics(port))
        try:
            async with self._metrics_server(port):
                await self._until_available(RESOURCE_METRICS)
            await self._until_available(RESOURCE_METRICS, available=False)
            deleted = await self._deleted()
            await asyncio.sleep(AWAY_SECONDS - METRICS_SERVER_START_SECONDS)
            async with self._metrics_server(port):
                await self._service_changes()
                return await self._until_gone(deleted)
        finally:
            await self._client.delete(f"{API_SERVICES}/{RESOURCE_METRICS}")

    def _scaler(self) -> AbstractAsyncContextManager[ScalerProcess]:
        kubeconfig = self._plane.kubeconfig_for(installing.ACCOUNT)
        return running_scaler(kubeconfig, "--no-leader-elect", *installing.flags(self._port))

    async def _serves(self, scaler: ScalerProcess) -> None:
        await until(lambda: installing.is_ready(scaler), deadline_seconds=30)
        await self._until_available(*OURS)

    async def _until_available(self, *names: str, available: bool = True) -> None:
        async def are_so() -> bool:
            listed = await self._client.list_(API_SERVICES)
            found = {
                one["metadata"]["name"]: condition["status"] == "True"
                for one in listed["items"]
                for condition in one.get("status", {}).get("conditions", ())
                if condition["type"] == "Available"
            }
            return all(found.get(name) is available for name in names)

        await until(are_so, deadline_seconds=60, what=f"{names} available: {available}")

    async def _service_changes(self) -> None:
        annotations = {"example.com/changed": uuid.uuid4().hex}
        await self._client.patch(SERVICE, {"metadata": {"annotations": annotations}})

    async def _deleted(self) -> tuple[str, float]:
        name = f"to-go-{uuid.uuid4().hex[:8]}"
        await self._client.post(NAMESPACES, {"metadata": {"name": name}})
        await self._client.delete(f"{NAMESPACES}/{name}")
        return name, time.monotonic()

    async def _until_gone(self, deleted: tuple[str, float]) -> float:
        name, at = deleted
        await until(
            lambda: namespace_is_gone(self._client, name),
            deadline_seconds=GONE_SECONDS,
            what="the namespace has gone",
        )
        return time.monotonic() - at

    @asynccontextmanager
    async def _metrics_server(self, port: int) -> AsyncIterator[None]:
        """Run it while the context lasts, at whose end it is killed."""
        plane, name = self._plane, "metrics-server"
        issued = plane.issue(name, hosts=[installing.HOST])
        plane.processes.start(
            name,
            [
                plane.tool(name),
                *("--bind-address=127.0.0.1", f"--secure-port={port}"),
                f"--tls-cert-file={issued.certificate}",
                f"--tls-private-key-file={issued.key}",
                f"--kubeconfig={plane.admin}",
                f"--authentication-kubeconfig={plane.admin}",
                f"--authorization-kubeconfig={plane.admin}",
            ],
        )
        try:
            async with installing.direct(plane, port) as replica:

                async def answers() -> bool:
                    return (await replica.get("/apis/metrics.k8s.io/v1beta1"))[0] == 200

                await until(answers, deadline_seconds=30, what=f"{name} answers")
            yield
        finally:
            plane.processes.stop(name, grace_seconds=0)


def _resource_metrics(port: int) -> dict[str, Any]:
    return {
        "metadata": {"name": RESOURCE_METRICS},
        "spec": {
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"namespace": "gpu-scaler", "name": installing.SERVICE, "port": port},
        },
    }


if __name__ == "__main__":
    main()
