# SPDX-License-Identifier: Apache-2.0
"""Pure: the expressions of the dashboard of the scaler."""

from __future__ import annotations

from typing import Final

from daemonset.monitoring.parts import CLUSTER

CHOSEN: Final = f'{CLUSTER},namespace=~"$namespace",deployment=~"$deployment"'
WORKLOAD: Final = "namespace, deployment, kind"
RUNNING: Final = f"gpu_scaler_leader{{{CLUSTER}}}"


def of_workload(metric: str) -> str:
    """Return the metric once for each Deployment, also while two replicas tell it."""
    return f"max by ({WORKLOAD}) ({metric}{{{CHOSEN}}})"


def of_target(metric: str, chosen: str = CHOSEN) -> str:
    """Return the metric once for each Deployment and each metric that it scales on."""
    return f"max by ({WORKLOAD}, metric) ({metric}{{{chosen}}})"


def with_outcome(outcome: str) -> str:
    """Return how many Deployments have this outcome, 0 while a scaler runs and none has."""
    return (
        f'sum(max by (cluster, outcome) (gpu_scaler_deployments{{{CLUSTER},outcome="{outcome}"}}))'
        f" or 0 * count({RUNNING})"
    )


def growth(metric: str, label: str) -> str:
    """Return by how much a counter grew between two points, by one of its labels."""
    return f"sum by ({label}) (increase({metric}{{{CLUSTER}}}[$__rate_interval]))"


def per_second(metric: str, labels: str) -> str:
    """Return the rate of a counter by some of its labels."""
    return f"sum by ({labels}) (rate({metric}{{{CLUSTER}}}[$__rate_interval]))"


def quantile(share: float, metric: str, by: str = "") -> str:
    """Return a quantile of a histogram, in its own unit."""
    labels = f"le, {by}" if by else "le"
    return (
        f"histogram_quantile({share}, sum by ({labels})"
        f" (rate({metric}_bucket{{{CLUSTER}}}[$__rate_interval])))"
    )
