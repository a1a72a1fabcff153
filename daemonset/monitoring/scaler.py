"""The dashboard of the scaler: what it decides for each Deployment, and how it does itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from daemonset.monitoring.parts import (
    CLUSTER,
    Column,
    Key,
    Query,
    Section,
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
    of_workload,
    with_outcome,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard

UID: Final = "gpu-scaler"
LEGEND: Final = "{{namespace}}/{{deployment}}"


def overview() -> Section:
    """Return whether the scaler works at all."""
    return Section(
        title="Scaler",
        panels=(
            number(
                "Replicas of the scaler",
                "short",
                "Those that answer.",
                f"count({RUNNING})",
                steps=((None, "red"), (1, "orange"), (2, "green")),
            ),
            number(
                "Leaders",
                "short",
                "Replicas that act: one. For a few seconds of a takeover there may be none.",
                f"sum({RUNNING})",
                steps=((None, "red"), (1, "green"), (2, "red")),
            ),
            number(
                "Time since the last loop",
                "s",
                "Since the leader's last one that decided. It grows while the Kubernetes API"
                " is out of reach: everything is held then.",
                f"min(time() - gpu_scaler_last_loop_timestamp_seconds{{{CLUSTER}}}"
                f" and on (job, instance) {RUNNING} == 1)",
                steps=((None, "green"), (30, "orange"), (60, "red")),
            ),
            number(
                "Scaling",
                "short",
                "Whether somebody stopped all scaling by the Lease's annotation gpu-scaler/paused.",
                f"max(gpu_scaler_stopped{{{CLUSTER}}})",
                steps=((None, "green"), (1, "orange")),
                words={"0": "On", "1": "Stopped"},
            ),
            number(
                "Held",
                "short",
                "Deployments whose replicas stay as they are because values are missing or old.",
                with_outcome("held"),
                steps=((None, "green"), (1, "orange")),
            ),
            number(
                "Refused",
                "short",
                "Deployments with a wrong annotation, or with another autoscaler.",
                with_outcome("refused"),
                steps=((None, "green"), (1, "orange")),
            ),
        ),
    )


def deployments() -> Section:
    """Return what is decided, by Deployment."""
    value = f"max by ({WORKLOAD}, metric) (gpu_scaler_metric_value{{{CHOSEN}}})"
    target = f"max by ({WORKLOAD}, metric) (gpu_scaler_metric_target{{{CHOSEN}}})"
    name = (
        Key(
            label="namespace",
            header="Namespace",
            link=link_to("gpu-pods", namespace=field("Namespace")),
        ),
        Key(label="deployment", header="Deployment"),
        Key(label="kind", header="Kind"),
    )
    return Section(
        title="Deployments",
        panels=(
            table(
                "Last decision of each Deployment",
                "As of the last loop. Asked for is what the metrics call for before stabilization"
                " and limits, and empty where nothing could be computed.",
                name,
                (
                    Column(header="Replicas", expr=of_workload("gpu_scaler_current_replicas")),
                    Column(header="Decided", expr=of_workload("gpu_scaler_desired_replicas")),
                    Column(header="Asked for", expr=of_workload("gpu_scaler_proposed_replicas")),
                    Column(header="Lowest", expr=of_workload("gpu_scaler_min_replicas")),
                    Column(header="Highest", expr=of_workload("gpu_scaler_max_replicas")),
                ),
                width=14,
            ),
            table(
                "Why",
                "Outcome and reason of the last decision; `gpu-scaler explain NAMESPACE/NAME` says"
                " more.",
                (
                    *name,
                    Key(label="outcome", header="Outcome"),
                    Key(label="reason", header="Reason"),
                ),
                (
                    Column(
                        header="Replicas",
                        expr=f"max by ({WORKLOAD}, outcome, reason)"
                        f" (gpu_scaler_decision_info{{{CHOSEN}}}) * on ({WORKLOAD}) group_left ()"
                        f" {of_workload('gpu_scaler_current_replicas')}",
                    ),
                ),
                width=10,
            ),
            graph(
                "Replicas",
                "short",
                "What was found, and what the metrics ask for before stabilization and limits.",
                Query(expr=of_workload("gpu_scaler_current_replicas"), legend=LEGEND),
                Query(
                    expr=of_workload("gpu_scaler_proposed_replicas"), legend=f"{LEGEND} asked for"
                ),
                Query(expr=of_workload("gpu_scaler_max_replicas"), legend=f"{LEGEND} highest"),
            ),
            graph(
                "Value of its target",
                "percentunit",
                "Mean value per pod that was decided on, as a share of the target. Above 100 % and"
                " the tolerance pods are added.",
                Query(
                    expr=f"{value} / {target}",
                    legend=f"{LEGEND} {{{{metric}}}}",
                ),
                steps=((None, "green"), (1, "orange")),
            ),
            graph(
                "Deployments by outcome",
                "short",
                "Of the last loop.",
                Query(
                    expr="sum by (outcome) (max by (cluster, outcome)"
                    f" (gpu_scaler_deployments{{{CLUSTER}}}))",
                    legend="{{outcome}}",
                ),
                stacked=True,
                width=8,
            ),
            graph(
                "Holds by reason",
                "short",
                "Decisions that left the count alone although another may be wanted.",
                Query(expr=growth("gpu_scaler_held_total", "reason"), legend="{{reason}}"),
                width=8,
            ),
            graph(
                "Changes",
                "short",
                "Replica counts that were patched, by direction, and patches that failed.",
                Query(
                    expr=growth("gpu_scaler_rescales_total", "direction"), legend="{{direction}}"
                ),
                Query(
                    expr=growth("gpu_scaler_patch_failures_total", "reason"),
                    legend="failed: {{reason}}",
                ),
                width=8,
            ),
        ),
    )


def build() -> Dashboard:
    """Return the dashboard."""
    return assemble(
        UID,
        "GPU / Scaler",
        "What gpu-scaler decides for each Deployment and why, and how the scaler itself does.",
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
        (overview(), deployments(), loop(), metrics_api()),
    )
