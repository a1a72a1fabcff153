# SPDX-License-Identifier: Apache-2.0
"""Pure: the Deployment of a pod, also of one that is long gone.

Known pods and ReplicaSets come from the API server and from kube-state-metrics' series. For others
the name tells: a Deployment's pod is named NAME-HASH-SUFFIX, in an alphabet without vowels.
"""

from __future__ import annotations

import re
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING

from scaler.model import ObjectRef

if TYPE_CHECKING:
    from collections.abc import Iterable

_SAFE = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX = re.compile(rf"(.+)-[{_SAFE}]{{5}}")
_HASH = re.compile(rf"(.+)-[{_SAFE}]{{1,10}}")
RESOURCES = {
    "Deployment": "",
    "StatefulSet": "statefulsets.apps",
    "DaemonSet": "daemonsets.apps",
    "ReplicaSet": "replicasets.apps",
    "Job": "jobs.batch",
}
"""`ObjectRef.kind` of a controller, by its kind in the API."""


class Way(StrEnum):
    """How the owner of a pod was found, in words for people."""

    API = "the API server"
    KUBE_STATE_METRICS = "kube-state-metrics"
    NAME = "the form of its name"


class Owners:
    """Which workload owns which pod; what is said first counts."""

    def __init__(self) -> None:
        self._pods: dict[ObjectRef, tuple[ObjectRef, Way]] = {}
        self._replica_sets: dict[ObjectRef, tuple[ObjectRef, Way]] = {}
        self._found: dict[ObjectRef, tuple[ObjectRef, Way] | None] = {}

    def add_pods(self, pairs: Iterable[tuple[ObjectRef, str, str]], way: Way) -> None:
        """Add pods, each with the kind and the name of its controller."""
        for pod, kind, name in pairs:
            owner = ObjectRef(pod.namespace, name, RESOURCES.get(kind, kind.lower()))
            self._pods.setdefault(pod, (owner, way))

    def add_replica_sets(self, pairs: Iterable[tuple[ObjectRef, str]], way: Way) -> None:
        """Add ReplicaSets (without a kind), each with the name of its Deployment."""
        for replica_set, name in pairs:
            deployment = ObjectRef(replica_set.namespace, name)
            self._replica_sets.setdefault(replica_set, (deployment, way))

    def of(self, pod: ObjectRef) -> ObjectRef | None:
        """Return the workload that owns the pod, None if nothing tells it."""
        if pod not in self._found:
            self._found[pod] = self._find(pod)
        found = self._found[pod]
        return None if found is None else found[0]

    def way(self, pod: ObjectRef) -> Way | None:
        """Return how the owner of the pod was found."""
        self.of(pod)
        found = self._found[pod]
        return None if found is None else found[1]

    def ways(self) -> Counter[Way]:
        """Return how many pods' owners were found in each way so far."""
        return Counter(found[1] for found in self._found.values() if found is not None)

    def _find(self, pod: ObjectRef) -> tuple[ObjectRef, Way] | None:
        known = self._pods.get(pod)
        if known is not None:
            owner, way = known
            if owner.kind != RESOURCES["ReplicaSet"]:
                return known
            replica_set = ObjectRef(owner.namespace, owner.name)
            if replica_set in self._replica_sets:
                return self._replica_sets[replica_set][0], way
            # The ReplicaSet is gone; its name still has the Deployment's and the hash.
            by_hash = _HASH.fullmatch(owner.name)
            return (ObjectRef(owner.namespace, by_hash[1]), way) if by_hash else known
        by_suffix = _SUFFIX.fullmatch(pod.name)
        if by_suffix is None:
            return None
        replica_set = ObjectRef(pod.namespace, by_suffix[1])
        if replica_set in self._replica_sets:
            return self._replica_sets[replica_set]
        by_hash = _HASH.fullmatch(by_suffix[1])
        return None if by_hash is None else (ObjectRef(pod.namespace, by_hash[1]), Way.NAME)
