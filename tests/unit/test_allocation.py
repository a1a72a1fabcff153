# SPDX-License-Identifier: Apache-2.0
"""Who gets the next GPU: what limits a growth, what does not, and that nobody waits for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scaler.decision.allocation import GpuAllocation
from scaler.decision.decide import decide
from scaler.decision.gpu_waits import MAX_WAIT_SECONDS, MAX_WAITS
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
)
from scaler.reporting.explanation import explain_text
from scaler.reporting.serialization import decision_document
from tests.unit.allocations import (
    BATCH,
    GPU,
    MIG,
    ONE_GPU,
    TRAIN,
    allocated,
    also_growing,
    decided,
    growing,
    ruled,
    state,
    waiting,
)
from tests.unit.deployments import NOW, deployment, reading, ready_pods


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
