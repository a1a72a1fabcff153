# SPDX-License-Identifier: Apache-2.0
"""Pure: kube-state-metrics' series: who owned a pod, and how long it took to become Ready.

The same labels are named `exported_...` where Prometheus does not honor those of the page.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from scaler.budgets import shown_name
from scaler.model import ObjectRef
from scaler.readings.prometheus.range_chunks import promql_duration
from scaler.readings.prometheus.response import rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scaler.readings.prometheus.response import Result

IS_THERE = "count(kube_pod_owner)"
LONGEST_START_SECONDS = 6 * 3600.0
"""A pod that took longer to become Ready waited for something else."""
_POD = "namespace, pod, exported_namespace, exported_pod"


class PodOwner(NamedTuple):
    """A pod, and the kind and the name of its controller."""

    pod: ObjectRef
    kind: str
    name: str


def pod_owners_query(seconds: float) -> str:
    """Return the query for the owners of all pods of the last `seconds`."""
    past = promql_duration(seconds)
    series = f'last_over_time(kube_pod_owner{{owner_is_controller="true"}}[{past}])'
    return f"max by ({_POD}, owner_kind, owner_name) ({series})"


def replica_sets_query(seconds: float) -> str:
    """Return the query for the Deployments of all ReplicaSets of the last `seconds`."""
    past = promql_duration(seconds)
    series = f'last_over_time(kube_replicaset_owner{{owner_kind="Deployment"}}[{past}])'
    labels = "namespace, replicaset, exported_namespace, exported_replicaset, owner_name"
    return f"max by ({labels}) ({series})"


def start_times_query(seconds: float) -> str:
    """Return the query for the seconds from each pod's creation until it was first Ready."""
    past = promql_duration(seconds)
    ready = f"min by ({_POD}) (min_over_time(kube_pod_status_ready_time[{past}]))"
    created = f"max by ({_POD}) (last_over_time(kube_pod_created[{past}]))"
    return f"{ready} - {created}"


def read_pod_owners(result: Result) -> Iterator[PodOwner]:
    """Yield what an answer to `pod_owners_query` says; raises PromqlError."""
    for labels, _ in _rows(result):
        pod = _named(labels, "pod")
        if pod is not None and labels.get("owner_kind") and labels.get("owner_name"):
            yield PodOwner(pod, labels["owner_kind"], labels["owner_name"])


def read_replica_sets(result: Result) -> Iterator[tuple[ObjectRef, str]]:
    """Yield ReplicaSets with their Deployments; raises PromqlError."""
    for labels, _ in _rows(result):
        replica_set = _named(labels, "replicaset")
        if replica_set is not None and labels.get("owner_name"):
            yield replica_set, labels["owner_name"]


def read_start_times(result: Result) -> Iterator[tuple[ObjectRef, float]]:
    """Yield pods with the seconds until they were Ready, where that is possible."""
    for labels, value in _rows(result):
        pod = _named(labels, "pod")
        if pod is not None and 0 <= value <= LONGEST_START_SECONDS:
            yield pod, value


def _named(labels: Mapping[str, str], what: str) -> ObjectRef | None:
    namespace = labels.get("exported_namespace") or labels.get("namespace")
    name = labels.get(f"exported_{what}") or labels.get(what)
    return ObjectRef(namespace, name) if namespace and name else None


def _rows(result: Result) -> Iterator[tuple[Mapping[str, str], float]]:
    with rows_of(result, "vector") as rows:
        for row in rows:
            value = float(row["value"][1])
            labels = {name: shown_name(text) for name, text in row["metric"].items()}
            yield labels, value if math.isfinite(value) else -1.0
