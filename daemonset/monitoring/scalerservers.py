# SPDX-License-Identifier: Apache-2.0
"""The part of the dashboard of the scaler about model servers: their requests, and their pages."""

from __future__ import annotations

from typing import Final

from daemonset.monitoring.parts import CLUSTER, Query, Section, graph
from daemonset.monitoring.scalerqueries import CHOSEN, WORKLOAD

REQUESTS: Final = f'{CHOSEN},metric=~"requests|requests_waiting"'
OF_SERVERS: Final = f'{CHOSEN},metric=~"requests|requests_waiting|kv_cache_percent|pod_metric"'
LEGEND: Final = "{{namespace}}/{{deployment}} {{metric}}"


def model_servers() -> Section:
    """Return the panels of model servers."""
    return Section(
        title="Model servers",
        panels=(
            graph(
                "Requests per pod",
                "short",
                "Mean number of requests in the pods' servers, and its target.",
                Query(
                    expr=f"max by ({WORKLOAD}, metric) (gpu_scaler_metric_value{{{REQUESTS}}})",
                    legend=LEGEND,
                ),
                Query(
                    expr=f"max by ({WORKLOAD}, metric) (gpu_scaler_metric_target{{{REQUESTS}}})",
                    legend=f"{LEGEND} target",
                ),
                width=8,
            ),
            graph(
                "Pods without a value",
                "short",
                "Serving pods whose page gives no value. Their Deployment does not scale down;"
                " `gpu-scaler explain NAMESPACE/NAME` has the reason.",
                Query(
                    expr=f"max by ({WORKLOAD}, metric)"
                    f" (gpu_scaler_metric_missing_pods{{{OF_SERVERS}}}) > 0",
                    legend=LEGEND,
                ),
                width=8,
            ),
            graph(
                "Failed reads of pages",
                "short",
                "Reads of pods' pages that failed, by result, in all namespaces.",
                Query(
                    expr="sum by (result) (increase("
                    f'gpu_scaler_server_reads_total{{{CLUSTER},result!="success"}}'
                    "[$__rate_interval]))",
                    legend="{{result}}",
                ),
                width=8,
            ),
        ),
    )
