# SPDX-License-Identifier: Apache-2.0
"""Who gets the next GPU: what limits a growth, what does not, and that nobody waits for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.decision.allocation import MAX_WAIT_SECONDS, MAX_WAITS, GpuAllocation, growths
from scaler.decision.decide import decide
from scaler.decision.model import (
    ConditionType,
    Decision,
    Outcome,
    Reason,
    ScaleEvent,
    ScalingHistory,
)
from scaler.model import (
    DeploymentState,
    GpuRequest,
    ObjectRef,
    PodPhase,
    PodState,
    ScalingPolicy,
)
from scaler.reporting.explanation import explain_text
from scaler.reporting.serialization import decision_document
from tests.unit.deployments import NOW, deployment, policy, reading, ready_pods

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


@pytest.mark.parametrize(
    ("higher", "lower"),
    [
        pytest.param(waiting(), growing(), id="the same resource"),
        pytest.param(waiting(priority=0), growing(priority=-1), id="below the default"),
        pytest.param(waiting(f"0/1 nodes: 1 Insufficient {GPU}, 2 x"), growing(), id="among more"),
        pytest.param(
            waiting(outcome=Outcome.HELD), growing(), id="held, but its pods wait all the same"
        ),
        pytest.param(waiting(outcome=Outcome.SCALED, desired=3), growing(), id="grows further"),
        pytest.param(waiting(age=MAX_WAIT_SECONDS), growing(), id="just not too long"),
        pytest.param(waiting(), growing(GpuRequest((GPU, MIG))), id="one of its resources"),
        pytest.param(
            waiting(request=GpuRequest((GPU,), (("gpu", "H100"),))),
            growing(GpuRequest((GPU,), (("zone", "a"),))),
            id="selectors that one node may satisfy",
        ),
        pytest.param(waiting(), growing(dry_run=True), id="a dry run behind a real one"),
        pytest.param(waiting(dry_run=True), growing(dry_run=True), id="both in a dry run"),
    ],
)
def test_a_lower_priority_does_not_grow(higher, lower):
    first, second = allocated(higher, lower)
    assert second.outcome is Outcome.UNCHANGED
    assert second.reason is Reason.HIGHER_PRIORITY_WAITS
    assert second.desired_replicas == second.current_replicas
    assert second.waits_behind == TRAIN
    assert "Deployment prod/train" in second.message
    assert [one.reason for one in second.limits] == [Reason.HIGHER_PRIORITY_WAITS]
    assert "Deployment lab/batch" in first.gpu_waits[0]


@pytest.mark.parametrize(
    ("higher", "lower"),
    [
        pytest.param(waiting(priority=0), growing(), id="equal priorities"),
        pytest.param(waiting(priority=-1), growing(), id="a higher priority grows"),
        pytest.param(waiting(), growing(GpuRequest((MIG,))), id="another resource"),
        pytest.param(waiting(), growing(GpuRequest()), id="no GPU"),
        pytest.param(
            waiting(
                f"0/1 nodes: 1 Insufficient {GPU}.shared.",
                request=GpuRequest((GPU, f"{GPU}.shared")),
            ),
            growing(),
            id="a longer name",
        ),
        pytest.param(waiting("0/1 nodes: 1 Insufficient memory."), growing(), id="memory"),
        pytest.param(
            waiting("0/3 nodes: 3 node(s) didn't match Pod's node affinity/selector."),
            growing(),
            id="no node has its labels",
        ),
        pytest.param(
            waiting("0/1 nodes are available: 1 node(s) had untolerated taint {nvidia.com/gpu: }."),
            growing(),
            id="a taint that is called like the resource",
        ),
        pytest.param(
            waiting(request=GpuRequest((GPU,), (("gpu", "H100"),))),
            growing(GpuRequest((GPU,), (("gpu", "L4"),))),
            id="another GPU model",
        ),
        pytest.param(waiting(deleting=True), growing(), id="its pod goes"),
        pytest.param(waiting(outcome=Outcome.SCALED, desired=1), growing(), id="it shrinks"),
        pytest.param(waiting(outcome=Outcome.PAUSED), growing(), id="paused"),
        pytest.param(waiting(outcome=Outcome.DISABLED), growing(), id="disabled"),
        pytest.param(waiting(outcome=Outcome.REFUSED), growing(), id="refused"),
        pytest.param(waiting(outcome=Outcome.FAILED), growing(), id="failed"),
        pytest.param(waiting(dry_run=True), growing(), id="a dry run changes nothing"),
        pytest.param(
            (
                replace(waiting()[0], out_of_contact="pods in prod"),
                replace(waiting()[1], outcome=Outcome.HELD),
            ),
            growing(),
            id="out of contact",
        ),
    ],
)
def test_what_limits_nobody(higher, lower):
    assert allocated(higher, lower) == [higher[1], lower[1]]


@pytest.mark.parametrize(
    ("higher", "lower", "who", "expected"),
    [
        pytest.param(waiting(age=MAX_WAIT_SECONDS + 60), growing(), 0, "longer than 1h", id="long"),
        pytest.param(
            waiting(age=MAX_WAIT_SECONDS + 60), growing(), 1, "no longer limits", id="behind it"
        ),
        pytest.param(waiting(), growing(None), 1, "of this Deployment is unknown", id="a claim"),
        pytest.param(
            waiting("0/1 nodes: 1 cannot allocate all claims.", request=None),
            growing(),
            0,
            "which GPU resource is unknown",
            id="waits for a claim",
        ),
        pytest.param(waiting(None), growing(), 0, "resource is unknown", id="nothing said"),
    ],
)
def test_what_limits_nobody_is_said_where_a_priority_is_set(higher, lower, who, expected):
    found = allocated(higher, lower)
    assert [one.desired_replicas for one in found] == [2, 5]
    (text,) = found[who].gpu_waits
    assert expected in text
    assert expected in explain_text(
        decision_document(found[who], decided_unix_seconds=0), now_unix_seconds=0
    )


@pytest.mark.parametrize(
    ("higher", "lower", "expected"),
    [
        pytest.param(also_growing(), growing(), 2, id="the same resource"),
        pytest.param(also_growing(), growing(GpuRequest((MIG,))), 5, id="another resource"),
        pytest.param(also_growing(None), growing(), 5, id="an unknown one"),
        pytest.param(also_growing(), growing(None), 5, id="unknown itself"),
        pytest.param(also_growing(priority=0), growing(), 5, id="equal priorities"),
        pytest.param(also_growing(dry_run=True), growing(), 5, id="a dry run takes no GPU"),
        pytest.param(
            also_growing(GpuRequest((GPU,), (("gpu", "H100"),))),
            growing(GpuRequest((GPU,), (("gpu", "L4"),))),
            5,
            id="another GPU model",
        ),
    ],
)
def test_of_two_that_begin_to_grow_in_one_loop_the_higher_goes_first(higher, lower, expected):
    """Only the next loop shows whether its pods wait."""
    first, second = allocated(higher, lower, together=True)
    assert (first.desired_replicas, second.desired_replicas) == (5, expected)
    assert (second.reason is Reason.HIGHER_PRIORITY_WAITS) == (expected == 2)
    assert first.gpu_waits == ()
    assert allocated(higher, lower)[1].desired_replicas == 5


def test_without_pods_the_template_counts():
    found = decided(BATCH, current=0, desired=1, outcome=Outcome.SCALED, of=ruled(0))
    _, second = allocated(waiting(), (state(BATCH, request=ONE_GPU), found))
    assert second.reason is Reason.HIGHER_PRIORITY_WAITS


def test_the_highest_of_those_that_wait_is_named():
    others = [
        waiting(ref=ObjectRef("prod", f"web-{number}"), priority=number) for number in range(1, 9)
    ]
    *first, last = allocated(*others, growing())
    assert last.waits_behind == first[-1].ref
    assert [bool(one.gpu_waits) for one in first] == [False] * 7 + [True]


def test_a_wait_names_few_of_those_behind_it_and_counts_the_others():
    lower = [
        (replace(one, ref=ref), replace(decision, ref=ref))
        for number in range(9)
        for ref in [ObjectRef("lab", f"batch-{number}")]
        for one, decision in [growing()]
    ]
    first, *_ = allocated(waiting(), *lower)
    assert "batch-4 and 4 more" in first.gpu_waits[0]


def test_the_selectors_that_waits_may_have_are_bounded():
    others = [
        waiting(
            ref=ObjectRef("prod", f"web-{number}"),
            request=GpuRequest((GPU,), (("pool", str(number)),)),
            priority=MAX_WAITS + 1 - number,
        )
        for number in range(MAX_WAITS + 1)
    ]
    for pool, behind in ((MAX_WAITS - 1, f"web-{MAX_WAITS - 1}"), (MAX_WAITS, None)):
        *_, last = allocated(*others, growing(GpuRequest((GPU,), (("pool", str(pool)),))))
        assert last.waits_behind == (None if behind is None else ObjectRef("prod", behind))


def grown(history: ScalingHistory | None, now: float = NOW) -> tuple[DeploymentState, Decision]:
    pods = [replace(one, gpu_request=ONE_GPU) for one in ready_pods(2)]
    found = replace(deployment(pods), ref=BATCH, uid="batch")
    return found, decide(found, ruled(0), reading([80.0, 80.0]), history, now)


def test_the_recommendation_stays_and_no_change_is_remembered():
    """So the growth comes at once when the wait ends, and its rate policies know of nothing."""
    found, decision = grown(None)
    assert decision.outcome is Outcome.SCALED
    limited = GpuAllocation([waiting(), (found, decision)]).applied(found, decision, None)
    assert limited.history.recommendations == decision.history.recommendations
    assert limited.history.scale_ups == ()
    assert not limited.history.held
    assert limited.proposed == decision.proposed
    _, later = grown(limited.history, NOW + 2)
    assert later.desired_replicas == decision.desired_replicas


def test_a_change_before_is_still_remembered():
    before = ScalingHistory(scale_ups=(ScaleEvent(change=1, at_seconds=NOW - 5),))
    found, decision = grown(before)
    limited = GpuAllocation([waiting(), (found, decision)]).applied(found, decision, before)
    assert limited.history.scale_ups == before.scale_ups


def test_a_zero_of_ours_that_a_human_has_ended_does_not_come_back():
    before = ScalingHistory(zeroed_seconds=NOW - 600)
    found, decision = grown(before)
    limited = GpuAllocation([waiting(), (found, decision)]).applied(found, decision, before)
    assert not limited.history.scaled_to_zero


def test_the_condition_says_what_limits():
    found, decision = grown(None)
    limited = GpuAllocation([waiting(), (found, decision)]).applied(found, decision, None)
    (condition,) = [one for one in limited.conditions if one.type is ConditionType.SCALING_LIMITED]
    assert (condition.status, condition.reason) == (True, Reason.HIGHER_PRIORITY_WAITS)
    assert len(limited.conditions) == len(decision.conditions)


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
