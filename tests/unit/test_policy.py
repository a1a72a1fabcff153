# SPDX-License-Identifier: Apache-2.0
"""Every annotation, every wrong value, and no bytes that break the parser."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.decision.behavior import DEFAULT_BEHAVIOR
from scaler.model import (
    Metric,
    MetricTarget,
    ScalingPolicy,
)
from scaler.policy.annotations import ANNOTATIONS
from scaler.policy.parse import opted_in, parse_policy
from tests.unit.policies import GOOD, parsed, problems

if TYPE_CHECKING:
    from collections.abc import Mapping


def texts(changes: Mapping[str, str | None], *, query_supported: bool = True) -> list[str]:
    return [
        f"{item.annotation.removeprefix('gpu-scaler/')}: {item.message}"
        for item in problems(changes, query_supported=query_supported)
    ]


def test_defaults():
    assert parsed() == ScalingPolicy(
        min_replicas=1,
        max_replicas=10,
        targets=(MetricTarget(metric=Metric.DUTY_CYCLE, average_value_milli=40_000),),
        window_seconds=0.0,
        behavior=DEFAULT_BEHAVIOR,
        ready_age_seconds=30.0,
        dry_run=False,
        paused=False,
        activation_milli=0,
        cooldown_seconds=300.0,
    )


def test_everything_given():
    everything = parsed(
        min_replicas="0",
        target_memory_used_percent="80.5",
        target_memory_used_bytes="20Gi",
        target_power_usage_milliwatts="250k",
        target_temperature_celsius="70",
        query="sum(queue_length)",
        target_query="500m",
        activation_threshold="250m",
        cooldown="20m",
        window="1m30s",
        ready_age="0s",
        dry_run="true",
        paused="true",
    )
    assert [(item.metric, item.average_value_milli, item.query) for item in everything.targets] == [
        (Metric.DUTY_CYCLE, 40_000, None),
        (Metric.MEMORY_USED_PERCENT, 80_500, None),
        (Metric.MEMORY_USED_BYTES, 20 * 1024**3 * 1000, None),
        (Metric.POWER_USAGE_MILLIWATTS, 250_000_000, None),
        (Metric.TEMPERATURE_CELSIUS, 70_000, None),
        (Metric.QUERY, 500, "sum(queue_length)"),
    ]
    assert (everything.window_seconds, everything.ready_age_seconds) == (90.0, 0.0)
    assert (everything.activation_milli, everything.cooldown_seconds) == (250, 1200.0)
    assert (everything.min_replicas, everything.dry_run, everything.paused) == (0, True, True)


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        pytest.param({}, False, id="absent"),
        pytest.param({"gpu-scaler/max-replicas": "3"}, False, id="others alone"),
        pytest.param({"gpu-scaler/enabled": "false"}, False, id="false is quiet"),
        pytest.param({"gpu-scaler/enabled": "true"}, True, id="true"),
        pytest.param({"gpu-scaler/enabled": "True"}, True, id="wrong: ours, to say so"),
    ],
)
def test_opting_in(annotations, expected):
    assert opted_in(annotations) is expected


WHOLE_MAX = "allowed is a whole number from 1 to 2147483647"
WHOLE_MIN = "allowed is a whole number from 0 to 2147483647"
PERCENT = "allowed is a number above 0 and below 100 / (1 + the scale-up tolerance)"
NUMBER = "is not a number or quantity"
TRUTH = 'is not a boolean; allowed is "true" or "false"'


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"enabled": "yes"}, f'enabled: "yes" {TRUTH}'),
        (
            {"scale-down-pods": "busiest"},
            'scale-down-pods: "busiest" is neither; allowed is any or idlest',
        ),
        (
            {"scale-down-pods": "idlest", "scale-down-max-busy": "10"},
            'scale-down-max-busy: "10" is not a percentage above 0%; allowed is a percentage above'
            ' 0% and up to 100%, such as "10%", together with gpu-scaler/scale-down-pods idlest',
        ),
        (
            {"scale-down-max-busy": "10%"},
            'scale-down-max-busy: "10%" requires gpu-scaler/scale-down-pods: idlest',
        ),
        ({"dry-run": ""}, f'dry-run: "" {TRUTH}'),
        ({"paused": "1"}, f'paused: "1" {TRUTH}'),
        ({"max-replicas": None}, f"max-replicas: is required; {WHOLE_MAX}"),
        ({"max-replicas": "0"}, f'max-replicas: "0" is too low; {WHOLE_MAX}'),
        ({"max-replicas": "ten"}, f'max-replicas: "ten" is not a whole number; {WHOLE_MAX}'),
        ({"max-replicas": "-3"}, f'max-replicas: "-3" is not a whole number; {WHOLE_MAX}'),
        ({"max-replicas": "2.5"}, f'max-replicas: "2.5" is not a whole number; {WHOLE_MAX}'),
        ({"max-replicas": "٣"}, f'max-replicas: "٣" is not a whole number; {WHOLE_MAX}'),
        ({"max-replicas": "1" + "0" * 30}, f'max-replicas: "1{"0" * 30}" is too high; {WHOLE_MAX}'),
        ({"min-replicas": "x"}, f'min-replicas: "x" is not a whole number; {WHOLE_MIN}'),
        (
            {"min-replicas": "0"},
            'min-replicas: "0" requires gpu-scaler/query or gpu-scaler/queue, because without pods'
            " there are no metrics of pods to scale up on; allowed is 1 or more",
        ),
        (
            {"min-replicas": "11"},
            'max-replicas: "10" is below gpu-scaler/min-replicas; allowed is at least 11',
        ),
        ({"target-duty-cycle": "x"}, f'target-duty-cycle: "x" {NUMBER}; {PERCENT}'),
        ({"target-duty-cycle": "NaN"}, f'target-duty-cycle: "NaN" {NUMBER}; {PERCENT}'),
        ({"target-duty-cycle": "0"}, f'target-duty-cycle: "0" is not above 0; {PERCENT}'),
        ({"target-duty-cycle": "-1"}, f'target-duty-cycle: "-1" is not above 0; {PERCENT}'),
        ({"target-duty-cycle": "101"}, f'target-duty-cycle: "101" is too high; {PERCENT}'),
        (
            {"target-duty-cycle": "91"},
            'target-duty-cycle: "91" can never scale up: with the scale-up tolerance 0.1 the'
            " metric would have to exceed 100.1, but its maximum is 100; allowed is a number above"
            " 0 and below 90.91",
        ),
        (
            {"target-memory-used-percent": "100"},
            'target-memory-used-percent: "100" can never scale up: with the scale-up tolerance'
            " 0.1 the metric would have to exceed 110, but its maximum is 100; allowed is a number"
            " above 0 and below 90.91",
        ),
        (
            {"target-memory-used-bytes": "1e400"},
            'target-memory-used-bytes: "1e400" is too high; allowed is a quantity above 0 and up to'
            ' 1Pi, such as "20Gi"',
        ),
        (
            {"target-power-usage-milliwatts": "2G"},
            'target-power-usage-milliwatts: "2G" is too high; allowed is a number above 0 and up to'
            ' 1G, such as "250000" for 250 W',
        ),
        (
            {"target-temperature-celsius": "300"},
            'target-temperature-celsius: "300" is too high; allowed is a number above 0 and up to'
            " 200",
        ),
        ({"query": "up"}, 'query: "up" requires gpu-scaler/target-query, which is missing'),
        ({"target-query": "1"}, 'target-query: "1" requires gpu-scaler/query, which is missing'),
        (
            {"query": " ", "target-query": "1"},
            'query: " " is empty; allowed is up to 8192 characters, together with'
            " gpu-scaler/target-query",
        ),
        (
            {"query": "x" * 8193, "target-query": "1"},
            f'query: "{"x" * 80}..." is too long; allowed is up to 8192 characters, together with'
            " gpu-scaler/target-query",
        ),
        (
            {"activation-threshold": "-1"},
            'activation-threshold: "-1" is below 0; allowed is a quantity from 0 to'
            " gpu-scaler/target-query, with a queue to gpu-scaler/target-requests",
        ),
        (
            {"activation-threshold": "1e30"},
            'activation-threshold: "1e30" is too high; allowed is a quantity from 0 to'
            " gpu-scaler/target-query, with a queue to gpu-scaler/target-requests",
        ),
        (
            {"activation-threshold": "x"},
            f'activation-threshold: "x" {NUMBER}; allowed is a quantity from 0 to'
            " gpu-scaler/target-query, with a queue to gpu-scaler/target-requests",
        ),
        (
            {"query": "up", "target-query": "5", "activation-threshold": "5001m"},
            'activation-threshold: "5001m" is above gpu-scaler/target-query; allowed is at most 5',
        ),
        (
            {"cooldown": "soon"},
            'cooldown: "soon" is not a duration; allowed is a duration from 0s to 1h, such as'
            ' "10m"',
        ),
        (
            {"window": "5"},
            'window: "5" is not a duration; allowed is a duration from 0s to 1h, such as "1m30s"',
        ),
        (
            {"ready-age": "2h"},
            'ready-age: "2h" is too long; allowed is a duration from 0s to 1h, such as "30s"',
        ),
        (
            {"Min-Replica": "1"},
            "Min-Replica: is not a gpu-scaler annotation;"
            " did you mean gpu-scaler/min-replicas?",
        ),
    ],
)  # fmt: skip
def test_each_wrong_value_has_its_text(changes, expected):
    assert texts(changes) == [expected]


def test_an_unknown_annotation_unlike_any_lists_the_known():
    (text,) = texts({"zzz": "1"})
    assert "allowed are gpu-scaler/enabled, gpu-scaler/min-replicas" in text


def test_a_query_needs_the_prometheus_source():
    query = {"query": "up", "target-query": "1"}
    assert texts(query) == []
    assert texts(query, query_supported=False) == [
        'query: "up" requires Prometheus; start gpu-scaler with --prometheus.url'
    ]


def test_at_least_one_target():
    (text,) = texts({"target-duty-cycle": None})
    assert text.startswith("target-duty-cycle: is missing, and so is every other target")


def test_all_problems_at_once():
    wrong = ("max-replicas", "min-replicas", "window", "target-duty-cycle", "oops")
    assert len(texts(dict.fromkeys(wrong, "x"))) == 5


def test_control_characters_do_not_reach_the_text():
    (text,) = texts({"window": "\x1b[31m\n"})
    assert text.startswith('window: "\\u001b[31m\\n" is not a duration')


def test_foreign_annotations_are_none_of_ours():
    foreign = {"kubectl.kubernetes.io/last-applied-configuration": "{", "gpu-scaler": "x"}
    assert isinstance(parse_policy(GOOD | foreign, query_supported=False), ScalingPolicy)


@pytest.mark.parametrize(
    ("target", "tolerance", "allowed"),
    [("90.9", "0.1", True), ("91", "0.1", False), ("91", "0.09", True), ("99", "0", True),
     ("100", "0", False), ("50", "1", False), ("49.9", "1", True)],
)  # fmt: skip
def test_saturation_counts_the_tolerance_of_the_behavior(target, tolerance, allowed):
    behavior = json.dumps({"scaleUp": {"tolerance": tolerance}})
    found = problems({"target-duty-cycle": target, "behavior": behavior})
    assert (found == ()) is allowed


def test_zero_needs_a_way_back_up():
    text = "scaleUp: {policies: [{type: Percent, value: 100, periodSeconds: 15}]}"
    query = {"query": "up", "target-query": "1", "min-replicas": "0"}
    assert texts(query) == []
    (found,) = texts(query | {"behavior": text})
    assert "requires a policy of type Pods in scaleUp" in found


NAMES = st.sampled_from([item.name for item in ANNOTATIONS])
TEXTS = st.text(max_size=40) | st.from_regex(r"[0-9.eEkMGi+-]{0,8}", fullmatch=True)


@given(st.dictionaries(NAMES | TEXTS.map("gpu-scaler/".__add__) | TEXTS, TEXTS, max_size=8))
def test_no_text_in_any_annotation_raises(annotations):
    result = parse_policy(annotations, query_supported=False)
    opted_in(annotations)
    if isinstance(result, ScalingPolicy):
        assert result.targets
        assert 0 <= result.min_replicas <= result.max_replicas
    else:
        assert result
        assert all(item.annotation.startswith("gpu-scaler/") for item in result)


def test_the_table_names_every_annotation_once():
    names = [item.name for item in ANNOTATIONS]
    assert len(set(names)) == len(names)
    defaults = {item.name: item.default for item in ANNOTATIONS if item.default is not None}
    assert parse_policy(GOOD | defaults, query_supported=False) == parsed()
