# SPDX-License-Identifier: Apache-2.0
"""Reads and writes the `scale` subresource, the only write to a workload."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scaler.cluster.kinds import DEPLOYMENTS
from scaler.kube import fields
from scaler.kube.errors import ClusterError, Conflict, NotFound
from scaler.kube.failures import not_json

if TYPE_CHECKING:
    from scaler.cluster.kinds import WorkloadKind
    from scaler.kube.client import JsonObject, KubeClient
    from scaler.model import ObjectRef


CALL_TIMEOUT_SECONDS = 2.0
"""A write and a read together stay within the five seconds between a leader's renew deadline and
the end of its Lease, so that no patch of a former leader arrives after another began to act."""


class Replaced(ClusterError):  # noqa: N818
    """The workload was deleted and recreated, so the decision is void."""

    def __init__(self, ref: ObjectRef) -> None:
        super().__init__(f"{ref.title} was deleted and created again")


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionedScale:
    """A workload's replica count at `resource_version`."""

    replicas: int
    resource_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The API server took the write; an admission webhook may have changed the count."""

    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CountChanged:
    """Nothing was written: the API server has another count than the one decided from."""

    found: int


async def read_scale(
    client: KubeClient, ref: ObjectRef, *, kind: WorkloadKind = DEPLOYMENTS, uid: str
) -> VersionedScale:
    """Return the replica count of a workload.

    Raises:
        Replaced: the name belongs to another workload than `uid` now.
        ApiError: the API refused or did not answer.
    """
    return await _read(client, kind.scale_path(ref), ref, uid)


async def write_scale(
    client: KubeClient,
    ref: ObjectRef,
    *,
    kind: WorkloadKind = DEPLOYMENTS,
    uid: str,
    scale: VersionedScale,
    to_replicas: int,
) -> Written | CountChanged:
    """Write a count unless somebody else wrote in between, which may be the same count.

    Changes `spec.replicas` by a merge patch of the scale subresource with the resourceVersion of
    `scale`, so that a write in between is a conflict and never overwritten. A 409 although nothing
    was written in between is a refusal, such as an admission webhook's.

    Raises:
        Replaced: the name belongs to another workload than `uid` now.
        ApiError: the API refused or did not answer; the count may then be either.
    """
    path = kind.scale_path(ref)
    patch = {
        "metadata": {"resourceVersion": scale.resource_version},
        "spec": {"replicas": to_replicas},
    }
    try:
        answer = await client.patch(path, patch, timeout_seconds=CALL_TIMEOUT_SECONDS)
    except Conflict:
        now = await _read(client, path, ref, uid)
        if now == scale:
            raise
        return CountChanged(found=now.replicas)
    return Written(replicas=_replicas(answer, f"PATCH {path}") if "spec" in answer else to_replicas)


async def count_of(
    client: KubeClient, ref: ObjectRef, *, kind: WorkloadKind, uid: str
) -> int | None:
    """Return the replica count of a workload, None if it is gone; raises ApiError."""
    try:
        return (await _read(client, kind.scale_path(ref), ref, uid)).replicas
    except Replaced:
        return None
    except NotFound as error:
        if not error.is_missing(ref.name):
            raise
        return None


async def _read(client: KubeClient, path: str, ref: ObjectRef, uid: str) -> VersionedScale:
    scale = await client.get(path, timeout_seconds=CALL_TIMEOUT_SECONDS)
    metadata: Any = scale.get("metadata")
    try:
        found = fields.text(metadata, "uid")
        resource_version = fields.text(metadata, "resourceVersion")
    except (AttributeError, fields.MalformedObject) as error:
        raise not_json(f"GET {path}", 200, f"{scale!r:.200}") from error
    if found != uid:
        raise Replaced(ref)
    return VersionedScale(
        replicas=_replicas(scale, f"GET {path}"), resource_version=resource_version
    )


def _replicas(scale: JsonObject, request: str) -> int:
    spec = scale.get("spec")
    # The API server leaves out a count of zero.
    replicas = fields.count(spec.get("replicas", 0)) if isinstance(spec, dict) else None
    if replicas is None:
        raise not_json(request, 200, f"{scale!r:.200}")
    return replicas
