# SPDX-License-Identifier: Apache-2.0
"""Which pods count: overloaded ones, those of rollouts, of replicas of several, without a GPU."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scaler.cluster.decode import Instant, decode_pod
from scaler.decision.decide import decide
from scaler.decision.model import Outcome
from scaler.model import (
    Metric,
    ObjectRef,
    PodPhase,
    PodState,
)
from tests.unit.deployments import (
    NOW,
    decided,
    deployment,
    immediate,
    other_pod,
    pending_pods,
    policy,
    reading,
    ready_pod,
    ready_pods,
)

GROUPS = ObjectRef(namespace="prod", name="web", kind="groups.example.com")


def lapsed_pods(count: int, *, first: int, served_seconds: float = 600.0) -> tuple[PodState, ...]:
    return tuple(
        replace(other_pod(first + number), served_seconds=served_seconds) for number in range(count)
    )


EPOCH = 1_795_467_600.0


def raw_pod(number: int, status: str, since: float) -> dict[str, Any]:
    at = datetime.fromtimestamp(since, UTC).isoformat()
    return {
        "metadata": {
            "namespace": "prod",
            "name": f"web-{number}",
            "uid": f"uid-{number}",
            "ownerReferences": [{"kind": "ReplicaSet", "uid": "rs", "controller": True}],
        },
        "spec": {"nodeName": "n1", "containers": [{"name": "main"}]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": status, "lastTransitionTime": at}],
        },
    }


class TestOverloadedPods:
    """A pod that served and turned NotReady still tells of demand, and never of idleness."""

    @pytest.mark.parametrize("not_ready", [1, 4, 7, 8])
    def test_they_count_on_the_way_up_with_their_values(self, not_ready):
        pods = (*ready_pods(8 - not_ready), *lapsed_pods(not_ready, first=8 - not_ready))
        decision = decided(pods, [100] * 8)
        # ceil(100 / 60 x 8): what the HPA makes of it.
        assert decision.desired_replicas == 14
        assert decision.proposals[0].mean_milli == 100_000
        assert len(decision.proposals[0].values) == 8

    @pytest.mark.parametrize(
        ("served_seconds", "expected"),
        [
            pytest.param(30.0, 14, id="served for the ready age"),
            pytest.param(29.9, 8, id="served for less"),
            pytest.param(None, 8, id="whether it served is not known"),
        ],
    )
    def test_only_those_that_served_for_the_ready_age(self, served_seconds, expected):
        loading = (replace(pod, served_seconds=served_seconds) for pod in lapsed_pods(4, first=4))
        assert decided((*ready_pods(4), *loading), [100] * 8).desired_replicas == expected

    def test_what_the_watch_has_shown_tells_that_they_served(self):
        """From raw pods on: Ready for ten minutes, then half of them NotReady."""
        began = Instant(wall_seconds=EPOCH, monotonic_seconds=NOW - 600)
        before = [decode_pod(raw_pod(n, "True", EPOCH), None, began) for n in range(8)]
        now = Instant(wall_seconds=EPOCH + 600, monotonic_seconds=NOW)
        after = [
            decode_pod(
                raw_pod(n, "False", EPOCH + 590) if n % 2 else raw_pod(n, "True", EPOCH), *seen
            )
            for n, seen in enumerate((pod, now) for pod in before)
        ]
        pods = [pod.state for pod in after if pod is not None]
        assert decided(pods, [100] * 8).desired_replicas == 14
        forgotten = [
            decode_pod(raw_pod(n, "False" if n % 2 else "True", EPOCH), None, now) for n in range(8)
        ]
        pods = [pod.state for pod in forgotten if pod is not None]
        assert decided(pods, [100] * 8).desired_replicas == 8

    def test_without_a_ready_age_what_is_not_known_does_not_count_either(self):
        rules = replace(policy({Metric.DUTY_CYCLE: 60}, behavior=immediate()), ready_age_seconds=0)
        pods = (*ready_pods(4), *(other_pod(4 + n) for n in range(4)))
        assert decide(deployment(pods), rules, reading([100] * 8), None, NOW).desired_replicas == 8

    def test_one_that_is_ready_again_for_a_moment_still_counts(self):
        again = (replace(ready_pod(n, age_seconds=3), served_seconds=600.0) for n in range(4, 8))
        assert decided((*ready_pods(4), *again), [100] * 8).desired_replicas == 14

    def test_one_without_a_value_counts_as_zero(self):
        pods = (*ready_pods(4), *lapsed_pods(4, first=4))
        decision = decided(pods, [100] * 4)
        assert decision.desired_replicas == 8
        assert "not Ready, and no fresh value: counts as 0" in str(decision.proposals[0].left_out)

    @pytest.mark.parametrize(
        ("value", "expected", "mean_milli"),
        [
            pytest.param(0, 1, 15_000, id="idle: those that serve decide alone"),
            pytest.param(15, 2, 15_000, id="as busy as the others"),
            pytest.param(60, 5, 37_500, id="at the target: theirs is demand"),
            pytest.param(100, 8, 57_500, id="saturated"),
        ],
    )
    def test_on_the_way_down_they_only_keep_the_count_up(self, value, expected, mean_milli):
        pods = (*ready_pods(4), *lapsed_pods(4, first=4))
        decision = decided(pods, [15] * 4 + [value] * 4)
        alone = decided((*ready_pods(4), *(other_pod(4 + n) for n in range(4))), [15] * 4)
        assert alone.desired_replicas == 1
        assert decision.desired_replicas == expected
        assert decision.proposals[0].mean_milli == mean_milli

    def test_one_idle_pod_does_not_end_seven_that_are_overloaded(self):
        pods = (*ready_pods(1), *lapsed_pods(7, first=1))
        assert decided(pods, [30] + [55] * 7).desired_replicas == 7

    @pytest.mark.parametrize("value", [0, 30, 60])
    def test_alone_they_never_scale_down(self, value):
        decision = decided(lapsed_pods(4, first=0), [value] * 4)
        assert (decision.outcome, decision.desired_replicas) == (Outcome.HELD, 4)
        assert "no pod is Ready now" in decision.message

    @given(
        st.integers(1, 8),
        st.lists(st.integers(0, 60), min_size=1, max_size=8),
        st.lists(st.integers(0, 60), min_size=1, max_size=4),
    )
    @example(6, [10, 60, 55, 55, 30, 30], [70])
    def test_no_scale_down_goes_below_what_all_of_them_need(self, replicas, serving, lapsed):
        """During a rollout there are more of them than the count."""
        first = len(serving)
        pods = (*ready_pods(first), *lapsed_pods(len(lapsed), first=first))
        needed = math.ceil(sum(serving + lapsed) / 60)
        decision = decided(pods, serving + lapsed, replicas=replicas)
        assert decision.desired_replicas >= min(needed, replicas)

    def test_idle_ones_do_not_hide_that_the_others_are_above_the_target(self):
        decision = decided((*ready_pods(4), *lapsed_pods(4, first=4)), [70] * 4 + [0] * 4)
        assert (decision.outcome, decision.desired_replicas) == (Outcome.UNCHANGED, 8)
        assert decision.message == (
            "duty_cycle 70/60; 8 replicas will be enough once all pods are Ready again"
        )

    @given(
        st.lists(st.integers(0, 100), min_size=1, max_size=6),
        st.lists(st.integers(0, 100), min_size=1, max_size=6),
        st.integers(1, 90),
    )
    def test_they_never_lower_what_is_asked_for(self, serving, lapsed, target):
        first = len(serving)
        found = decided(
            (*ready_pods(first), *lapsed_pods(len(lapsed), first=first)),
            serving + lapsed,
            target=target,
        )
        without = decided(
            (*ready_pods(first), *(other_pod(first + n) for n in range(len(lapsed)))),
            serving + lapsed,
            target=target,
        )
        assert found.desired_replicas >= without.desired_replicas


SURGE = {
    "Pending": pending_pods(4, first=4),
    "loading": tuple(other_pod(4 + n) for n in range(4)),
    "just Ready": tuple(ready_pod(4 + n, age_seconds=3) for n in range(4)),
    "young": tuple(ready_pod(4 + n, age_seconds=15) for n in range(4)),
    "idle": tuple(ready_pod(4 + n) for n in range(4)),
}


class TestRollouts:
    """The pods that a rollout has in addition neither inflate the count nor hide a load."""

    @pytest.mark.parametrize(
        ("surge", "expected"),
        [
            pytest.param("Pending", 8, id="maxSurge 100 %, Pending: doubled, as without them"),
            pytest.param("loading", 8, id="maxSurge 100 %, loading"),
            pytest.param("just Ready", 8, id="maxSurge 100 %, Ready for a moment"),
            pytest.param("young", 7, id="Ready with room: the arithmetic alone"),
            pytest.param("idle", 7, id="blue-green preview: the arithmetic alone"),
        ],
    )
    def test_old_pods_saturate_while_new_ones_do_not_serve_yet(self, surge, expected):
        decision = decided((*ready_pods(4), *SURGE[surge]), [100] * 4 + [0] * 4, replicas=4)
        assert decision.desired_replicas == expected
        assert decision.proposals[0].mean_milli == 100_000

    @pytest.mark.parametrize("surge", SURGE)
    @pytest.mark.parametrize(
        ("value", "target", "expected"),
        [(80, 40, 8), (95, 60, 7), (95, 50, 8), (43, 40, 4), (40, 40, 4), (37, 40, 4)],
    )
    def test_the_new_ones_do_not_divide_the_load(self, surge, value, target, expected):
        values = [value] * 4 + [0] * 4
        pods = (*ready_pods(4), *SURGE[surge])
        assert decided(pods, values, target=target, replicas=4).desired_replicas == expected

    @pytest.mark.parametrize("surge", SURGE)
    def test_without_a_value_they_hide_nothing_either(self, surge):
        pods = (*ready_pods(4), *SURGE[surge])
        assert decided(pods, [95] * 4, target=50, replicas=4).desired_replicas == 8

    def test_the_gap_of_a_rollout_is_filled_by_those_that_load(self):
        # 3 of 4 at 80 are 240: 4 at 60 once the new pod serves, which is the target.
        pods = (*ready_pods(3), *(other_pod(3 + n) for n in range(2)))
        decision = decided(pods, [80] * 3, replicas=4)
        assert decision.desired_replicas == 4
        assert decision.message == (
            "duty_cycle 80/60; 4 replicas will be enough once the new pod counts"
        )

    def test_the_pods_that_do_not_count_are_named(self):
        decision = decided((*ready_pods(4), *SURGE["idle"]), [90] * 4 + [0] * 4, replicas=4)
        (proposal,) = decision.proposals
        assert [pod.name for pod in proposal.values] == [f"web-{n}" for n in range(4)]
        assert "not among the 4 busiest" in proposal.left_out[0].reason

    @given(
        st.lists(st.integers(41, 98), min_size=1, max_size=6),
        st.lists(st.sampled_from(["Pending", "loading", "idle"]), max_size=6),
        st.integers(1, 40),
    )
    def test_a_surge_changes_nothing_above_the_target(self, values, surge, target):
        count = len(values)
        made = {
            "Pending": lambda n: other_pod(n, PodPhase.PENDING),
            "loading": other_pod,
            "idle": ready_pod,
        }
        more = tuple(made[kind](count + n) for n, kind in enumerate(surge))
        found = decided(
            (*ready_pods(count), *more), values + [0] * len(more), target=target, replicas=count
        )
        assert found.proposed == decided(ready_pods(count), values, target=target).proposed

    @given(st.integers(1, 12), st.integers(0, 12), st.integers(0, 100), st.integers(1, 90))
    def test_a_surge_that_serves_does_not_inflate(self, count, surge, value, target):
        """kubernetes#72775: the same mean asks for the same, whatever number of pods shows it."""
        found = decided(
            ready_pods(count + surge), [value] * (count + surge), target=target, replicas=count
        )
        alone = decided(ready_pods(count), [value] * count, target=target)
        assert found.proposed is not None
        assert alone.proposed is not None
        if value > target:
            assert found.proposed == alone.proposed
        else:
            # What all of them do together has to fit.
            assert alone.proposed <= found.proposed <= count


class TestPodsWithoutGpus:
    """A pod that asks for no GPU never has a value: that is what has to be said."""

    @pytest.mark.parametrize("pod", [ready_pod(0), other_pod(0), pending_pods(1, first=0)[0]])
    def test_it_is_said(self, pod):
        decision = decided([replace(pod, requests_gpu=False)], [])
        assert (decision.outcome, decision.desired_replicas) == (Outcome.HELD, 1)
        assert "its pods request no GPU" in decision.message

    @pytest.mark.parametrize("requests_gpu", [True, None])
    def test_of_no_others(self, requests_gpu):
        pods = (
            replace(ready_pod(0), requests_gpu=False),
            replace(ready_pod(1), requests_gpu=requests_gpu),
        )
        assert "request no GPU" not in decided(pods, []).message

    def test_not_where_they_have_values_nevertheless(self):
        assert decided([replace(ready_pod(0), requests_gpu=False)], [90]).desired_replicas == 2


class TestAboveTheTarget:
    """A count that stays although the value is above the target says what it waits for."""

    @pytest.mark.parametrize(
        ("pods", "values", "replicas", "message"),
        [
            pytest.param(
                (*ready_pods(1), other_pod(1)),
                [63],
                2,
                "duty_cycle 63/40; 2 replicas will be enough once the new pod counts",
                id="one loads",
            ),
            pytest.param(
                (*ready_pods(1), ready_pod(1, age_seconds=15)),
                [63, 20],
                2,
                "duty_cycle 63/40; 2 replicas will be enough once the new pod counts",
                id="one is young",
            ),
            pytest.param(
                (*ready_pods(2), *pending_pods(2, first=2)),
                [63, 63],
                4,
                "duty_cycle 63/40; 4 replicas will be enough once the 2 new pods count",
                id="two are Pending",
            ),
            pytest.param(
                ready_pods(2),
                [63, None],
                2,
                "duty_cycle 63/40; 2 replicas will be enough once every pod has a fresh value",
                id="one has no value",
            ),
            pytest.param(
                ready_pods(1),
                [63],
                2,
                "duty_cycle 63/40; 2 replicas will be enough once the new pod counts",
                id="one does not exist yet",
            ),
            pytest.param(
                ready_pods(2),
                [43, 43],
                2,
                "the desired count 2 is within the acceptable range: duty_cycle 43/40",
                id="within the tolerance",
            ),
        ],
    )
    def test_the_message(self, pods, values, replicas, message):
        decision = decided(pods, values, target=40, replicas=replicas)
        assert (decision.outcome, decision.desired_replicas) == (Outcome.UNCHANGED, replicas)
        assert decision.message == message

    @given(
        st.lists(st.integers(0, 100) | st.none(), min_size=1, max_size=6),
        st.lists(st.sampled_from(["Pending", "loading", "young", "lapsed"]), max_size=6),
        st.integers(1, 90),
        st.integers(1, 12),
    )
    def test_no_value_above_the_target_is_called_acceptable(self, values, more, target, replicas):
        count = len(values)
        made = {
            "Pending": lambda n: other_pod(n, PodPhase.PENDING),
            "loading": other_pod,
            "young": lambda n: ready_pod(n, age_seconds=15),
            "lapsed": lambda n: replace(other_pod(n), served_seconds=99.0),
        }
        pods = (*ready_pods(count), *(made[kind](count + n) for n, kind in enumerate(more)))
        decision = decided(pods, values, target=target, replicas=replicas)
        assert not (decision.above_target and "acceptable range" in decision.message)
