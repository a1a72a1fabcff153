# SPDX-License-Identifier: Apache-2.0
"""The pods of workloads whose controllers alone know the objects between them and their pods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaler.cluster import groups, pod_facts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scaler.cluster.objects import Workload
    from scaler.cluster.pod_index import PodIndex
    from scaler.cluster.scales import Scale
    from scaler.model import PodState


class SelectedPods:
    """Pods by the selectors of their workloads' scales; remembers pods per replica."""

    def __init__(self, pods: PodIndex) -> None:
        self._pods = pods
        self._group_sizes: dict[str, pod_facts.GroupSize] = {}

    def of(self, item: Workload, scale: Scale) -> tuple[Iterable[PodState], int | None]:
        """Return a workload's pods, and how many are one replica, None if that is unknown.

        Raises:
            OverBudgetError: the selectors of the namespace overlap too much.
        """
        is_group = item.ref.kind in groups.GROUP_KINDS
        if is_group:
            selector = groups.of_whole_groups(scale.selector)
        else:
            selector = scale.selector or item.selector
        selected = self._pods.selected(item.ref.namespace, selector, item.uid)
        if is_group:
            states = groups.group_states(selected)
            return states, groups.pods_per_group(states)
        size = pod_facts.group_size(selected, scale, self._group_sizes.get(item.uid))
        if size is not None:
            self._group_sizes[item.uid] = size
        return [pod.state for pod in selected], None if size is None else size.pods

    def forget(self, uid: str) -> None:
        """Forget a deleted workload."""
        self._group_sizes.pop(uid, None)
