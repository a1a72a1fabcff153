# SPDX-License-Identifier: Apache-2.0
"""The Deployment controller: ReplicaSets per template, rolled over, and the status."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import orjson

from simulator.apiserver import rollout
from simulator.apiserver.replicasets import controller_uid, owner_reference
from simulator.apiserver.resources import DEPLOYMENTS, EVENTS, REPLICA_SETS
from simulator.apiserver.store import key_of, timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.apiserver.store import Store

    Object = dict[str, Any]

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"


def sync_deployment(store: Store, deployment: Object) -> None:
    """Bring the Deployment's ReplicaSets one step nearer to its spec, and write the status."""
    if deployment["metadata"].get("deletionTimestamp"):
        return
    owned = _owned(store, deployment)
    template_hash = _hash(deployment["spec"]["template"])
    new = next((rs for rs in owned if _hash_label(rs) == template_hash), None)
    if new is None and not deployment["spec"].get("paused"):
        new = _create_replica_set(store, deployment, template_hash, owned)
        owned = _owned(store, deployment)
    newest = new or (owned[-1] if owned else None)
    if newest is not None:
        _mark_revision(store, deployment, newest, owned)
        _scale(store, deployment, newest, owned)
    owned = _owned(store, deployment)
    _forget_history(store, deployment, owned, newest)
    _write_status(store, deployment, owned, template_hash)


def _owned(store: Store, deployment: Object) -> list[Object]:
    uid = deployment["metadata"]["uid"]
    owned = [rs for rs in store.dependents(uid, REPLICA_SETS) if controller_uid(rs) == uid]
    return sorted(owned, key=_revision)


def _revision(thing: Object) -> int:
    return int((thing["metadata"].get("annotations") or {}).get(REVISION, 0))


def _hash(template: Object) -> str:
    digest = hashlib.sha256(orjson.dumps(template, option=orjson.OPT_SORT_KEYS))
    return digest.hexdigest()[:10]


def _hash_label(replica_set: Object) -> str:
    return str((replica_set["metadata"].get("labels") or {}).get(HASH_LABEL, ""))


def _create_replica_set(
    store: Store, deployment: Object, template_hash: str, owned: Sequence[Object]
) -> Object:
    metadata, spec = deployment["metadata"], deployment["spec"]
    template_metadata = spec["template"].get("metadata") or {}
    labels = {**(template_metadata.get("labels") or {}), HASH_LABEL: template_hash}
    selector = spec["selector"]
    match_labels = {**(selector.get("matchLabels") or {}), HASH_LABEL: template_hash}
    return store.create(
        REPLICA_SETS,
        metadata["namespace"],
        {
            "metadata": {
                "name": f"{metadata['name']}-{template_hash}",
                "labels": labels,
                "annotations": {REVISION: str(max(map(_revision, owned), default=0) + 1)},
                "ownerReferences": [owner_reference(deployment)],
            },
            "spec": {
                "replicas": 0,
                "minReadySeconds": spec.get("minReadySeconds", 0),
                "selector": {**selector, "matchLabels": match_labels},
                "template": {
                    **spec["template"],
                    "metadata": {**template_metadata, "labels": labels},
                },
            },
        },
    )


def _mark_revision(
    store: Store, deployment: Object, newest: Object, owned: Sequence[Object]
) -> None:
    """Number the revision that is current; one that is rolled back to becomes the newest."""
    highest = max(map(_revision, owned), default=0)
    number = _revision(newest)
    if number < highest:
        number = highest + 1
        _annotate(store, REPLICA_SETS, newest, str(number))
    if _revision(deployment) != number:
        _annotate(store, DEPLOYMENTS, deployment, str(number))


def _annotate(store: Store, resource: Any, thing: Object, revision: str) -> None:
    def change(copy: Object) -> None:
        annotations = copy["metadata"].get("annotations") or {}
        copy["metadata"]["annotations"] = {**annotations, REVISION: revision}

    store.modify(resource, *key_of(thing), change)


def _scale(store: Store, deployment: Object, newest: Object, owned: Sequence[Object]) -> None:
    spec = deployment["spec"]
    old = [rs for rs in owned if rs["metadata"]["uid"] != newest["metadata"]["uid"]]
    if spec.get("paused"):
        wanted = {newest["metadata"]["uid"]: spec["replicas"]} if len(owned) == 1 else {}
    else:
        wanted = rollout.plan(
            replicas=spec["replicas"],
            strategy=spec.get("strategy") or {},
            new=_counts(newest),
            old=[_counts(rs) for rs in old],
        )
    for replica_set in owned:
        metadata = replica_set["metadata"]
        before = replica_set["spec"]["replicas"]
        after = wanted.get(metadata["uid"], before)
        if after == before:
            continue
        resized = {**replica_set, "spec": {**replica_set["spec"], "replicas": after}}
        store.replace(REPLICA_SETS, metadata["namespace"], resized)
        direction = "up" if after > before else "down"
        message = f"Scaled {direction} replica set {metadata['name']} from {before} to {after}"
        _event(store, deployment, "ScalingReplicaSet", message)


def _counts(replica_set: Object) -> rollout.ReplicaCounts:
    status = replica_set.get("status") or {}
    return rollout.ReplicaCounts(
        uid=replica_set["metadata"]["uid"],
        wanted=replica_set["spec"]["replicas"],
        existing=status.get("replicas", 0),
        available=status.get("availableReplicas", 0),
    )


def _forget_history(
    store: Store, deployment: Object, owned: Sequence[Object], newest: Object | None
) -> None:
    limit = deployment["spec"].get("revisionHistoryLimit", 10)
    uid = newest["metadata"]["uid"] if newest else None
    idle = [
        rs
        for rs in owned
        if rs["metadata"]["uid"] != uid
        and rs["spec"]["replicas"] == 0
        and (rs.get("status") or {}).get("replicas", 0) == 0
    ]
    for replica_set in idle[: max(0, len(idle) - limit)]:
        store.delete(REPLICA_SETS, *key_of(replica_set))


def _write_status(
    store: Store, deployment: Object, owned: Sequence[Object], template_hash: str
) -> None:
    metadata, spec = deployment["metadata"], deployment["spec"]

    def counted(field: str, replica_sets: Sequence[Object] = owned) -> int:
        return sum((rs.get("status") or {}).get(field, 0) for rs in replica_sets)

    updated = counted("replicas", [rs for rs in owned if _hash_label(rs) == template_hash])
    total, available = counted("replicas"), counted("availableReplicas")
    wanted = spec["replicas"]
    minimum = rollout.minimum_available(spec.get("strategy") or {}, wanted)
    done = updated == total == wanted and available >= wanted
    old = deployment.get("status") or {}
    status: Object = {
        "observedGeneration": metadata["generation"],
        "replicas": total,
        "updatedReplicas": updated,
        "readyReplicas": counted("readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, wanted - available),
        "conditions": [
            _condition(
                old,
                "Available",
                available >= minimum,
                "MinimumReplicasAvailable",
                "MinimumReplicasUnavailable",
            ),
            _condition(
                old,
                "Progressing",
                True,
                "NewReplicaSetAvailable" if done else "ReplicaSetUpdated",
            ),
        ],
    }
    status = {name: value for name, value in status.items() if value}
    if status != old:
        store.set_status(DEPLOYMENTS, deployment, status)


def _condition(
    old: Object, type_: str, true: bool, reason: str, reason_if_false: str = ""
) -> Object:
    status = "True" if true else "False"
    reason = reason if true else reason_if_false
    for condition in old.get("conditions") or ():
        if condition["type"] == type_ and condition["status"] == status:
            if condition["reason"] == reason:
                return dict(condition)
            return {**condition, "reason": reason, "lastUpdateTime": timestamp()}
    now = timestamp()
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": f"{type_}: {reason}",
        "lastUpdateTime": now,
        "lastTransitionTime": now,
    }


def _event(store: Store, deployment: Object, reason: str, message: str) -> None:
    metadata, now = deployment["metadata"], timestamp()
    store.create(
        EVENTS,
        metadata["namespace"],
        {
            "metadata": {"generateName": f"{metadata['name']}."},
            "involvedObject": {
                "apiVersion": deployment["apiVersion"],
                "kind": deployment["kind"],
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "type": "Normal",
            "reason": reason,
            "message": message,
            "source": {"component": "deployment-controller"},
            "reportingComponent": "deployment-controller",
            "reportingInstance": "",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        },
    )
