"""The one write to a workload: its `scale` subresource, on the count that was decided from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaler.cluster.kinds import DEPLOYMENTS
from scaler.kube.errors import ClusterError, Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaler.cluster.kinds import WorkloadKind
    from scaler.kube.client import JsonObject, KubeClient
    from scaler.model import ObjectRef


CALL_TIMEOUT_SECONDS = 2.0
"""Both calls together stay within the five seconds between a leader's renew deadline and the end
of its Lease, so that no patch of a former leader arrives after another has begun to act."""


class ReplicasChanged(ClusterError):  # noqa: N818  (what happened is no error of anybody's)
    """Somebody else wrote the count since it was read: decide again from `found`."""

    def __init__(self, ref: ObjectRef, *, expected: int, found: int) -> None:
        super().__init__(f"{ref.title} has {found} replicas, not {expected} as decided from")
        self.found = found


class Replaced(ClusterError):  # noqa: N818
    """The workload was deleted, and another one has its name; what was decided is void."""

    def __init__(self, ref: ObjectRef) -> None:
        super().__init__(f"{ref.title} was deleted and another one made under its name")


class LeaseLost(ClusterError):  # noqa: N818
    """This process may not write any more; nothing was written."""

    def __init__(self) -> None:
        super().__init__("the lease was lost")


async def scale_workload(
    client: KubeClient,
    ref: ObjectRef,
    *,
    kind: WorkloadKind = DEPLOYMENTS,
    uid: str,
    from_replicas: int,
    to_replicas: int,
    leads: Callable[[], bool] = lambda: True,
    read: Callable[[int], object] = lambda replicas: None,
) -> int:
    """Return the count that the API server answers, which need not be `to_replicas`.

    Changes `spec.replicas` by a merge patch of the scale subresource.

    The scale is read first: it must be of the same workload with the same count, and the patch
    carries the resourceVersion read, so that a write in between is a conflict and never
    overwritten. `leads` is asked in the last moment before the write; `read` is told each count
    that was read, and may raise. An admission webhook may have changed what was asked for.

    Raises:
        LeaseLost: `leads` said no.
        ReplicasChanged: the count is another one now, or somebody wrote in between.
        Replaced: the name belongs to another workload than `uid` now.
        ApiError: the API refused or did not answer; the count may then be either.
    """
    path = kind.scale_path(ref)
    scale = await _read(client, path, ref, uid)
    found = _replicas(scale)
    read(found)
    if found != from_replicas:
        raise ReplicasChanged(ref, expected=from_replicas, found=found)
    patch = {
        "metadata": {"resourceVersion": scale["metadata"]["resourceVersion"]},
        "spec": {"replicas": to_replicas},
    }
    if not leads():
        raise LeaseLost
    try:
        answer = await client.patch(path, patch, timeout_seconds=CALL_TIMEOUT_SECONDS)
    except Conflict as error:
        found = _replicas(await _read(client, path, ref, uid))
        read(found)
        raise ReplicasChanged(ref, expected=from_replicas, found=found) from error
    return _replicas(answer) if "spec" in answer else to_replicas


async def count_of(
    client: KubeClient, ref: ObjectRef, *, kind: WorkloadKind, uid: str
) -> int | None:
    """Return the count that a workload has, None where it is gone; raises ApiError."""
    try:
        return _replicas(await _read(client, kind.scale_path(ref), ref, uid))
    except Replaced:
        return None
    except NotFound as error:
        # A kind that is not served just now is not found either, and nothing of it is gone.
        details = error.body.get("details")
        if not isinstance(details, dict) or details.get("name") != ref.name:
            raise
        return None


async def _read(client: KubeClient, path: str, ref: ObjectRef, uid: str) -> JsonObject:
    scale = await client.get(path, timeout_seconds=CALL_TIMEOUT_SECONDS)
    if scale["metadata"]["uid"] != uid:
        raise Replaced(ref)
    return scale


def _replicas(scale: JsonObject) -> int:
    # The API server leaves out a count of zero.
    replicas: int = scale["spec"].get("replicas", 0)
    return replicas
