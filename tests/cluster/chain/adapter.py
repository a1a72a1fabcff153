# SPDX-License-Identifier: Apache-2.0
"""Prometheus Adapter, with the rules that we ship, behind the API server's aggregation layer."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.cluster.chain.aggregation import AggregatedApi, serving_api
from tests.cluster.processes import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scaler.kube.client import KubeClient
    from tests.cluster.controlplane import ControlPlane

RULES_FILE: Final = Path(__file__).parents[3] / "daemonset" / "prometheus-adapter-rules.yaml"
ACCOUNT: Final = "monitoring/prometheus-adapter"
API: Final = AggregatedApi(
    group="custom.metrics.k8s.io",
    priorities={"v1beta1": 100, "v1beta2": 200},
    service={"namespace": "monitoring", "name": "prometheus-adapter"},
)


@asynccontextmanager
async def running_adapter(
    plane: ControlPlane,
    client: KubeClient,
    name: str,
    *,
    prometheus_url: str,
    rules: Path = RULES_FILE,
    flags: tuple[str, ...] = (),
) -> AsyncIterator[None]:
    """Run the adapter and register its API; the body begins when the API server reaches it.

    `name` is that of its log and certificate.
    """
    kubeconfig = await asyncio.to_thread(plane.kubeconfig_for, ACCOUNT)
    serving = plane.issue(name, hosts=[API.host])
    (port,) = free_ports(1)
    plane.processes.start(
        name,
        [
            plane.tool("prometheus-adapter"),
            f"--config={rules}",
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
    async with serving_api(plane, client, API, program=name, port=port):
        yield
