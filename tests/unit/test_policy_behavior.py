# SPDX-License-Identifier: Apache-2.0
"""The behavior annotation: each mistake in it, and no bytes that break its parser."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.decision.behavior import DEFAULT_BEHAVIOR
from scaler.model import (
    Behavior,
    PolicyType,
    RatePolicy,
    ScalingPolicy,
    ScalingRules,
    SelectPolicy,
)
from scaler.policy.annotations import BEHAVIOR
from scaler.policy.parse import parse_policy
from tests.unit.policies import GOOD, parsed, problems

BEHAVIOR_TEXT = """
scaleUp:
  stabilizationWindowSeconds: 10
  selectPolicy: Min
  tolerance: 50m
  policies:
  - {type: Pods, value: 4, periodSeconds: 60}
  - type: Percent
    value: 10
    periodSeconds: 1800
scaleDown:
  selectPolicy: Disabled
"""


def test_a_behavior_as_yaml_and_as_json():
    expected = Behavior(
        scale_up=ScalingRules(
            stabilization_window_seconds=10,
            select_policy=SelectPolicy.MIN,
            policies=(
                RatePolicy(type=PolicyType.PODS, value=4, period_seconds=60),
                RatePolicy(type=PolicyType.PERCENT, value=10, period_seconds=1800),
            ),
            tolerance=0.05,
        ),
        scale_down=ScalingRules(
            stabilization_window_seconds=300,
            select_policy=SelectPolicy.DISABLED,
            policies=DEFAULT_BEHAVIOR.scale_down.policies,
            tolerance=0.1,
        ),
    )
    as_json = json.dumps(
        {
            "scaleUp": {
                "stabilizationWindowSeconds": 10,
                "selectPolicy": "Min",
                "tolerance": 0.05,
                "policies": [
                    {"type": "Pods", "value": 4, "periodSeconds": 60},
                    {"type": "Percent", "value": 10, "periodSeconds": 1800},
                ],
            },
            "scaleDown": {"selectPolicy": "Disabled", "policies": None},
        }
    )
    assert parsed(behavior=BEHAVIOR_TEXT).behavior == expected
    assert parsed(behavior=as_json).behavior == expected


@pytest.mark.parametrize("text", ["", "{}", "null", "# nothing", "scaleUp: {}\nscaleDown:"])
def test_an_empty_behavior_is_the_default(text):
    assert parsed(behavior=text).behavior == DEFAULT_BEHAVIOR


ONE_POLICY = "{type: Pods, value: 1, periodSeconds: 1}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 4000}]}",
         "scaleUp.policies[0].periodSeconds: 4000 is above 1800"),
        ("scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 0}]}",
         "scaleUp.policies[0].periodSeconds: 0 is below 1"),
        (f"scaleUp: {{policies: [{ONE_POLICY}, {{type: Pods, value: 0, periodSeconds: 1}}]}}",
         "scaleUp.policies[1].value: 0 is below 1"),
        ("scaleUp: {policies: [{type: Pods, value: 3000000000, periodSeconds: 1}]}",
         "scaleUp.policies[0].value: 3000000000 is above 2147483647"),
        ("scaleUp: {policies: [{type: pods, value: 1, periodSeconds: 1}]}",
         "scaleUp.policies[0].type: \"pods\" is not one of 'Pods' or 'Percent'"),
        ("scaleUp: {policies: [{type: Pods, value: 1}]}",
         "scaleUp.policies[0].periodSeconds: is required"),
        ("scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 1, x: 1}]}",
         "scaleUp.policies[0].x: is not a field; allowed are type, value, periodSeconds"),
        ("scaleDown: {policies: []}", "scaleDown.policies: must have at least one policy"),
        ("scaleDown: {policies: 3}", "scaleDown.policies: 3 is not a list"),
        ("scaleDown: {stabilizationWindowSeconds: 3601}",
         "scaleDown.stabilizationWindowSeconds: 3601 is above 3600"),
        ("scaleDown: {stabilizationWindowSeconds: -1}",
         "scaleDown.stabilizationWindowSeconds: -1 is below 0"),
        ('scaleDown: {stabilizationWindowSeconds: "60"}',
         'scaleDown.stabilizationWindowSeconds: "60" is not a whole number'),
        ("scaleDown: {stabilizationWindowSeconds: true}",
         "scaleDown.stabilizationWindowSeconds: true is not a whole number"),
        ("scaleDown: {selectPolicy: max}",
         "scaleDown.selectPolicy: \"max\" is not one of 'Max', 'Min' or 'Disabled'"),
        ("scaleDown: {tolerance: -0.1}", "scaleDown.tolerance: -0.1 is below 0"),
        ("scaleDown: {tolerance: 1e400}", 'scaleDown.tolerance: "1e400" is above 100'),
        ("scaleDown: {tolerance: .nan}",
         'scaleDown.tolerance: ".nan" is not a quantity such as "0.1" or "100m"'),
        ("scaleDown: {tolerance: true}",
         'scaleDown.tolerance: true is not a quantity such as "0.1" or "100m"'),
        ("scaledown: {}", "scaledown: is not a field; allowed are scaleUp, scaleDown"),
        ("scaleUp: {window: 3}",
         "scaleUp.window: is not a field; allowed are stabilizationWindowSeconds, selectPolicy,"
         " policies, tolerance"),
        ("scaleUp: 3", "scaleUp: 3 is not a mapping"),
        ("3", "3 is not a mapping"),
        ("[]", "[] is not a mapping"),
        ("2001-99-99", '"2001-99-99" is not a mapping'),
        ("scaleUp: [}", "line 1 of the value is not valid YAML or JSON:"
         " did not find expected node content"),
        ("a: {}\n---\nb: {}", "line 2 of the value is not valid YAML or JSON:"
         " more than one document"),
        ("{1: 2}", "line 1 of the value is not valid YAML or JSON: a field name is not a string"),
        ("scaleUp: {}\nscaleUp: {}",
         "line 1 of the value is not valid YAML or JSON: duplicate field"),
        ("a: &a []\nb: *a",
         "line 1 of the value is not valid YAML or JSON: anchors are not allowed"),
        ("!!python/object:os.system {}",
         "line 1 of the value is not valid YAML or JSON: tags are not allowed"),
        ("!!int foo", "line 1 of the value is not valid YAML or JSON: tags are not allowed"),
        ("[" * 500, "line 1 of the value is not valid YAML or JSON: nested too deeply"),
        ("a\x00", "is not valid YAML or JSON: it contains a character that is not allowed"),
        ("#" * 4096 + " ", "is longer than 4096 bytes, the maximum"),
        ("\u00e9" * 2049, "is longer than 4096 bytes, the maximum"),
        ("[" + "1," * 200 + "]", "line 1 of the value is not valid YAML or JSON:"
         " more than 200 fields and values"),
    ],
)  # fmt: skip
def test_each_mistake_in_a_behavior_has_its_text(text, expected):
    assert [item.message for item in problems({"behavior": text})] == [expected]


def test_all_mistakes_of_a_behavior_at_once():
    text = "{scaleUp: {tolerance: -1, selectPolicy: x}, scaleDown: {policies: [{}]}}"
    assert len(problems({"behavior": text, "window": "x"})) == 6


def test_no_policies_are_allowed_where_the_direction_is_disabled():
    text = "scaleDown: {selectPolicy: Disabled, policies: []}"
    assert parsed(behavior=text).behavior.scale_down.policies == ()


YAML_LIKE = st.text(alphabet="{}[]:,-?&*!|>'\"% \n#@`abcscaleUp123.~<\t\x00\x85\ud800", max_size=60)


@given(YAML_LIKE | st.text(max_size=60))
def test_no_text_in_the_behavior_raises(text):
    result = parse_policy(GOOD | {BEHAVIOR: text}, query_supported=False)
    assert isinstance(result, ScalingPolicy) or result


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["scaleUp", "scaleDown", "policies", "type", "value", "periodSeconds", "tolerance",
             "selectPolicy", "stabilizationWindowSeconds", "x"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=10,
)  # fmt: skip


@given(JSON)
def test_no_document_in_the_behavior_raises(document):
    result = parse_policy(GOOD | {BEHAVIOR: json.dumps(document)}, query_supported=False)
    assert isinstance(result, ScalingPolicy) or all(item.message for item in result)
