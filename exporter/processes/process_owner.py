# SPDX-License-Identifier: Apache-2.0
"""From a PID to the pod: /proc, and the kubelet's folders of logs.

The kubelet names the folder of a pod's logs after its namespace, name and UID, and the runtime the
links in /var/log/containers after the container's ID.
https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from exporter.model import ProcessOwner
from exporter.processes.cgroups import container_of_log, place_of, pod_of_folder
from exporter.processes.files import UnreadableError, is_there, names_in, unreadable
from toolkit.log_once import OutageLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

log = logging.getLogger(__name__)

T = TypeVar("T")

# PROC_PID_INIT_INO: the namespace that NVML counts processes in, on every Linux.
INITIAL_PID_NAMESPACE: Final = "pid:[4026531836]"


class OwnerUnknownError(LookupError):
    """The owner of a process is unknown; the message says why."""


class ProcessOwners:
    """Answers in the calling thread; reads the files for each answer, since PIDs are reused."""

    def __init__(self, *, proc: Path = Path("/proc"), logs: Path = Path("/var/log")) -> None:
        self._proc = proc
        self._pod_logs = logs / "pods"
        self._container_logs = logs / "containers"
        self._pods: dict[str, tuple[str, str]] = {}
        self._containers: dict[str, str] = {}
        self._outage = OutageLog(
            log,
            "Cannot tell containers apart; those of one pod that share a GPU have no memory or"
            " duty cycle of their own",
            "Containers can be told apart again",
        )

    def problem(self) -> str | None:
        """Return why no owner can be found at all, None if they can."""
        link = self._proc / "self" / "ns" / "pid"
        try:
            namespace = os.readlink(link)
        except OSError as error:
            return str(unreadable(link, error))
        if namespace != INITIAL_PID_NAMESPACE:
            return "the exporter does not see the node's processes: its pod needs hostPID: true"
        hidden = f"{self._proc} hides the processes of others (mount option hidepid)"
        try:
            if not is_there(self._proc / "1" / "cgroup"):
                return hidden
        except UnreadableError as error:
            return f"{error}; perhaps {hidden}"
        try:
            return None if is_there(self._pod_logs) else f"{self._pod_logs} is not mounted"
        except UnreadableError as error:
            return str(error)

    def owner_of(self, pid: int) -> ProcessOwner | None:
        """Return the pod of a process, None for one of no pod and for one that has ended.

        Raises:
            OwnerUnknownError: it belongs to a pod that is not known.
        """
        file = self._proc / str(pid) / "cgroup"
        try:
            cgroups = file.read_text("utf-8", "replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        except OSError as error:
            raise OwnerUnknownError(str(unreadable(file, error))) from error
        place = place_of(cgroups)
        if place is None:
            return None
        pod = self._pod(place.pod_uid)
        if pod is None:
            msg = f"{self._pod_logs} has no pod with UID {place.pod_uid}"
            raise OwnerUnknownError(msg)
        name = None if place.container_id is None else self._container(place.container_id)
        return ProcessOwner(namespace_name=pod[0], pod_name=pod[1], container_name=name)

    def is_running(self, pid: int) -> bool:
        """Return whether there is such a process.

        Raises:
            OwnerUnknownError: the system does not say.
        """
        try:
            return is_there(self._proc / str(pid))
        except UnreadableError as error:
            raise OwnerUnknownError(str(error)) from error

    def _pod(self, uid: str) -> tuple[str, str] | None:
        if uid not in self._pods:
            try:
                found = _read(self._pod_logs, pod_of_folder)
            except UnreadableError as error:
                raise OwnerUnknownError(str(error)) from error
            self._pods = {uid: (namespace, name) for uid, namespace, name in found}
        return self._pods.get(uid)

    def _container(self, container_id: str) -> str | None:
        if container_id not in self._containers:
            try:
                self._containers = dict(_read(self._container_logs, container_of_log))
            except UnreadableError as error:
                self._outage.failed(error)
                return None
            self._outage.worked()
        return self._containers.get(container_id)


def _read(folder: Path, read: Callable[[str], T | None]) -> Iterable[T]:
    """What the names of a folder's entries say; nothing where there is no such folder."""
    return [one for name in names_in(folder) if (one := read(name)) is not None]
