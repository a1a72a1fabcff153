# SPDX-License-Identifier: Apache-2.0
"""The ReplicaSet controller: as many pods as `spec.replicas`, and a status that says so."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from simulator.apiserver.resources import PODS, REPLICA_SETS
from simulator.apiserver.store import key_of

if TYPE_CHECKING:
    from simulator.apiserver.store import Store

    Object = dict[str, Any]

_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASE_RANK = {"Pending": 0, "Unknown": 1, "Running": 2}


def sync_replica_set(store: Store, replica_set: Object) -> bool:
    """Create or delete pods and write the status; returns whether to look again soon.

    Looking again is needed while a ready pod waits for `minReadySeconds` to pass.
    """
    pods = [
        pod
        for pod in store.dependents(replica_set["metadata"]["uid"], PODS)
        if is_active(pod) and controller_uid(pod) == replica_set["metadata"]["uid"]
    ]
    if not replica_set["metadata"].get("deletionTimestamp"):
        missing = replica_set["spec"]["replicas"] - len(pods)
        for _ in range(missing):
            pods.append(_create_pod(store, replica_set))
        if missing < 0:
            for pod in sorted(pods, key=_deletion_order)[:-missing]:
                store.delete(PODS, *key_of(pod))
                pods.remove(pod)
    return _write_status(store, replica_set, pods)


def is_active(pod: Object) -> bool:
    """Return whether a pod counts for its ReplicaSet: neither finished nor being deleted."""
    phase = (pod.get("status") or {}).get("phase")
    return phase not in ("Succeeded", "Failed") and not pod["metadata"].get("deletionTimestamp")


def controller_uid(thing: Object) -> str | None:
    """Return the uid of the owner that controls an object."""
    for owner in thing["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            return str(owner["uid"])
    return None


def ready_condition(pod: Object) -> Object | None:
    """Return the pod's Ready condition if it is true."""
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition["type"] == "Ready" and condition["status"] == "True":
            return dict(condition)
    return None


def owner_reference(owner: Object) -> Object:
    """Return the reference by which `owner` controls what it creates."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _create_pod(store: Store, replica_set: Object) -> Object:
    template = replica_set["spec"]["template"]
    metadata = {k: v for k, v in (template.get("metadata") or {}).items() if v is not None}
    body = {
        "metadata": {
            **metadata,
            "generateName": f"{replica_set['metadata']['name']}-",
            "ownerReferences": [owner_reference(replica_set)],
        },
        "spec": template["spec"],
    }
    return store.create(PODS, replica_set["metadata"]["namespace"], body)


def _deletion_order(pod: Object) -> tuple[bool, int, bool, int, float]:
    """Sort those first that the real controller deletes first: idle before useful, newest first."""
    ready = ready_condition(pod)
    status = pod.get("status") or {}
    cost = (pod["metadata"].get("annotations") or {}).get(_DELETION_COST)
    since = ready["lastTransitionTime"] if ready else pod["metadata"]["creationTimestamp"]
    return (
        bool(pod["spec"].get("nodeName")),
        _PHASE_RANK.get(status.get("phase", ""), 0),
        ready is not None,
        int(cost or 0),
        -datetime.fromisoformat(since).timestamp(),
    )


def _write_status(store: Store, replica_set: Object, pods: list[Object]) -> bool:
    metadata = replica_set["metadata"]
    minimum = replica_set["spec"].get("minReadySeconds") or 0
    ready = [condition for pod in pods if (condition := ready_condition(pod)) is not None]
    now = datetime.now(UTC)
    available = [
        condition
        for condition in ready
        if not minimum
        or (now - datetime.fromisoformat(condition["lastTransitionTime"])).total_seconds()
        >= minimum
    ]
    status = {
        "replicas": len(pods),
        "fullyLabeledReplicas": len(pods),
        "readyReplicas": len(ready),
        "availableReplicas": len(available),
        "observedGeneration": metadata["generation"],
    }
    if replica_set.get("status") != status:
        store.set_status(REPLICA_SETS, replica_set, status)
    return len(available) < len(ready)
