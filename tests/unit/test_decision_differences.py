# SPDX-License-Identifier: Apache-2.0
"""The deliberate differences from the HPA, each under its number in the design."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from scaler.decision.decide import decide
from scaler.decision.model import Outcome
from scaler.model import Metric, ObjectRef, PodPhase
from tests.unit import deployments
from tests.unit.deployments import (
    NOW,
    deployment,
    immediate,
    other_pod,
    pending_pods,
    pod_ref,
    policy,
    reading,
    ready_pod,
    ready_pods,
)

decided = partial(deployments.decided, target=40)


class TestUnreadyPods:
    """1: not Ready, or Ready for less than the ready age, is unready for GPU metrics too."""

    @pytest.mark.parametrize(
        "loading",
        [
            pytest.param((other_pod(2), other_pod(3)), id="not Ready"),
            pytest.param(
                (ready_pod(2, age_seconds=29), ready_pod(3, age_seconds=0)), id="Ready too short"
            ),
            pytest.param(
                (ready_pod(2, age_seconds=-5), ready_pod(3, age_seconds=-900)),
                id="Ready in the future of another clock",
            ),
            pytest.param((other_pod(2, PodPhase.UNKNOWN), other_pod(3)), id="phase Unknown"),
        ],
    )
    def test_loading_pods_are_not_idle_pods(self, loading):
        # The HPA proposes 3 here: two saturated pods and two that load and look idle.
        decision = decided((*ready_pods(2), *loading), [100, 100, 0, 0], target=80)
        assert (decision.outcome, decision.desired_replicas) == (Outcome.UNCHANGED, 4)

    @pytest.mark.parametrize(
        ("age_seconds", "ready_age_seconds", "value", "expected"),
        [
            pytest.param(9.9, 30, 60, 4, id="tells of its loading still"),
            pytest.param(10, 30, 60, 6, id="as much as the others"),
            pytest.param(10, 30, 20, 4, id="what it shows"),
            pytest.param(10, 30, 100, 6, id="no more than the others, though it warms up"),
            pytest.param(10, 30, None, 4, id="nothing without a value"),
            pytest.param(99, 300, 60, 4, id="later where the ready age is longer"),
            pytest.param(100, 300, 60, 6, id="a third of the ready age"),
            pytest.param(5, 0, 60, 6, id="at once without a ready age"),
        ],
    )
    def test_a_young_pod_counts_on_the_way_up(
        self, age_seconds, ready_age_seconds, value, expected
    ):
        pods = (*ready_pods(2), *(ready_pod(n, age_seconds=age_seconds) for n in (2, 3)))
        rules = replace(policy(behavior=immediate()), ready_age_seconds=float(ready_age_seconds))
        decision = decide(deployment(pods), rules, reading([60, 60, value, value]), None, NOW)
        assert decision.desired_replicas == expected

    def test_a_young_pod_does_not_count_when_scaling_down(self):
        pods = (*ready_pods(2), ready_pod(2, age_seconds=15))
        decision = decided(pods, [30, 30, 0])
        assert (decision.proposed, decision.proposals[0].mean_milli) == (2, 30_000)
        assert "counts only when scaling up" in decision.proposals[0].left_out[0].reason

    def test_a_pod_counts_once_it_was_ready_for_the_ready_age(self):
        pods = (*ready_pods(2), ready_pod(2, age_seconds=30), ready_pod(3, age_seconds=30))
        assert decided(pods, [100, 100, 0, 0], target=80).proposed == 3

    def test_a_value_from_before_it_was_ready_tells_of_its_loading(self):
        """From Prometheus a value may be 60 s old, and the pod be Ready for 31 s."""
        pods = (ready_pod(0), ready_pod(1), ready_pod(2, age_seconds=31))
        readings = reading([40, 40, 0])
        (duty,) = readings.values()
        loading = replace(duty.values[pod_ref(2)], sampled_seconds=NOW - 50)
        duty = replace(duty, values={**duty.values, pod_ref(2): loading})
        decision = decide(
            deployment(pods),
            policy(behavior=immediate()),
            {Metric.DUTY_CYCLE: duty},
            None,
            NOW,
        )
        assert decision.desired_replicas == 3
        assert not decision.proposals[0].complete
        assert "predates readiness" in decision.proposals[0].left_out[0].reason

    def test_unready_pods_are_left_out_on_the_way_down(self):
        assert decided((*ready_pods(2), other_pod(2)), [10, 10, 100]).desired_replicas == 1

    def test_only_unready_pods_hold(self):
        decision = decided((other_pod(0), other_pod(1)), [0, 0])
        assert decision.outcome is Outcome.HELD
        assert "no pod serves yet" in decision.message


class TestIncompleteData:
    """2: missing data is never 0 and never scales down."""

    def test_a_missing_value_holds_the_way_down(self):
        decision = decided(ready_pods(4), [10, 10, 10, None])
        assert (decision.outcome, decision.desired_replicas) == (Outcome.HELD, 4)
        assert decision.reason == "IncompleteMetrics"
        assert "web-3: no fresh value" in decision.message
        (proposal,) = decision.proposals
        assert (proposal.complete, proposal.replicas, proposal.unheld_replicas) == (False, 4, 2)

    def test_a_missing_value_counts_as_zero_on_the_way_up(self):
        complete = decided(ready_pods(2), [95, 95], target=40)
        partial = decided(ready_pods(2), [95, None], target=40)
        assert (complete.desired_replicas, partial.desired_replicas) == (5, 3)
        assert not partial.proposals[0].complete

    def test_another_metric_may_still_scale_up_and_not_down(self):
        targets = {Metric.DUTY_CYCLE: 40, Metric.TEMPERATURE_CELSIUS: 60}
        for temperature, expected in ((90, 6), (10, 4)):
            decision = decide(
                deployment(ready_pods(4)),
                policy(targets, behavior=immediate()),
                reading([5, 5, 5, None])
                | reading([temperature] * 4, metric=Metric.TEMPERATURE_CELSIUS),
                None,
                NOW,
            )
            assert decision.desired_replicas == expected

    def test_missing_values_of_pods_that_do_not_serve_hold_nothing(self):
        pods = (*ready_pods(2), other_pod(2, PodPhase.FAILED), other_pod(3, deleting=True))
        decision = decided(pods, [10, 10], replicas=2)
        assert (decision.outcome, decision.desired_replicas) == (Outcome.SCALED, 1)


class TestSaturation:
    """3: where every pod is saturated the value is only a floor of the demand."""

    @pytest.mark.parametrize("metric", [Metric.DUTY_CYCLE, Metric.MEMORY_USED_PERCENT])
    def test_growth_doubles(self, metric):
        counts = [2]
        while counts[-1] < 30:
            count = counts[-1]
            decision = decided(ready_pods(count), [99.5] * count, target=80, metric=metric)
            assert decision.proposals[0].saturated
            counts.append(decision.desired_replicas)
        assert counts == [2, 4, 8, 16, 32]

    def test_growth_ends_at_the_maximum(self):
        assert decided(ready_pods(8), [100] * 8, target=80, max_replicas=10).desired_replicas == 10

    def test_the_arithmetic_wins_where_it_asks_for_more(self):
        decision = decided(ready_pods(4), [100] * 4, target=10)
        assert decision.desired_replicas == 40
        assert not decision.proposals[0].saturated

    @pytest.mark.parametrize(
        ("pods", "values", "replicas", "expected"),
        [
            pytest.param(ready_pods(4), [100, 100, 100, 98], 4, 5, id="one pod is not saturated"),
            pytest.param(
                (*ready_pods(4), *pending_pods(1, first=4)), [100] * 4, 5, 5, id="one is Pending"
            ),
            pytest.param(ready_pods(5), [100] * 4, 5, 5, id="one has no value"),
            pytest.param(ready_pods(4), [100] * 4, 8, 8, id="not all that were asked for exist"),
            pytest.param(
                (*ready_pods(4), ready_pod(4, age_seconds=15)),
                [100] * 4 + [90],
                5,
                7,
                id="relief is there",
            ),
        ],
    )
    def test_growth_needs_every_pod_saturated_and_none_pending(
        self, pods, values, replicas, expected
    ):
        decision = decided(pods, values, target=80, replicas=replicas)
        assert decision.desired_replicas == expected
        assert not decision.proposals[0].saturated

    @pytest.mark.parametrize(
        ("loading", "expected"),
        [
            pytest.param(1, 8, id="to twice those that serve"),
            pytest.param(4, 8, id="and no further while they load"),
            pytest.param(5, 9, id="never back"),
        ],
    )
    def test_pods_that_load_are_among_the_twice(self, loading, expected):
        pods = (*ready_pods(4), *(other_pod(4 + n) for n in range(loading)))
        assert decided(pods, [100] * 4, target=80).desired_replicas == expected

    def test_a_young_pod_that_is_saturated_serves(self):
        pods = (*ready_pods(2), ready_pod(2, age_seconds=15), ready_pod(3, age_seconds=15))
        assert decided(pods, [100] * 4, target=80).desired_replicas == 8

    def test_a_rollouts_surge_is_not_doubled(self):
        assert decided(ready_pods(5), [100] * 5, target=80, replicas=4).desired_replicas == 8

    def test_other_metrics_have_no_saturation(self):
        decision = decided(ready_pods(4), [100] * 4, target=80, metric=Metric.TEMPERATURE_CELSIUS)
        assert decision.desired_replicas == 5

    def test_the_behavior_limits_the_growth(self):
        decision = decide(
            deployment(ready_pods(10)), policy({Metric.DUTY_CYCLE: 80}),
            reading([100] * 10), None, NOW,
        )  # fmt: skip
        assert decision.desired_replicas == 20
        again = decide(
            deployment(ready_pods(20)), policy({Metric.DUTY_CYCLE: 80}),
            reading([100] * 20), decision.history, NOW + 2,
        )  # fmt: skip
        assert (again.desired_replicas, again.reason) == (20, "ScaleUpLimit")


class TestOwnPodsAndRollouts:
    """4: only own pods count, and a rollout's surge does not inflate."""

    def test_values_of_foreign_pods_do_not_count(self):
        own = dict.fromkeys([pod_ref(0), pod_ref(1)], 40.0)
        foreign = {ObjectRef(namespace="prod", name="batch-0"): 100.0}
        decision = decided(ready_pods(2), own | foreign)
        assert (decision.outcome, decision.proposals[0].mean_milli) == (Outcome.UNCHANGED, 40_000)

    def test_spec_4_status_5_at_the_target_stays_4(self):
        decision = decided(ready_pods(5), [50] * 5, target=50, replicas=4)
        assert (decision.outcome, decision.desired_replicas) == (Outcome.UNCHANGED, 4)

    @pytest.mark.parametrize("value", [44, 43, 36, 35, 33])
    def test_surge_never_scales_up_below_the_target(self, value):
        # 5 of 4 at 35/40: the HPA proposes ceil(.875 x 5) = 5, up although below the target.
        assert decided(ready_pods(5), [value] * 5, replicas=4).desired_replicas == 4

    def test_a_rollout_with_steady_values_does_not_inflate_step_by_step(self):
        """kubernetes#72775: 383 -> 479 -> 589 -> 664, each step's surge feeding the next."""
        replicas = 383
        serving = replicas + replicas // 4
        decision = decided(
            ready_pods(serving), [42] * serving, replicas=replicas, max_replicas=10_000
        )
        assert decision.desired_replicas == replicas
        decision = decided(
            ready_pods(serving), [50] * serving, replicas=replicas, max_replicas=10_000
        )
        assert decision.desired_replicas == 479

    def test_surge_pods_that_do_not_serve_yet_add_nothing(self):
        pods = (*ready_pods(4), other_pod(4), *pending_pods(1, first=5))
        assert decided(pods, [80] * 4, replicas=4).desired_replicas == 8
        assert decided(ready_pods(4), [80] * 4).desired_replicas == 8

    def test_too_few_pods_above_the_target_never_scale_down(self):
        # A quota keeps 6 of 10 pods from existing; the HPA proposes ceil(1.5 x 4) = 6.
        assert decided(ready_pods(4), [60] * 4, replicas=10).desired_replicas == 10

    @pytest.mark.parametrize("phase", [PodPhase.SUCCEEDED, PodPhase.FAILED])
    def test_ended_pods_do_not_serve(self, phase):
        pods = (*ready_pods(2), replace(ready_pod(2), phase=phase))
        decision = decided(pods, [40, 40, 0], replicas=2)
        assert decision.proposals[0].mean_milli == 40_000

    def test_deleting_pods_do_not_serve(self):
        pods = (*ready_pods(2), replace(ready_pod(2), deleting=True))
        assert decided(pods, [40, 40, 0], replicas=2).proposals[0].mean_milli == 40_000


class TestPendingPods:
    """5: Pending pods are capacity already asked for."""

    @pytest.mark.parametrize(
        ("value", "expected"),
        [pytest.param(100, 3, id="damped on the way up"), pytest.param(10, 1, id="not held down")],
    )
    def test_pending_count_as_zero_on_the_way_up(self, value, expected):
        pods = (*ready_pods(1), *pending_pods(2, first=1))
        assert decided(pods, [value], target=50).desired_replicas == expected

    def test_without_free_gpus_nothing_runs_to_the_maximum(self):
        replicas, ready = 2, 2
        for _ in range(20):
            pods = (*ready_pods(ready), *pending_pods(replicas - ready, first=ready))
            replicas = decided(pods, [100] * ready, target=80).desired_replicas
        assert replicas == 4


class TestOthersAndHumans:
    """6 and 7: another controller is not fought, and a human's zero is left alone."""

    @pytest.mark.parametrize("replicas", [0, 3, 1000])
    def test_another_controller_refuses(self, replicas):
        decision = decide(
            deployment(
                ready_pods(3), replicas=replicas, owned_by="HorizontalPodAutoscaler prod/web"
            ),
            policy(),
            reading([99] * 3),
            None,
            NOW,
        )
        assert (decision.outcome, decision.reason) == (
            Outcome.REFUSED,
            "TargetedByOtherController",
        )
        assert decision.desired_replicas == replicas
        assert "HorizontalPodAutoscaler prod/web" in decision.message

    @pytest.mark.parametrize("minimum", [1, 3])
    def test_zero_replicas_are_paused_by_a_human(self, minimum):
        decision = decide(
            deployment((), replicas=0), policy(min_replicas=minimum), reading([]), None, NOW
        )
        assert (decision.outcome, decision.desired_replicas) == (Outcome.DISABLED, 0)
        assert decision.reason == "ScalingDisabled"
