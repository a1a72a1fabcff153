# SPDX-License-Identifier: Apache-2.0
"""The dashboard of the scaler: its decisions per Deployment, and its own health."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from daemonset.monitoring.parts import (
    CLUSTER,
    NOTED_ABOVE_0,
    Column,
    Key,
    Panel,
    assemble,
    choice,
    field,
    graph,
    link_to,
    number,
    table,
)
from daemonset.monitoring.scalerloop import loop, metrics_api
from daemonset.monitoring.scalerqueries import (
    CHOSEN,
    RUNNING,
    WORKLOAD,
    growth,
    of_target,
    of_workload,
    with_outcome,
)
from daemonset.monitoring.scalerservers import model_servers

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard

UID: Final = "gpu-scaler"
LEGEND: Final = "{{namespace}}/{{deployment}}"


def overview() -> list[Panel]:
    """Return the panels of the scaler's health."""
    return [
        number(
            "Replicas of the scaler",
            "short",
            "Replicas that Prometheus can scrape.",
            f"count({RUNNING})",
            steps=((None, "red"), (1, "orange"), (2, "green")),
        ),
        number(
            "Leaders",
            "short",
            "Replicas that lead: exactly one, or none for a few seconds of a takeover.",
            f"sum({RUNNING})",
            steps=((None, "red"), (1, "green"), (2, "red")),
        ),
        number(
            "Time since the last loop",
            "s",
            "Since the leader's last loop that made decisions. It grows while the scaler"
            " cannot reach the Kubernetes API and holds all Deployments.",
            f"min(time() - gpu_scaler_last_loop_timestamp_seconds{{{CLUSTER}}}"
            f" and on (job, instance) {RUNNING} == 1)",
            steps=((None, "green"), (30, "orange"), (60, "red")),
        ),
        number(
            "Scaling",
            "short",
            "Whether the annotation gpu-scaler/paused on the Lease stops all scaling.",
            f"max(gpu_scaler_stopped{{{CLUSTER}}})",
            steps=NOTED_ABOVE_0,
            words={"0": "On", "1": "Stopped"},
        ),
        number(
            "Held",
            "short",
            "Deployments that keep their replica count because values are missing or stale.",
            with_outcome("held"),
            steps=NOTED_ABOVE_0,
        ),
        number(
            "Refused",
            "short",
            "Deployments with an invalid annotation, or with another autoscaler.",
            with_outcome("refused"),
            steps=NOTED_ABOVE_0,
        ),
    ]


def deployments() -> list[Panel]:
    """Return the panels of decisions by Deployment."""
    value, target = of_target("gpu_scaler_metric_value"), of_target("gpu_scaler_metric_target")
    name = (
        Key("namespace", "Namespace", link_to("gpu-pods", namespace=field("Namespace"))),
        Key("deployment", "Deployment"),
        Key("kind", "Kind"),
    )
    return [
        table(
            "Last decision of each Deployment",
            "As of the last loop. Asked for is what the metrics propose before stabilization"
            " and limits; empty if it is unknown.",
            name,
            (
                Column("Replicas", of_workload("gpu_scaler_current_replicas")),
                Column("Decided", of_workload("gpu_scaler_desired_replicas")),
                Column("Asked for", of_workload("gpu_scaler_proposed_replicas")),
                Column("Lowest", of_workload("gpu_scaler_min_replicas")),
                Column("Highest", of_workload("gpu_scaler_max_replicas")),
            ),
            width=14,
        ),
        table(
            "Why",
            "Outcome and reason of the last decision; `gpu-scaler explain NAMESPACE/NAME` has"
            " the details.",
            (*name, Key("outcome", "Outcome"), Key("reason", "Reason")),
            (
                Column(
                    "Replicas",
                    f"max by ({WORKLOAD}, outcome, reason)"
                    f" (gpu_scaler_decision_info{{{CHOSEN}}}) * on ({WORKLOAD}) group_left ()"
                    f" {of_workload('gpu_scaler_current_replicas')}",
                ),
            ),
            width=10,
        ),
        graph(
            "Replicas",
            "short",
            "Current replicas, and what the metrics propose before stabilization and limits.",
            {
                LEGEND: of_workload("gpu_scaler_current_replicas"),
                f"{LEGEND} asked for": of_workload("gpu_scaler_proposed_replicas"),
                f"{LEGEND} highest": of_workload("gpu_scaler_max_replicas"),
            },
        ),
        graph(
            "Value of its target",
            "percentunit",
            "Mean value per pod, as a share of the target. Above 100 % plus the tolerance the"
            " scaler adds pods.",
            {f"{LEGEND} {{{{metric}}}}": f"{value} / {target}"},
            steps=NOTED_ABOVE_0,
        ),
        graph(
            "Deployments by outcome",
            "short",
            "As of the last loop.",
            {
                "{{outcome}}": "sum by (outcome) (max by (cluster, outcome)"
                f" (gpu_scaler_deployments{{{CLUSTER}}}))"
            },
            stacked=True,
            width=8,
        ),
        graph(
            "Holds by reason",
            "short",
            "Decisions that held the replica count, by reason.",
            {"{{reason}}": growth("gpu_scaler_held_total", "reason")},
            width=8,
        ),
        graph(
            "Changes",
            "short",
            "Changes of replica counts by direction, and failed changes.",
            {
                "{{direction}}": growth("gpu_scaler_rescales_total", "direction"),
                "failed: {{reason}}": growth("gpu_scaler_patch_failures_total", "reason"),
            },
            width=8,
        ),
        graph(
            "Idle GPUs",
            "short",
            "GPUs that the pods of a workload hold at a duty cycle of 0, on average. With the"
            " scaler's flag --idle.all of all workloads, else of opted-in ones.",
            {
                "{{namespace}}/{{workload}}": "sum by (namespace, workload, kind) (rate("
                f'gpu_scaler_idle_gpu_seconds_total{{{CLUSTER},namespace=~"$namespace"}}'
                "[$__rate_interval]))"
            },
            stacked=True,
            width=24,
        ),
    ]


def build() -> Dashboard:
    """Return the dashboard."""
    return assemble(
        UID,
        "GPU / Scaler",
        "Decisions of gpu-scaler for each Deployment with their reasons, and its own health.",
        (
            choice(
                "namespace",
                "Namespace",
                f"label_values(gpu_scaler_current_replicas{{{CLUSTER}}}, namespace)",
            ),
            choice(
                "deployment",
                "Deployment",
                f'label_values(gpu_scaler_current_replicas{{{CLUSTER},namespace=~"$namespace"}},'
                " deployment)",
            ),
        ),
        {
            "Scaler": overview(),
            "Deployments": deployments(),
            "Model servers": model_servers(),
            "Loop": loop(),
            "Metrics API (--metrics-api)": metrics_api(),
        },
    )
