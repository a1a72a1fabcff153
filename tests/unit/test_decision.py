# SPDX-License-Identifier: Apache-2.0
"""The order of a decision, its words, and the history that it leaves."""

from __future__ import annotations

import pytest

from scaler.decision.behavior import DEFAULT_BEHAVIOR
from scaler.decision.decide import decide
from scaler.decision.history import recommended
from scaler.decision.model import (
    ConditionType,
    Decision,
    Outcome,
    Recommendation,
    ScaleEvent,
    ScalingHistory,
)
from scaler.model import AnnotationProblem, Metric, PodPhase
from tests.unit.deployments import (
    NOW,
    deployment,
    immediate,
    other_pod,
    pending_pods,
    pod_ref,
    policy,
    reading,
    ready_pods,
)


def condition(decision: Decision, type_: ConditionType) -> tuple[bool, str]:
    (found,) = (item for item in decision.conditions if item.type is type_)
    return found.status, found.reason


def outcome(decision: Decision) -> tuple[Outcome, int, str]:
    return decision.outcome, decision.desired_replicas, decision.reason


def test_scale_up_says_why():
    decision = decide(deployment(ready_pods(1)), policy(), reading([63]), None, NOW)
    assert outcome(decision) == (Outcome.SCALED, 2, "SuccessfulRescale")
    assert decision.message == "New size: 2; reason: duty_cycle above target"
    assert condition(decision, ConditionType.SCALING_ACTIVE) == (True, "ValidMetricFound")
    assert condition(decision, ConditionType.ABLE_TO_SCALE) == (True, "ReadyForNewScale")
    assert condition(decision, ConditionType.SCALING_LIMITED) == (False, "DesiredWithinRange")
    assert decision.history.scale_ups == (ScaleEvent(change=1, at_seconds=NOW),)
    assert [item.replicas for item in decision.history.recommendations] == [1, 2]
    assert decision.proposed == 2


def test_scale_down_says_why():
    decision = decide(
        deployment(ready_pods(4)), policy(behavior=immediate()), reading([5] * 4), None, NOW
    )
    assert outcome(decision) == (Outcome.SCALED, 1, "SuccessfulRescale")
    assert decision.message == "New size: 1; reason: All metrics below target"


def test_no_change_says_why():
    decision = decide(deployment(ready_pods(2)), policy(), reading([41, 39]), None, NOW)
    assert outcome(decision) == (Outcome.UNCHANGED, 2, "DesiredWithinRange")
    assert decision.message.endswith("duty_cycle 40/40")


def test_the_story_goes_up_and_comes_back():
    """63 at target 40 adds pods; silence brings the count back, not before the window is over."""
    replicas, history, counts = 1, None, []
    for second in range(0, 400, 2):
        busy = 63.0 if second < 40 else 0.0
        decision = decide(
            deployment(ready_pods(replicas)),
            policy(max_replicas=10),
            reading([busy] * replicas),
            history,
            NOW + second,
        )
        history, replicas = decision.history, decision.desired_replicas
        counts.append(replicas)
    assert max(counts) == 10
    last_full_seconds = 2 * (len(counts) - 1 - counts[::-1].index(10))
    assert 38 + 300 <= last_full_seconds + 2 <= 38 + 304
    assert counts[-1] == 1


@pytest.mark.parametrize(
    ("replicas", "bounds", "expected", "cause", "limit"),
    [
        pytest.param(
            2, (3, 10), 3, "below Spec.MinReplicas", "TooFewReplicas", id="spec 2 min 3 -> 3"
        ),
        pytest.param(
            10, (1, 5), 5, "above Spec.MaxReplicas", "TooManyReplicas", id="spec 10 max 5 -> 5"
        ),
    ],
)
def test_outside_the_range_goes_straight_back(replicas, bounds, expected, cause, limit):
    """No metrics, no stabilization and no rates, as in the HPA."""
    decision = decide(
        deployment(ready_pods(replicas)),
        policy(min_replicas=bounds[0], max_replicas=bounds[1]),
        {},
        ScalingHistory(recommendations=(Recommendation(replicas=10, at_seconds=NOW - 1),)),
        NOW,
    )
    assert outcome(decision) == (Outcome.SCALED, expected, "SuccessfulRescale")
    assert decision.message == (f"New size: {expected}; reason: Current number of replicas {cause}")
    assert condition(decision, ConditionType.SCALING_LIMITED) == (True, limit)


@pytest.mark.parametrize(
    ("current", "values", "bounds", "expected", "reason"),
    [
        pytest.param(2, [99, 80], (1, 3), 3, "SuccessfulRescale", id="max, changed"),
        pytest.param(3, [80] * 3, (1, 3), 3, "TooManyReplicas", id="max, unchanged"),
        pytest.param(2, [5] * 2, (2, 3), 2, "TooFewReplicas", id="min, unchanged"),
        pytest.param(1, [80], (1, 1), 1, "TooManyReplicas", id="min is max"),
    ],
)
def test_limits_are_named(current, values, bounds, expected, reason):
    decision = decide(
        deployment(ready_pods(current)),
        policy(min_replicas=bounds[0], max_replicas=bounds[1], behavior=immediate()),
        reading(values),
        None,
        NOW,
    )
    assert (decision.desired_replicas, decision.reason) == (expected, reason)
    assert decision.limits[-1].replicas_after == expected
    assert condition(decision, ConditionType.SCALING_LIMITED)[0]


def test_stabilization_is_named():
    decision = decide(deployment(ready_pods(4)), policy(), reading([5] * 4), None, NOW)
    assert outcome(decision) == (Outcome.UNCHANGED, 4, "ScaleDownStabilized")
    assert condition(decision, ConditionType.ABLE_TO_SCALE) == (True, "ScaleDownStabilized")
    assert condition(decision, ConditionType.SCALING_LIMITED) == (False, "DesiredWithinRange")
    assert decision.proposed == 1


@pytest.mark.parametrize(
    "history",
    [
        pytest.param(None, id="restart"),
        pytest.param(ScalingHistory(), id="never decided"),
        pytest.param(
            ScalingHistory(recommendations=(Recommendation(replicas=1, at_seconds=NOW - 400),)),
            id="a gap longer than the window",
        ),
    ],
)
def test_the_count_found_is_the_first_recommendation(history):
    state = deployment(ready_pods(4))
    first = decide(state, policy(), reading([0] * 4), history, NOW)
    assert outcome(first) == (Outcome.UNCHANGED, 4, "ScaleDownStabilized")
    late = decide(state, policy(), reading([0] * 4), first.history, NOW + 299.9)
    assert late.desired_replicas == 4
    after = decide(state, policy(), reading([0] * 4), late.history, NOW + 300)
    assert after.desired_replicas == 1


def test_a_clock_that_goes_back_stands_still():
    history = ScalingHistory(recommendations=(Recommendation(replicas=4, at_seconds=NOW),))
    decision = decide(deployment(ready_pods(4)), policy(), reading([0] * 4), history, NOW - 5000)
    assert (decision.at_seconds, decision.desired_replicas) == (NOW, 4)


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        pytest.param({}, "no reading for this metric", id="no reading"),
        pytest.param(reading([]), "no serving pod has a fresh value", id="empty metrics"),
        pytest.param(reading([90, 90, 90], problem="partial"), "partial", id="a warned source"),
    ],
)
def test_no_data_holds(readings, expected):
    history = recommended(ScalingHistory(), 3, DEFAULT_BEHAVIOR, NOW - 10)
    decision = decide(deployment(ready_pods(3)), policy(), readings, history, NOW)
    assert outcome(decision) == (Outcome.HELD, 3, "FailedGetPodsMetric")
    assert expected in decision.message
    assert condition(decision, ConditionType.SCALING_ACTIVE) == (False, "FailedGetPodsMetric")
    assert decision.history == history
    assert decision.proposed is None


TWO = {Metric.DUTY_CYCLE: 40, Metric.TEMPERATURE_CELSIUS: 60}


@pytest.mark.parametrize(
    ("temperatures", "problem", "expected"),
    [
        pytest.param([80] * 3, None, (Outcome.SCALED, 4), id="one says up"),
        pytest.param([60] * 3, None, (Outcome.UNCHANGED, 3), id="one says no change"),
        pytest.param([20] * 3, None, (Outcome.HELD, 3), id="one says down"),
        pytest.param([80] * 3, "503", (Outcome.HELD, 3), id="none says anything"),
    ],
)
def test_one_invalid_metric(temperatures, problem, expected):
    """As upstream: `one invalid metric + other says up, cur 3 -> 4`, and never down."""
    readings = reading([10] * 3, problem="timeout") | reading(
        temperatures, metric=Metric.TEMPERATURE_CELSIUS, problem=problem
    )
    decision = decide(
        deployment(ready_pods(3)), policy(TWO, behavior=immediate()), readings, None, NOW
    )
    assert (decision.outcome, decision.desired_replicas) == expected


def test_the_highest_of_several_metrics_wins_and_is_named():
    readings = reading([50] * 3) | reading([90] * 3, metric=Metric.TEMPERATURE_CELSIUS)
    decision = decide(
        deployment(ready_pods(3)), policy(TWO, behavior=immediate()), readings, None, NOW
    )
    assert decision.message == "New size: 5; reason: temperature_celsius above target"


def test_wrong_annotations_scale_nothing():
    problems = (
        AnnotationProblem(annotation="gpu-scaler/max-replicas", value="x", message='"x" is wrong'),
    )
    decision = decide(deployment(ready_pods(3)), problems, reading([99] * 3), None, NOW)
    assert outcome(decision) == (Outcome.REFUSED, 3, "InvalidAnnotation")
    assert 'gpu-scaler/max-replicas: "x" is wrong' in decision.message
    assert (decision.problems, decision.policy) == (problems, None)


def test_paused_does_nothing():
    decision = decide(deployment(ready_pods(9)), policy(max_replicas=3, paused=True), {}, None, NOW)
    assert outcome(decision) == (Outcome.PAUSED, 9, "Paused")


@pytest.mark.parametrize(
    "replicas", [pytest.param(1, id="metrics say up"), pytest.param(5, id="above the maximum")]
)
def test_a_dry_run_reports_and_remembers_no_change(replicas):
    decision = decide(
        deployment(ready_pods(replicas)),
        policy(max_replicas=3, dry_run=True),
        reading([99] * replicas),
        None,
        NOW,
    )
    assert decision.outcome is Outcome.DRY_RUN
    assert decision.desired_replicas in (2, 3)
    assert f"New size: {decision.desired_replicas}" in decision.message
    assert decision.history.scale_ups == decision.history.scale_downs == ()
    assert decision.history.recommendations


def test_the_reason_of_an_unchanged_count_is_the_wait_for_gpus():
    pods = (
        *ready_pods(1),
        other_pod(
            1,
            PodPhase.PENDING,
            unschedulable_age_seconds=100,
            message="0/2 nodes are available: 2 Insufficient nvidia.com/gpu.",
        ),
        other_pod(
            2,
            PodPhase.PENDING,
            unschedulable_age_seconds=40,
            message="0/2 nodes are available: 2 Insufficient nvidia.com/gpu.",
        ),
    )
    decision = decide(deployment(pods), policy(), reading([99]), None, NOW)
    assert outcome(decision) == (Outcome.UNCHANGED, 3, "InsufficientGPU")
    assert decision.message.startswith("2 pods have waited for a GPU, the first for 1m40s: 0/2")
    assert condition(decision, ConditionType.SCALING_LIMITED) == (True, "InsufficientGPU")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        pytest.param(
            "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are"
            " available: 1 No preemption victims found for incoming pod.",
            "InsufficientGPU",
            id="no GPU free",
        ),
        pytest.param(
            "0/9 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint"
            " {node-role.kubernetes.io/control-plane: }, 6 Insufficient nvidia.com/gpu.",
            "InsufficientGPU",
            id="among other reasons",
        ),
        pytest.param(
            "0/1 nodes are available: 1 Insufficient nvidia.com/mig-1g.5gb.",
            "InsufficientGPU",
            id="MIG",
        ),
        pytest.param(
            "0/1 nodes are available: 1 Insufficient amd.com/gpu.", "InsufficientGPU", id="AMD"
        ),
        pytest.param(
            "0/4 nodes are unavailable: 4 Insufficient nvidia.com/gpu.",
            "InsufficientGPU",
            id="Volcano",
        ),
        pytest.param(
            "0/2 nodes are available: 2 node(s) had untolerated taint {nvidia.com/gpu: present}."
            " preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.",
            "Unschedulable",
            id="a taint that is called like the resource",
        ),
        pytest.param(
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s)"
            " {nvidia.com/gpu: true}.",
            "Unschedulable",
            id="a taint and no CPU",
        ),
        pytest.param(
            "0/5 nodes are available: 1 node(s) had taint {nvidia.com/gpu: }, that the pod didn't"
            " tolerate, 4 Insufficient memory.",
            "Unschedulable",
            id="a taint in the words of Kubernetes 1.23",
        ),
        pytest.param(
            "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
            " preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
            "Unschedulable",
            id="affinity",
        ),
        pytest.param(
            "0/1 nodes are available: 1 Insufficient memory, 1 Insufficient ephemeral-storage.",
            "Unschedulable",
            id="memory",
        ),
        pytest.param(
            "0/1 nodes are available: 1 Too many pods. preemption: 0/1 nodes are available:"
            " 1 No preemption victims found for incoming pod.",
            "Unschedulable",
            id="too many pods",
        ),
        pytest.param(
            "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found.",
            "Unschedulable",
            id="a volume",
        ),
        pytest.param(
            "0/1 nodes are available: 1 cannot allocate all claims.",
            "Unschedulable",
            id="a claim, which may be for anything",
        ),
        pytest.param(
            "no nodes available to schedule pods", "Unschedulable", id="a cluster without nodes"
        ),
        pytest.param(None, "Unschedulable", id="nothing said"),
    ],
)
def test_only_a_lack_of_gpus_is_called_so(message, reason):
    pods = (
        *ready_pods(1),
        other_pod(1, PodPhase.PENDING, unschedulable_age_seconds=5, message=message),
        other_pod(2, PodPhase.PENDING, unschedulable_age_seconds=99, deleting=True, message="gpu"),
    )
    decision = decide(deployment(pods, replicas=2), policy(), reading([50]), None, NOW)
    assert decision.reason == reason
    assert decision.message.startswith("1 pod has waited for a ")
    assert "for 5s" in decision.message


def test_left_out_pods_are_named_with_their_reason():
    pods = (*ready_pods(2), *pending_pods(1, first=2), other_pod(3, PodPhase.FAILED), other_pod(4))
    decision = decide(
        deployment(pods, replicas=4),
        policy(),
        reading([50, None], missing={pod_ref(1): "exporter on node gpu-7 did not answer"}),
        None,
        NOW,
    )
    (proposal,) = decision.proposals
    assert {item.pod.name: item.reason for item in proposal.left_out} == {
        "web-1": "exporter on node gpu-7 did not answer",
        "web-2": "Pending: counts as 0 when scaling up",
        "web-3": "has ended (Failed)",
        "web-4": "not Ready: counts as 0 when scaling up",
    }
    assert [ref.name for ref in proposal.values] == ["web-0"]
