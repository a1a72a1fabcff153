# SPDX-License-Identifier: Apache-2.0
"""Who gets the next GPU, whatever waits: growth alone is taken away, and never for ever."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from scaler.decision.allocation import GpuAllocation
from scaler.decision.gpu_waits import MAX_WAIT_SECONDS
from scaler.decision.model import (
    Decision,
    Outcome,
)
from scaler.model import (
    DeploymentState,
    GpuRequest,
    ObjectRef,
)
from tests.unit.allocations import (
    GPU,
    LACKS,
    MIG,
    ONE_GPU,
    allocated,
    decided,
    pod,
    ruled,
    state,
)
from tests.unit.deployments import NOW, ready_pods

PRIORITIES = st.integers(-2, 2)
REQUESTS = st.sampled_from(
    [
        None,
        GpuRequest(),
        ONE_GPU,
        GpuRequest((MIG,)),
        GpuRequest((GPU, MIG)),
        GpuRequest((GPU,), (("gpu", "L4"),)),
        GpuRequest((GPU,), (("gpu", "H100"),)),
    ]
)
MESSAGES = st.sampled_from(
    [None, "", LACKS, f"1 Insufficient {MIG}, 2 Insufficient {GPU}.", "2 Insufficient cpu."]
)


@st.composite
def pairs(draw: st.DrawFn, number: int) -> tuple[DeploymentState, Decision]:
    ref = ObjectRef(draw(st.sampled_from(["prod", "lab"])), f"web-{number}")
    request = draw(REQUESTS)
    pods = [replace(one, gpu_request=request) for one in ready_pods(draw(st.integers(0, 2)))]
    if draw(st.booleans()):
        age = draw(st.floats(0, 2 * MAX_WAIT_SECONDS))
        pods.append(pod(draw(MESSAGES), age=age, request=request, deleting=draw(st.booleans())))
    of = draw(st.none() | st.builds(ruled, PRIORITIES, dry_run=st.booleans()))
    outcome = draw(st.sampled_from(Outcome))
    desired = draw(st.integers(0, 4)) if outcome in (Outcome.SCALED, Outcome.DRY_RUN) else 2
    return state(ref, *pods), decided(ref, desired=desired, outcome=outcome, of=of)


@st.composite
def clusters(draw: st.DrawFn) -> list[tuple[DeploymentState, Decision]]:
    return [draw(pairs(number)) for number in range(draw(st.integers(1, 6)))]


def resources(found: DeploymentState) -> set[str]:
    return {
        name
        for one in found.pods
        if one.gpu_request is not None
        for name in one.gpu_request.resources
    }


@given(clusters(), st.booleans())
def test_it_only_takes_growth_away_and_only_behind_a_higher_priority_of_the_same_resource(
    cluster, together
):
    by_ref = {found.ref: (found, decision) for found, decision in cluster}
    after_all = allocated(*cluster, together=together)
    for (found, before), after in zip(cluster, after_all, strict=True):
        if after.desired_replicas == before.desired_replicas:
            assert replace(after, gpu_waits=()) == before
            continue
        assert before.desired_replicas > before.current_replicas == after.desired_replicas
        assert after.waits_behind is not None
        other, decision = by_ref[after.waits_behind]
        assert decision.policy is not None
        assert before.policy is not None
        assert decision.policy.priority > before.policy.priority
        assert resources(other) & resources(found)


@given(clusters(), st.booleans())
def test_the_highest_priority_always_grows(cluster, together):
    highest = max(0 if one.policy is None else one.policy.priority for _, one in cluster)
    after_all = allocated(*cluster, together=together)
    for (_, before), after in zip(cluster, after_all, strict=True):
        if before.policy is None or before.policy.priority == highest:
            assert after.desired_replicas == before.desired_replicas


@given(clusters(), st.floats(MAX_WAIT_SECONDS + 1, 10 * MAX_WAIT_SECONDS))
def test_no_wait_limits_others_for_ever(cluster, later):
    """Whatever the pods ask for, and whether or not anybody ever gives it to them."""
    then = [(found, replace(decision, at_seconds=NOW + later)) for found, decision in cluster]
    for (_, before), after in zip(then, allocated(*then), strict=True):
        assert after.desired_replicas == before.desired_replicas


@given(clusters())
def test_nobody_waits_once_nobody_higher_waits(cluster):
    """Each one that is limited grows as soon as the pods of those above it have their GPUs."""
    for (found, decision), after in zip(cluster, allocated(*cluster), strict=True):
        if after.waits_behind is None:
            continue
        assert decision.policy is not None
        served = [
            (replace(other, pods=()), one)
            if one.policy is not None and one.policy.priority > decision.policy.priority
            else (other, one)
            for other, one in cluster
        ]
        assert GpuAllocation(served).applied(found, decision, None) == decision


@given(clusters(), st.booleans())
def test_the_order_of_deployments_does_not_matter(cluster, together):
    found, other_way_round = (
        {one.ref: one.desired_replicas for one in allocated(*pairs, together=together)}
        for pairs in (cluster, cluster[::-1])
    )
    assert found == other_way_round
