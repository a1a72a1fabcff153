# SPDX-License-Identifier: Apache-2.0
"""Asleep and awake by a queue, and what counts per pod beside it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.decision.decide import decide
from scaler.decision.model import Outcome, Reason, ScalingHistory
from scaler.model import Metric, MetricReading, MetricTarget, ScalingPolicy
from scaler.policy.parse import parse_policy
from scaler.reporting.explanation import explain_text
from scaler.reporting.serialization import decision_document
from tests.unit.deployments import NOW, WEB, deployment, reading, ready_pods

BASE = {
    "gpu-scaler/enabled": "true",
    "gpu-scaler/max-replicas": "16",
    "gpu-scaler/queue": "http://gateway:8000/metrics queued + running",
    "gpu-scaler/min-replicas": "0",
}
BY_REQUESTS = BASE | {"gpu-scaler/target-requests": "24"}
BY_DUTY_CYCLE = BASE | {"gpu-scaler/target-duty-cycle": "40"}
ASLEEP = ScalingHistory(zeroed_seconds=NOW - 1000)
SILENT = MetricReading(metric=Metric.QUEUE, values={}, problem="gateway does not answer")


def policy_of(annotations) -> ScalingPolicy:
    policy = parse_policy(annotations, query_supported=False)
    assert isinstance(policy, ScalingPolicy), policy
    return policy


def decided(annotations, pods, readings, history=ASLEEP, **changes):
    state = deployment(pods, replicas=len(pods))
    return decide(state, replace(policy_of(annotations), **changes), readings, history, NOW)


def explained(decision):
    return explain_text(decision_document(decision, decided_unix_seconds=0), now_unix_seconds=1)


def queued(value):
    return reading({WEB: value}, metric=Metric.QUEUE)[Metric.QUEUE]


@pytest.mark.parametrize(
    ("annotations", "value", "expected"),
    [
        (BY_REQUESTS, 0, 0),
        (BY_REQUESTS, 1, 1),
        (BY_REQUESTS, 24, 1),
        (BY_REQUESTS, 25, 2),
        (BY_REQUESTS, 4000, 4),  # The default behavior adds 4 pods at once.
        (BY_DUTY_CYCLE, 0, 0),
        (BY_DUTY_CYCLE, 1, 1),
        (BY_DUTY_CYCLE, 4000, 1),
    ],
)
def test_the_queue_wakes_what_sleeps(annotations, value, expected):
    made = decided(annotations, (), {Metric.QUEUE: queued(value)})
    assert made.desired_replicas == expected
    assert made.proposals[-1].metric is Metric.QUEUE


def test_a_queue_that_does_not_answer_neither_wakes_nor_ends_anything():
    assert decided(BY_REQUESTS, (), {Metric.QUEUE: SILENT}).desired_replicas == 0
    idle = reading([0, 0], metric=Metric.REQUESTS)
    made = decided(
        BY_REQUESTS, ready_pods(2), idle | {Metric.QUEUE: SILENT}, ScalingHistory(active_seconds=0)
    )
    assert (made.desired_replicas, made.outcome) == (2, Outcome.HELD)


def at_least(value):
    return reading({WEB: value}, metric=Metric.QUEUE, missing={WEB: "gw-2 lacks a metric"})


@pytest.mark.parametrize(
    ("annotations", "pods", "value", "expected"),
    [
        (BY_REQUESTS, 0, 0, 0),
        (BY_REQUESTS, 0, 1, 1),
        (BY_REQUESTS, 0, 25, 2),
        (BY_REQUESTS, 2, 1, 2),
        (BY_REQUESTS, 2, 100, 5),
        (BY_DUTY_CYCLE, 0, 1, 1),
    ],
)
def test_a_queue_known_in_part_wakes_and_raises(annotations, pods, value, expected):
    idle = reading([0] * pods, metric=Metric.REQUESTS)
    made = decided(annotations, ready_pods(pods), idle | at_least(value))
    assert made.desired_replicas == expected
    if expected > pods:
        assert "gw-2 lacks a metric" in explained(made)


@given(
    value=st.integers(0, 500),
    loads=st.lists(st.integers(0, 100), min_size=0, max_size=6),
    annotations=st.sampled_from([BY_REQUESTS, BY_DUTY_CYCLE]),
)
def test_a_queue_known_in_part_never_takes_a_pod(value, loads, annotations):
    metric = Metric.REQUESTS if annotations is BY_REQUESTS else Metric.DUTY_CYCLE
    pods, others = ready_pods(len(loads)), reading(loads, metric=metric)
    old = ScalingHistory(active_seconds=NOW - 1e6, zeroed_seconds=NOW - 1000)
    made = decided(annotations, pods, others | at_least(value), old)
    whole = decided(annotations, pods, others | {Metric.QUEUE: queued(value)}, old)
    assert len(loads) <= made.desired_replicas <= max(len(loads), whole.desired_replicas)


def test_the_last_pod_goes_only_when_pods_and_queue_are_idle_for_the_cooldown():
    idle = reading([0], metric=Metric.REQUESTS)
    busy = {Metric.QUEUE: queued(1)}
    empty = {Metric.QUEUE: queued(0)}
    fresh, old = ScalingHistory(active_seconds=NOW - 10), ScalingHistory(active_seconds=NOW - 1e6)
    pods = ready_pods(1)
    assert decided(BY_REQUESTS, pods, idle | busy, old).desired_replicas == 1
    cooling = decided(BY_REQUESTS, pods, idle | empty, fresh)
    assert cooling.desired_replicas == 1
    working = reading([3], metric=Metric.REQUESTS)
    assert decided(BY_REQUESTS, pods, working | empty, old).desired_replicas == 1


def test_a_queue_without_a_target_leaves_the_count_to_the_others():
    busy = reading([80, 80], metric=Metric.DUTY_CYCLE)
    made = decided(BY_DUTY_CYCLE, ready_pods(2), busy | {Metric.QUEUE: queued(500)})
    assert made.desired_replicas == 4
    assert made.proposals[-1].target_milli is None
    missing = decided(BY_DUTY_CYCLE, ready_pods(2), {Metric.QUEUE: queued(500)})
    assert (missing.desired_replicas, missing.outcome) == (2, Outcome.HELD)


def test_the_activation_threshold_is_that_of_the_queue():
    annotations = BY_REQUESTS | {"gpu-scaler/activation-threshold": "5"}
    assert decided(annotations, (), {Metric.QUEUE: queued(5)}).desired_replicas == 0
    assert decided(annotations, (), {Metric.QUEUE: queued(6)}).desired_replicas == 1
    above = parse_policy(
        BY_REQUESTS | {"gpu-scaler/activation-threshold": "25"}, query_supported=False
    )
    assert not isinstance(above, ScalingPolicy)
    assert above[0].annotation == "gpu-scaler/activation-threshold"


def test_a_queue_alone_is_no_target():
    problems = parse_policy(BASE, query_supported=False)
    assert not isinstance(problems, ScalingPolicy)
    assert "target" in problems[0].message


def test_a_full_cache_counts_as_saturated_and_requests_do_not():
    for metric, expected in ((Metric.KV_CACHE_PERCENT, 4), (Metric.REQUESTS, 3)):
        policy = replace(
            policy_of(BY_DUTY_CYCLE),
            min_replicas=1,
            queue=None,
            targets=(MetricTarget(metric=metric, average_value_milli=80_000),),
        )
        made = decide(
            deployment(ready_pods(2), replicas=2),
            policy,
            reading([100, 100], metric=metric),
            None,
            NOW,
        )
        assert made.desired_replicas == expected, metric
        assert made.reason is Reason.SUCCESSFUL_RESCALE


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"gpu-scaler/cooldown": "10m"},
            "scales to 0 after 10m idle, wakes when the queue exceeds 0",
        ),
        (
            {"gpu-scaler/cooldown": "1s"},
            "scales to 0 after 5m idle, wakes when the queue exceeds 0",
        ),
        (
            {
                "gpu-scaler/cooldown": "1s",
                "gpu-scaler/behavior": "{scaleDown: {stabilizationWindowSeconds: 0}}",
                "gpu-scaler/activation-threshold": "2",
            },
            "scales to 0 after 1s idle, wakes when the queue exceeds 2",
        ),
    ],
)
def test_explain_says_after_how_long_the_last_pod_goes(changes, expected):
    made = decided(BY_REQUESTS | changes, (), {Metric.QUEUE: queued(0)})
    assert expected in explained(made)
