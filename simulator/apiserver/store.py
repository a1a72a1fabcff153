# SPDX-License-Identifier: Apache-2.0
"""The objects of the embedded API, their versions, and the rules of writing them.

Stored objects are never edited: a write stores a new one, so that readers may hold what they
were given. All methods are synchronous and leave the store consistent.
"""

from __future__ import annotations

import secrets
import uuid
from collections import defaultdict
from copy import deepcopy
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from simulator.apiserver.admission import admit
from simulator.apiserver.changes import Change, ChangeLog, Object
from simulator.apiserver.resources import EVENTS, NAMESPACES, NODES, PODS, SERVED, Resource
from simulator.apiserver.status import already_exists, bad_request, conflict, invalid, not_found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Key = tuple[Resource, str, str]
HISTORY_LIMIT = 20_000
EVENT_LIMIT = 5_000
_NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_KEPT_BY_SERVER = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")


def timestamp() -> str:
    """Return the wall clock as `metav1.Time` prints it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def key_of(thing: Object) -> tuple[str, str]:
    """Return an object's namespace, empty where it has none, and its name."""
    return thing["metadata"].get("namespace", ""), thing["metadata"]["name"]


class Store:
    """Objects by resource, namespace and name, with one revision over all of them."""

    def __init__(
        self, *, extra_resources: Sequence[Resource] = (), history_limit: int = HISTORY_LIMIT
    ) -> None:
        self.resources = (*SERVED, *extra_resources)
        # Revisions begin at the wall clock so that a restarted server is never behind what
        # the clients of the previous one have seen: they get 410 and list again.
        self.revision = int(datetime.now(UTC).timestamp())
        self._objects: dict[Resource, dict[tuple[str, str], Object]] = {
            resource: {} for resource in self.resources
        }
        self._logs = {
            resource: ChangeLog(limit=history_limit, start_revision=self.revision)
            for resource in self.resources
        }
        self._dependents: defaultdict[str, set[Key]] = defaultdict(set)
        self._uids: set[str] = set()
        for name in ("default", "kube-system"):
            self.create(NAMESPACES, "", {"metadata": {"name": name}})

    def log(self, resource: Resource) -> ChangeLog:
        """Return the history of one resource."""
        return self._logs[resource]

    def compact(self) -> None:
        """Forget all history: every watch that is behind, and every old continue token, ends."""
        for log in self._logs.values():
            log.compact(self.revision)

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """Return an object; raises the 404 StatusError."""
        thing = self._objects[resource].get((namespace, name))
        if thing is None:
            raise not_found(resource, name)
        return thing

    def list_(self, resource: Resource, namespace: str = "") -> list[Object]:
        """Return the objects of a namespace, or of all, in order of namespace and name."""
        objects = self._objects[resource]
        return [objects[key] for key in sorted(objects) if not namespace or key[0] == namespace]

    def dependents(self, uid: str, resource: Resource) -> list[Object]:
        """Return what names the object of this uid as an owner, in no order."""
        keys = self._dependents.get(uid, ())
        return [
            self._objects[kind][namespace, name]
            for kind, namespace, name in keys
            if kind is resource
        ]

    def create(self, resource: Resource, namespace: str, body: Object) -> Object:
        """Store a new object with defaults, uid and name filled in; 404, 409 or 422."""
        thing = deepcopy(body)
        metadata = thing.setdefault("metadata", {})
        if not metadata.get("name") and metadata.get("generateName"):
            suffix = "".join(secrets.choice(_NAME_ALPHABET) for _ in range(5))
            metadata["name"] = metadata["generateName"] + suffix
        name = metadata.get("name") or ""
        if not name:
            raise invalid(resource, "", "metadata.name", "Required value: name is required")
        if resource.namespaced:
            if metadata.setdefault("namespace", namespace) != namespace:
                raise bad_request(
                    "the namespace of the provided object does not match the namespace sent on "
                    "the request"
                )
            self.get(NAMESPACES, "", namespace)
        if (namespace, name) in self._objects[resource]:
            raise already_exists(resource, name)
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": timestamp()}
        metadata.pop("deletionTimestamp", None)
        if resource.counts_generations:
            metadata["generation"] = 1
        if "status" in resource.subresources and resource is not NODES:
            thing.pop("status", None)  # a kubelet registers its node with a status
        admit(resource, thing, None)
        if resource is EVENTS and len(self._objects[EVENTS]) >= EVENT_LIMIT:
            self._remove(EVENTS, self._objects[EVENTS][next(iter(self._objects[EVENTS]))])
        return self._put("ADDED", resource, thing, None)

    def replace(
        self, resource: Resource, namespace: str, body: Object, *, subresource: str = ""
    ) -> Object:
        """Replace an object, or its status; checks uid and resourceVersion if they are given."""
        given = body.get("metadata") or {}
        name = str(given.get("name") or "")
        old = self.get(resource, namespace, name)
        self._check(resource, old, given)
        if resource.needs_resource_version and not given.get("resourceVersion"):
            why = "Invalid value: 0: must be specified for an update"
            raise invalid(resource, name, "metadata.resourceVersion", why)
        if subresource == "status":
            new = deepcopy(old)
            new["status"] = deepcopy(body.get("status") or {})
        else:
            new = deepcopy(body)
            if "status" in resource.subresources:
                new.pop("status", None)
                if "status" in old:
                    new["status"] = old["status"]
        metadata = new["metadata"]
        if resource.namespaced:
            # A body may leave its namespace to the path.
            metadata["namespace"] = namespace
        for field in (*_KEPT_BY_SERVER, "resourceVersion", "generation"):
            metadata.pop(field, None)
            if field in old["metadata"]:
                metadata[field] = old["metadata"][field]
        if not subresource:
            admit(resource, new, old)
        if resource.counts_generations and new.get("spec") != old.get("spec"):
            metadata["generation"] = old["metadata"]["generation"] + 1
        if new == old:
            return old
        if (
            old["metadata"].get("finalizers")
            and not metadata.get("finalizers")
            and metadata.get("deletionGracePeriodSeconds") == 0
        ):
            return self._remove(resource, new)
        return self._put("MODIFIED", resource, new, old)

    def set_status(self, resource: Resource, thing: Object, status: Object) -> None:
        """Replace the status of an object."""
        self.modify(
            resource,
            *key_of(thing),
            lambda copy: copy.update(status=status),
            subresource="status",
        )

    def modify(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Callable[[Object], Any],
        *,
        subresource: str = "",
    ) -> Object:
        """Replace an object by what `change` makes of a copy (edited, or returned)."""
        copy = deepcopy(self.get(resource, namespace, name))
        changed = change(copy)
        return self.replace(
            resource, namespace, copy if changed is None else changed, subresource=subresource
        )

    def bind(self, namespace: str, name: str, node: str, condition: Object) -> Object:
        """Assign a pod to a node; `condition` is its PodScheduled."""
        old = self.get(PODS, namespace, name)
        bound = deepcopy(old)
        bound["spec"]["nodeName"] = node
        conditions = bound.setdefault("status", {}).get("conditions") or []
        others = [other for other in conditions if other["type"] != condition["type"]]
        bound["status"]["conditions"] = [*others, condition]
        return self._put("MODIFIED", PODS, bound, old)

    def delete(
        self, resource: Resource, namespace: str, name: str, options: Object | None = None
    ) -> tuple[Object, bool]:
        """Delete an object; returns its last state and whether it is gone already.

        A pod on a node only gets its deletionTimestamp until its kubelet deletes it with grace
        period 0; an object with finalizers until they are removed.
        """
        options = options or {}
        old = self.get(resource, namespace, name)
        self._check(resource, old, options.get("preconditions") or {})
        if options.get("propagationPolicy") == "Orphan":
            self._orphan(old["metadata"]["uid"])
        grace = self._grace_seconds(resource, old, options)
        if not grace and not old["metadata"].get("finalizers"):
            return self._remove(resource, old), True
        if old["metadata"].get("deletionTimestamp"):
            return old, False
        marked = deepcopy(old)
        marked["metadata"] |= {
            "deletionTimestamp": timestamp(),
            "deletionGracePeriodSeconds": grace,
        }
        return self._put("MODIFIED", resource, marked, old), False

    def _grace_seconds(self, resource: Resource, old: Object, options: Object) -> int:
        if resource is not PODS or not (old.get("spec") or {}).get("nodeName"):
            return 0
        if (old.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return 0
        given = options.get("gracePeriodSeconds")
        return int(old["spec"].get("terminationGracePeriodSeconds", 30) if given is None else given)

    def _check(self, resource: Resource, old: Object, given: Object) -> None:
        name, metadata = old["metadata"]["name"], old["metadata"]
        if given.get("uid") and given["uid"] != metadata["uid"]:
            raise conflict(
                resource,
                name,
                f"Precondition failed: UID in precondition: {given['uid']}, "
                f"UID in object meta: {metadata['uid']}",
            )
        version = given.get("resourceVersion")
        if version and version != metadata["resourceVersion"]:
            raise conflict(resource, name)

    def _put(self, type_: str, resource: Resource, thing: Object, old: Object | None) -> Object:
        self.revision += 1
        metadata = thing["metadata"]
        metadata["resourceVersion"] = str(self.revision)
        thing = {"apiVersion": resource.api_version, "kind": resource.kind, **thing}
        key = key_of(thing)
        self._objects[resource][key] = thing
        self._uids.add(metadata["uid"])
        self._index((resource, *key), old, thing)
        self._logs[resource].append(
            Change(revision=self.revision, type=type_, thing=thing, previous=old)
        )
        return thing

    def _remove(self, resource: Resource, thing: Object) -> Object:
        self.revision += 1
        metadata = {**thing["metadata"], "resourceVersion": str(self.revision)}
        last = {**thing, "metadata": metadata}
        key = key_of(thing)
        stored = self._objects[resource].pop(key)
        self._uids.discard(metadata["uid"])
        self._index((resource, *key), stored, None)
        self._logs[resource].append(
            Change(revision=self.revision, type="DELETED", thing=last, previous=stored)
        )
        self._collect_garbage(metadata["uid"])
        if resource is NAMESPACES:
            self._empty(metadata["name"])
        return last

    def _index(self, key: Key, old: Object | None, new: Object | None) -> None:
        for uid in _owner_uids(old):
            self._dependents[uid].discard(key)
            if not self._dependents[uid]:
                del self._dependents[uid]
        for uid in _owner_uids(new):
            self._dependents[uid].add(key)

    def _collect_garbage(self, uid: str) -> None:
        for kind, namespace, name in list(self._dependents.get(uid, ())):
            thing = self._objects[kind].get((namespace, name))
            if thing is not None and not any(owner in self._uids for owner in _owner_uids(thing)):
                self.delete(kind, namespace, name)

    def _orphan(self, uid: str) -> None:
        def forget_owner(thing: Object) -> None:
            metadata = thing["metadata"]
            metadata["ownerReferences"] = [
                owner for owner in metadata["ownerReferences"] if owner["uid"] != uid
            ]

        for kind, namespace, name in list(self._dependents.get(uid, ())):
            self.modify(kind, namespace, name, forget_owner)

    def _empty(self, namespace: str) -> None:
        for resource in self.resources:
            for key in [key for key in self._objects[resource] if key[0] == namespace]:
                if key in self._objects[resource]:
                    self.delete(resource, *key, {"gracePeriodSeconds": 0})


def _owner_uids(thing: Object | None) -> Iterable[str]:
    if thing is None:
        return ()
    return [owner["uid"] for owner in thing["metadata"].get("ownerReferences") or ()]
