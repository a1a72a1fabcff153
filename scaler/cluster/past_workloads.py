# SPDX-License-Identifier: Apache-2.0
"""What the API server shows now of the workloads whose past is read: get and list only."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scaler.cluster.decode import decode_namespace, our_annotations
from scaler.cluster.pod_facts import restarts
from scaler.kube import fields
from scaler.kube.errors import ApiError
from scaler.policy.parse import opted_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scaler.kube.client import KubeClient
    from scaler.model import ObjectRef

    JsonObject = Mapping[str, Any]

MANY_NAMESPACES = 20
"""From that many on, all namespaces are listed at once."""
LONGEST_START_SECONDS = 6 * 3600.0
"""A pod that took longer to become Ready waited for something else."""


@dataclass(slots=True)
class PastWorkloads:
    """What was found; `problems` are sentences about what could not be read."""

    annotations: dict[ObjectRef, Mapping[str, str]] = field(default_factory=dict)
    """Of Deployments, those of gpu-scaler."""
    defaults: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """Of Namespaces, those of gpu-scaler."""
    pods: list[tuple[ObjectRef, str, str]] = field(default_factory=list)
    """Each with the kind and the name of its controller."""
    replica_sets: list[tuple[ObjectRef, str]] = field(default_factory=list)
    """Each with the name of its Deployment."""
    start_seconds: dict[ObjectRef, float] = field(default_factory=dict)
    """From the creation of a pod until it was Ready, for pods that have not restarted."""
    missing: list[ObjectRef] = field(default_factory=list)
    """Deployments that were named and are not there."""
    problems: list[str] = field(default_factory=list)

    def opted_in(self) -> list[ObjectRef]:
        """Return the Deployments that are opted in, by name."""
        return sorted(ref for ref, texts in self.annotations.items() if opted_in(texts))


async def read_workloads(
    client: KubeClient, named: Sequence[ObjectRef] = (), *, is_for_all: bool = False
) -> PastWorkloads:
    """Return the named Deployments, else those that are opted in, or all, and what they own.

    What may not be read is a problem, and the rest is read.
    """
    found = PastWorkloads()
    namespaces = sorted({ref.namespace for ref in named})
    for scope in _scopes(namespaces):
        await _each(client, f"/apis/apps/v1{scope}/deployments", found, _add_deployment)
    if not named and not is_for_all:
        namespaces = sorted({ref.namespace for ref in found.opted_in()})
        if not namespaces:
            return found
    for scope in _scopes(namespaces):
        await _each(client, f"/apis/apps/v1{scope}/replicasets", found, _add_replica_set)
        await _each(client, f"/api/v1{scope}/pods", found, _add_pod)
    await _each(client, "/api/v1/namespaces", found, _add_defaults)
    if not found.problems:
        found.missing = [ref for ref in named if ref not in found.annotations]
    return found


def _scopes(namespaces: Sequence[str]) -> Sequence[str]:
    """Return the part of the path for each namespace; one for all of them if there are many."""
    if not namespaces or len(namespaces) > MANY_NAMESPACES:
        return [""]
    return [f"/namespaces/{one}" for one in namespaces]


async def _each(
    client: KubeClient,
    path: str,
    found: PastWorkloads,
    add: Callable[[PastWorkloads, JsonObject], None],
) -> None:
    try:
        async for page in client.pages(path):
            for raw in page.get("items") or ():
                # Whoever wrote a malformed object is the only one without it.
                with suppress(KeyError, TypeError, ValueError, AttributeError):
                    add(found, raw)
    except ApiError as error:
        found.problems.append(str(error))


def _add_deployment(found: PastWorkloads, raw: JsonObject) -> None:
    found.annotations[fields.ref(raw["metadata"])] = our_annotations(raw["metadata"])


def _add_replica_set(found: PastWorkloads, raw: JsonObject) -> None:
    controller = _controller(raw)
    if controller is not None and controller[0] == "Deployment":
        found.replica_sets.append((fields.ref(raw["metadata"]), controller[1]))


def _add_defaults(found: PastWorkloads, raw: JsonObject) -> None:
    namespace = decode_namespace(raw)
    if namespace is not None:
        found.defaults[namespace.name] = namespace.annotations


def _add_pod(found: PastWorkloads, raw: JsonObject) -> None:
    metadata, status = raw["metadata"], raw.get("status") or {}
    pod = fields.ref(metadata)
    controller = _controller(raw)
    if controller is not None:
        found.pods.append((pod, *controller))
    ready = next(
        (
            one.get("lastTransitionTime")
            for one in status.get("conditions") or ()
            if one.get("type") == "Ready" and one.get("status") == "True"
        ),
        None,
    )
    if ready is not None and restarts(status) == 0:
        took = fields.unix_seconds(ready) - fields.unix_seconds(metadata["creationTimestamp"])
        if 0 <= took <= LONGEST_START_SECONDS:
            found.start_seconds[pod] = took


def _controller(raw: JsonObject) -> tuple[str, str] | None:
    """Return the kind and the name of the object's controller."""
    for owner in raw["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            return fields.text(owner, "kind"), fields.text(owner, "name")
    return None
