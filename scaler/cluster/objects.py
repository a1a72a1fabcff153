# SPDX-License-Identifier: Apache-2.0
"""The fields of API objects that the scaler keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaler.kube.selectors import Selector
    from scaler.model import ExporterEndpoint, GpuRequest, GroupMember, ObjectRef, PodState


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A Namespace with defaults for its Deployments."""

    name: str
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A workload with the annotation `gpu-scaler/enabled`, whatever its value.

    `selector` is its `spec.selector`, None if it is missing or invalid. `spec_replicas` is None if
    the field is not a count. `gpu_request` is that of its pod template, None if unknown.
    `created_unix_seconds` is None if unknown.
    """

    ref: ObjectRef
    uid: str
    annotations: Mapping[str, str]
    spec_replicas: int | None
    selector: Selector | None = None
    gpu_request: GpuRequest | None = None
    created_unix_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSet:
    """A ReplicaSet and the workload of its namespace that controls it, by uid."""

    namespace: str
    uid: str
    owner_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod of a workload or an exporter, with the transition times from which ages are computed.

    `labels` are kept only if workloads select their pods by labels. `restarts` is the sum over its
    containers: a restarted container loads its model again. `in_replica_set` is whether a
    ReplicaSet controls the pod: one replica of its workload is then one pod. `member` is its place
    in a group that is one replica, if labels say so. `workload` is known only of pods that request
    GPUs, and only if all such pods are watched.
    """

    state: PodState
    controller_uid: str | None
    labels: Mapping[str, str]
    exporter: ExporterEndpoint | None
    ready_transition: str | None
    unschedulable_transition: str | None
    restarts: int = 0
    in_replica_set: bool = False
    member: GroupMember | None = None
    workload: ObjectRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaler:
    """An HPA or a ScaledObject: its display name, and the workload that it targets."""

    text: str
    target: ObjectRef
