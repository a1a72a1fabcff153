# SPDX-License-Identifier: Apache-2.0
"""The ways from requests to a patched count that `benchmarks.requestlatency` compares.

Each is a Deployment of model servers with what tells its scaler, all with the same target and the
same most replicas, and what decides about the way up at its program's default.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from benchmarks.modelservers import QUEUED, RUNNING, WAITING
from simulator.podstatus import POD_IP_ANNOTATION

if TYPE_CHECKING:
    JsonObject = dict[str, Any]

NAMESPACE: Final = "default"
DEPLOYMENTS: Final = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
HPAS: Final = f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers"
SCALED_OBJECTS: Final = f"/apis/keda.sh/v1alpha1/namespaces/{NAMESPACE}/scaledobjects"
GATEWAY: Final = "gateway"
PORT_NAME: Final = "http"
TARGET_REQUESTS: Final = 24
MAX_REPLICAS: Final = 8
HPA_METRIC: Final = "vllm_requests"
ADAPTER_RULES: Final = {
    "rules": [
        {
            "seriesQuery": f'{RUNNING}{{namespace!="",pod!=""}}',
            "resources": {
                "overrides": {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}}
            },
            "name": {"matches": f"^{RUNNING}$", "as": HPA_METRIC},
            "metricsQuery": " + ".join(
                f"sum({name}{{<<.LabelMatchers>>}}) by (<<.GroupBy>>)"
                for name in (RUNNING, WAITING)
            ),
        }
    ]
}
SCRAPE_JOB: Final = {
    "job_name": "model-servers",
    "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"names": [NAMESPACE]}}],
    "relabel_configs": [
        {
            "source_labels": ["__meta_kubernetes_pod_container_port_name"],
            "action": "keep",
            "regex": PORT_NAME,
        },
        *(
            {"source_labels": [f"__meta_kubernetes_{source}"], "target_label": label}
            for source, label in (
                ("namespace", "namespace"),
                ("pod_name", "pod"),
                ("pod_label_app", "app"),
            )
        ),
    ],
}
PROMETHEUS_ACCESS: Final = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: prometheus, namespace: default}
rules:
  - {apiGroups: [""], resources: [pods], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: prometheus, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: prometheus}
subjects: [{kind: ServiceAccount, name: prometheus, namespace: monitoring}]
"""


class Way(StrEnum):
    """Who scales, by what; the last two from no pod at all."""

    PAGES = "ours, pods' own pages"
    PROMETHEUS = "ours, from Prometheus"
    KEDA = "KEDA, from Prometheus"
    CHAIN = "Prometheus Adapter and HPA"
    QUEUE = "ours, from 0, a gateway's page"
    KEDA_QUEUE = "KEDA, from 0, from Prometheus"

    @property
    def from_zero(self) -> bool:
        """Whether there is no pod before the step."""
        return self in (Way.QUEUE, Way.KEDA_QUEUE)


def scaler_object(way: Way, name: str, prometheus_url: str) -> tuple[str, JsonObject] | None:
    """Return the path and the object that scales beside the Deployment, None for ours."""
    if way in (Way.KEDA, Way.KEDA_QUEUE):
        return SCALED_OBJECTS, _scaled_object(way, name, prometheus_url)
    return (HPAS, _hpa(name)) if way is Way.CHAIN else None


def hpa_of(way: Way, name: str) -> str | None:
    """Return the path of the HPA that scales from 1, None where there is none."""
    return {Way.KEDA: f"{HPAS}/keda-hpa-{name}", Way.CHAIN: f"{HPAS}/{name}"}.get(way)


def deployment(way: Way, name: str, *, address: str, port: int) -> JsonObject:
    """Return the Deployment; all its pods' pages are that of one address."""
    labels = {"app": name}
    container = {
        "name": "server",
        "image": "example.com/server:1",
        "ports": [{"containerPort": port, "name": PORT_NAME}],
    }
    template = {
        "metadata": {"labels": labels, "annotations": {POD_IP_ANNOTATION: address}},
        "spec": {"containers": [container]},
    }
    return {
        "metadata": {"name": name, "annotations": _annotations(way, name)},
        "spec": {
            "replicas": 0 if way is Way.KEDA_QUEUE else 1,
            "selector": {"matchLabels": labels},
            "template": template,
        },
    }


def gateway(*, address: str, port: int) -> list[tuple[str, JsonObject]]:
    """Return the gateway's pod and its Service, each with its path."""
    labels = {"app": GATEWAY}
    ports = [{"containerPort": port, "name": PORT_NAME}]
    pod = {
        "metadata": {
            "name": GATEWAY,
            "labels": labels,
            "annotations": {POD_IP_ANNOTATION: address},
        },
        "spec": {"containers": [{"name": "main", "image": "example.com/gateway", "ports": ports}]},
    }
    service_port = {"name": PORT_NAME, "port": 80, "targetPort": PORT_NAME}
    service = {"metadata": {"name": GATEWAY}, "spec": {"selector": labels, "ports": [service_port]}}
    core = f"/api/v1/namespaces/{NAMESPACE}"
    return [(f"{core}/pods", pod), (f"{core}/services", service)]


def query(way: Way, name: str) -> str:
    """Return the PromQL that counts a Deployment's requests; for ours and for KEDA the same."""
    if way.from_zero:
        return f"sum({_queued(name)})"
    return " + ".join(f'sum({metric}{{app="{name}"}})' for metric in (RUNNING, WAITING))


def _queued(name: str) -> str:
    return f'{QUEUED}{{model="{name}"}}'


def _annotations(way: Way, name: str) -> dict[str, str]:
    target = str(TARGET_REQUESTS)
    given = {
        Way.PAGES: {"target-requests": target},
        Way.PROMETHEUS: {"query": query(way, name), "target-query": target},
        Way.QUEUE: {
            "target-requests": target,
            "min-replicas": "0",
            # It wakes only what it put to sleep itself, so it does that at once.
            "cooldown": "1s",
            "behavior": '{"scaleDown": {"stabilizationWindowSeconds": 0}}',
            "queue": f"http://{GATEWAY}:{PORT_NAME}/metrics {_queued(name)}",
        },
    }.get(way)
    if given is None:
        return {}
    named = {"enabled": "true", "max-replicas": str(MAX_REPLICAS), **given}
    return {f"gpu-scaler/{key}": value for key, value in named.items()}


def _scaled_object(way: Way, name: str, prometheus_url: str) -> JsonObject:
    metadata = {
        "serverAddress": prometheus_url,
        "query": query(way, name),
        "threshold": str(TARGET_REQUESTS),
    }
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"name": name},
            "minReplicaCount": 0 if way.from_zero else 1,
            "maxReplicaCount": MAX_REPLICAS,
            "triggers": [{"type": "prometheus", "metadata": metadata}],
        },
    }


def _hpa(name: str) -> JsonObject:
    target = {"type": "AverageValue", "averageValue": str(TARGET_REQUESTS)}
    return {
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": 1,
            "maxReplicas": MAX_REPLICAS,
            "metrics": [
                {"type": "Pods", "pods": {"metric": {"name": HPA_METRIC}, "target": target}}
            ],
        },
    }
