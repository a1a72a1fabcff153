# SPDX-License-Identifier: Apache-2.0
"""Which pods go: the idlest, where a ReplicaSet lets marks decide."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.controller.plans import Plan
from scaler.decision.decide import decide
from scaler.decision.history import shifted
from scaler.decision.model import Outcome, Reason
from scaler.decision.victims import (
    MARK_COST,
    PodLoad,
    chosen,
    loads_of,
    removal_text,
    still_idle,
)
from scaler.model import (
    DeploymentState,
    Metric,
    MetricReading,
    PodPhase,
    PodState,
    PodValue,
    ScaleDownPods,
)
from scaler.reporting.explanation import explain_text
from scaler.reporting.serialization import decision_document
from tests.unit.deployments import NOW, deployment, immediate, pod_ref, policy, ready_pod

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RULES = replace(policy(behavior=immediate()), scale_down_pods=ScaleDownPods.IDLEST)
PATIENT = replace(RULES, scale_down_max_busy_milli=10_000, scale_down_patience_seconds=600.0)


def pod(number: int, *, age: float = 1000.0, **changes: Any) -> PodState:
    found = replace(ready_pod(number, age_seconds=age), node_name="a", replica_set="rs")
    return replace(found, **changes)


def readings(
    duty: Mapping[int, float], requests: Mapping[int, float] | None = None
) -> dict[Metric, MetricReading]:
    found = {Metric.DUTY_CYCLE: duty, Metric.REQUESTS: requests or {}}
    return {
        metric: MetricReading(
            metric=metric,
            values={
                pod_ref(number): PodValue(value_milli=round(value * 1000), sampled_seconds=NOW)
                for number, value in values.items()
            },
        )
        for metric, values in found.items()
    }


def removal(
    pods: Sequence[PodState],
    desired: int,
    duty: Mapping[int, float],
    requests: Mapping[int, float] | None = None,
):
    loads = loads_of(readings(duty, requests), pods, {})
    return chosen(deployment(pods), loads, desired_replicas=desired, now_seconds=NOW)


THREE = (pod(0), pod(1), pod(2))
NOT_READY: dict[str, Any] = {"ready_since_seconds": None}


@pytest.mark.parametrize(
    ("pods", "duty", "requests", "expected"),
    [
        pytest.param(THREE, {0: 50, 1: 0, 2: 20}, {}, 1, id="the lowest duty cycle"),
        pytest.param(
            THREE, {0: 50, 1: 0, 2: 20}, {0: 0, 1: 3, 2: 1}, 0, id="fewest requests come first"
        ),
        pytest.param(
            THREE, {0: 9, 1: 0, 2: 9}, {0: 2}, 0, id="requests that are unknown may be many"
        ),
        pytest.param(
            (pod(0), pod(1, age=10), pod(2)), {0: 0, 1: 0, 2: 0}, {}, 1, id="the youngest"
        ),
        pytest.param(
            (pod(0), pod(1, age=1), pod(2)), {0: 90, 2: 95}, {}, 0, id="an unknown one stays"
        ),
        pytest.param(
            (pod(0), pod(1, **NOT_READY), pod(2)), {0: 0, 1: 99, 2: 0}, {}, 1, id="not Ready"
        ),
        pytest.param(
            (pod(0, **NOT_READY), pod(1, phase=PodPhase.PENDING, **NOT_READY), pod(2)),
            {2: 0},
            {},
            1,
            id="Pending before not Ready",
        ),
        pytest.param(
            (pod(0, **NOT_READY), pod(1, phase=PodPhase.UNKNOWN), pod(2, node_name=None)),
            {},
            {},
            2,
            id="on no node before all others",
        ),
        pytest.param(
            (pod(0), pod(1, deletion_cost=-7), pod(2)),
            {0: 0, 1: 90, 2: 0},
            {},
            1,
            id="the cost of somebody else sends it away",
        ),
        pytest.param(
            (pod(0, deletion_cost=7), pod(1, deletion_cost=0), pod(2)),
            {0: 0, 1: 0, 2: 90},
            {},
            2,
            id="the cost of somebody else keeps it",
        ),
        pytest.param(
            (pod(0, deletion_cost=MARK_COST, marked=True), pod(1), pod(2)),
            {0: 50, 1: 0, 2: 20},
            {},
            1,
            id="an old mark of our own does not count",
        ),
    ],
)
def test_the_pod_that_goes_first(pods, duty, requests, expected):
    found = removal(pods, 2, duty, requests)
    assert [one.pod for one in found.victims] == [pod_ref(expected)]


@pytest.mark.parametrize(
    ("pods", "word"),
    [
        ((pod(0), pod(1, replica_set=None)), "no ReplicaSet"),
        ((pod(0), pod(1, replica_set="another")), "rollout"),
    ],
)
def test_nothing_is_chosen_where_marks_decide_nothing(pods, word):
    found = removal(pods, 1, {0: 0, 1: 0})
    assert (found.victims, word in removal_text(found)) == ((), True)


def test_the_replica_set_chooses_where_too_little_is_known():
    found = removal((*THREE, pod(3, deletion_cost=7)), 1, {1: 0})
    text = removal_text(found)
    assert [one.pod.name for one in found.victims] == ["web-1"]
    assert "ReplicaSet chose 2 pods" in text
    assert "pod-deletion-cost of web-3" in text


@pytest.mark.parametrize(
    ("target", "pods", "expected"),
    [
        (Metric.QUERY, ScaleDownPods.IDLEST, {Metric.QUERY, Metric.DUTY_CYCLE}),
        (Metric.QUERY, ScaleDownPods.ANY, {Metric.QUERY}),
        (
            Metric.KV_CACHE_PERCENT,
            ScaleDownPods.IDLEST,
            {Metric.KV_CACHE_PERCENT, Metric.REQUESTS, Metric.DUTY_CYCLE},
        ),
    ],
)
def test_what_says_how_idle_pods_are_is_read_too(target, pods, expected):
    rules = replace(policy({target: 10}), scale_down_pods=pods)
    request = Plan(deployment=deployment(THREE), policy=rules).request(None)
    assert request is not None
    assert {*request.metrics} == expected


def test_pods_that_end_anyway_are_not_counted():
    pods = (pod(0), pod(1, deleting=True), pod(2, phase=PodPhase.FAILED), pod(3))
    assert removal(pods, 2, {0: 0, 1: 0, 2: 0, 3: 0}).count == 0
    assert [one.pod for one in removal(pods, 1, {0: 9, 3: 0}).victims] == [pod_ref(3)]


def deleted(pods: Sequence[PodState], marked: set[str], count: int) -> set[str]:
    """What a ReplicaSet deletes, as far as it decides it: source as in victims.py."""
    phases = [PodPhase.PENDING, PodPhase.UNKNOWN, PodPhase.RUNNING]

    def rank(one: PodState) -> tuple[bool, int, bool, int]:
        cost = MARK_COST if one.uid in marked else one.deletion_cost or 0
        is_ready = one.ready_since_seconds is not None
        return (one.node_name is not None, phases.index(one.phase), is_ready, cost)

    order = sorted(pods, key=rank)
    last = rank(order[count - 1])
    return {one.uid for one in order if rank(one) <= last}


def _pods(found: Sequence[Mapping[str, Any]]) -> tuple[PodState, ...]:
    return tuple(pod(number, **one) for number, one in enumerate(found))


PODS = st.lists(
    st.fixed_dictionaries(
        {
            "node_name": st.sampled_from(["a", "a", "a", None]),
            "phase": st.sampled_from([PodPhase.RUNNING] * 3 + [PodPhase.PENDING, PodPhase.UNKNOWN]),
            "ready_since_seconds": st.sampled_from([NOW - 100, NOW - 5, None]),
            "deletion_cost": st.sampled_from([None, None, None, -5, -1, 0, 100]),
        }
    ),
    min_size=2,
    max_size=8,
).map(_pods)
LOADS = st.dictionaries(st.integers(0, 7), st.sampled_from([0.0, 0.5, 40.0, 99.0]))


@given(PODS, LOADS, LOADS, st.data())
def test_the_replica_set_takes_the_pods_that_are_named(pods, duty, requests, data):
    desired = data.draw(st.integers(1, len(pods) - 1))
    found = removal(pods, desired, duty, requests)
    marks = {one.uid for one in found.victims if one.needs_mark}
    assert {one.uid for one in found.victims} <= deleted(pods, marks, found.count)
    assert not marks & {one.uid for one in pods if one.deletion_cost is not None}
    loads = loads_of(readings(duty, requests), pods, {})
    assert all(loads[one.pod].is_known() for one in found.victims if one.needs_mark)


def test_who_is_idle_is_remembered_until_it_works_or_is_unknown():
    first = still_idle(readings({0: 0, 1: 0.9, 2: 50}), THREE, {}, NOW)
    assert first == {"uid-0": NOW, "uid-1": NOW}
    second = still_idle(readings({0: 0.2, 2: 0}), THREE, first, NOW + 40)
    assert second == {"uid-0": NOW, "uid-2": NOW + 40}
    busy = still_idle(readings({0: 0}, {0: 1}), THREE, second, NOW + 50)
    assert busy == {}
    text = removal_text(
        chosen(
            deployment(THREE),
            loads_of(readings({0: 0.2, 1: 9, 2: 50}, {0: 0}), THREE, second),
            desired_replicas=2,
            now_seconds=NOW + 40,
        )
    )
    assert "web-0: 0 requests in hand, 0.2 % for 40s" in text


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (PodLoad(), False),
        (PodLoad(duty_milli=9_999), True),
        (PodLoad(duty_milli=10_000), False),
        (PodLoad(requests_milli=0), True),
        (PodLoad(requests_milli=1_000, duty_milli=0), False),
        (PodLoad(requests_milli=0, duty_milli=50_000), False),
    ],
)
def test_below_a_limit_is_what_neither_works_nor_has_requests(load, expected):
    assert load.is_below(10_000) == expected


def decided(rules, duty, *, history=None, now=NOW, pods: Sequence[PodState] = THREE):
    state: DeploymentState = deployment(pods)
    return decide(state, rules, readings(duty), history, now, {"uid-1": NOW - 40})


def test_a_scale_down_names_its_pods_in_event_and_explanation():
    decision = decided(RULES, {0: 50, 1: 0, 2: 20})
    assert decision.outcome is Outcome.SCALED
    assert [one.pod.name for one in decision.victims] == ["web-1"]
    assert "removed web-1: 0 % for 40s" in decision.message
    text = explain_text(decision_document(decision, decided_unix_seconds=0), now_unix_seconds=0)
    assert "web-1: 0 % for 40s" in text.partition("Pods to remove:")[2]
    over = decided(replace(RULES, max_replicas=2), {0: 50, 1: 0, 2: 90})
    assert [one.pod.name for one in over.victims] == ["web-1"]
    assert decided(policy(behavior=immediate()), {0: 50, 1: 0, 2: 20}).victims == ()


def test_a_scale_down_waits_for_idle_pods_and_not_for_ever():
    busy = {0: 12.0, 1: 15.0, 2: 20.0}
    first = decided(PATIENT, busy)
    assert (first.outcome, first.reason) == (Outcome.UNCHANGED, Reason.WAITING_FOR_IDLE_PODS)
    assert first.history.draining_since_seconds == NOW
    one_idle = decided(PATIENT, {0: 12, 1: 0, 2: 20}, history=first.history, now=NOW + 1)
    assert one_idle.reason is Reason.WAITING_FOR_IDLE_PODS, "two are to go"
    late = decided(PATIENT, busy, history=one_idle.history, now=NOW + 599)
    assert late.desired_replicas == 3
    over = decided(PATIENT, busy, history=late.history, now=NOW + 600)
    assert (over.outcome, over.desired_replicas) == (Outcome.SCALED, 2)
    assert over.history.draining_since_seconds is None


def test_the_wait_begins_anew_once_nothing_is_to_go():
    waiting = decided(PATIENT, {0: 12, 1: 15, 2: 20}).history
    assert shifted(waiting, 5).draining_since_seconds == NOW + 5
    needed = decided(PATIENT, {0: 40, 1: 40, 2: 40}, history=waiting, now=NOW + 10)
    assert needed.history.draining_since_seconds is None
    idle = decided(PATIENT, {0: 50, 1: 0, 2: 20}, history=waiting, now=NOW + 10)
    assert (idle.outcome, idle.desired_replicas) == (Outcome.SCALED, 2)


def test_a_dry_run_says_what_would_go_and_goes_on_waiting():
    dry = decided(replace(RULES, dry_run=True), {0: 50, 1: 0, 2: 20})
    assert (dry.outcome, "web-1" in dry.message) == (Outcome.DRY_RUN, True)
    assert decided(replace(PATIENT, dry_run=True), {0: 12, 1: 15, 2: 20}).reason is (
        Reason.WAITING_FOR_IDLE_PODS
    )


def test_no_pod_is_compared_with_each_of_the_others(monkeypatch):
    """Anybody may give each of thousands of pods a cost of its own."""

    def differs(*_: object) -> bool:
        pytest.fail("a pod is compared with another")

    monkeypatch.setattr(PodState, "__eq__", differs)
    pods = [pod(number, deletion_cost=5 if number % 2 else -5) for number in range(50)]
    found = removal(pods, 45, {})
    assert len(found.victims) == 5
    assert len(found.respected) == 25
