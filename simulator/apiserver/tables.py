# SPDX-License-Identifier: Apache-2.0
"""Server-side printing: objects as the rows that `kubectl get` shows. Pure but for `now`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from scaler.quantities import format_age
from simulator.apiserver.resources import (
    CONFIG_MAPS,
    DAEMON_SETS,
    DEPLOYMENTS,
    EVENTS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICES,
)
from simulator.apiserver.selectors import selector_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from simulator.apiserver.resources import Resource

    Object = dict[str, Any]
    Cell = Callable[[Object, datetime], object]

NONE = "<none>"


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `wide` ones show with `-o wide` only."""

    name: str
    cell: Cell
    wide: bool = False
    type: str = "string"


def age(text: str | None, now: datetime) -> str:
    """Return the age of a timestamp as kubectl shortens it: `42s`, `3m5s`, `7h`, `12d`."""
    if not text:
        return "<unknown>"
    return format_age((now - datetime.fromisoformat(text)).total_seconds())


def table(
    resource: Resource,
    items: Sequence[Object],
    metadata: Object,
    *,
    include_object: str = "Metadata",
) -> Object:
    """Return a `meta.k8s.io/v1` Table of the items."""
    now = datetime.now(UTC)
    columns = _COLUMNS.get(resource, (AGE,))
    if resource is not EVENTS:
        columns = (NAME, *columns)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [
            {
                "name": column.name,
                "type": column.type,
                "format": "name" if column is NAME else "",
                "description": "",
                "priority": int(column.wide),
            }
            for column in columns
        ],
        "rows": [
            {
                "cells": [column.cell(item, now) for column in columns],
                "object": _row_object(item, include_object),
            }
            for item in items
        ],
    }


def _row_object(item: Object, include: str) -> Object | None:
    if include == "None":
        return None
    if include == "Object":
        return item
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": item["metadata"],
    }


def _at(item: Object, path: str, default: object = 0) -> Any:
    value: Any = item
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return default if value is None else value


def _value(path: str, default: object = 0) -> Cell:
    return lambda item, now: _at(item, path, default)


def _fraction(done: str, wanted: str) -> Cell:
    return lambda item, now: f"{_at(item, done)}/{_at(item, wanted)}"


def _containers(field: str) -> Cell:
    def cell(item: Object, now: datetime) -> str:
        return ",".join(c.get(field, "") for c in _at(item, "spec.template.spec.containers", []))

    return cell


def _pairs(path: str) -> Cell:
    def cell(item: Object, now: datetime) -> str:
        return ",".join(f"{k}={v}" for k, v in sorted(_at(item, path, {}).items())) or NONE

    return cell


def _pod_ready(item: Object, now: datetime) -> str:
    statuses = _at(item, "status.containerStatuses", [])
    return f"{sum(bool(s.get('ready')) for s in statuses)}/{len(item['spec']['containers'])}"


def _pod_status(item: Object, now: datetime) -> str:
    if item["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for status in _at(item, "status.containerStatuses", []):
        state = status.get("state") or {}
        for kind in ("waiting", "terminated"):
            if reason := (state.get(kind) or {}).get("reason"):
                return str(reason)
    return str(_at(item, "status.reason", "") or _at(item, "status.phase", "Unknown"))


def _pod_restarts(item: Object, now: datetime) -> str:
    return str(sum(s.get("restartCount", 0) for s in _at(item, "status.containerStatuses", [])))


def _node_status(item: Object, now: datetime) -> str:
    ready = [c for c in _at(item, "status.conditions", []) if c["type"] == "Ready"]
    text = "Unknown" if not ready else "Ready" if ready[0]["status"] == "True" else "NotReady"
    return text + (",SchedulingDisabled" if _at(item, "spec.unschedulable", default=False) else "")


def _node_address(kind: str) -> Cell:
    def cell(item: Object, now: datetime) -> str:
        found = [a["address"] for a in _at(item, "status.addresses", []) if a["type"] == kind]
        return found[0] if found else NONE

    return cell


def _node_roles(item: Object, now: datetime) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = _at(item, "metadata.labels", {})
    roles = sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix))
    return ",".join(roles) or NONE


def _event_object(item: Object, now: datetime) -> str:
    involved = item.get("involvedObject") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def _service_ports(item: Object, now: datetime) -> str:
    ports = _at(item, "spec.ports", [])
    return ",".join(f"{p['port']}/{p.get('protocol', 'TCP')}" for p in ports) or NONE


def _event_seen(item: Object, now: datetime) -> str:
    return age(item.get("lastTimestamp") or item["metadata"]["creationTimestamp"], now)


NAME = Column("Name", _value("metadata.name"))
AGE = Column("Age", lambda item, now: age(item["metadata"]["creationTimestamp"], now))
_TEMPLATE = (
    Column("Containers", _containers("name"), wide=True),
    Column("Images", _containers("image"), wide=True),
    Column("Selector", lambda item, now: selector_text(item["spec"]["selector"]), wide=True),
)
_COLUMNS: dict[Resource, tuple[Column, ...]] = {
    DEPLOYMENTS: (
        Column("Ready", _fraction("status.readyReplicas", "spec.replicas")),
        Column("Up-to-date", _value("status.updatedReplicas"), type="integer"),
        Column("Available", _value("status.availableReplicas"), type="integer"),
        AGE,
        *_TEMPLATE,
    ),
    REPLICA_SETS: (
        Column("Desired", _value("spec.replicas"), type="integer"),
        Column("Current", _value("status.replicas"), type="integer"),
        Column("Ready", _value("status.readyReplicas"), type="integer"),
        AGE,
        *_TEMPLATE,
    ),
    DAEMON_SETS: (
        Column("Desired", _value("status.desiredNumberScheduled"), type="integer"),
        Column("Current", _value("status.currentNumberScheduled"), type="integer"),
        Column("Ready", _value("status.numberReady"), type="integer"),
        Column("Up-to-date", _value("status.updatedNumberScheduled"), type="integer"),
        Column("Available", _value("status.numberAvailable"), type="integer"),
        Column("Node Selector", _pairs("spec.template.spec.nodeSelector")),
        AGE,
        *_TEMPLATE,
    ),
    PODS: (
        Column("Ready", _pod_ready),
        Column("Status", _pod_status),
        Column("Restarts", _pod_restarts),
        AGE,
        Column("IP", _value("status.podIP", NONE), wide=True),
        Column("Node", _value("spec.nodeName", NONE), wide=True),
        Column("Nominated Node", _value("status.nominatedNodeName", NONE), wide=True),
        Column("Readiness Gates", lambda item, now: NONE, wide=True),
    ),
    NODES: (
        Column("Status", _node_status),
        Column("Roles", _node_roles),
        AGE,
        Column("Version", _value("status.nodeInfo.kubeletVersion", "")),
        Column("Internal-IP", _node_address("InternalIP"), wide=True),
        Column("External-IP", _node_address("ExternalIP"), wide=True),
        Column("OS-Image", _value("status.nodeInfo.osImage", ""), wide=True),
        Column("Kernel-Version", _value("status.nodeInfo.kernelVersion", ""), wide=True),
        Column(
            "Container-Runtime", _value("status.nodeInfo.containerRuntimeVersion", ""), wide=True
        ),
    ),
    EVENTS: (
        Column("Last Seen", _event_seen),
        Column("Type", _value("type", "")),
        Column("Reason", _value("reason", "")),
        Column("Object", _event_object),
        Column("Source", _value("source.component", ""), wide=True),
        Column("Message", _value("message", "")),
        Column("Count", _value("count", 1), wide=True, type="integer"),
        Column("Name", _value("metadata.name"), wide=True),
    ),
    NAMESPACES: (Column("Status", _value("status.phase", "")), AGE),
    SERVICES: (
        Column("Type", _value("spec.type", "")),
        Column("Cluster-IP", _value("spec.clusterIP", NONE)),
        Column("External-IP", lambda item, now: NONE),
        Column("Port(s)", _service_ports),
        AGE,
        Column("Selector", _pairs("spec.selector"), wide=True),
    ),
    CONFIG_MAPS: (
        Column("Data", lambda item, now: len(_at(item, "data", {})), type="integer"),
        AGE,
    ),
    LEASES: (Column("Holder", _value("spec.holderIdentity", "")), AGE),
}
