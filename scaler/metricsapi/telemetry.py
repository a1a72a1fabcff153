# SPDX-License-Identifier: Apache-2.0
"""The metrics API's own metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Telemetry:
    """Counters and gauges, added to a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Histogram(
            "gpu_scaler_metrics_api_request_duration_seconds",
            "Duration of requests for metrics or discovery, by HTTP status",
            ["code"],
            buckets=BUCKETS_SECONDS,
            registry=registry,
        )
        self.reads = Counter(
            "gpu_scaler_metrics_api_reads_total",
            "Reads of all requested values; error if a node or a query failed",
            ["result"],
            registry=registry,
        )
        self.client_errors = Counter(
            "gpu_scaler_metrics_api_client_errors_total",
            "Requests that were not valid HTTP, or whose client disconnected before the answer",
            registry=registry,
        )
        self.targets = Gauge(
            "gpu_scaler_metrics_api_targets",
            "Targets that clients have requested: a metric of a pod, node or namespace each",
            registry=registry,
        )
        self.certificate_expiry = Gauge(
            "gpu_scaler_metrics_api_certificate_expiry_timestamp_seconds",
            "Unix time of the expiry of the serving certificate",
            registry=registry,
        )
