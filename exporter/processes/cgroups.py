# SPDX-License-Identifier: Apache-2.0
"""Pure: the pod and the container that a cgroup path or a folder of the kubelet's logs names.

Paths by driver and runtime (UID and ID shortened), of cgroup v1 and v2 alike:

    cgroupfs           /kubepods/burstable/pod0a1b-...-c2d3/4e5f...
    systemd            /kubepods.slice/kubepods-burstable.slice
                       /kubepods-burstable-pod0a1b_..._c2d3.slice
                       /cri-containerd-4e5f....scope  (crio-4e5f....scope, docker-4e5f....scope)
    mixed              /system.slice/containerd.service/kubepods-burstable-pod0a1b_..._c2d3.slice
                       :cri-containerd:4e5f...

A reader in a cgroup namespace of its own (v2) sees them as /../../kubepods-....
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# Static pods have a hash of their manifest in place of the UID.
_UID: Final = r"[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32}"
_POD: Final = re.compile(rf"(?:^|[/:-])pod({_UID})(?:\.slice)?(?=[/:]|$)")
_CONTAINER: Final = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?(?=[/:]|$)")
# Names of namespaces and containers are DNS labels, those of pods may have dots; none has a "_".
_POD_FOLDER: Final = re.compile(rf"([a-z0-9-]+)_([a-z0-9.-]+)_({_UID})")
_CONTAINER_LOG: Final = re.compile(r"[a-z0-9.-]+_[a-z0-9-]+_([a-z0-9-]+)-([0-9a-f]{64})\.log")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a process runs; `container_id` is None for one of the pod's own cgroup."""

    pod_uid: str
    container_id: str | None


def place_of(cgroups: str) -> Place | None:
    """Return the place that the content of /proc/PID/cgroup names, None for no pod's.

    Of nested pods (Kubernetes in a pod) it is the outermost one, which this node's kubelet knows.
    """
    for line in cgroups.splitlines():
        path = line.split(":", 2)[-1].removesuffix(" (deleted)")
        pod = _POD.search(path)
        if pod is None:
            continue
        container = _CONTAINER.search(path, pod.end())
        return Place(
            pod_uid=pod[1].replace("_", "-"), container_id=container[1] if container else None
        )
    return None


def pod_uid_of_cgroup(name: str) -> str | None:
    """Return the UID of the pod that a cgroup's own name is of, None for any other."""
    match = _POD.search(f"/{name}")
    return None if match is None else match[1].replace("_", "-")


def pod_of_folder(name: str) -> tuple[str, str, str] | None:
    """Return UID, namespace and name of the pod that a folder of /var/log/pods is of."""
    match = _POD_FOLDER.fullmatch(name)
    return None if match is None else (match[3], match[1], match[2])


def container_of_log(name: str) -> tuple[str, str] | None:
    """Return ID and name of the container that a file of /var/log/containers is of."""
    match = _CONTAINER_LOG.fullmatch(name)
    return None if match is None else (match[2], match[1])
