# SPDX-License-Identifier: Apache-2.0
"""Defaults and validation of objects, as far as clients rely on them. Edits the new object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.apiserver.resources import (
    DEPLOYMENTS,
    NAMESPACES,
    PODS,
    REPLICA_SETS,
    SERVICES,
    Resource,
)
from simulator.apiserver.selectors import matches_selector
from simulator.apiserver.status import invalid

if TYPE_CHECKING:
    Object = dict[str, Any]


def admit(resource: Resource, thing: Object, old: Object | None) -> None:
    """Fill in defaults and refuse what the real API refuses; raises the 422 StatusError."""
    if resource is DEPLOYMENTS:
        _deployment(thing, old)
    elif resource is REPLICA_SETS:
        _workload(resource, thing, old)
    elif resource is PODS:
        _pod(thing, old)
    elif resource is NAMESPACES and old is None:
        name = thing["metadata"]["name"]
        thing["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name
        thing["status"] = {"phase": "Active"}
    elif resource is SERVICES:
        thing.setdefault("spec", {}).setdefault("type", "ClusterIP")


def _deployment(thing: Object, old: Object | None) -> None:
    _workload(DEPLOYMENTS, thing, old)
    spec = thing["spec"]
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec.setdefault("strategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxSurge", "25%")
        rolling.setdefault("maxUnavailable", "25%")


def _workload(resource: Resource, thing: Object, old: Object | None) -> None:
    name = thing["metadata"]["name"]
    spec = thing.setdefault("spec", {})
    if spec.get("replicas") is None:
        spec["replicas"] = 1
    replicas = spec["replicas"]
    if not isinstance(replicas, int) or replicas < 0:
        why = f"Invalid value: {replicas}: must be greater than or equal to 0"
        raise invalid(resource, name, "spec.replicas", why)
    selector = spec.get("selector")
    if not selector:
        raise invalid(resource, name, "spec.selector", "Required value")
    template = spec.setdefault("template", {})
    labels = template.setdefault("metadata", {}).get("labels") or {}
    template["metadata"].setdefault("creationTimestamp", None)
    if not matches_selector(selector, labels):
        why = f"Invalid value: {labels}: `selector` does not match template `labels`"
        raise invalid(resource, name, "spec.template.metadata.labels", why)
    if old is not None and old["spec"].get("selector") != selector:
        raise invalid(resource, name, "spec.selector", "Invalid value: field is immutable")
    if not (template.get("spec") or {}).get("containers"):
        raise invalid(resource, name, "spec.template.spec.containers", "Required value")
    _pod_spec(template["spec"])


def _pod(thing: Object, old: Object | None) -> None:
    name = thing["metadata"]["name"]
    spec = thing.setdefault("spec", {})
    if not spec.get("containers"):
        raise invalid(PODS, name, "spec.containers", "Required value")
    _pod_spec(spec)
    if old is None:
        thing["status"] = {"phase": "Pending", "qosClass": _quality_of_service(spec)}
    elif old["spec"].get("nodeName") != spec.get("nodeName"):
        why = "Forbidden: pod updates may not change spec.nodeName (use the binding subresource)"
        raise invalid(PODS, name, "spec", why)


def _pod_spec(spec: Object) -> None:
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("securityContext", {})
    for container in spec["containers"]:
        container.setdefault("imagePullPolicy", "IfNotPresent")
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        resources = container.setdefault("resources", {})
        if resources.get("limits"):
            resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}
        for port in container.get("ports") or ():
            port.setdefault("protocol", "TCP")


def _quality_of_service(spec: Object) -> str:
    resources = [container.get("resources") or {} for container in spec["containers"]]
    if all(
        {"cpu", "memory"} <= (entry.get("limits") or {}).keys()
        and entry.get("requests") == entry["limits"]
        for entry in resources
    ):
        return "Guaranteed"
    if any({"cpu", "memory"} & (entry.get("requests") or {}).keys() for entry in resources):
        return "Burstable"
    return "BestEffort"
