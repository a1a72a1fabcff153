# SPDX-License-Identifier: Apache-2.0
"""The lower half of the dashboard of the scaler: its loop, and its metrics API."""

from __future__ import annotations

from typing import Final

from daemonset.monitoring.parts import (
    BAD_ABOVE_0,
    CLUSTER,
    Query,
    Section,
    graph,
    number,
)
from daemonset.monitoring.scalerqueries import (
    RUNNING,
    growth,
    quantile,
)

INSTANCE: Final = "{{instance}}"


def loop() -> Section:
    """Return the panels of the loop."""
    rate = "[$__rate_interval]"
    return Section(
        title="Loop",
        panels=(
            graph(
                "Time of a loop",
                "s",
                "From its start to its last action.",
                Query(
                    expr=quantile(0.99, "gpu_scaler_loop_duration_seconds"),
                    legend="99th percentile",
                ),
                Query(expr=quantile(0.5, "gpu_scaler_loop_duration_seconds"), legend="median"),
                width=8,
            ),
            graph(
                "Time by part",
                "s",
                "99th percentile: plan (annotations), read (values), decide, act.",
                Query(
                    expr=quantile(0.99, "gpu_scaler_loop_stage_duration_seconds", "stage"),
                    legend="{{stage}}",
                ),
                width=8,
            ),
            graph(
                "Age of the readings",
                "s",
                "Age of the oldest value that the last loop used.",
                Query(expr=f"max(gpu_scaler_source_max_age_seconds{{{CLUSTER}}})", legend="oldest"),
                width=8,
            ),
            graph(
                "Reads",
                "ops",
                "Exporter scrapes or Prometheus queries per second.",
                Query(
                    expr="sum by (result)"
                    f" (rate(gpu_scaler_source_reads_total{{{CLUSTER}}}{rate}))",
                    legend="{{result}}",
                ),
                width=8,
            ),
            graph(
                "Answers of the Kubernetes API",
                "reqps",
                "By method and status; a watch counts once, at its start.",
                Query(
                    expr="sum by (method, code)"
                    f" (rate(gpu_scaler_api_requests_total{{{CLUSTER}}}{rate}))",
                    legend="{{method}} {{code}}",
                ),
                width=8,
            ),
            graph(
                "Loops that failed",
                "short",
                "Loops that ended in an unexpected error; see the log.",
                Query(expr=growth("gpu_scaler_loop_failures_total", "instance"), legend=INSTANCE),
                steps=BAD_ABOVE_0,
                width=8,
            ),
            graph(
                "CPU",
                "percentunit",
                "Of one core, by replica.",
                Query(
                    expr=f"rate(process_cpu_seconds_total{{{CLUSTER}}}{rate})"
                    f" and on (job, instance) {RUNNING}",
                    legend=INSTANCE,
                ),
            ),
            graph(
                "Memory",
                "bytes",
                "Resident, by replica.",
                Query(
                    expr=f"process_resident_memory_bytes{{{CLUSTER}}}"
                    f" and on (job, instance) {RUNNING}",
                    legend=INSTANCE,
                ),
            ),
        ),
    )


def metrics_api() -> Section:
    """Return the panels of the metrics API."""
    requests = "gpu_scaler_metrics_api_request_duration_seconds"
    rate = "[$__rate_interval]"
    return Section(
        title="Metrics API (--metrics-api)",
        panels=(
            graph(
                "Requests",
                "reqps",
                "By status.",
                Query(
                    expr=f"sum by (code) (rate({requests}_count{{{CLUSTER}}}{rate}))",
                    legend="{{code}}",
                ),
                width=8,
            ),
            graph(
                "Time to answer",
                "s",
                "Of requests for metrics or discovery.",
                Query(expr=quantile(0.99, requests), legend="99th percentile"),
                Query(expr=quantile(0.5, requests), legend="median"),
                width=8,
            ),
            graph(
                "Reads for the metrics API",
                "ops",
                "Reads of all requested values; error if a node or a query failed.",
                Query(
                    expr="sum by (result)"
                    f" (rate(gpu_scaler_metrics_api_reads_total{{{CLUSTER}}}{rate}))",
                    legend="{{result}}",
                ),
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
        ),
    )
