# SPDX-License-Identifier: Apache-2.0
"""Pure: what the Kubernetes API shows: workloads, their pods, exporters, users."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class ObjectRef(NamedTuple):
    """A namespaced object's name. A tuple, because it is the key of maps of thousands of pods.

    `kind` is the resource of a workload other than a Deployment, such as `statefulsets.apps`.
    """

    namespace: str
    name: str
    kind: str = ""

    @property
    def resource(self) -> str:
        """`statefulsets.apps` of a workload, and `deployments.apps` of a Deployment."""
        return self.kind or "deployments.apps"

    @property
    def qualified_name(self) -> str:
        """`web`, or `statefulsets.apps:web`: unique among the workloads of a namespace."""
        return f"{self.kind}:{self.name}" if self.kind else self.name

    @property
    def title(self) -> str:
        """`Deployment prod/web` for people, or `statefulsets.apps prod/web`, of a workload."""
        return f"{self.kind or 'Deployment'} {self.namespace}/{self.name}"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.qualified_name}"


def workload_ref(namespace: str, qualified_name: str) -> ObjectRef:
    """Return the workload that a person means by `web` or `statefulsets.apps:web`."""
    kind, _, name = qualified_name.rpartition(":")
    return ObjectRef(
        namespace=namespace, name=name, kind="" if kind == "deployments.apps" else kind
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user of the Kubernetes API."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


class ContainerPort(NamedTuple):
    """A port that a pod declares; the name is empty if it has none."""

    name: str
    number: int


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """What a pod declares about its ports. One object for all pods that declare the same.

    `scrape` are the values of the annotations `prometheus.io/port`, `path` and `scheme`.
    """

    ports: tuple[ContainerPort, ...] = ()
    host_network: bool = False
    scrape: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class GpuRequest:
    """The names of the GPU resources that a pod requests, and its `nodeSelector`.

    One object for all pods that request the same. No resources where it requests no GPU.
    """

    resources: tuple[str, ...] = ()
    node_selector: tuple[tuple[str, str], ...] = ()


class PodPhase(StrEnum):
    """`status.phase` of a pod."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMember:
    """A pod's place in a group of `size` pods that are one replica together.

    `group` names the group within its workload. The pod that `leads` answers for all of it.
    """

    group: str
    size: int
    leads: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PodState:
    """What a decision needs to know about one pod.

    `ready_since_seconds` is None unless the Ready condition is true now.
    `unschedulable_since_seconds` is None unless the scheduler says `Unschedulable` now;
    `unschedulable_message` is the scheduler's own text. `served_seconds` is how long it was Ready
    without a break before, None if unknown. `requests_gpu` is whether a container requests a GPU,
    None if unknown. `address` is the pod's IP, None if it has none yet. `gpu_request` is None where
    the resource is unknown, as with a resource claim. `replica_set` is the uid of the ReplicaSet
    that controls it. `deletion_cost` is its pod-deletion-cost, None without one;
    `marked` is whether gpu-scaler has set it, and not yet taken back.
    `member` is its place in a group that is one replica, None for a pod that is one by itself;
    `ready_since_seconds` is then that of the group.
    """

    ref: ObjectRef
    uid: str
    phase: PodPhase
    deleting: bool
    ready_since_seconds: float | None
    node_name: str | None = None
    unschedulable_since_seconds: float | None = None
    unschedulable_message: str | None = None
    served_seconds: float | None = None
    requests_gpu: bool | None = None
    address: str | None = None
    network: PodNetwork = PodNetwork()
    gpu_request: GpuRequest | None = None
    replica_set: str | None = None
    deletion_cost: int | None = None
    marked: bool = False
    member: GroupMember | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentState:
    """One opted-in Deployment with the pods of its own ReplicaSets, as the watch shows them.

    `spec_replicas` is `spec.replicas` (the API server's default 1 filled in).
    `owned_by` names the HPA or ScaledObject that targets the Deployment too, e.g.
    `HorizontalPodAutoscaler default/web`, else None.
    `defaults` are the annotations of its Namespace, None where Namespaces are not watched.
    `pods_per_replica` is the number of pods in one replica, None if unknown.
    `out_of_contact` is why all of this may be out of date, None while the watches work.
    `gpu_request` is that of the pod template, None if unknown, as is `created_unix_seconds`.
    """

    ref: ObjectRef
    uid: str
    annotations: Mapping[str, str]
    spec_replicas: int
    pods: tuple[PodState, ...]
    owned_by: str | None = None
    defaults: Mapping[str, str] | None = None
    pods_per_replica: int | None = None
    out_of_contact: str | None = None
    gpu_request: GpuRequest | None = None
    created_unix_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExporterEndpoint:
    """The URL of a node's exporter, and its pod."""

    url: str
    pod: ObjectRef
    ready: bool
