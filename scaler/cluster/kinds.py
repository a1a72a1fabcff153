# SPDX-License-Identifier: Apache-2.0
"""The kinds of workloads that are scaled, and their paths in the API.

A kind is named as in kubectl, by plural and group: `statefulsets.apps`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaler.kube.errors import ClusterError, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from scaler.kube.client import KubeClient
    from scaler.model import ObjectRef


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadKind:
    """A kind with a scale subresource.

    `owns_pods` is True if the controller of each pod is the workload itself or one of its
    ReplicaSets: its `spec.replicas` is then the replica count.
    """

    group: str
    version: str
    plural: str
    kind: str
    owns_pods: bool = False

    @property
    def name(self) -> str:
        """`statefulsets.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def ref_kind(self) -> str:
        """The value of `ObjectRef.kind` for such workloads; empty for Deployments."""
        return "" if self == DEPLOYMENTS else self.name

    @property
    def api_version(self) -> str:
        """`apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def base(self) -> str:
        """The path of its group and version."""
        return f"{'/apis' if self.group else '/api'}/{self.api_version}"

    def scale_path(self, ref: ObjectRef) -> str:
        """Return the path of a workload's scale subresource."""
        return f"{self.base}/namespaces/{ref.namespace}/{self.plural}/{ref.name}/scale"


DEPLOYMENTS = WorkloadKind(
    group="apps", version="v1", plural="deployments", kind="Deployment", owns_pods=True
)
STATEFUL_SETS = WorkloadKind(
    group="apps", version="v1", plural="statefulsets", kind="StatefulSet", owns_pods=True
)
KNOWN = {kind.name: kind for kind in (DEPLOYMENTS, STATEFUL_SETS)}
OWNERS_OF_REPLICA_SETS = frozenset({"rollouts.argoproj.io"})
"""Kinds of others that control ReplicaSets as a Deployment does."""


COUNTED_IN_SPEC = frozenset({DEPLOYMENTS.ref_kind, STATEFUL_SETS.ref_kind, *OWNERS_OF_REPLICA_SETS})
"""The ref kinds whose `spec.replicas` is the count, and 1 by default."""


class UnknownKind(ClusterError):  # noqa: N818
    """The API server does not have this kind, or it cannot be scaled."""


class Kinds:
    """The kinds that the scaler scales."""

    def __init__(self, kinds: Iterable[WorkloadKind] = (DEPLOYMENTS,)) -> None:
        self._by_ref = {kind.ref_kind: kind for kind in kinds}
        self._by_kind = {(kind.group, kind.kind): kind for kind in self._by_ref.values()}

    def __iter__(self) -> Iterator[WorkloadKind]:
        """Iterate over the kinds in the order of the flag."""
        return iter(self._by_ref.values())

    def of(self, ref: ObjectRef) -> WorkloadKind:
        """Return the kind of a workload."""
        return self._by_ref[ref.kind]

    def ref_kind(self, group: str, kind: str) -> str | None:
        """Return the ref kind of an API kind; None if it is not a scaled kind."""
        found = self._by_kind.get((group, kind))
        return None if found is None else found.ref_kind


async def find_kinds(client: KubeClient, names: Sequence[str]) -> Kinds:
    """Return the kinds of `--kinds`; looks up those that are not built in at the API server.

    Raises:
        UnknownKind: the API server does not have a kind, or it has no scale subresource.
        ApiError: the request failed.
    """
    return Kinds([KNOWN.get(name) or await _discover(client, name) for name in names])


async def _discover(client: KubeClient, name: str) -> WorkloadKind:
    plural, _, group = name.partition(".")
    version, base = "v1", "/api"
    try:
        if group:
            base = f"/apis/{group}"
            version = (await client.get(base))["preferredVersion"]["version"]
        resources = (await client.get(f"{base}/{version}"))["resources"]
    except NotFound:
        resources = []
    found = {one["name"]: one for one in resources if one.get("namespaced")}
    if plural not in found:
        hint = "" if group else "; the name must include the group, as in statefulsets.apps"
        raise UnknownKind(f"--kinds: the API server has no namespaced kind {name}{hint}")
    if f"{plural}/scale" not in found:
        raise UnknownKind(f"--kinds: {name} has no scale subresource, which scaling requires")
    return WorkloadKind(
        group=group,
        version=version,
        plural=plural,
        kind=found[plural]["kind"],
        owns_pods=name in OWNERS_OF_REPLICA_SETS,
    )
