# SPDX-License-Identifier: Apache-2.0
"""Which pods count where several pods are one replica, with leaders and without."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scaler.decision.decide import decide
from scaler.decision.grouping import ONE_POD_KINDS, answering_pods
from scaler.decision.model import Outcome
from scaler.model import (
    GroupMember,
    Metric,
    MetricReading,
    ObjectRef,
    PodValue,
)
from tests.unit.deployments import (
    NOW,
    decided,
    deployment,
    immediate,
    other_pod,
    policy,
    ready_pod,
    ready_pods,
)

GROUPS = ObjectRef(namespace="prod", name="web", kind="groups.example.com")


class TestReplicasOfSeveralPods:
    """The arithmetic is per replica."""

    @pytest.mark.parametrize("message", [4, None])
    @pytest.mark.parametrize(
        ("value", "expected"), [(20, 5), (60, 15), (40, 10), (42, 10), (38, 10), (39, 10), (1, 1)]
    )
    def test_ten_groups_of_four(self, message, value, expected):
        decision = decided(
            ready_pods(40),
            [value] * 40,
            target=40,
            replicas=10,
            ref=GROUPS,
            pods_per_replica=message,
        )
        assert decision.desired_replicas == expected

    def test_a_group_that_starts_is_capacity_that_was_asked_for(self):
        pods = (*ready_pods(8), *(other_pod(8 + n) for n in range(4)))
        decision = decided(pods, [60] * 8, target=40, replicas=3, ref=GROUPS, pods_per_replica=4)
        assert (decision.outcome, decision.desired_replicas) == (Outcome.UNCHANGED, 3)
        assert decision.message == (
            "duty_cycle 60/40; 3 replicas will be enough once the 4 new pods count"
        )

    def test_saturated_groups_double(self):
        decision = decided(
            ready_pods(8), [100] * 8, target=80, replicas=2, ref=GROUPS, pods_per_replica=4
        )
        assert decision.desired_replicas == 4

    @pytest.mark.parametrize("expected", [None, 2])
    @pytest.mark.parametrize("kind", sorted(ONE_POD_KINDS))
    def test_more_pods_than_replicas_of_one_are_a_rollout(self, kind, expected):
        ref = ObjectRef(namespace="prod", name="web", kind=kind)
        decision = decided(ready_pods(40), [20] * 40, target=40, replicas=10, ref=ref)
        assert decision.desired_replicas == 10
        preview = decided(
            ready_pods(8), [100] * 4 + [0] * 4, replicas=4, ref=ref, pods_per_replica=expected
        )
        assert preview.desired_replicas == 7

    @given(
        st.integers(1, 10),
        st.integers(1, 8),
        st.integers(0, 98),
        st.integers(1, 90),
        st.integers(0, 5),
    )
    # In pods 2.2 x 25 is 55.00000000000001, which would be 12 groups.
    @example(5, 5, 11, 5, 0)
    def test_a_group_asks_for_as_much_as_a_pod_would(self, groups, size, value, target, loading):
        more = tuple(other_pod(groups * size + n) for n in range(loading * size))
        several = decided(
            (*ready_pods(groups * size), *more),
            [value] * groups * size,
            target=target,
            replicas=groups + loading,
            ref=GROUPS,
            pods_per_replica=size,
        )
        single = tuple(other_pod(groups + n) for n in range(loading))
        one = decided((*ready_pods(groups), *single), [value] * groups, target=target)
        assert several.proposed == one.proposed


class TestGroupsWithLeaders:
    """A leader answers for its group; pods without GPUs have no GPU values."""

    PODS = tuple(
        replace(
            ready_pod(number),
            requests_gpu=number % 4 > 0,
            member=GroupMember(group=str(number // 4), size=4, leads=number % 4 == 0),
        )
        for number in range(8)
    )

    def decided(self, values, metric):
        state = deployment(self.PODS, replicas=2)
        state = replace(state, ref=GROUPS, pods_per_replica=4)
        rules = policy({metric: 40}, behavior=immediate(), max_replicas=100)
        found = MetricReading(
            metric=metric,
            values={
                self.PODS[number].ref: PodValue(value_milli=value * 1000, sampled_seconds=NOW)
                for number, value in values.items()
            },
        )
        return decide(state, rules, {metric: found}, None, NOW)

    @pytest.mark.parametrize(("value", "expected"), [(60, 3), (20, 1), (40, 2)])
    def test_leaders_without_a_gpu_are_not_waited_for(self, value, expected):
        values = dict.fromkeys((1, 2, 3, 5, 6, 7), value)
        assert self.decided(values, Metric.DUTY_CYCLE).desired_replicas == expected

    @pytest.mark.parametrize(("value", "expected"), [(60, 3), (20, 1), (40, 2)])
    def test_requests_are_those_of_the_leaders(self, value, expected):
        values = dict.fromkeys((0, 4), value)
        assert self.decided(values, Metric.REQUESTS).desired_replicas == expected

    def test_a_worker_without_a_value_holds(self):
        decision = self.decided(dict.fromkeys((1, 2, 3, 5, 6), 20), Metric.DUTY_CYCLE)
        assert decision.desired_replicas == 2

    def test_model_servers_are_asked_on_leaders_only(self):
        assert answering_pods(self.PODS) == (self.PODS[0], self.PODS[4])
        assert answering_pods(ready_pods(3)) == ready_pods(3)
