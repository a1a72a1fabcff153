# SPDX-License-Identifier: Apache-2.0
"""Pure: the settings of the metrics API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scaler.metricsapi.names import ServedMetric


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsApiSettings:
    """Listener, Service, certificate and registration; durations in seconds.

    The serving certificate is that of `cert_file` and `key_file`; without them the scaler generates
    one and stores it in the Secret. `ca_file` becomes the caBundle of the APIServices; without it
    the scaler leaves their caBundle unchanged. `aliases` are other names of metrics.
    """

    listen_host: str = ""
    listen_port: int = 6443
    service_namespace: str = "gpu-scaler"
    service_name: str = "gpu-metrics-api"
    service_port: int = 443
    secret_name: str = "gpu-metrics-api"
    cert_file: str | None = None
    key_file: str | None = None
    ca_file: str | None = None
    register: bool = True
    interval_seconds: float = 5.0
    aliases: tuple[ServedMetric, ...] = ()

    def hosts(self) -> tuple[str, ...]:
        """Return the names that the serving certificate is for."""
        host = f"{self.service_name}.{self.service_namespace}.svc"
        return host, f"{host}.cluster.local"
