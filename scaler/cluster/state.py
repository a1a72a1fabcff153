"""The cluster as the scaler sees it: opted-in Deployments with their own pods, and exporters.

Reflectors, one for each kind (and namespace, where only some are ours), feed indexes by owner, so
that a loop costs what changed since the last one and not pods times Deployments. Ownership is by
uid along `ownerReferences`, never by label: pods that another workload's overlapping labels would
catch are not ours.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeVar

from scaler.cluster import decode
from scaler.cluster.decode import Instant
from scaler.cluster.watch import Reflector
from scaler.model import DeploymentState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from scaler.cluster.client import JsonObject, KubeClient
    from scaler.model import ExporterEndpoint, ObjectRef, PodState

CORE = "/api/v1"
APPS = "/apis/apps/v1"
AUTOSCALING = "/apis/autoscaling/v2"
KEDA = "/apis/keda.sh/v1alpha1"
EXPORTERS_NAMESPACE = "gpu-exporter"
NO_DEFAULTS: Mapping[str, str] = {}

T = TypeVar("T")


class ClusterState:
    """Watches the cluster while `run` runs; the other methods answer from memory.

    Namespaces are watched where all of them are ours: no Role can grant to see some.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        namespaces: Collection[str] = (),
        exporters_namespace: str = EXPORTERS_NAMESPACE,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """No `namespaces` are all of them; else exporters are looked for in theirs beside those."""
        self._client = client
        self._clock = clock
        self._wall_clock = wall_clock
        self._pods: defaultdict[str, dict[str, PodState]] = defaultdict(dict)
        self._replica_sets: defaultdict[str, set[str]] = defaultdict(set)
        self._deployment_of: dict[str, str] = {}
        self._owners: defaultdict[ObjectRef, list[str]] = defaultdict(list)
        self._exporters: dict[str, decode.Pod] = {}
        self._defaults: dict[str, Mapping[str, str]] | None = None if namespaces else {}
        self._built: dict[str, DeploymentState] = {}
        self._endpoints: Mapping[str, ExporterEndpoint] | None = None
        scopes = tuple(namespaces) or (None,)
        pod_scopes = dict.fromkeys((*namespaces, exporters_namespace)) if namespaces else scopes
        self._deployments = self._watched(
            APPS,
            "deployments",
            scopes,
            lambda raw, _: decode.decode_deployment(raw),
            self._deployment_changed,
        )
        self._reflectors: tuple[Reflector[Any], ...] = (
            *self._deployments,
            *self._watched(
                CORE,
                "namespaces",
                () if namespaces else (None,),
                lambda raw, _: decode.decode_namespace(raw),
                self._namespace_changed,
            ),
            *self._watched(
                APPS,
                "replicasets",
                scopes,
                lambda raw, _: decode.decode_replica_set(raw),
                self._replica_set_changed,
            ),
            *self._watched(CORE, "pods", pod_scopes, self._decode_pod, self._pod_changed),
            *self._watched(
                AUTOSCALING,
                "horizontalpodautoscalers",
                scopes,
                lambda raw, _: decode.decode_hpa(raw),
                self._owner_changed,
                optional=True,
            ),
            *self._watched(
                KEDA,
                "scaledobjects",
                scopes,
                lambda raw, _: decode.decode_scaled_object(raw),
                self._owner_changed,
                optional=True,
            ),
        )

    def _watched(
        self,
        group: str,
        resource: str,
        scopes: Iterable[str | None],
        decoded: Callable[[JsonObject, T | None], T | None],
        changed: Callable[[T | None, T | None], None],
        *,
        optional: bool = False,
    ) -> tuple[Reflector[T], ...]:
        """One reflector for each namespace, or one for all of them where the scope is None."""
        return tuple(
            Reflector(
                self._client,
                f"{group}/{resource}"
                if scope is None
                else f"{group}/namespaces/{scope}/{resource}",
                decoded,
                changed=changed,
                optional=optional,
            )
            for scope in scopes
        )

    async def run(self) -> None:
        """Keep watching until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector in self._reflectors:
                group.create_task(reflector.run())

    async def wait_synced(self) -> None:
        """Wait until every kind has been listed once (or is known to be absent)."""
        for reflector in self._reflectors:
            await reflector.synced.wait()

    def is_fresh(self, now_seconds: float) -> bool:
        """Return whether all watches are in contact at `now_seconds` (monotonic).

        False before the first lists are complete, 10 s after a connection was lost, and at most
        35 s after the API server fell silent on one that seems open.
        """
        return all(reflector.is_fresh(now_seconds) for reflector in self._reflectors)

    def deployments(self) -> tuple[DeploymentState, ...]:
        """Return the Deployments that carry `gpu-scaler/enabled`, in order of their names."""
        states = [
            self._state_of(item) for one in self._deployments for item in one.objects.values()
        ]
        return tuple(sorted(states, key=lambda state: (state.ref.namespace, state.ref.name)))

    def exporter_endpoints(self) -> Mapping[str, ExporterEndpoint]:
        """Return where each node's exporter answers; the ready one where a node has two."""
        if self._endpoints is None:
            best: dict[str, ExporterEndpoint] = {}
            for pod in self._exporters.values():
                node, endpoint = pod.state.node_name, pod.exporter
                if node is None or endpoint is None:
                    continue
                other = best.get(node)
                if other is None or _rank(endpoint) > _rank(other):
                    best[node] = endpoint
            self._endpoints = best
        return self._endpoints

    def _state_of(self, item: decode.Deployment) -> DeploymentState:
        state = self._built.get(item.uid)
        if state is None:
            pods = [
                pod
                for replica_set in self._replica_sets.get(item.uid, ())
                for pod in self._pods.get(replica_set, {}).values()
            ]
            owners = self._owners.get(item.ref)
            state = DeploymentState(
                ref=item.ref,
                uid=item.uid,
                resource_version=item.resource_version,
                annotations=item.annotations,
                spec_replicas=item.spec_replicas,
                pods=tuple(sorted(pods, key=lambda pod: pod.ref.name)),
                # KEDA makes an HPA of its own: the ScaledObject is what people know.
                owned_by=max(owners) if owners else None,
                defaults=self._defaults_of(item.ref.namespace),
            )
            self._built[item.uid] = state
        return state

    def _defaults_of(self, namespace: str) -> Mapping[str, str] | None:
        return None if self._defaults is None else self._defaults.get(namespace, NO_DEFAULTS)

    def _namespace_changed(
        self, old: decode.Namespace | None, new: decode.Namespace | None
    ) -> None:
        assert self._defaults is not None
        if old is not None:
            self._defaults.pop(old.name, None)
        if new is not None:
            self._defaults[new.name] = new.annotations
        self._built.clear()

    def _deployment_changed(
        self, old: decode.Deployment | None, new: decode.Deployment | None
    ) -> None:
        for item in (old, new):
            if item is not None:
                self._built.pop(item.uid, None)

    def _replica_set_changed(
        self, old: decode.ReplicaSet | None, new: decode.ReplicaSet | None
    ) -> None:
        if old is not None:
            self._deployment_of.pop(old.uid, None)
            owned = self._replica_sets[old.deployment_uid]
            owned.discard(old.uid)
            if not owned:
                del self._replica_sets[old.deployment_uid]
            self._built.pop(old.deployment_uid, None)
        if new is not None:
            self._deployment_of[new.uid] = new.deployment_uid
            self._replica_sets[new.deployment_uid].add(new.uid)
            self._built.pop(new.deployment_uid, None)

    def _decode_pod(self, raw: JsonObject, previous: decode.Pod | None) -> decode.Pod | None:
        now = Instant(wall_seconds=self._wall_clock(), monotonic_seconds=self._clock())
        return decode.decode_pod(raw, previous, now)

    def _pod_changed(self, old: decode.Pod | None, new: decode.Pod | None) -> None:
        if old is not None:
            self._drop_pod(old)
        if new is not None:
            self._add_pod(new)

    def _drop_pod(self, pod: decode.Pod) -> None:
        if pod.replica_set_uid is not None:
            siblings = self._pods[pod.replica_set_uid]
            siblings.pop(pod.state.uid, None)
            if not siblings:
                del self._pods[pod.replica_set_uid]
            self._built.pop(self._deployment_of.get(pod.replica_set_uid, ""), None)
        if self._exporters.pop(pod.state.uid, None) is not None:
            self._endpoints = None

    def _add_pod(self, pod: decode.Pod) -> None:
        if pod.replica_set_uid is not None:
            self._pods[pod.replica_set_uid][pod.state.uid] = pod.state
            self._built.pop(self._deployment_of.get(pod.replica_set_uid, ""), None)
        if pod.exporter is not None:
            self._exporters[pod.state.uid] = pod
            self._endpoints = None

    def _owner_changed(self, old: decode.Autoscaler | None, new: decode.Autoscaler | None) -> None:
        if old is not None:
            texts = self._owners[old.target]
            texts.remove(old.text)
            if not texts:
                del self._owners[old.target]
        if new is not None:
            self._owners[new.target].append(new.text)
        # These change rarely, so which Deployment a name stands for is not worth an index.
        self._built.clear()


def _rank(endpoint: ExporterEndpoint) -> tuple[bool, ObjectRef]:
    return endpoint.ready, endpoint.pod
