# SPDX-License-Identifier: Apache-2.0
"""The part of the dashboard of the scaler about model servers: their requests, and their pages."""

from __future__ import annotations

from typing import Final

from daemonset.monitoring.parts import CLUSTER, Panel, graph
from daemonset.monitoring.scalerqueries import CHOSEN, of_target

REQUESTS: Final = f'{CHOSEN},metric=~"requests|requests_waiting"'
OF_SERVERS: Final = f'{CHOSEN},metric=~"requests|requests_waiting|kv_cache_percent|pod_metric"'
LEGEND: Final = "{{namespace}}/{{deployment}} {{metric}}"


def model_servers() -> list[Panel]:
    """Return the panels of model servers."""
    return [
        graph(
            "Requests per pod",
            "short",
            "Mean number of requests in the pods' servers, and its target.",
            {
                LEGEND: of_target("gpu_scaler_metric_value", REQUESTS),
                f"{LEGEND} target": of_target("gpu_scaler_metric_target", REQUESTS),
            },
            width=8,
        ),
        graph(
            "Pods without a value",
            "short",
            "Serving pods whose page gives no value. Their Deployment does not scale down;"
            " `gpu-scaler explain NAMESPACE/NAME` has the reason.",
            {LEGEND: f"{of_target('gpu_scaler_metric_missing_pods', OF_SERVERS)} > 0"},
            width=8,
        ),
        graph(
            "Failed reads of pages",
            "short",
            "Reads of pods' pages that failed, by result, in all namespaces.",
            {
                "{{result}}": "sum by (result) (increase("
                f'gpu_scaler_server_reads_total{{{CLUSTER},result!="success"}}'
                "[$__rate_interval]))"
            },
            width=8,
        ),
    ]
