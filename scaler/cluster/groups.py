# SPDX-License-Identifier: Apache-2.0
"""Pure: groups of pods that are one replica together, as those of a LeaderWorkerSet.

The selector of its scale finds leaders only. Without the requirement on the worker it finds all
pods of all groups.

Source: github.com/kubernetes-sigs/lws, api/leaderworkerset/v1 (labels and annotations of pods).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from sys import intern
from typing import TYPE_CHECKING, Any

from scaler.kube.selectors import Selector
from scaler.model import GroupMember, PodPhase, PodState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scaler.cluster.objects import Pod

GROUP_KINDS = frozenset({"leaderworkersets.leaderworkerset.x-k8s.io"})
PREFIX = "leaderworkerset.sigs.k8s.io"
GROUP_LABEL = f"{PREFIX}/group-index"
WORKER_LABEL = f"{PREFIX}/worker-index"
SIZE_ANNOTATION = f"{PREFIX}/size"
LEADER = "0"
MAX_SIZE = 10_000


def decode_member(metadata: Mapping[str, Any]) -> GroupMember | None:
    """Return the pod's place in its group, None if its labels and annotations do not say it."""
    labels = metadata.get("labels") or {}
    group, worker = labels.get(GROUP_LABEL), labels.get(WORKER_LABEL)
    text = (metadata.get("annotations") or {}).get(SIZE_ANNOTATION)
    if not (isinstance(group, str) and isinstance(worker, str) and isinstance(text, str)):
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_SIZE))):
        return None
    size = int(text)
    if not 1 <= size <= MAX_SIZE:
        return None
    return GroupMember(group=intern(group), size=size, leads=worker == LEADER)


def of_whole_groups(selector: Selector | None) -> Selector | None:
    """Return the selector of all pods for that of the leaders; None if nothing is left of it."""
    if selector is None:
        return None
    kept = tuple(one for one in selector.requirements if one.key != WORKER_LABEL)
    return Selector(requirements=kept) if kept else None


def group_of(labels: Mapping[str, str]) -> str | None:
    """Return the group of a pod with these labels, None if it belongs to none."""
    return labels.get(GROUP_LABEL)


def is_leader(labels: Mapping[str, str]) -> bool:
    """Whether a pod with these labels is no worker, so that a model server may answer on it."""
    return labels.get(WORKER_LABEL, LEADER) == LEADER


def group_states(pods: Iterable[Pod]) -> tuple[PodState, ...]:
    """Return the pods' states with the readiness of their groups.

    A group is Ready since the last of its pods is. While one is missing or not Ready, none is. It
    served before if all that are not Ready now did.
    """
    groups: defaultdict[str, list[PodState]] = defaultdict(list)
    states: list[PodState] = []
    for pod in pods:
        if pod.member is None:
            states.append(pod.state)
        else:
            groups[pod.member.group].append(replace(pod.state, member=pod.member))
    for members in groups.values():
        size = max(pod.member.size for pod in members if pod.member)
        states += _as_one(members, size)
    return tuple(states)


def pods_per_group(pods: Iterable[PodState]) -> int | None:
    """Return the pods per replica, None without any group.

    Of two sizes during an update the smaller: too large a size would give too few replicas.
    """
    return min((pod.member.size for pod in pods if pod.member and _is_alive(pod)), default=None)


def _as_one(members: Sequence[PodState], size: int) -> Iterable[PodState]:
    alive = [pod for pod in members if _is_alive(pod)]
    since = [pod.ready_since_seconds for pod in alive if pod.ready_since_seconds is not None]
    awaited = [pod.served_seconds for pod in alive if pod.ready_since_seconds is None]
    is_whole = len(alive) >= size
    ready_since = max(since) if is_whole and not awaited else None
    served = [seconds for seconds in awaited if seconds is not None]
    served_seconds = min(served) if is_whole and awaited and len(served) == len(awaited) else None
    for pod in members:
        if not _is_alive(pod):
            yield pod
        elif ready_since is not None:
            yield replace(pod, ready_since_seconds=ready_since)
        else:
            yield replace(pod, ready_since_seconds=None, served_seconds=served_seconds)


def _is_alive(pod: PodState) -> bool:
    return not pod.deleting and pod.phase not in (PodPhase.FAILED, PodPhase.SUCCEEDED)
