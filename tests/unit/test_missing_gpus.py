# SPDX-License-Identifier: Apache-2.0
"""Pods of which a GPU is not shown any more: their values are those of the others only."""

from __future__ import annotations

from dataclasses import replace

from scaler.controller.missing_gpus import MissingGpus
from scaler.decision.decide import decide
from scaler.decision.model import Outcome
from scaler.model import Metric
from tests.unit.deployments import NOW, deployment, immediate, pod_ref, policy, reading, ready_pods


def shown(*counts: int, percent: float = 40):
    """A reading in which pod 0, 1, ... show so many GPUs."""
    (duty,) = reading([percent] * len(counts)).values()
    values = {
        pod_ref(number): replace(duty.values[pod_ref(number)], device_count=count)
        for number, count in enumerate(counts)
        if count
    }
    return {Metric.DUTY_CYCLE: replace(duty, values=values)}


TWO = deployment(ready_pods(2))


def looks(counts: MissingGpus, readings):
    found = counts.without_partial(TWO, readings)
    counts.forget_others()
    return found[Metric.DUTY_CYCLE]


def test_a_pod_that_misses_a_gpu_has_no_value_until_it_is_back():
    counts = MissingGpus()
    assert len(looks(counts, shown(4, 8)).values) == 2
    for _ in range(3):
        found = looks(counts, shown(4, 7))
        assert found.values.keys() == {pod_ref(0)}
        assert found.missing == {pod_ref(1): "duty_cycle covers 7 of the pod's GPUs, 8 before"}
    looks(counts, shown(4, 0))
    assert looks(counts, shown(4, 7)).missing
    assert len(looks(counts, shown(4, 8)).values) == 2


def test_it_does_not_scale_down_on_the_gpus_that_are_left():
    counts = MissingGpus()
    looks(counts, shown(2, 2, percent=40))
    found = {Metric.DUTY_CYCLE: looks(counts, shown(2, 1, percent=0))}
    decision = decide(TWO, policy(behavior=immediate()), found, None, NOW)
    assert (decision.outcome, decision.desired_replicas) == (Outcome.HELD, 2)
    assert "of the pod's GPUs" in decision.message


def test_pods_that_are_gone_are_forgotten():
    counts = MissingGpus()
    looks(counts, shown(2, 2))
    counts.forget_others()
    assert len(looks(counts, shown(1, 1)).values) == 2
