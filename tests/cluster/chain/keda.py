# SPDX-License-Identifier: Apache-2.0
"""KEDA: its operator, and its metrics server behind the API server's aggregation layer."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from tests.cluster import tools
from tests.cluster.chain.aggregation import AggregatedApi, serving_api
from tests.cluster.processes import free_ports
from tests.cluster.tools import golang

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scaler.kube.client import KubeClient
    from tests.cluster.controlplane import ControlPlane

OPERATOR: Final = "keda-operator"
ADAPTER: Final = "keda-adapter"
OPERATOR_HOST: Final = "keda-operator.keda.svc"
API: Final = AggregatedApi(
    group="external.metrics.k8s.io",
    priorities={"v1beta1": 100},
    service={"namespace": "keda", "name": "keda-metrics-apiserver"},
)
# Endpoints on loopback are refused; an ExternalName that is an address is dialled as it is.
OBJECTS: Final = """
apiVersion: v1
kind: Namespace
metadata: {name: keda}
---
apiVersion: v1
kind: Service
metadata: {name: keda-metrics-apiserver, namespace: keda}
spec: {type: ExternalName, externalName: 127.0.0.1}
"""


@asynccontextmanager
async def running_keda(plane: ControlPlane, client: KubeClient) -> AsyncIterator[None]:
    """Run both at their defaults, as the admin; the body begins when the API server reaches them.

    Its admission webhooks are left out.
    """
    await asyncio.to_thread(_apply, plane)
    certificates = plane.files.folder / "keda"
    certificates.mkdir()
    issued = plane.issue("keda", hosts=[API.host, OPERATOR_HOST])
    for found, name in (
        (issued.certificate, "tls.crt"),
        (issued.key, "tls.key"),
        (plane.files.ca, "ca.crt"),
    ):
        shutil.copy(found, certificates / name)
    service, health, port, metrics = free_ports(4)
    environment = {
        "KUBECONFIG": str(plane.admin),
        "WATCH_NAMESPACE": "",
        "KEDA_CLUSTER_OBJECT_NAMESPACE": "keda",
        "POD_NAMESPACE": "keda",
    }
    plane.processes.start(
        OPERATOR,
        [
            plane.tool(OPERATOR),
            f"--cert-dir={certificates}",
            f"--metrics-service-bind-address=127.0.0.1:{service}",
            f"--health-probe-bind-address=127.0.0.1:{health}",
            "--metrics-bind-address=0",
        ],
        environment=environment,
    )
    try:
        plane.processes.start(
            ADAPTER,
            [
                plane.tool(ADAPTER),
                f"--cert-dir={certificates}",
                f"--tls-cert-file={certificates / 'tls.crt'}",
                f"--tls-private-key-file={certificates / 'tls.key'}",
                f"--metrics-service-address=127.0.0.1:{service}",
                f"--metrics-service-grpc-authority={OPERATOR_HOST}",
                f"--lister-kubeconfig={plane.admin}",
                f"--authentication-kubeconfig={plane.admin}",
                f"--authorization-kubeconfig={plane.admin}",
                "--bind-address=127.0.0.1",
                f"--secure-port={port}",
                f"--port={metrics}",
            ],
            environment=environment,
        )
        async with serving_api(plane, client, API, program=ADAPTER, port=port):
            yield
    finally:
        await asyncio.to_thread(plane.processes.stop, OPERATOR)


def _apply(plane: ControlPlane) -> None:
    """Make KEDA's kinds known, from its own release."""
    plane.apply(OBJECTS)
    source = golang.folder_of(tools.BY_NAME[OPERATOR])
    for file in sorted((source / "config" / "crd" / "bases").glob("*.yaml")):
        plane.apply(file)
