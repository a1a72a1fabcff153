# SPDX-License-Identifier: Apache-2.0
"""Which listed pods have finished: kubelets before 1.34 list them with their devices until deleted.

The kubelet removes a pod's cgroup when the pod has finished and keeps its folder of logs until the
pod is deleted. So a pod with a folder and without a cgroup has finished; one without a folder is
about to start. Both are read from the node's files: no token, no hostPID.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from exporter.processes.cgroups import pod_of_folder, pod_uid_of_cgroup
from exporter.processes.files import UnreadableError, is_there, names_in
from toolkit.log_once import OutageLog

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

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
        # The pods' cgroups when they were last looked for, by UID.
        self._known: dict[str, Path] = {}
        self.awaits_second_look = False
        """Whether pods seem to have finished that did not when asked before."""
        self._outage = OutageLog(
            log,
            "Cannot detect finished pods; those that the kubelet lists (before 1.34) keep their"
            " GPUs",
            "Finished pods can be detected again",
        )

    def problem(self) -> str | None:
        """Return why finished pods cannot be detected, None if they can."""
        try:
            if not is_there(self._pod_logs):
                return f"{self._pod_logs} is not mounted"
            names_in(self._pod_logs)
            if not self._cgroups_by_uid():
                return f"{self._cgroups} shows no cgroup of a pod: it is not the node's"
        except UnreadableError as error:
            return str(error)
        return None

    def among(self, pods: Collection[tuple[str, str]]) -> frozenset[tuple[str, str]]:
        """Return those (namespace, name) that have finished, now and when asked before.

        Twice, because a pod of the same name as a finished one is listed a moment before it begins.
        None while a file that says so cannot be read: of half of the cgroups, pods with the other
        half would look finished.
        """
        try:
            suspects = self._without_cgroup(pods)
        except UnreadableError as error:
            self._outage.failed(error)
            suspects = frozenset()
        else:
            self._outage.worked()
        finished = suspects & self._suspects
        self._suspects = suspects
        self.awaits_second_look = finished != suspects
        return finished

    def _without_cgroup(self, pods: Collection[tuple[str, str]]) -> frozenset[tuple[str, str]]:
        uids = self._uids_by_pod(pods)
        # Most pods run on: to see that costs less than to look through all cgroups of the node.
        if all(any(map(self._still_runs, of_pod)) for of_pod in uids.values()):
            return frozenset()
        self._known = self._cgroups_by_uid()
        if not self._known:
            return frozenset()
        return frozenset(pod for pod, of_pod in uids.items() if not of_pod & self._known.keys())

    def _still_runs(self, uid: str) -> bool:
        cgroup = self._known.get(uid)
        return cgroup is not None and is_there(cgroup)

    def _uids_by_pod(
        self, pods: Collection[tuple[str, str]]
    ) -> defaultdict[tuple[str, str], set[str]]:
        found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for folder in names_in(self._pod_logs) if pods else ():
            if pod := pod_of_folder(folder):
                uid, namespace, name = pod
                if (namespace, name) in pods:
                    found[namespace, name].add(uid)
        return found

    def _cgroups_by_uid(self) -> dict[str, Path]:
        if is_there(self._cgroups / "cgroup.controllers"):
            return dict(_pod_cgroups(self._cgroups))
        unread: UnreadableError | None = None
        for controller in _CONTROLLERS:
            try:
                cgroups = dict(_pod_cgroups(self._cgroups / controller))
            except UnreadableError as error:
                unread = error
                continue
            if cgroups:
                return cgroups
        if unread is not None:
            raise unread
        return {}


def _pod_cgroups(folder: Path, depth: int = 0) -> Iterator[tuple[str, Path]]:
    for name in names_in(folder):
        if uid := pod_uid_of_cgroup(name):
            yield uid, folder / name
        elif depth < _MAX_DEPTH and _ON_THE_WAY.search(name):
            yield from _pod_cgroups(folder / name, depth + 1)
