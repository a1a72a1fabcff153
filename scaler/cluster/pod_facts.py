# SPDX-License-Identifier: Apache-2.0
"""Pure: restarts and GPU requests of raw pods, and the number of pods per replica."""

from __future__ import annotations

import re
from dataclasses import dataclass
from sys import intern
from typing import TYPE_CHECKING, Any

from scaler.decision.gpu_requests import requests_gpu
from scaler.kube import fields
from scaler.model import ObjectRef, PodPhase

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from scaler.cluster.objects import Pod
    from scaler.cluster.scales import Scale

    JsonObject = Mapping[str, Any]


_INT32 = re.compile(r"0|-?[1-9][0-9]{0,9}")
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
MARK = "gpu-scaler/marked"
"""Annotation of pods whose deletion cost gpu-scaler has set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSize:
    """The number of pods per replica, and the desired replicas when it was found."""

    pods: int
    replicas: int


def restarts(status: JsonObject) -> int:
    """Return the number of restarts of the pod's containers."""
    return sum(one.get("restartCount") or 0 for one in status.get("containerStatuses") or ())


def asks_for_gpu(spec: JsonObject) -> bool | None:
    """Return whether a container or a sidecar requests a GPU, None if it has no containers."""
    if not spec.get("containers"):
        return None
    return requests_gpu(_resources(spec), claims=bool(spec.get("resourceClaims")))


def deletion_cost(metadata: JsonObject) -> int | None:
    """Return the pod's deletion cost, None without one; the API server admits int32 only."""
    text = (metadata.get("annotations") or {}).get(DELETION_COST)
    return int(text) if isinstance(text, str) and _INT32.fullmatch(text) else None


def is_marked(metadata: JsonObject) -> bool:
    """Return whether gpu-scaler has set the pod's deletion cost; another may have changed it."""
    return MARK in (metadata.get("annotations") or {})


def workload_of(metadata: JsonObject) -> ObjectRef:
    """Return the pod's controller, the Deployment of a ReplicaSet's, or the pod itself.

    The API server takes any text as the controller's kind and name; no object has a long one.
    """
    pod = fields.ref(metadata, "pods")
    owners = metadata.get("ownerReferences") or ()
    owner = next((one for one in owners if one.get("controller")), None)
    if owner is None:
        return pod
    kind, name = fields.text(owner, "kind"), fields.text(owner, "name")
    group = fields.text(owner, "apiVersion").rpartition("/")[0]
    if max(len(kind), len(name), len(group)) > fields.MAX_NAME_CHARACTERS:
        return pod
    # A Deployment adds this label to its ReplicaSets and pods, and the value to their names.
    template = (metadata.get("labels") or {}).get("pod-template-hash")
    if (kind, group) == ("ReplicaSet", "apps") and template and name.endswith(f"-{template}"):
        return ObjectRef(pod.namespace, intern(name.removesuffix(f"-{template}")))
    # A guess at the plural, without asking the API server about each kind.
    plural = f"{kind.lower()}s"
    return ObjectRef(pod.namespace, intern(name), intern(f"{plural}.{group}" if group else plural))


def group_size(pods: Iterable[Pod], scale: Scale, known: GroupSize | None) -> GroupSize | None:
    """Return the number of pods per replica, None if it is unknown.

    `status.replicas` of a scale counts a replica as soon as its first pod exists. The `known` size
    remains until the pods have followed the count: too large a size would give too few replicas.
    """
    asked, found = scale.replicas, scale.found_replicas
    ended = (PodPhase.FAILED, PodPhase.SUCCEEDED)
    alive = [pod for pod in pods if not pod.state.deleting and pod.state.phase not in ended]
    if any(pod.in_replica_set for pod in alive):
        return GroupSize(pods=1, replicas=asked)
    if not alive or not asked:
        return known
    if known is None:
        return GroupSize(pods=max(1, round(len(alive) / (found or asked))), replicas=asked)
    is_moving = (
        found not in (None, asked)
        or len(alive) % asked > 0
        or any(pod.state.ready_since_seconds is None for pod in alive)
    )
    if is_moving:
        return known
    size = GroupSize(pods=len(alive) // asked, replicas=asked)
    # The count has changed, but the pods have not followed yet.
    has_more_to_go = size.pods > known.pods and asked < known.replicas
    has_more_to_come = size.pods < known.pods and asked > known.replicas
    return known if has_more_to_go or has_more_to_come else size


def _resources(spec: JsonObject) -> Iterator[tuple[str, object]]:
    sidecars = (
        one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"
    )
    for container in (*spec["containers"], *sidecars):
        resources = container.get("resources") or {}
        for part in ("limits", "requests"):
            yield from (resources.get(part) or {}).items()
