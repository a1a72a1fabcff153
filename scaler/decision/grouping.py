# SPDX-License-Identifier: Apache-2.0
"""Pure: which of a workload's pods count, whatever the metric.

Unlike the HPA's groupPods, readiness counts for every metric and not only for cpu, a Succeeded pod
is ignored like a Failed one, and a pod that served before and is overloaded now differs from one
that still loads.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scaler.decision.model import LeftOutPod
from scaler.model import SERVER_METRICS, PodPhase, PodState
from scaler.quantities import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scaler.model import DeploymentState, Metric

SETTLING_SECONDS = 10.0
"""How long a value still covers time before readiness: the exporter's default window."""
SETTLING_SHARE = 1 / 3
"""The same as a share of the ready age, which is longer for pods that warm up for longer."""
ONE_POD_KINDS = frozenset(
    {
        "",
        "clonesets.apps.kruise.io",
        "deploymentconfigs.apps.openshift.io",
        "replicasets.apps",
        "replicationcontrollers",
        "rollouts.argoproj.io",
        "statefulsets.apps",
        "statefulsets.apps.kruise.io",
    }
)
"""Kinds with one pod per replica: more pods than replicas are a rollout or about to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodGroups:
    """A Deployment's own pods by how they count.

    `serving` pods have been Ready for the ready age. `lapsed` pods had been, and are not Ready now
    or not for that long again. `young` pods have been Ready for less, but long enough for their
    values to be about serving. `unready` pods are Pending, not Ready or Ready for a moment:
    requested capacity that does not serve yet. `pending` of these have no running container.
    `ignored` pods are being deleted or have ended.
    """

    serving: tuple[PodState, ...]
    lapsed: tuple[LeftOutPod, ...]
    young: tuple[LeftOutPod, ...]
    unready: tuple[LeftOutPod, ...]
    pending: int
    ignored: tuple[LeftOutPod, ...]


def group_pods(
    pods: Iterable[PodState], *, ready_age_seconds: float, now_seconds: float
) -> PodGroups:
    """Sort pods into groups."""
    serving: list[PodState] = []
    lapsed: list[LeftOutPod] = []
    young: list[LeftOutPod] = []
    unready: list[LeftOutPod] = []
    ignored: list[LeftOutPod] = []
    pending = 0
    settled_seconds = max(SETTLING_SECONDS, SETTLING_SHARE * ready_age_seconds)
    for pod in pods:
        since = pod.ready_since_seconds
        if (
            since is not None
            and now_seconds - since >= ready_age_seconds
            and pod.phase is PodPhase.RUNNING
            and not pod.deleting
        ):
            # Nearly all pods of nearly all loops.
            serving.append(pod)
            continue
        age_seconds = _ready_age_seconds(pod, now_seconds)
        if pod.deleting:
            ignored.append(LeftOutPod(pod=pod.ref, reason="is being deleted"))
        elif pod.phase in (PodPhase.FAILED, PodPhase.SUCCEEDED):
            ignored.append(LeftOutPod(pod=pod.ref, reason=f"has ended ({pod.phase})"))
        elif age_seconds is not None and age_seconds >= ready_age_seconds:
            serving.append(pod)
        elif pod.phase is PodPhase.PENDING:
            pending += 1
            unready.append(LeftOutPod(pod=pod.ref, reason=_pending_reason(pod, now_seconds)))
        else:
            reason = "not Ready" if pod.member is None else "its group is not Ready"
            if age_seconds is not None:
                reason = (
                    f"Ready for {format_duration(age_seconds)}, less than the ready age of"
                    f" {format_duration(ready_age_seconds)}"
                )
            if pod.served_seconds is not None and pod.served_seconds >= ready_age_seconds:
                lapsed.append(LeftOutPod(pod=pod.ref, reason=f"{reason}, but served before"))
            elif age_seconds is not None and age_seconds >= settled_seconds:
                young.append(LeftOutPod(pod=pod.ref, reason=reason))
            else:
                unready.append(LeftOutPod(pod=pod.ref, reason=reason))
    return PodGroups(
        serving=tuple(serving),
        lapsed=tuple(lapsed),
        young=tuple(young),
        unready=tuple(unready),
        pending=pending,
        ignored=tuple(ignored),
    )


def pods_per_replica(deployment: DeploymentState) -> int:
    """How many pods make up one replica.

    Without any statement, kinds that may have several have as many as pods and count show.
    """
    if deployment.ref.kind in ONE_POD_KINDS:
        return 1
    if deployment.pods_per_replica is not None or deployment.spec_replicas <= 0:
        return deployment.pods_per_replica or 1
    ended = (PodPhase.FAILED, PodPhase.SUCCEEDED)
    alive = sum(not pod.deleting and pod.phase not in ended for pod in deployment.pods)
    return max(1, round(alive / deployment.spec_replicas))


def answering_pods(pods: Iterable[PodState]) -> tuple[PodState, ...]:
    """Return the pods that a model server may answer on: of a group, only the one that leads."""
    return tuple(pod for pod in pods if pod.member is None or pod.member.leads)


def counted_for(metric: Metric, deployment: DeploymentState) -> DeploymentState:
    """Return the Deployment with the pods that can have a value of this metric.

    They differ from all pods only in groups: a leader answers for its group, and pods without GPUs
    have no GPU values. `pods_per_replica` is their number in one group.
    """
    if not any(pod.member for pod in deployment.pods):
        return deployment
    if metric in SERVER_METRICS:
        return replace(deployment, pods=answering_pods(deployment.pods), pods_per_replica=1)
    pods = tuple(pod for pod in deployment.pods if pod.requests_gpu is not False)
    without_gpu = Counter(
        pod.member.group for pod in deployment.pods if pod.member and pod.requests_gpu is False
    )
    # A pod that is being replaced may be there twice, so the smallest number is that of a group.
    per_group = pods_per_replica(deployment) - min(without_gpu.values(), default=0)
    return replace(deployment, pods=pods, pods_per_replica=max(1, per_group))


def _ready_age_seconds(pod: PodState, now_seconds: float) -> float | None:
    """How long a pod has been Ready, None where it is not."""
    if pod.phase is PodPhase.PENDING or pod.ready_since_seconds is None:
        return None
    # The instant comes from another machine's clock: one in the future is an age of 0.
    return max(0.0, now_seconds - pod.ready_since_seconds)


def _pending_reason(pod: PodState, now_seconds: float) -> str:
    if pod.unschedulable_since_seconds is None:
        return "Pending"
    age = format_duration(now_seconds - pod.unschedulable_since_seconds)
    return f"Pending, unschedulable for {age}"
