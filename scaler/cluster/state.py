# SPDX-License-Identifier: Apache-2.0
"""The watched cluster: opted-in workloads with their pods, and exporters.

One reflector per kind (and per namespace with --namespaces) feeds indexes by owner, so that the
cost of a loop depends on what has changed and not on pods times Deployments. Workloads that own
neither pods nor ReplicaSets use their selector, because only their controllers know the objects
between them and their pods.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from scaler.budgets import OverBudgetError
from scaler.cluster import decode
from scaler.cluster.contact import ContactTracker, LostContact
from scaler.cluster.decode import EXPORTERS_NAMESPACE, Instant
from scaler.cluster.kinds import DEPLOYMENTS, Kinds
from scaler.cluster.pod_index import PodIndex
from scaler.cluster.scales import Scales
from scaler.cluster.selected_pods import SelectedPods
from scaler.cluster.watches import Watches
from scaler.model import DeploymentState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from scaler.cluster.objects import Autoscaler, Namespace, Pod, Workload
    from scaler.cluster.pod_index import Owner
    from scaler.kube.client import JsonObject, KubeClient
    from scaler.model import ExporterEndpoint, ObjectRef, PodState

CORE = "/api/v1"
APPS = "/apis/apps/v1"
AUTOSCALING = "/apis/autoscaling/v2"
KEDA = "/apis/keda.sh/v1alpha1"
NO_DEFAULTS: Mapping[str, str] = {}


class ClusterState:
    """Watches the cluster while `run` runs; the other methods read from memory.

    Namespaces are watched only without --namespaces, because no Role can allow watching some of
    them. A kind other than Deployments that is absent or was never readable counts as empty, except
    HPAs.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        kinds: Kinds | None = None,
        namespaces: Collection[str] = (),
        exporters_namespace: str = EXPORTERS_NAMESPACE,
        all_gpu_pods: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """No `namespaces` mean all; pods outside `exporters_namespace` are never exporters.

        With `all_gpu_pods`, `workload_of` knows the workloads of all pods that request GPUs.
        """
        self._client = client
        self._kinds = kinds = kinds or Kinds()
        self._scales = Scales(client, self._scale_changed)
        self._by_labels = any(not kind.owns_pods for kind in kinds)
        owners = tuple(kind.kind for kind in kinds if kind.owns_pods)
        self._controllers = ("ReplicaSet", *owners)
        self._selecting: defaultdict[str, set[str]] = defaultdict(set)
        self._reselected: set[str] = set()
        self._clock = clock
        self._pods = PodIndex(
            by_labels=self._by_labels,
            owned_changed=self._owned_changed,
            selectable_changed=self._selectable_changed,
        )
        self._selected = SelectedPods(self._pods)
        self._owners: defaultdict[ObjectRef, list[str]] = defaultdict(list)
        self._all_gpu_pods = all_gpu_pods
        self._defaults: dict[str, Mapping[str, str]] | None = None if namespaces else {}
        self._built: dict[str, DeploymentState] = {}
        self._exporters_namespace = exporters_namespace
        scopes = tuple(namespaces) or (None,)
        pod_scopes = dict.fromkeys((*namespaces, exporters_namespace)) if namespaces else scopes
        self._watches = watches = Watches(client, exporters_namespace=exporters_namespace)
        self._workloads = tuple(
            reflector
            for kind in kinds
            for reflector in watches.add(
                kind.base,
                kind.plural,
                scopes,
                partial(_decode_workload, kind.ref_kind),
                self._workload_changed,
                kind=kind.ref_kind if len(tuple(kinds)) > 1 else None,
                optional=kind != DEPLOYMENTS,
            )
        )
        watches.add(
            CORE,
            "namespaces",
            () if namespaces else (None,),
            lambda raw, _: decode.decode_namespace(raw),
            self._namespace_changed,
        )
        watches.add(
            APPS,
            "replicasets",
            scopes,
            lambda raw, _: decode.decode_replica_set(raw, owners),
            self._pods.replica_set_changed,
        )
        watches.add(CORE, "pods", pod_scopes, self._decode_pod, self._pods.pod_changed)
        watches.add(
            AUTOSCALING,
            "horizontalpodautoscalers",
            scopes,
            lambda raw, _: decode.decode_autoscaler(raw, kinds, "HorizontalPodAutoscaler"),
            self._owner_changed,
            optional=True,
            # Without them the scaler would fight HPAs over replica counts.
            may_be_hidden=False,
        )
        watches.add(
            KEDA,
            "scaledobjects",
            scopes,
            lambda raw, _: decode.decode_autoscaler(raw, kinds, "ScaledObject"),
            self._owner_changed,
            optional=True,
        )
        self._contact = ContactTracker(
            watches.all, namespaces=namespaces, kinds=[kind.ref_kind for kind in kinds]
        )

    async def run(self) -> None:
        """Keep watching until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watches.run())
            group.create_task(self._scales.run())

    async def wait_synced(self) -> None:
        """Wait until each kind was listed once.

        Does not wait for namespaces and kinds that the API server refuses while others are synced:
        they are held.
        """
        await self._contact.wait_synced()
        await self._scales.wait_settled()

    def is_fresh(self, now_seconds: float) -> bool:
        """Return whether decisions are possible at `now_seconds` (monotonic).

        False before the first lists are complete, 10 s after a connection was lost, and at most
        35 s after the API server stopped sending on a connection that still seems open.
        """
        return self._contact.is_fresh(now_seconds)

    def lost(self, now_seconds: float) -> tuple[LostContact, ...]:
        """Return the namespaces and kinds that are held at `now_seconds`, and why."""
        return self._contact.lost(now_seconds)

    def deployments(self) -> tuple[DeploymentState, ...]:
        """Return the workloads with the annotation `gpu-scaler/enabled`, sorted by name."""
        lost = self.lost(self._clock())
        self._contact.tell(lost)
        while self._reselected:
            for uid in self._selecting.get(self._reselected.pop(), ()):
                self._built.pop(uid, None)
        states = [
            state
            for one in self._workloads
            for item in one.objects.values()
            if (state := self._state_of(item)) is not None
        ]
        if lost:
            states = [_unseen(state, lost) for state in states]
        return tuple(sorted(states, key=lambda state: state.ref))

    def exporter_endpoints(self) -> Mapping[str, ExporterEndpoint]:
        """Return the exporter endpoint of each node; of two, the ready one."""
        return self._pods.exporter_endpoints()

    def workload_of(self, pod: ObjectRef) -> ObjectRef | None:
        """Return the workload of a pod that requests GPUs, None if the pod is not known."""
        return self._pods.workload_of(pod)

    def marked_pods(self) -> Sequence[PodState]:
        """Return the pods whose deletion cost gpu-scaler has set, of whatever workload."""
        return self._pods.marked()

    def _state_of(self, item: Workload) -> DeploymentState | None:
        """Return the state; None while it depends on a scale subresource that was not read yet.

        Of one that cannot be read the object's own count is shown, and nothing is scaled.
        """
        state = self._built.get(item.uid)
        if state is None:
            owner = (item.ref.namespace, item.uid)
            replicas, per_replica = item.spec_replicas, None
            pods: Iterable[PodState] = self._pods.owned(owner)
            unread: str | None = None
            if not self._kinds.of(item.ref).owns_pods:
                scale = self._scales.of(item.uid)
                if scale is None:
                    problem = self._scales.problem(item.uid)
                    if problem is None:
                        return None
                    unread = f"its scale: {problem}"
                else:
                    replicas = scale.replicas
                    try:
                        pods, per_replica = self._selected.of(item, scale)
                    except OverBudgetError as error:
                        unread = f"its pods: {error}"
            if replicas is None:
                return None
            owners = self._owners.get(item.ref)
            state = DeploymentState(
                ref=item.ref,
                uid=item.uid,
                annotations=item.annotations,
                spec_replicas=replicas,
                pods=tuple(sorted(pods, key=lambda pod: pod.ref.name)),
                # KEDA creates an HPA for a ScaledObject: name the ScaledObject.
                owned_by=max(owners) if owners else None,
                defaults=None
                if self._defaults is None
                else self._defaults.get(item.ref.namespace, NO_DEFAULTS),
                pods_per_replica=per_replica,
                gpu_request=item.gpu_request,
                out_of_contact=unread,
                created_unix_seconds=item.created_unix_seconds,
            )
            self._built[item.uid] = state
        return state

    def _namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        assert self._defaults is not None
        if old is not None:
            self._defaults.pop(old.name, None)
        if new is not None:
            self._defaults[new.name] = new.annotations
        self._built.clear()

    def _workload_changed(self, old: Workload | None, new: Workload | None) -> None:
        for item in (old, new):
            if item is not None:
                self._built.pop(item.uid, None)
        changed = new or old
        if changed is None or (kind := self._kinds.of(changed.ref)).owns_pods:
            return
        if new is not None:
            self._selecting[new.ref.namespace].add(new.uid)
            self._scales.want(new.uid, new.ref, kind.scale_path(new.ref))
        else:
            self._selecting[changed.ref.namespace].discard(changed.uid)
            self._pods.selection_changed(changed.ref.namespace, changed.uid)
            self._scales.forget(changed.uid)
            self._selected.forget(changed.uid)

    def _owned_changed(self, owner: Owner) -> None:
        namespace, uid = owner
        built = self._built.get(uid)
        if built is not None and built.ref.namespace == namespace:
            del self._built[uid]

    def _scale_changed(self, uid: str) -> None:
        built = self._built.pop(uid, None)
        if built is not None:
            self._pods.selection_changed(built.ref.namespace, uid)

    def _selectable_changed(self, namespace: str) -> None:
        # Thousands of pods may change between two looks at the workloads.
        self._reselected.add(namespace)

    def _decode_pod(self, raw: JsonObject, previous: Pod | None) -> Pod | None:
        now = Instant(wall_seconds=self._client.clock.seconds(), monotonic_seconds=self._clock())
        return decode.decode_pod(
            raw,
            previous,
            now,
            controllers=self._controllers,
            by_labels=self._by_labels,
            all_gpu_pods=self._all_gpu_pods,
            exporters_namespace=self._exporters_namespace,
        )

    def _owner_changed(self, old: Autoscaler | None, new: Autoscaler | None) -> None:
        if old is not None:
            texts = self._owners[old.target]
            texts.remove(old.text)
            if not texts:
                del self._owners[old.target]
        if new is not None:
            self._owners[new.target].append(new.text)
        # Autoscalers change rarely, so an index from names to workloads is not worth it.
        self._built.clear()


def _decode_workload(kind: str, raw: JsonObject, _: Workload | None) -> Workload | None:
    return decode.decode_workload(raw, kind)


def _unseen(state: DeploymentState, lost: Iterable[LostContact]) -> DeploymentState:
    ref = state.ref
    why = next((str(one) for one in lost if one.part.has(ref.namespace, ref.kind)), None)
    return state if why is None else replace(state, out_of_contact=why)
