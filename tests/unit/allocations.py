# SPDX-License-Identifier: Apache-2.0
"""Deployments that wait for GPUs or grow, and what is decided for a loop of them."""

from __future__ import annotations

from dataclasses import replace

from scaler.decision.allocation import GpuAllocation, growths
from scaler.decision.model import (
    Decision,
    Outcome,
    Reason,
)
from scaler.model import (
    DeploymentState,
    GpuRequest,
    ObjectRef,
    PodPhase,
    PodState,
    ScalingPolicy,
)
from tests.unit.deployments import NOW, deployment, policy, ready_pods

GPU = "nvidia.com/gpu"
MIG = "nvidia.com/mig-1g.5gb"
ONE_GPU = GpuRequest((GPU,))
LACKS = f"0/3 nodes are available: 3 Insufficient {GPU}."
TRAIN = ObjectRef("prod", "train")
BATCH = ObjectRef("lab", "batch")


def ruled(priority: int, *, dry_run: bool = False) -> ScalingPolicy:
    return replace(policy(), priority=priority, dry_run=dry_run)


def pod(
    message: str | None,
    *,
    age: float = 60.0,
    request: GpuRequest | None = ONE_GPU,
    deleting: bool = False,
) -> PodState:
    return PodState(
        ref=ObjectRef("prod", "train-0"),
        uid="train-0",
        phase=PodPhase.PENDING,
        deleting=deleting,
        ready_since_seconds=None,
        unschedulable_since_seconds=NOW - age,
        unschedulable_message=message,
        gpu_request=request,
    )


def state(ref: ObjectRef, *pods: PodState, request: GpuRequest | None = None) -> DeploymentState:
    return replace(deployment(pods), ref=ref, uid=ref.name, gpu_request=request)


def decided(
    ref: ObjectRef,
    *,
    current: int = 2,
    desired: int = 2,
    outcome: Outcome = Outcome.UNCHANGED,
    of: ScalingPolicy | None = None,
) -> Decision:
    return Decision(
        ref=ref,
        current_replicas=current,
        desired_replicas=desired,
        outcome=outcome,
        reason=Reason.DESIRED_WITHIN_RANGE,
        message="m",
        at_seconds=NOW,
        policy=of,
    )


def waiting(
    message: str | None = LACKS,
    *,
    ref: ObjectRef = TRAIN,
    priority: int = 100,
    dry_run: bool = False,
    outcome: Outcome = Outcome.UNCHANGED,
    desired: int = 2,
    **of_pod,
) -> tuple[DeploymentState, Decision]:
    found = decided(ref, outcome=outcome, desired=desired, of=ruled(priority, dry_run=dry_run))
    return state(ref, pod(message, **of_pod)), found


def growing(
    request: GpuRequest | None = ONE_GPU, *, priority: int = 0, dry_run: bool = False
) -> tuple[DeploymentState, Decision]:
    outcome = Outcome.DRY_RUN if dry_run else Outcome.SCALED
    found = decided(BATCH, desired=5, outcome=outcome, of=ruled(priority, dry_run=dry_run))
    pods = [replace(one, gpu_request=request) for one in ready_pods(2)]
    return state(BATCH, *pods), found


def also_growing(
    request: GpuRequest | None = ONE_GPU, *, priority: int = 100, dry_run: bool = False
) -> tuple[DeploymentState, Decision]:
    found, decision = growing(request, priority=priority, dry_run=dry_run)
    return replace(found, ref=TRAIN, uid="train"), replace(decision, ref=TRAIN)


def allocated(*pairs: tuple[DeploymentState, Decision], together: bool = False) -> list[Decision]:
    """Decide for a loop; `together` all that grow have not asked for it before."""
    allocation = GpuAllocation(pairs, begin=growths(pairs) if together else ())
    return list(allocation.explained([allocation.applied(*pair, None) for pair in pairs]))
