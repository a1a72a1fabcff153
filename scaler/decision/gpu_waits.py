# SPDX-License-Identifier: Apache-2.0
"""Pure: which pods wait for which GPU resource, as the API shows them, and what growth asks for."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from scaler.decision.gpu_requests import insufficient
from scaler.decision.model import Decision, Outcome
from scaler.model import PodPhase
from scaler.quantities import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from scaler.model import DeploymentState, GpuRequest, ObjectRef, PodState

MAX_WAIT_SECONDS: Final = 3600.0
"""How long a wait limits others: longer than a cloud takes to add a node, and not for ever."""
MAX_WAITS: Final = 100
"""Waits for one resource that differ in their node selectors; those of the highest priority."""
_SCALED_BY_US: Final = (Outcome.SCALED, Outcome.UNCHANGED, Outcome.HELD, Outcome.DRY_RUN)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuWait:
    """A Deployment with pods that wait for a resource; `resource` is None if it is unknown.

    With `begins` it only asks for the resource in this loop, and its pods do not exist yet.
    """

    ref: ObjectRef
    priority: int
    resource: str | None
    node_selector: tuple[tuple[str, str], ...]
    age_seconds: float
    dry_run: bool
    begins: bool = False

    @property
    def is_over(self) -> bool:
        """Whether it has lasted too long to limit anybody."""
        return self.age_seconds > MAX_WAIT_SECONDS

    def __str__(self) -> str:
        resource = self.resource or "a GPU"
        who = f"{self.ref.title} (priority {self.priority})"
        if self.begins:
            return f"{who} begins to grow on {resource} in this loop"
        return f"{who} has waited for {resource} for {format_duration(self.age_seconds)}"


GpuWaits: TypeAlias = "Mapping[str, Sequence[GpuWait]]"
"""By resource, the highest priority first; of equal ones the longest wait."""


def waits_of(deployment: DeploymentState, decision: Decision) -> Iterator[GpuWait]:
    """Yield what the pods of a Deployment wait for, if the scaler scales it and it keeps them."""
    policy = decision.policy
    if policy is None or decision.outcome not in _SCALED_BY_US:
        return
    if deployment.out_of_contact is not None:
        return
    if decision.desired_replicas < decision.current_replicas:
        return
    since: dict[tuple[str | None, tuple[tuple[str, str], ...]], float] = {}
    for pod in deployment.pods:
        waits_since = pod.unschedulable_since_seconds
        if waits_since is None or pod.phase is not PodPhase.PENDING or pod.deleting:
            continue
        selector = () if pod.gpu_request is None else pod.gpu_request.node_selector
        for resource in _lacking(pod):
            key = resource, selector
            since[key] = min(since.get(key, waits_since), waits_since)
    for (resource, selector), oldest_seconds in since.items():
        yield GpuWait(
            ref=deployment.ref,
            priority=policy.priority,
            resource=resource,
            node_selector=selector,
            age_seconds=max(0.0, decision.at_seconds - oldest_seconds),
            dry_run=policy.dry_run,
        )


def growth_of(deployment: DeploymentState, decision: Decision) -> Iterator[GpuWait]:
    """Yield what the new pods of a Deployment that grows will request."""
    if decision.policy is None:
        return
    for request in requests_of(deployment):
        for resource in request.resources:
            yield GpuWait(
                ref=deployment.ref,
                priority=decision.policy.priority,
                resource=resource,
                node_selector=request.node_selector,
                age_seconds=0.0,
                dry_run=False,
                begins=True,
            )


def _lacking(pod: PodState) -> Sequence[str | None]:
    """Return the GPU resources that no node has for a pod; [None] for an unknown one."""
    request, message = pod.gpu_request, pod.unschedulable_message
    if request is None:
        return [None]
    if message is None:
        return [None] if request.resources else []
    lacking = insufficient(message)
    return [one for one in request.resources if one in lacking]


def by_resource(waits: Iterable[GpuWait]) -> GpuWaits:
    """Return waits whose resource is known, by resource and in order."""
    found: defaultdict[str, dict[tuple[object, ...], GpuWait]] = defaultdict(dict)
    for wait in sorted(waits, key=lambda wait: (-wait.priority, -wait.age_seconds, wait.ref)):
        assert wait.resource is not None
        same = found[wait.resource]
        if len(same) < MAX_WAITS:
            same.setdefault((wait.node_selector, wait.dry_run), wait)
    return {resource: tuple(same.values()) for resource, same in found.items()}


def requests_of(deployment: DeploymentState) -> Sequence[GpuRequest]:
    """Return the different requests of its pods, else that of its template; none if unknown."""
    found = {
        pod.gpu_request: None
        for pod in deployment.pods
        if pod.gpu_request is not None and not pod.deleting
    }
    if not found and deployment.gpu_request is not None:
        return [deployment.gpu_request]
    return list(found)
