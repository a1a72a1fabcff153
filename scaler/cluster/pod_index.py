# SPDX-License-Identifier: Apache-2.0
"""The watched pods by what is asked of them: by owner, by labels, by node, by name.

Pods are assigned by the uids in `ownerReferences` and never by labels, because labels of workloads
can overlap. A uid is valid within its namespace only, because anybody who can write a pod can write
any uid there.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeAlias

from scaler.budgets import (
    CHECKS_PER_SELECTION,
    LOOKS_PER_SELECTION,
    SELECTED_PODS,
    SELECTIONS_OF_POD,
    OverBudgetError,
)
from scaler.kube.selectors import Operator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from scaler.cluster.objects import Pod, ReplicaSet
    from scaler.kube.selectors import Requirement, Selector
    from scaler.model import ExporterEndpoint, ObjectRef, PodState

Owner: TypeAlias = "tuple[str, str]"
"""The namespace and the uid of an owner."""

MAX_INDEXED_KEYS: Final = 16
"""Labels of one namespace by which its pods are found fast."""


class PodIndex:
    """Holds the pods, and the ReplicaSets that stand between pods and their workloads.

    Calls `owned_changed` with the owner of a changed pod or ReplicaSet; with `by_labels`, pods can
    be selected, and `selectable_changed` is called with their namespace.
    """

    def __init__(
        self,
        *,
        by_labels: bool,
        owned_changed: Callable[[Owner], None],
        selectable_changed: Callable[[str], None],
    ) -> None:
        self._by_labels = by_labels
        self._owned_changed = owned_changed
        self._selectable_changed = selectable_changed
        self._by_owner: defaultdict[Owner, dict[str, PodState]] = defaultdict(dict)
        self._replica_sets: defaultdict[Owner, set[Owner]] = defaultdict(set)
        self._owner_of: dict[Owner, Owner] = {}
        self._labelled: defaultdict[str, _LabelledPods] = defaultdict(_LabelledPods)
        self._exporters: dict[str, tuple[str, ExporterEndpoint]] = {}
        """Each with its node."""
        self._endpoints: Mapping[str, ExporterEndpoint] | None = None
        self._gpu_pods: dict[ObjectRef, Pod] = {}
        self._marked: dict[str, PodState] = {}

    def owned(self, owner: Owner) -> Iterable[PodState]:
        """Return the pods of a workload and of its ReplicaSets."""
        for controller in (owner, *self._replica_sets.get(owner, ())):
            yield from self._by_owner.get(controller, {}).values()

    def selected(self, namespace: str, selector: Selector | None, asker: str) -> Sequence[Pod]:
        """Return the pods of a namespace whose labels match; none without a selector.

        `asker` is the uid of the workload, whose selections share a budget with others of its
        namespace.

        Raises:
            OverBudgetError: with those of the others, it would find too many.
        """
        if selector is None:
            return ()
        labelled = self._labelled.get(namespace)
        return [] if labelled is None else labelled.selected(selector, asker)

    def selection_changed(self, namespace: str, asker: str) -> None:
        """Note that a workload is gone or may have another selector: others may fit now."""
        labelled = self._labelled.get(namespace)
        if labelled is not None and labelled.forget(asker):
            self._selectable_changed(namespace)

    def exporter_endpoints(self) -> Mapping[str, ExporterEndpoint]:
        """Return the exporter endpoint of each node; of two, the ready one."""
        if self._endpoints is None:
            # The last of a node counts.
            ranked = sorted(self._exporters.values(), key=lambda one: (one[1].ready, one[1].pod))
            self._endpoints = dict(ranked)
        return self._endpoints

    def workload_of(self, pod: ObjectRef) -> ObjectRef | None:
        """Return the workload of a pod that requests GPUs, None if the pod is not known."""
        found = self._gpu_pods.get(pod)
        return None if found is None else found.workload

    def marked(self) -> Sequence[PodState]:
        """Return the pods whose deletion cost gpu-scaler has set."""
        return tuple(self._marked.values())

    def replica_set_changed(self, old: ReplicaSet | None, new: ReplicaSet | None) -> None:
        """Note that a ReplicaSet is new, has changed or is gone, as with pods."""
        if old is not None:
            owner = (old.namespace, old.owner_uid)
            self._owner_of.pop((old.namespace, old.uid), None)
            owned = self._replica_sets[owner]
            owned.discard((old.namespace, old.uid))
            if not owned:
                del self._replica_sets[owner]
            self._owned_changed(owner)
        if new is not None:
            owner = (new.namespace, new.owner_uid)
            self._owner_of[new.namespace, new.uid] = owner
            self._replica_sets[owner].add((new.namespace, new.uid))
            self._owned_changed(owner)

    def pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """Note that a pod is new, has changed (from `old`) or is gone (`new` is None)."""
        if old is not None:
            self._drop_pod(old)
        if new is not None:
            self._add_pod(new)

    def _drop_pod(self, pod: Pod) -> None:
        if pod.controller_uid is not None:
            owner = (pod.state.ref.namespace, pod.controller_uid)
            siblings = self._by_owner[owner]
            siblings.pop(pod.state.uid, None)
            if not siblings:
                del self._by_owner[owner]
            self._owned_changed(self._owner_of.get(owner, owner))
        if self._by_labels:
            self._labelled[pod.state.ref.namespace].drop(pod)
            self._selectable_changed(pod.state.ref.namespace)
        self._marked.pop(pod.state.uid, None)
        # A new pod may have taken the name already.
        if self._gpu_pods.get(pod.state.ref) is pod:
            del self._gpu_pods[pod.state.ref]
        if self._exporters.pop(pod.state.uid, None) is not None:
            self._endpoints = None

    def _add_pod(self, pod: Pod) -> None:
        if pod.controller_uid is not None:
            owner = (pod.state.ref.namespace, pod.controller_uid)
            self._by_owner[owner][pod.state.uid] = pod.state
            self._owned_changed(self._owner_of.get(owner, owner))
        if self._by_labels:
            self._labelled[pod.state.ref.namespace].add(pod)
            self._selectable_changed(pod.state.ref.namespace)
        if pod.state.marked:
            self._marked[pod.state.uid] = pod.state
        if pod.workload is not None:
            self._gpu_pods[pod.state.ref] = pod
        if pod.exporter is not None and pod.state.node_name is not None:
            self._exporters[pod.state.uid] = pod.state.node_name, pod.exporter
            self._endpoints = None


class _LabelledPods:
    """The pods of one namespace, also by the labels that selectors name.

    A namespace may have hundreds of workloads, and each of its pods is of one of them.
    """

    def __init__(self) -> None:
        self._pods: dict[str, Pod] = {}
        self._by_label: dict[str, defaultdict[str, dict[str, Pod]]] = {}
        self._spent: dict[str, float] = {}
        self._total_spent = 0.0
        self._has_refused = False

    def add(self, pod: Pod) -> None:
        self._pods[pod.state.uid] = pod
        self._forget_all()
        for key, by_value in self._by_label.items():
            if (value := pod.labels.get(key)) is not None:
                by_value[value][pod.state.uid] = pod

    def drop(self, pod: Pod) -> None:
        self._pods.pop(pod.state.uid, None)
        self._forget_all()
        for key, by_value in self._by_label.items():
            value = pod.labels.get(key)
            if value is not None and (found := by_value.get(value)) is not None:
                found.pop(pod.state.uid, None)
                if not found:
                    del by_value[value]

    def selected(self, selector: Selector, asker: str) -> Sequence[Pod]:
        """Return the pods whose labels match, after a look at as few as possible."""
        fewest: Sequence[Mapping[str, Pod]] = [self._pods]
        exact: list[Mapping[str, Pod]] = []
        others: list[Requirement] = []
        for one in selector.requirements:
            if one.operator is not Operator.IN or not self._is_indexed(one.key):
                others.append(one)
                continue
            by_value = self._by_label[one.key]
            some = [by_value[value] for value in one.values if value in by_value]
            if sum(map(len, some)) < sum(map(len, fewest)):
                fewest = some
            if len(one.values) > 1:
                others.append(one)
            else:
                exact += some or [{}]
        looks = sum(map(len, fewest)) * (1 + len(exact)) / LOOKS_PER_SELECTION
        self._spend(asker, looks)
        found: Iterable[str] = chain.from_iterable(fewest)
        for pods in exact:
            found = [uid for uid in found if uid in pods]
        selected = [self._pods[uid] for uid in found]
        if others:
            looks += len(selected) * len(others) / CHECKS_PER_SELECTION
            self._spend(asker, looks)
            selected = [pod for pod in selected if all(one.matches(pod.labels) for one in others)]
        self._spend(asker, looks + len(selected))
        return selected

    def forget(self, asker: str) -> bool:
        """Forget what an asker has spent; return whether all have to ask again."""
        self._total_spent -= self._spent.pop(asker, 0)
        had_refused = self._has_refused
        if had_refused:
            self._forget_all()
        return had_refused

    def _forget_all(self) -> None:
        self._spent.clear()
        self._total_spent, self._has_refused = 0.0, False

    def _spend(self, asker: str, number: float) -> None:
        total = self._total_spent - self._spent.get(asker, 0) + number
        most = SELECTED_PODS + SELECTIONS_OF_POD * len(self._pods)
        if total > most:
            self._has_refused = True
            raise OverBudgetError(
                "the selectors of this namespace's workloads overlap too much: together they find"
                f" its {len(self._pods)} pods more than {most} times; give each workload labels of"
                " its own"
            )
        self._spent[asker], self._total_spent = number, total

    def _is_indexed(self, key: str) -> bool:
        if key in self._by_label:
            return True
        if len(self._by_label) >= MAX_INDEXED_KEYS:
            return False
        by_value = self._by_label[key] = defaultdict(dict)
        for uid, pod in self._pods.items():
            if (value := pod.labels.get(key)) is not None:
                by_value[value][uid] = pod
        return True
