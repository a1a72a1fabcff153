# SPDX-License-Identifier: Apache-2.0
"""The lower half of the dashboard of the scaler: its loop, and its metrics API."""

from __future__ import annotations

from typing import Final

from daemonset.monitoring.parts import BAD_ABOVE_0, CLUSTER, Panel, graph, number
from daemonset.monitoring.scalerqueries import RUNNING, growth, per_second, quantile

INSTANCE: Final = "{{instance}}"


def loop() -> list[Panel]:
    """Return the panels of the loop."""
    return [
        graph(
            "Time of a loop",
            "s",
            "From its start to its last action.",
            {
                "99th percentile": quantile(0.99, "gpu_scaler_loop_duration_seconds"),
                "median": quantile(0.5, "gpu_scaler_loop_duration_seconds"),
            },
            width=8,
        ),
        graph(
            "Time by part",
            "s",
            "99th percentile: plan (annotations), read (values), decide, act.",
            {"{{stage}}": quantile(0.99, "gpu_scaler_loop_stage_duration_seconds", "stage")},
            width=8,
        ),
        graph(
            "Age of the readings",
            "s",
            "Age of the oldest value that the last loop used.",
            {"oldest": f"max(gpu_scaler_source_max_age_seconds{{{CLUSTER}}})"},
            width=8,
        ),
        graph(
            "Reads",
            "ops",
            "Exporter scrapes or Prometheus queries per second.",
            {"{{result}}": per_second("gpu_scaler_source_reads_total", "result")},
            width=8,
        ),
        graph(
            "Answers of the Kubernetes API",
            "reqps",
            "By method and status; a watch counts once, at its start.",
            {"{{method}} {{code}}": per_second("gpu_scaler_api_requests_total", "method, code")},
            width=8,
        ),
        graph(
            "Loops that failed",
            "short",
            "Loops that ended in an unexpected error; see the log.",
            {INSTANCE: growth("gpu_scaler_loop_failures_total", "instance")},
            steps=BAD_ABOVE_0,
            width=8,
        ),
        graph(
            "CPU",
            "percentunit",
            "Of one core, by replica.",
            {
                INSTANCE: f"rate(process_cpu_seconds_total{{{CLUSTER}}}[$__rate_interval])"
                f" and on (job, instance) {RUNNING}"
            },
        ),
        graph(
            "Memory",
            "bytes",
            "Resident, by replica.",
            {
                INSTANCE: f"process_resident_memory_bytes{{{CLUSTER}}}"
                f" and on (job, instance) {RUNNING}"
            },
        ),
    ]


def metrics_api() -> list[Panel]:
    """Return the panels of the metrics API."""
    requests = "gpu_scaler_metrics_api_request_duration_seconds"
    return [
        graph(
            "Requests",
            "reqps",
            "By status.",
            {"{{code}}": per_second(f"{requests}_count", "code")},
            width=8,
        ),
        graph(
            "Time to answer",
            "s",
            "Of requests for metrics or discovery.",
            {"99th percentile": quantile(0.99, requests), "median": quantile(0.5, requests)},
            width=8,
        ),
        graph(
            "Reads for the metrics API",
            "ops",
            "Reads of all requested values; error if a node or a query failed.",
            {"{{result}}": per_second("gpu_scaler_metrics_api_reads_total", "result")},
            width=8,
        ),
        number(
            "Certificate ends in",
            "s",
            "The earliest expiry of a serving certificate over all replicas.",
            "min(gpu_scaler_metrics_api_certificate_expiry_timestamp_seconds"
            f"{{{CLUSTER}}} > 0) - time()",
            steps=((None, "red"), (7 * 86400, "orange"), (14 * 86400, "green")),
            width=6,
        ),
        number(
            "Values asked for",
            "short",
            "Targets that clients have requested: a metric of a pod, node or namespace each.",
            f"max(gpu_scaler_metrics_api_targets{{{CLUSTER}}})",
            width=6,
        ),
    ]
