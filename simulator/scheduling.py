# SPDX-License-Identifier: Apache-2.0
"""Pure: which pending pod goes to which simulated node.

Only what decides over GPUs is weighed: extended resources of `nvidia.com`, node selectors and
cordons. Among nodes that fit, the emptiest is taken. Messages are those of kube-scheduler.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    JsonObject = dict[str, Any]

RESOURCE_PREFIX: Final = "nvidia.com/"
SCHEDULER_NAME: Final = "default-scheduler"
_ENDED: Final = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the scheduler does next; pods are named by uid."""

    bindings: dict[str, str] = field(default_factory=dict)
    unschedulable: dict[str, str] = field(default_factory=dict)


def container_requests(container: Mapping[str, Any]) -> dict[str, int]:
    """Return the GPU resources that a container asks for, as limits or requests."""
    resources = container.get("resources") or {}
    wanted = {**(resources.get("requests") or {}), **(resources.get("limits") or {})}
    return {
        name: int(count)
        for name, count in wanted.items()
        if name.startswith(RESOURCE_PREFIX) and int(count) > 0
    }


def pod_requests(pod: JsonObject) -> Counter[str]:
    """Return the GPU resources that a pod asks for."""
    total: Counter[str] = Counter()
    for container in pod["spec"].get("containers") or ():
        total.update(container_requests(container))
    return total


def plan(
    nodes: Iterable[JsonObject], pods: Iterable[JsonObject], assumed: Mapping[str, str]
) -> Plan:
    """Return a node for every pending pod that fits, and for the others the reason.

    `assumed` are bindings (pod uid to node) that were made and are not seen in `pods` yet.
    """
    ready = sorted(nodes, key=lambda node: str(node["metadata"]["name"]))
    free: dict[str, Counter[str]] = {
        node["metadata"]["name"]: Counter(_gpu_resources(node["status"]["allocatable"]))
        for node in ready
    }
    pod_counts: defaultdict[str, int] = defaultdict(int)
    pending: list[JsonObject] = []
    for pod in pods:
        node_name = pod["spec"].get("nodeName") or assumed.get(pod["metadata"]["uid"])
        if (pod.get("status") or {}).get("phase") in _ENDED:
            continue
        if node_name in free:
            free[node_name].subtract(pod_requests(pod))
            pod_counts[node_name] += 1
        elif not node_name and _is_schedulable(pod):
            pending.append(pod)
    bindings: dict[str, str] = {}
    unschedulable: dict[str, str] = {}
    for pod in sorted(pending, key=_age_order):
        uid, requests = pod["metadata"]["uid"], pod_requests(pod)
        problems: Counter[str] = Counter()
        fitting = []
        for node in ready:
            name = node["metadata"]["name"]
            reasons = _reasons_against(node, pod, requests, free[name])
            problems.update(reasons)
            if not reasons:
                fitting.append(name)
        if not fitting:
            unschedulable[uid] = _message(len(ready), problems)
            continue
        chosen = min(
            fitting,
            key=lambda name: (-sum(free[name][wanted] for wanted in requests), pod_counts[name]),
        )
        bindings[uid] = chosen
        free[chosen].subtract(requests)
        pod_counts[chosen] += 1
    return Plan(bindings=bindings, unschedulable=unschedulable)


def _gpu_resources(quantities: Mapping[str, Any]) -> dict[str, int]:
    return {
        name: int(count) for name, count in quantities.items() if name.startswith(RESOURCE_PREFIX)
    }


def _is_schedulable(pod: JsonObject) -> bool:
    spec = pod["spec"]
    return (
        not pod["metadata"].get("deletionTimestamp")
        and not spec.get("schedulingGates")
        and spec.get("schedulerName", SCHEDULER_NAME) == SCHEDULER_NAME
    )


def _age_order(pod: JsonObject) -> tuple[str, str, str]:
    metadata = pod["metadata"]
    return (
        metadata.get("creationTimestamp") or "",
        metadata.get("namespace", ""),
        metadata["name"],
    )


def _reasons_against(
    node: JsonObject, pod: JsonObject, requests: Mapping[str, int], free: Mapping[str, int]
) -> list[str]:
    if (node.get("spec") or {}).get("unschedulable"):
        return ["node(s) were unschedulable"]
    labels = node["metadata"].get("labels") or {}
    selector = pod["spec"].get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in selector.items()):
        return ["node(s) didn't match Pod's node affinity/selector"]
    return [f"Insufficient {name}" for name, count in requests.items() if free.get(name, 0) < count]


def _message(node_count: int, problems: Mapping[str, int]) -> str:
    if not node_count:
        return "no nodes available to schedule pods"
    reasons = ", ".join(sorted(f"{count} {reason}" for reason, count in problems.items()))
    return f"0/{node_count} nodes are available: {reasons}."
