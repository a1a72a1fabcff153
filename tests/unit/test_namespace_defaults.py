# SPDX-License-Identifier: Apache-2.0
"""The annotations of a Namespace as defaults of its Deployments."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.decision.decide import decide
from scaler.model import ScalingPolicy
from scaler.policy.annotations import ANNOTATIONS
from scaler.policy.parse import parse_policy
from scaler.reporting.explanation import explain_text
from scaler.reporting.serialization import decision_document
from tests.unit.deployments import NOW, deployment, reading, ready_pods

DEFAULTS = {"gpu-scaler/max-replicas": "8", "gpu-scaler/target-duty-cycle": "50"}


def merged(own, defaults):
    return parse_policy(
        {"gpu-scaler/enabled": "true"} | own,
        query_supported=False,
        defaults=defaults,
        namespace="prod",
    )


def test_the_annotations_of_the_namespace_are_defaults_and_the_own_ones_win_one_by_one():
    defaults = {
        "gpu-scaler/max-replicas": "8",
        "gpu-scaler/min-replicas": "2",
        "gpu-scaler/target-duty-cycle": "50",
        "gpu-scaler/paused": "true",
    }
    policy: Any = merged({"gpu-scaler/max-replicas": "4", "gpu-scaler/paused": "false"}, defaults)
    assert (policy.min_replicas, policy.max_replicas, policy.paused) == (2, 4, False)
    assert policy.targets[0].average_value_milli == 50_000
    origins = {one.annotation.removeprefix("gpu-scaler/"): one.origin for one in policy.settings}
    assert origins == {
        "enabled": "own",
        "min-replicas": "namespace",
        "max-replicas": "own",
        "target-duty-cycle": "namespace",
        "priority": "built-in",
        "server": "built-in",
        "activation-threshold": "built-in",
        "cooldown": "built-in",
        "window": "built-in",
        "ready-age": "built-in",
        "scale-down-pods": "built-in",
        "scale-down-patience": "built-in",
        "dry-run": "built-in",
        "paused": "own",
    }


def test_a_wrong_default_names_its_namespace_and_one_that_is_not_used_is_no_problem():
    defaults = {"gpu-scaler/max-replicas": "many", "gpu-scaler/target-duty-cycle": "50"}
    (problem,) = merged({}, defaults)
    assert (problem.annotation, problem.value, problem.namespace) == (
        "gpu-scaler/max-replicas",
        "many",
        "prod",
    )
    assert "default of the Namespace prod" in problem.message
    assert isinstance(merged({"gpu-scaler/max-replicas": "4"}, defaults), ScalingPolicy)


@pytest.mark.parametrize("value", ["true", "false", ""])
def test_a_namespace_opts_nobody_in_or_out(value):
    (problem,) = merged({}, DEFAULTS | {"gpu-scaler/enabled": value})
    assert (problem.annotation, problem.value, problem.namespace) == (
        "gpu-scaler/enabled",
        value,
        "prod",
    )


def test_a_required_annotation_may_be_on_the_namespace_where_that_is_read():
    problems = merged({}, {})
    assert all("or on the Namespace prod" in problem.message for problem in problems)
    assert not any("Namespace" in problem.message for problem in merged({}, None))


@given(st.dictionaries(st.sampled_from([one.name for one in ANNOTATIONS]), st.text(max_size=20)))
def test_any_text_on_a_namespace_is_a_policy_or_a_problem_that_names_it(defaults):
    result = merged({}, defaults)
    if not isinstance(result, ScalingPolicy):
        assert all(
            problem.namespace == ("prod" if problem.annotation in defaults else None)
            for problem in result
        )


def explained(own, defaults):
    decision = decide(
        deployment(ready_pods(2)), merged(own, defaults), reading([50.0, 50.0]), None, NOW
    )
    document = decision_document(decision, decided_unix_seconds=0.0)
    return explain_text(document, now_unix_seconds=0.0)


def test_explain_says_where_each_value_comes_from():
    text = explained({"gpu-scaler/max-replicas": "4"}, DEFAULTS | {"gpu-scaler/window": "0s"})
    assert text.partition("Annotations:\n")[2].partition("Metric ")[0] == (
        "  gpu-scaler/enabled           = true\n"
        "  gpu-scaler/max-replicas      = 4\n"
        "  gpu-scaler/target-duty-cycle = 50  (Namespace prod)\n"
        "  gpu-scaler/window            = 0s  (Namespace prod)\n"
    )


def test_explain_keeps_a_long_value_on_one_short_line():
    behavior = '{\n  "scaleUp": {"stabilizationWindowSeconds": 3, "selectPolicy": "Max"}}'
    text = explained({"gpu-scaler/behavior": behavior}, DEFAULTS)
    (line,) = [line for line in text.splitlines() if "gpu-scaler/behavior" in line]
    assert line.endswith('= { "scaleUp": {"stabilizationWindowSeconds": 3, "selectPolicy...')


def test_explain_names_the_namespace_of_a_wrong_default():
    text = explained({}, DEFAULTS | {"gpu-scaler/max-replicas": "many"})
    assert '  gpu-scaler/max-replicas: "many" is not a whole number' in text
    assert "(default of the Namespace prod)" in text
