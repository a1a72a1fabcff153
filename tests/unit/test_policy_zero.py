# SPDX-License-Identifier: Apache-2.0
"""What `min-replicas: "0"` needs to wake again, and values finer than what is counted in."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.decision.decide import decide
from scaler.decision.model import ScalingHistory
from scaler.model import AnnotationProblem, Metric, ScalingPolicy
from scaler.policy.annotations import TARGET_ANNOTATIONS, TARGET_POD_METRIC, TARGET_QUERY
from scaler.policy.parse import parse_policy
from tests.unit.deployments import NOW, WEB, deployment, reading

LOOP_SECONDS = 20
ASLEEP = {"query": "up", "target-query": "10", "min-replicas": "0"}
PODS = {"type": "Pods", "value": 4, "periodSeconds": 15}
PERCENT = {"type": "Percent", "value": 1000, "periodSeconds": 15}


def parsed(**changes: str) -> ScalingPolicy | tuple[AnnotationProblem, ...]:
    named = {"enabled": "true", "max-replicas": "10", **changes}
    annotations = {f"gpu-scaler/{name}": value for name, value in named.items()}
    return parse_policy(annotations, query_supported=True)


def problem(**changes: str) -> tuple[str, str]:
    found = parsed(**changes)
    assert not isinstance(found, ScalingPolicy), "accepted"
    [only] = found
    return only.annotation, only.message


def up(**rules: object) -> str:
    return json.dumps({"scaleUp": rules})


@pytest.mark.parametrize(
    ("behavior", "expected"),
    [
        (
            up(policies=[PERCENT]),
            "requires a policy of type Pods in scaleUp of gpu-scaler/behavior",
        ),
        (up(policies=[PERCENT, PERCENT], selectPolicy="Min"), "requires a policy of type Pods"),
        (up(selectPolicy="Disabled"), "requires a selectPolicy other than Disabled in scaleUp"),
        (
            up(selectPolicy="Disabled", policies=[PODS]),
            "requires a selectPolicy other than Disabled",
        ),
        (up(selectPolicy="Disabled", policies=[]), "requires a selectPolicy other than Disabled"),
        (up(selectPolicy="Min"), "requires selectPolicy Max, or only policies of type Pods"),
        (up(selectPolicy="Min", policies=[PODS, PERCENT]), "requires selectPolicy Max"),
    ],
)
def test_a_behavior_that_never_leaves_zero_is_refused(behavior, expected):
    annotation, message = problem(**ASLEEP, behavior=behavior)
    assert annotation == "gpu-scaler/min-replicas"
    assert expected in message
    awake = parsed(**ASLEEP | {"min-replicas": "1"}, behavior=behavior)
    assert isinstance(awake, ScalingPolicy)


@pytest.mark.parametrize(
    "behavior",
    [
        "{}",
        up(policies=[PODS]),
        up(policies=[PODS, PERCENT]),
        up(policies=[PODS], selectPolicy="Min"),
        up(policies=[PODS, {**PODS, "value": 1}], selectPolicy="Min"),
        up(stabilizationWindowSeconds=3600),
        json.dumps({"scaleDown": {"selectPolicy": "Disabled"}}),
    ],
)
def test_a_behavior_that_leaves_zero_is_accepted(behavior):
    assert isinstance(parsed(**ASLEEP, behavior=behavior), ScalingPolicy)


RATES = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["Pods", "Percent"]),
        "value": st.integers(1, 1000),
        "periodSeconds": st.integers(1, 1800),
    }
)
RULES = st.fixed_dictionaries(
    {},
    optional={
        "stabilizationWindowSeconds": st.integers(0, 3600),
        "selectPolicy": st.sampled_from(["Max", "Min", "Disabled"]),
        "policies": st.lists(RATES, min_size=1, max_size=3),
        "tolerance": st.sampled_from(["0", "0.1", "100"]),
    },
)


@given(rules=RULES, down=RULES, threshold=st.sampled_from(["0", "1m", "10"]))
def test_what_may_sleep_can_wake_and_what_never_could_is_refused(rules, down, threshold):
    """Asleep, with a value far above the target for as long as any window and period."""
    behavior = json.dumps({"scaleUp": rules, "scaleDown": down})
    given_ = {**ASLEEP, "activation-threshold": threshold, "behavior": behavior}
    awake = parsed(**given_ | {"min-replicas": "1"})
    assert isinstance(awake, ScalingPolicy)
    policy = replace(awake, min_replicas=0)
    now, history = NOW, ScalingHistory(zeroed_seconds=NOW)
    zero, busy = deployment((), replicas=0), reading({WEB: 1000}, metric=Metric.QUERY)
    wakes = False
    while now < NOW + 3600 + 2 * LOOP_SECONDS and not wakes:
        now += LOOP_SECONDS
        decision = decide(zero, policy, busy, history, now)
        wakes, history = decision.desired_replicas > 0, decision.history
    assert wakes == isinstance(parsed(**given_), ScalingPolicy)


TOO_PRECISE = "is more precise than 0.001; allowed is a "


@pytest.mark.parametrize("value", ["0.0002", "1u", "1n", "40.0005", "2e-4"])
@pytest.mark.parametrize("name", TARGET_ANNOTATIONS.values())
def test_a_target_that_cannot_be_represented_is_refused(name, value):
    beside = {TARGET_QUERY: {"query": "up"}, TARGET_POD_METRIC: {"pod-metric": "depth"}}
    annotation, message = problem(
        **beside.get(name, {}), **{name.removeprefix("gpu-scaler/"): value}
    )
    assert annotation == name
    assert message.startswith(f'"{value}" {TOO_PRECISE}')


@pytest.mark.parametrize("value", ["0.0002", "1u", "2.0005"])
def test_a_threshold_that_cannot_be_represented_is_refused(value):
    annotation, message = problem(**ASLEEP, **{"activation-threshold": value})
    assert annotation == "gpu-scaler/activation-threshold"
    assert message.startswith(f'"{value}" {TOO_PRECISE}')


@pytest.mark.parametrize(
    ("name", "value", "expected_milli"),
    [
        ("target-query", "0.001", 1),
        ("target-query", "1m", 1),
        ("target-query", "1.125", 1125),
        ("target-duty-cycle", "62.5", 62_500),
        ("target-memory-used-bytes", "1.1Gi", 1_181_116_006_400),
        # A fraction of a byte is no reason to refuse anything.
        ("target-memory-used-bytes", "0.3333Gi", 357_878_149_940),
    ],
)
def test_every_other_target_counts_as_it_is_written(name, value, expected_milli):
    query = {"query": "up"} if name.endswith("query") else {}
    policy = parsed(**query, **{name: value})
    assert isinstance(policy, ScalingPolicy)
    assert policy.targets[0].average_value_milli == expected_milli


@given(st.integers(0, 3000), st.integers(-2, 2))
def test_the_bound_that_a_refusal_names_is_the_bound(tolerance_milli, off):
    behavior = up(tolerance=f"{tolerance_milli}m")
    _, message = problem(**{"target-duty-cycle": "100"}, behavior=behavior)
    bound = Decimal(message.rpartition(" below ")[2])
    value = bound + Decimal(off) / 1000
    accepted = isinstance(
        parsed(**{"target-duty-cycle": str(value)}, behavior=behavior), ScalingPolicy
    )
    assert accepted == (value < bound)
