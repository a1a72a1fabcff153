# SPDX-License-Identifier: Apache-2.0
"""The alerts of the group gpu-scaler."""

from __future__ import annotations

from typing import Final

from tests.integration.monitoring.cases import Case

GPU: Final = 'uuid="GPU-1",node_name="n1"'
SCALER: Final = {"job": "gpu-scaler"}
REPLICA: Final = SCALER | {"instance": "s-0"}
WEB: Final = {"namespace": "prod", "deployment": "web", "kind": "deployments.apps"}
NAMED: Final = 'namespace="prod",deployment="web",kind="deployments.apps"'
FIRST: Final = 'job="gpu-scaler",instance="s-0"'
SECOND: Final = 'job="gpu-scaler",instance="s-1"'
READS: Final = "gpu_scaler_source_reads_total"
REQUESTS: Final = "gpu_scaler_metrics_api_request_duration_seconds_count"
ENDS: Final = "gpu_scaler_metrics_api_certificate_expiry_timestamp_seconds"


def decision(outcome: str, reason: str, replica: str = FIRST) -> str:
    """Return the series of what was decided for a Deployment."""
    return f'gpu_scaler_decision_info{{{NAMED},{replica},outcome="{outcome}",reason="{reason}"}}'


def replicas(**counts: str) -> dict[str, str]:
    """Return the replica counts of a Deployment, by what they are."""
    return {f"gpu_scaler_{kind}_replicas{{{NAMED},{FIRST}}}": line for kind, line in counts.items()}


def missing(metric: str) -> str:
    """Return the series of the pods of a Deployment without a value of a metric."""
    return f'gpu_scaler_metric_missing_pods{{{NAMED},{FIRST},metric="{metric}"}}'


SCALERS: Final = (
    Case(
        alert="GPUScalerPagesUnreadable",
        what="a pod's page cannot be read",
        series={
            missing("requests"): "0x3 2x20",
            missing("kv_cache_percent"): "0x23",
        },
        quiet=(3, 13),
        fires=14,
        labels=WEB,
        description="For 10 minutes a serving pod of prod/web has had no value from its metrics"
        " page. Until it has one, the Deployment does not scale down.",
    ),
    Case(
        alert="GPUScalerPagesUnreadable",
        what="two pods come up, and a GPU metric is missing",
        series={
            missing("requests"): "1x5 0 1x5 0x9",
            missing("duty_cycle"): "1x30",
        },
        quiet=(9, 20),
    ),
    Case(
        alert="GPUScalerAbsent",
        what="the last replica has gone",
        series={f"gpu_scaler_leader{{{FIRST}}}": "1x4 stale"},
        quiet=(4, 9),
        fires=10,
        description="Prometheus has scraped no gpu-scaler for 5 minutes. If none is running,"
        " nothing scales. No other alert about the scaler can fire.",
    ),
    Case(
        alert="GPUScalerAbsent",
        what="one is left",
        series={
            f"gpu_scaler_leader{{{FIRST}}}": "1x4 stale",
            f"gpu_scaler_leader{{{SECOND}}}": "0x9",
        },
        quiet=(9,),
    ),
    Case(
        alert="GPUScalerNoLeader",
        what="both wait",
        series={
            f"gpu_scaler_leader{{{FIRST}}}": "1x2 0x9",
            f"gpu_scaler_leader{{{SECOND}}}": "0x12",
        },
        quiet=(2, 4),
        fires=5,
        labels=SCALER,
        description="Replicas of gpu-scaler are running, but none has held the Lease for 2 minutes."
        " Nothing scales.",
    ),
    Case(
        alert="GPUScalerNoLeader",
        what="the other took over",
        series={
            f"gpu_scaler_leader{{{FIRST}}}": "1x2 0x9",
            f"gpu_scaler_leader{{{SECOND}}}": "0x3 1x9",
        },
        quiet=(3, 9),
    ),
    Case(
        alert="GPUScalerSeveralLeaders",
        what="both act",
        series={
            f"gpu_scaler_leader{{{FIRST}}}": "1x9",
            f"gpu_scaler_leader{{{SECOND}}}": "0 1x9",
        },
        quiet=(0, 2),
        fires=3,
        labels=SCALER,
        description="2 replicas of gpu-scaler have scaled Deployments at the same time for 2"
        " minutes.",
    ),
    Case(
        alert="GPUScalerSeveralLeaders",
        what="two scalers of their own, and a takeover between two scrapes",
        series={
            f"gpu_scaler_leader{{{FIRST}}}": "1x3 1 0x9",
            f"gpu_scaler_leader{{{SECOND}}}": "0x3 1x9",
            'gpu_scaler_leader{job="team-b/gpu-scaler",instance="t-0"}': "1x12",
        },
        quiet=(4, 6, 12),
    ),
    Case(
        alert="GPUScalerNotDeciding",
        what="it leads and its loop stands still",
        series={
            f"gpu_scaler_leader{{{FIRST}}}": "1x9",
            f"gpu_scaler_last_loop_timestamp_seconds{{{FIRST}}}": "0 60 60x9",
        },
        quiet=(2, 4),
        fires=5,
        labels=REPLICA,
        description="s-0 is the leader, but its last complete loop ended 4m 0s ago.",
    ),
    Case(
        alert="GPUScalerNotDeciding",
        what="the other one leads, and decides",
        series={
            f"gpu_scaler_leader{{{FIRST}}}": "0x9",
            f"gpu_scaler_last_loop_timestamp_seconds{{{FIRST}}}": "0x9",
            f"gpu_scaler_leader{{{SECOND}}}": "1x9",
            f"gpu_scaler_last_loop_timestamp_seconds{{{SECOND}}}": "0+60x9",
        },
        quiet=(9,),
    ),
    Case(
        alert="GPUScalerLoopsFail",
        what="a loop failed",
        series={f"gpu_scaler_loop_failures_total{{{FIRST}}}": "0x4 1x30"},
        quiet=(4, 25),
        fires=5,
        labels=REPLICA,
        description="At least one loop of s-0 failed with an unexpected error in the last 15"
        " minutes.",
    ),
    Case(
        alert="GPUScalerLoopsFail",
        what="the process began again",
        series={f"gpu_scaler_loop_failures_total{{{FIRST}}}": "3x4 0x9"},
        quiet=(4, 9),
    ),
    Case(
        alert="GPUScalerStopped",
        what="for an hour",
        series={
            f"gpu_scaler_stopped{{{FIRST}}}": "0 1x70",
            f"gpu_scaler_stopped{{{SECOND}}}": "0x70",
        },
        quiet=(60,),
        fires=61,
        labels=SCALER,
        description="The annotation gpu-scaler/paused on the Lease of gpu-scaler has paused all"
        " scaling for an hour.",
    ),
    Case(
        alert="GPUScalerStopped",
        what="for half an hour",
        series={f"gpu_scaler_stopped{{{FIRST}}}": "0 1x30 0x40"},
        quiet=(31, 70),
    ),
    Case(
        alert="GPUScalerReadsFail",
        what="a quarter of the exporters",
        series={
            f'{READS}{{{FIRST},result="success"}}': "0+90x30",
            f'{READS}{{{FIRST},result="error"}}': "0+30x30",
        },
        quiet=(10,),
        fires=12,
        labels=SCALER,
        description="25% of the reads of gpu-scaler have failed for 10 minutes. The"
        " affected Deployments do not scale down.",
    ),
    Case(
        alert="GPUScalerReadsFail",
        what="one of a hundred, or nothing is read at all",
        series={
            f'{READS}{{{FIRST},result="success"}}': "0+99x30",
            f'{READS}{{{FIRST},result="error"}}': "0+1x30",
            f'{READS}{{{SECOND},result="success"}}': "0x30",
        },
        quiet=(30,),
    ),
    Case(
        alert="GPUScalerHolding",
        what="for one reason after another, and over a takeover",
        series={
            decision("held", "IncompleteMetrics"): "1x4 stale",
            decision("held", "FailedGetPodsMetric"): "_x5 1x3 stale",
            decision("held", "FailedGetPodsMetric", SECOND): "_x8 1x9",
        },
        quiet=(9,),
        fires=10,
        labels=WEB,
        description="prod/web keeps its replicas because values are missing, stale or not"
        " credible.",
    ),
    Case(
        alert="GPUScalerHolding",
        what="it went on in between",
        series={
            decision("held", "IncompleteMetrics"): "1x6 stale _x1 1x7",
            decision("unchanged", "DesiredWithinRange"): "_x7 1 stale",
        },
        quiet=(10, 14),
    ),
    Case(
        alert="GPUScalerFailing",
        what="patches are refused",
        series={decision("failed", "FailedUpdateScale"): "1x12"},
        quiet=(9,),
        fires=10,
        labels=WEB,
        description="Decisions for prod/web have failed, or could not be applied, for 10 minutes.",
    ),
    Case(
        alert="GPUScalerFailing",
        what="it is held, which is something else",
        series={decision("held", "IncompleteMetrics"): "1x12"},
        quiet=(12,),
    ),
    Case(
        alert="GPUScalerAtMax",
        what="metrics ask for more",
        series=replicas(proposed="14x40", max="10x40", current="8 10x40"),
        quiet=(0, 30),
        fires=31,
        labels=WEB,
        description="prod/web is at its gpu-scaler/max-replicas, but its metrics call for 14"
        " replicas.",
    ),
    Case(
        alert="GPUScalerAtMax",
        what="it has just what it needs, or is on its way",
        series=replicas(proposed="10x40", max="10x40", current="10x40")
        | {
            f"gpu_scaler_{kind}_replicas{{{NAMED.replace('web', 'api')},{FIRST}}}": line
            for kind, line in (("proposed", "14x40"), ("max", "10x40"), ("current", "8x40"))
        },
        quiet=(40,),
    ),
    Case(
        alert="GPUScalerInsufficientGPU",
        what="pods wait",
        series={decision("unchanged", "InsufficientGPU"): "1x20"},
        quiet=(14,),
        fires=15,
        labels=WEB,
        description="Pods of prod/web have been waiting for a free GPU for 15 minutes.",
    ),
    Case(
        alert="GPUScalerInsufficientGPU",
        what="a node came",
        series={
            decision("unchanged", "InsufficientGPU"): "1x9 stale",
            decision("unchanged", "DesiredWithinRange"): "_x10 1x20",
        },
        quiet=(9, 20),
    ),
    Case(
        alert="GPUScalerWrongAnnotation",
        what="nobody corrects it",
        series={decision("refused", "InvalidAnnotation"): "1x9"},
        quiet=(4,),
        fires=5,
        labels=WEB,
        description="An event on prod/web names the annotation, its value and the allowed values.",
    ),
    Case(
        alert="GPUScalerWrongAnnotation",
        what="it is refused for something else",
        series={decision("refused", "TargetedByOtherController"): "1x9"},
        quiet=(9,),
    ),
    Case(
        alert="GPUScalerOtherAutoscaler",
        what="an HPA stays",
        series={decision("refused", "TargetedByOtherController"): "1x20"},
        quiet=(14,),
        fires=15,
        labels=WEB,
        description="An HPA or a ScaledObject also targets prod/web, so gpu-scaler does not scale"
        " it.",
    ),
    Case(
        alert="GPUScalerOtherAutoscaler",
        what="it is refused for something else",
        series={decision("refused", "InvalidAnnotation"): "1x20"},
        quiet=(20,),
    ),
    Case(
        alert="GPUMetricsAPIFailing",
        what="a tenth of the requests",
        series={
            f'{REQUESTS}{{{FIRST},code="200"}}': "0+90x30",
            f'{REQUESTS}{{{FIRST},code="503"}}': "0+10x30",
        },
        quiet=(10,),
        fires=12,
        labels=SCALER,
        description="10% of the requests to the metrics API of gpu-scaler have failed for 10"
        " minutes. HPAs that use it may not scale.",
    ),
    Case(
        alert="GPUMetricsAPIFailing",
        what="people ask for what there is not",
        series={
            f'{REQUESTS}{{{FIRST},code="200"}}': "0+50x30",
            f'{REQUESTS}{{{FIRST},code="404"}}': "0+50x30",
        },
        quiet=(30,),
    ),
    Case(
        alert="GPUMetricsAPICertificateEnds",
        what="one replica's, in 9 days",
        series={f"{ENDS}{{{FIRST}}}": "781200x70", f"{ENDS}{{{SECOND}}}": "7776000x70"},
        quiet=(59,),
        fires=60,
        labels=SCALER,
        description="The serving certificate of gpu-scaler expires in 9d 0h 0m 0s. The scaler"
        " renews certificates that it issues 30 days before they expire.",
    ),
    Case(
        alert="GPUMetricsAPICertificateEnds",
        what="it is renewed, or there is no metrics API",
        series={f"{ENDS}{{{FIRST}}}": "781200x30 7776000x40", f"{ENDS}{{{SECOND}}}": "0x70"},
        quiet=(60, 70),
    ),
)
