# SPDX-License-Identifier: Apache-2.0
"""The recommended target, and the annotations to paste."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from scaler.decision.behavior import DEFAULT_BEHAVIOR
from scaler.model import Metric, MetricTarget, ObjectRef, ScalingPolicy
from scaler.policy.parse import parse_policy
from scaler.replay.model import AS_IT_WAS, HPA, OURS, Recording, ReplayResult
from scaler.replay.recommendation import annotations_yaml, recommended
from tests.unit.replay.recordings import recorded_metric, with_first

DAY = 86_400.0
RECORDING = Recording(
    ref=ObjectRef("prod", "chat"),
    metrics=(recorded_metric((50_000,) * 1000),),
    begun_unix_seconds=1_700_000_000.0,
    step_seconds=60.0,
    replicas=(4,) * 1000,
)
POLICY = ScalingPolicy(
    min_replicas=1,
    max_replicas=8,
    targets=(MetricTarget(metric=Metric.DUTY_CYCLE, average_value_milli=1000),),
    window_seconds=0.0,
    behavior=DEFAULT_BEHAVIOR,
    ready_age_seconds=30.0,
    dry_run=False,
    paused=False,
    cooldown_seconds=300.0,
)


def result(policy, target, gpu_hours, saturated, highest=4, seconds=DAY):
    return ReplayResult(
        policy=policy,
        target_milli=None if target is None else target * 1000,
        gpu_hours=gpu_hours,
        saturated_share=saturated,
        changes=3,
        highest_replicas=highest,
        seconds=seconds,
        steps=(),
    )


def ours(*rows):
    return [result(OURS, *row) for row in rows]


def found(results, *, recording=RECORDING, policy=POLICY, max_saturated=0.01):
    return recommended(recording, results, policy, max_saturated=max_saturated)


@pytest.mark.parametrize(
    ("rows", "max_saturated", "target"),
    [
        ([(40, 30.0, 0.0), (60, 20.0, 0.01), (70, 15.0, 0.02)], 0.01, 60),
        ([(40, 30.0, 0.0), (60, 20.0, 0.01), (70, 15.0, 0.02)], 0.02, 70),
        ([(40, 30.0, 0.0), (60, 20.0, 0.01)], 0.0, 40),
        # A higher target may be worse in one replay and better in the next.
        ([(40, 30.0, 0.0), (60, 20.0, 0.03), (70, 15.0, 0.01)], 0.01, 70),
        ([(40, 24.0, 0.001), (60, 24.0, 0.004)], 0.01, 40),
        ([(40, 30.0, None), (60, 20.0, 0.0, 4, 0.0)], 0.01, None),
        ([(40, 30.0, 0.02)], 0.01, None),
        ([], 0.01, None),
    ],
)
def test_the_fewest_gpu_hours_within_the_limit(rows, max_saturated, target):
    milli = None if target is None else target * 1000
    assert found(ours(*rows), max_saturated=max_saturated).target_milli == milli


def test_only_our_own_results_are_recommended():
    better = result(HPA, 70, 1.0, 0.0)
    assert found([better, *ours((60, 20.0, 0.0))]).target_milli == 60_000
    assert found([better]).target_milli is None


@pytest.mark.parametrize(
    ("gpu_hours", "expected"), [(24.0, "75 % fewer GPU hours"), (120.0, "25 % more GPU hours")]
)
def test_it_compares_with_how_it_was_over_equal_time(gpu_hours, expected):
    was = result(AS_IT_WAS, None, 48.0, 0.0, seconds=DAY / 2)
    assert expected in found([was, *ours((60, gpu_hours, 0.0))]).text


@pytest.mark.parametrize(
    ("floors", "saturated", "is_doubtful"),
    [(0, 0.009, False), (5, 0.001, False), (5, 0.009, True), (100, 0.0, True)],
)
def test_lower_bounds_make_it_uncertain(floors, saturated, is_doubtful):
    recording = with_first(RECORDING, floor=(True,) * floors + (False,) * (1000 - floors))
    doubt = found(ours((60, 20.0, saturated)), recording=recording).doubt
    assert (doubt is not None) == is_doubtful


@pytest.mark.parametrize(
    ("highest", "start_seconds", "expected", "unexpected"),
    [
        (4, None, "--targets", "to start"),
        (4, 20.0, "--targets", "to start"),
        (4, 180.0, "pods that take 3m to start", "gpu-scaler/max-replicas"),
        (8, 180.0, "gpu-scaler/max-replicas 8", "--targets"),
    ],
)
def test_without_a_target_it_says_what_to_try(highest, start_seconds, expected, unexpected):
    recording = replace(RECORDING, start_seconds=start_seconds)
    without = found(ours((40, 30.0, 0.05, highest), (60, 20.0, 0.1, highest)), recording=recording)
    assert without.target_milli is None
    assert annotations_yaml(without) == ""
    assert "target 40 " in without.text
    assert expected in without.text
    assert unexpected not in without.text


def test_the_annotations_are_few_where_defaults_do():
    assert annotations_yaml(found(ours((60, 20.0, 0.0)))) == (
        "metadata:\n"
        "  annotations:\n"
        '    gpu-scaler/enabled: "true"\n'
        '    gpu-scaler/max-replicas: "8"\n'
        '    gpu-scaler/target-duty-cycle: "60"\n'
    )


@pytest.mark.parametrize(
    ("metric", "target_milli", "text"),
    [
        (Metric.DUTY_CYCLE, 62_500, "62.5"),
        (Metric.MEMORY_USED_BYTES, 20 * 2**30 * 1000, "20Gi"),
        (Metric.MEMORY_USED_BYTES, 1_000_001_000, "1000001"),
        (Metric.REQUESTS, 8_000, "8"),
        (Metric.KV_CACHE_PERCENT, 70_000, "70"),
        (Metric.POWER_USAGE_MILLIWATTS, 250_000_000, "250000"),
    ],
)
def test_the_annotations_parse_to_the_policy_that_was_replayed(metric, target_milli, text):
    target = MetricTarget(metric=metric, average_value_milli=target_milli)
    policy = replace(POLICY, min_replicas=2, targets=(target,))
    recording = with_first(RECORDING, metric=metric)
    results = [replace(result(OURS, 1, 9.0, 0.0), target_milli=target_milli)]
    pasted = yaml.safe_load(annotations_yaml(found(results, recording=recording, policy=policy)))
    annotations = pasted["metadata"]["annotations"]
    assert text in annotations.values()
    assert parse_policy(annotations, query_supported=True) == policy


@pytest.mark.parametrize(
    ("metric", "given"),
    [
        (
            Metric.DUTY_CYCLE,
            {
                "gpu-scaler/target-duty-cycle": "40",
                "gpu-scaler/behavior": "scaleDown:\n  stabilizationWindowSeconds: 60\n",
                "gpu-scaler/window": "30s",
                "gpu-scaler/target-memory-used-percent": "80",
            },
        ),
        (
            Metric.QUERY,
            {"gpu-scaler/query": 'sum(queue{m="é"})', "gpu-scaler/target-query": "5"},
        ),
        (
            Metric.QUEUE,
            {"gpu-scaler/queue": "http://gw:80/metrics q", "gpu-scaler/target-requests": "5"},
        ),
    ],
)
def test_what_was_annotated_stays_with_the_new_target(metric, given):
    given = {**given, "gpu-scaler/enabled": "true", "gpu-scaler/max-replicas": "4"}
    policy = parse_policy({**given, "gpu-scaler/dry-run": "true"}, query_supported=True)
    assert isinstance(policy, ScalingPolicy)
    recording = with_first(RECORDING, metric=metric)
    recommendation = found(ours((7, 9.0, 0.0)), recording=recording, policy=policy)
    annotations = yaml.safe_load(annotations_yaml(recommendation))["metadata"]["annotations"]
    target = next(name for name in given if "/target-" in name)
    assert annotations == {**given, target: "7"}
    assert recommendation.missing_annotations == ()


@pytest.mark.parametrize(
    ("metric", "missing"),
    [
        (Metric.QUERY, ("gpu-scaler/query",)),
        (Metric.QUEUE, ("gpu-scaler/queue",)),
        (Metric.POD_METRIC, ("gpu-scaler/pod-metric",)),
        (Metric.REQUESTS, ()),
    ],
)
def test_it_names_the_annotation_whose_value_is_unknown(metric, missing):
    recommendation = found(ours((7, 9.0, 0.0)), recording=with_first(RECORDING, metric=metric))
    assert recommendation.missing_annotations == missing
    assert all(name in annotations_yaml(recommendation) for name in missing)
