# SPDX-License-Identifier: Apache-2.0
"""Pure: decodes raw API objects to the few fields that the scaler keeps.

Both clocks are passed in: a timestamp of the API is converted to the monotonic clock once, when it
is first seen, so that a later jump of the wall clock changes no age.
"""

from __future__ import annotations

from dataclasses import dataclass
from sys import intern
from typing import TYPE_CHECKING, Literal

from scaler import budgets
from scaler.cluster import pod_facts
from scaler.cluster.gpu_request import gpu_request
from scaler.cluster.groups import decode_member
from scaler.cluster.kinds import COUNTED_IN_SPEC
from scaler.cluster.objects import Autoscaler, Namespace, Pod, ReplicaSet, Workload
from scaler.cluster.pod_network import pod_address, pod_network
from scaler.kube import fields
from scaler.model import ExporterEndpoint, ObjectRef, PodPhase, PodState
from scaler.policy.annotations import ANNOTATIONS, ENABLED, PREFIX

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from scaler.cluster.kinds import Kinds
    from scaler.kube.fields import JsonObject

EXPORTER_LABEL = "app.kubernetes.io/name"
EXPORTER_NAME = "gpu-exporter"
EXPORTERS_NAMESPACE = "gpu-exporter"
EXPORTER_PORT = "metrics"
NO_LABELS: Mapping[str, str] = {}
_KNOWN_ANNOTATIONS = frozenset(row.name for row in ANNOTATIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """The two clocks at one moment: Unix seconds and monotonic seconds."""

    wall_seconds: float
    monotonic_seconds: float

    def place(self, timestamp: str | None) -> float:
        """Return an RFC 3339 timestamp on the monotonic clock; none or a future one is now."""
        if timestamp is None:
            return self.monotonic_seconds
        age = self.wall_seconds - fields.unix_seconds(timestamp)
        return self.monotonic_seconds - max(0.0, age)


def decode_namespace(raw: JsonObject) -> Namespace | None:
    """Return the Namespace if it has gpu-scaler annotations, else None."""
    metadata = raw["metadata"]
    annotations = our_annotations(metadata)
    if not annotations:
        return None
    return Namespace(name=intern(fields.text(metadata, "name")), annotations=annotations)


def decode_workload(raw: JsonObject, kind: str = "") -> Workload | None:
    """Return the workload if it has the annotation and is not being deleted, else None.

    `kind` is the kind for its ref.
    """
    metadata = raw["metadata"]
    annotations = our_annotations(metadata)
    if ENABLED not in annotations or metadata.get("deletionTimestamp") is not None:
        return None
    spec = raw.get("spec") or {}
    template = spec.get("template")
    has_count = kind in COUNTED_IN_SPEC or "replicas" in spec
    created = metadata.get("creationTimestamp")
    return Workload(
        ref=fields.ref(metadata, kind),
        uid=fields.text(metadata, "uid"),
        annotations=annotations,
        spec_replicas=fields.count(spec.get("replicas")) if has_count else None,
        selector=fields.label_selector(spec.get("selector")) if kind else None,
        gpu_request=gpu_request(template.get("spec")) if isinstance(template, dict) else None,
        created_unix_seconds=None if created is None else fields.unix_seconds(created),
    )


def decode_replica_set(
    raw: JsonObject, owners: Collection[str] = ("Deployment",)
) -> ReplicaSet | None:
    """Return the ReplicaSet if an object of a kind in `owners` controls it, else None."""
    metadata = raw["metadata"]
    owner = fields.controller_uid(metadata, *owners)
    if owner is None:
        return None
    return ReplicaSet(
        namespace=intern(fields.text(metadata, "namespace")),
        uid=fields.text(metadata, "uid"),
        owner_uid=owner,
    )


def decode_pod(
    raw: JsonObject,
    previous: Pod | None,
    now: Instant,
    *,
    controllers: Collection[str] = ("ReplicaSet",),
    by_labels: bool = False,
    all_gpu_pods: bool = False,
    exporters_namespace: str = EXPORTERS_NAMESPACE,
) -> Pod | None:
    """Return the pod if it can belong to a workload or is an exporter, else None.

    With `all_gpu_pods`, also any other pod that requests a GPU.

    It can belong to a workload if an object of a kind in `controllers` controls it, or, if
    workloads select pods `by_labels`, in any case. Pods outside `exporters_namespace` are never
    exporters, whatever their labels: permission to create pods in some namespace must not allow
    reporting values for other pods.
    """
    metadata, spec, status = raw["metadata"], raw["spec"], raw.get("status") or {}
    owner = fields.controller_uid(metadata, *controllers)
    labels = metadata.get("labels") or {}
    is_exporter = (
        labels.get(EXPORTER_LABEL) == EXPORTER_NAME and metadata["namespace"] == exporters_namespace
    )
    is_counted = all_gpu_pods and pod_facts.asks_for_gpu(spec) is not False
    if owner is None and not is_exporter and not by_labels and not is_counted:
        return None
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    ready = _transition(conditions.get("Ready"), "True")
    scheduled = conditions.get("PodScheduled")
    unschedulable = None
    if scheduled is not None and scheduled.get("reason") == "Unschedulable":
        unschedulable = _transition(scheduled, "False")
    deleting = metadata.get("deletionTimestamp") is not None
    replica_set = fields.controller_uid(metadata, "ReplicaSet")
    node = spec.get("nodeName")
    ready_since = unschedulable_since = None
    if ready is not None:
        if previous is not None and previous.ready_transition == ready:
            ready_since = previous.state.ready_since_seconds
        elif previous is not None and previous.ready_transition is None:
            # The change to Ready was observed, so no timestamp of another clock is needed.
            ready_since = now.monotonic_seconds
        else:
            ready_since = now.place(ready or None)
    restarts, served = pod_facts.restarts(status), None
    if previous is not None and previous.restarts == restarts:
        served, since = previous.state.served_seconds, previous.state.ready_since_seconds
        if since is not None and ready != previous.ready_transition:
            # Ready again: a new list does not show that it was not Ready meanwhile.
            until = now.place((conditions.get("Ready") or {}).get("lastTransitionTime"))
            # An end before the beginning comes from another clock, or is missing.
            served = max(served or 0.0, (until if until > since else now.monotonic_seconds) - since)
    if unschedulable is not None:
        if previous is not None and previous.unschedulable_transition == unschedulable:
            unschedulable_since = previous.state.unschedulable_since_seconds
        else:
            unschedulable_since = now.place(unschedulable or None)
    return Pod(
        state=PodState(
            ref=fields.ref(metadata),
            uid=fields.text(metadata, "uid"),
            phase=_phase(status.get("phase")),
            deleting=deleting,
            ready_since_seconds=ready_since,
            node_name=intern(node) if node else None,
            unschedulable_since_seconds=unschedulable_since,
            unschedulable_message=(
                None if unschedulable is None or scheduled is None else fields.message(scheduled)
            ),
            served_seconds=served,
            requests_gpu=pod_facts.asks_for_gpu(spec),
            gpu_request=gpu_request(spec),
            address=pod_address(status, None if previous is None else previous.state.address),
            network=pod_network(metadata, spec),
            replica_set=None if replica_set is None else intern(replica_set),
            deletion_cost=pod_facts.deletion_cost(metadata),
            marked=pod_facts.is_marked(metadata),
        ),
        controller_uid=None if owner is None else intern(owner),
        labels=fields.texts(labels) if by_labels else NO_LABELS,
        exporter=_endpoint(raw, ready=ready is not None) if is_exporter and not deleting else None,
        ready_transition=ready,
        unschedulable_transition=unschedulable,
        restarts=restarts,
        in_replica_set=replica_set is not None,
        member=decode_member(metadata) if by_labels else None,
        workload=pod_facts.workload_of(metadata) if is_counted else None,
    )


def decode_autoscaler(
    raw: JsonObject, kinds: Kinds, kind: Literal["HorizontalPodAutoscaler", "ScaledObject"]
) -> Autoscaler | None:
    """Return the HPA or KEDA ScaledObject if its target is of a scaled kind, else None."""
    ref = fields.ref(raw["metadata"])
    target = raw["spec"].get("scaleTargetRef") or {}
    # KEDA takes a Deployment where the target names no kind; an HPA has no such default.
    version, target_kind = ("apps/v1", "Deployment") if kind == "ScaledObject" else ("", "")
    group = (target.get("apiVersion") or version).rpartition("/")[0]
    ref_kind = kinds.ref_kind(group, target.get("kind") or target_kind)
    if ref_kind is None:
        return None
    return Autoscaler(
        text=f"{kind} {ref}",
        target=ObjectRef(namespace=ref.namespace, name=fields.text(target, "name"), kind=ref_kind),
    )


def our_annotations(metadata: JsonObject) -> Mapping[str, str]:
    """Return the annotations of gpu-scaler, within their budget."""
    # Drop other annotations: `last-applied-configuration` may be large.
    annotations = metadata.get("annotations") or {}
    ours = {key: value for key, value in annotations.items() if key.startswith(PREFIX)}
    return budgets.kept_annotations(fields.texts(ours), first=ENABLED, known=_KNOWN_ANNOTATIONS)


def _transition(condition: JsonObject | None, status: str) -> str | None:
    """Return when the condition took this status ("" if unknown), None if it has another one."""
    if condition is None or condition.get("status") != status:
        return None
    # Pods that started together share the text.
    return intern(condition.get("lastTransitionTime") or "")


def _phase(text: str | None) -> PodPhase:
    try:
        return PodPhase(text or "Pending")
    except ValueError:
        return PodPhase.UNKNOWN


def _endpoint(raw: JsonObject, *, ready: bool) -> ExporterEndpoint | None:
    """Return the endpoint of the exporter's port `metrics`, None while the pod has no address."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    address = status.get("podIP")
    ports = [
        port["containerPort"]
        for container in raw["spec"].get("containers") or ()
        for port in container.get("ports") or ()
        if port.get("name") == EXPORTER_PORT
    ]
    if not address or not ports or not raw["spec"].get("nodeName"):
        return None
    annotations = metadata.get("annotations") or {}
    scheme = annotations.get("prometheus.io/scheme") or "http"
    path = annotations.get("prometheus.io/path") or "/metrics"
    host = f"[{address}]" if ":" in address else address
    return ExporterEndpoint(
        url=f"{scheme}://{host}:{ports[0]}/{path.lstrip('/')}",
        pod=fields.ref(metadata),
        ready=ready,
    )
