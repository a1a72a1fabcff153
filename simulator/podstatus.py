# SPDX-License-Identifier: Apache-2.0
"""The status that a kubelet and a scheduler write for a pod, step by step; pure.

Fields follow the core/v1 API; each function returns the `status` of a strategic merge patch, so
that conditions and lists of others stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    JsonObject = dict[str, Any]

STARTUP_ANNOTATION: Final = "simulator/startup-seconds"
GPU_MEMORY_ANNOTATION: Final = "simulator/gpu-memory-bytes"
POD_IP_ANNOTATION: Final = "simulator/pod-ip"

_TRUE: Final = "True"
_FALSE: Final = "False"


def condition(
    kind: str, status: str, now: str, *, reason: str | None = None, message: str | None = None
) -> JsonObject:
    """Return one pod condition; `now` is an RFC 3339 instant."""
    entry = {"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": now}
    # An explicit null takes away what an earlier status of the same condition said.
    return entry | {"reason": reason, "message": message}


def unschedulable(message: str, now: str) -> JsonObject:
    """Pending, because no node fits."""
    return {
        "phase": "Pending",
        "conditions": [
            condition("PodScheduled", _FALSE, now, reason="Unschedulable", message=message)
        ],
    }


def started(pod: JsonObject, *, pod_ip: str, host_ip: str, now: str) -> JsonObject:
    """Containers run but do not serve yet: Running and not Ready."""
    names = [container["name"] for container in pod["spec"]["containers"]]
    reason = "ContainersNotReady"
    message = f"containers with unready status: [{' '.join(names)}]"
    return {
        "phase": "Running",
        "startTime": now,
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "podIP": pod_ip,
        "podIPs": [{"ip": pod_ip}],
        "conditions": [
            condition("PodScheduled", _TRUE, now),
            condition("PodReadyToStartContainers", _TRUE, now),
            condition("Initialized", _TRUE, now),
            condition("ContainersReady", _FALSE, now, reason=reason, message=message),
            condition("Ready", _FALSE, now, reason=reason, message=message),
        ],
        "containerStatuses": _container_statuses(pod, now, is_ready=False),
    }


def ready(pod: JsonObject, *, started_at: str, now: str) -> JsonObject:
    """All containers serve."""
    return {
        "phase": "Running",
        "conditions": [
            condition("ContainersReady", _TRUE, now),
            condition("Ready", _TRUE, now),
        ],
        "containerStatuses": _container_statuses(pod, started_at, is_ready=True),
    }


def not_admitted(resource_name: str, now: str) -> JsonObject:
    """The kubelet refused the pod: its devices went to another one."""
    return {
        "phase": "Failed",
        "reason": "UnexpectedAdmissionError",
        "message": (
            "Allocate failed due to requested number of devices unavailable for "
            f"{resource_name}, which is unexpected"
        ),
        "startTime": now,
    }


def annotation(pod: JsonObject, name: str) -> str | None:
    """Return the text of a pod's annotation."""
    return (pod["metadata"].get("annotations") or {}).get(name)


def number(pod: JsonObject, name: str) -> float | None:
    """Return the number of an annotation; None without one of at least 0."""
    try:
        value = float(annotation(pod, name) or "nan")
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


def is_ready(pod: JsonObject) -> bool:
    """Whether the pod is Ready and not about to end."""
    return not pod["metadata"].get("deletionTimestamp") and any(
        entry["type"] == "Ready" and entry["status"] == _TRUE
        for entry in (pod.get("status") or {}).get("conditions") or ()
    )


def _container_statuses(pod: JsonObject, started_at: str, *, is_ready: bool) -> list[JsonObject]:
    uid = pod["metadata"]["uid"]
    return [
        {
            "name": container["name"],
            "image": container.get("image", ""),
            "imageID": container.get("image", ""),
            "containerID": f"simulated://{uid}/{container['name']}",
            "ready": is_ready,
            "started": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": started_at}},
            "lastState": {},
        }
        for container in pod["spec"]["containers"]
    ]
