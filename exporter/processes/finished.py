"""Which listed pods have finished: kubelets before 1.34 list them with their devices until deleted.

The kubelet removes a pod's cgroup when the pod has finished and keeps its folder of logs until the
pod is deleted. So a pod with a folder and without a cgroup has finished; one without a folder is
about to start. Both are read from the node's files: no token, no hostPID.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from exporter.processes.cgroups import pod_of_folder, pod_uid_of_cgroup

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

# The way to the pods' cgroups: kubepods.slice/kubepods-burstable.slice, kubelet/kubepods/burstable.
_ON_THE_WAY: Final = re.compile("kube|burstable|besteffort")
_MAX_DEPTH: Final = 6
# cgroup v1 has a tree for each controller; the kubelet makes the same cgroups in all of these.
_CONTROLLERS: Final = ("memory", "cpu", "pids", "systemd")


class FinishedPods:
    """Reads `cgroups` (the node's /sys/fs/cgroup) and `logs` (its /var/log); blocks."""

    def __init__(self, *, cgroups: Path, logs: Path) -> None:
        self._cgroups = cgroups
        self._pod_logs = logs / "pods"
        self._suspects: frozenset[tuple[str, str]] = frozenset()

    def problem(self) -> str | None:
        """Return why finished pods cannot be told, None if they can."""
        if not self._pod_logs.is_dir():
            return f"{self._pod_logs} is not mounted"
        if not self._running_uids():
            return f"{self._cgroups} shows no cgroup of a pod: it is not the node's"
        return None

    def among(self, pods: Collection[tuple[str, str]]) -> frozenset[tuple[str, str]]:
        """Return those (namespace, name) that have finished, now and when asked before.

        Twice, because a pod of the same name as a finished one is listed a moment before it begins.
        """
        suspects = self._without_cgroup(pods)
        finished = suspects & self._suspects
        self._suspects = suspects
        return finished

    def _without_cgroup(self, pods: Collection[tuple[str, str]]) -> frozenset[tuple[str, str]]:
        if not pods:
            return frozenset()
        running = self._running_uids()
        if not running:
            return frozenset()
        uids = self._uids_by_pod()
        return frozenset(pod for pod in pods if uids[pod] and not uids[pod] & running)

    def _uids_by_pod(self) -> defaultdict[tuple[str, str], set[str]]:
        found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for folder in _names(self._pod_logs):
            if pod := pod_of_folder(folder):
                uid, namespace, name = pod
                found[namespace, name].add(uid)
        return found

    def _running_uids(self) -> set[str]:
        if (self._cgroups / "cgroup.controllers").exists():
            return set(_pod_uids(self._cgroups))
        for controller in _CONTROLLERS:
            if uids := set(_pod_uids(self._cgroups / controller)):
                return uids
        return set()


def _pod_uids(folder: Path, depth: int = 0) -> Iterator[str]:
    for name in _names(folder):
        if uid := pod_uid_of_cgroup(name):
            yield uid
        elif depth < _MAX_DEPTH and _ON_THE_WAY.search(name):
            yield from _pod_uids(folder / name, depth + 1)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
