"""What a raw pod says beyond its phase: whether it served before, and what it asks for. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scaler.gpurequests import requests_gpu
from scaler.model import PodPhase

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from scaler.cluster.decode import Pod

    JsonObject = Mapping[str, Any]


def restarts(status: JsonObject) -> int:
    """Return how often containers of the pod were started again."""
    return sum(one.get("restartCount") or 0 for one in status.get("containerStatuses") or ())


def served_seconds(
    before: float | None, *, ready_since_seconds: float | None, ended_seconds: float | None
) -> float | None:
    """Return the longest time that a pod has been Ready without a break before its present state.

    `before` is what was known so far; a spell that began at `ready_since_seconds` (None: it was
    not Ready) ended at `ended_seconds` (None: it goes on, or its end was not seen).
    """
    if ready_since_seconds is None or ended_seconds is None:
        return before
    return max(before or 0.0, ended_seconds - ready_since_seconds)


def asks_for_gpu(spec: JsonObject) -> bool | None:
    """Return whether a container that runs as long as the pod does asks for a GPU."""
    if not spec.get("containers"):
        return None
    return requests_gpu(_resources(spec), claims=bool(spec.get("resourceClaims")))


def pods_per_replica(pods: Iterable[Pod], replicas: int | None, known: int | None) -> int | None:
    """Return how many of these pods make up one of the `replicas` that there are.

    While some of them start it is what was known before: a scale counts a replica as soon as its
    first pod is there. None where nothing is known.
    """
    ended = (PodPhase.FAILED, PodPhase.SUCCEEDED)
    alive = [pod for pod in pods if not pod.state.deleting and pod.state.phase not in ended]
    if any(pod.in_replica_set for pod in alive):
        return 1
    if not alive or not replicas:
        return known
    if known is not None and any(pod.state.ready_since_seconds is None for pod in alive):
        return known
    return max(1, round(len(alive) / replicas))


def _resources(spec: JsonObject) -> Iterator[tuple[str, object]]:
    sidecars = (
        one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"
    )
    for container in (*spec["containers"], *sidecars):
        resources = container.get("resources") or {}
        for part in ("limits", "requests"):
            yield from (resources.get(part) or {}).items()
