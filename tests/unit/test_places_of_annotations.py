# SPDX-License-Identifier: Apache-2.0
"""An annotation: a name, a row of the table, a rule of the parser, a line on the page."""

from __future__ import annotations

import re
from collections import Counter

from scaler.model import ScalingPolicy
from scaler.policy import annotations as table
from scaler.policy.annotations import ANNOTATIONS, ENABLED, PREFIX, TARGET_ANNOTATIONS
from scaler.policy.manifests import check_manifests
from scaler.policy.parse import default_problems, opted_in, parse_policy
from tests.pages import generated
from tests.unit.places import manifest, places

GOOD_VALUES = {
    "gpu-scaler/enabled": "true",
    "gpu-scaler/min-replicas": "2",
    "gpu-scaler/max-replicas": "9",
    "gpu-scaler/schedule": "[{days: Mon-Fri, timezone: Europe/Berlin, min: 3}]",
    "gpu-scaler/priority": "-5",
    "gpu-scaler/target-duty-cycle": "50",
    "gpu-scaler/target-memory-used-percent": "50",
    "gpu-scaler/target-memory-used-bytes": "20Gi",
    "gpu-scaler/target-power-usage-milliwatts": "250000",
    "gpu-scaler/target-temperature-celsius": "60",
    "gpu-scaler/query": "sum(other)",
    "gpu-scaler/target-query": "20",
    "gpu-scaler/target-requests": "24",
    "gpu-scaler/target-requests-waiting": "4",
    "gpu-scaler/target-kv-cache-percent": "70",
    "gpu-scaler/pod-metric": 'depth{queue="a"}',
    "gpu-scaler/target-pod-metric": "5",
    "gpu-scaler/server": "vllm",
    "gpu-scaler/metrics-port": "8000",
    "gpu-scaler/metrics-path": "/prometheus",
    "gpu-scaler/metrics-scheme": "https",
    "gpu-scaler/queue": "http://gateway:8000/metrics queued + running",
    "gpu-scaler/activation-threshold": "3",
    "gpu-scaler/cooldown": "10m",
    "gpu-scaler/window": "30s",
    "gpu-scaler/behavior": "{scaleUp: {selectPolicy: Min}}",
    "gpu-scaler/ready-age": "45s",
    "gpu-scaler/scale-down-pods": "idlest",
    "gpu-scaler/scale-down-max-busy": "10%",
    "gpu-scaler/scale-down-patience": "5m",
    "gpu-scaler/dry-run": "true",
    "gpu-scaler/paused": "true",
}
"""For each annotation a value that is allowed and not the one that BASE or the default has."""
BASE = {
    "gpu-scaler/enabled": "true",
    "gpu-scaler/max-replicas": "10",
    "gpu-scaler/query": "sum(one)",
    "gpu-scaler/target-query": "10",
    "gpu-scaler/pod-metric": "depth",
    "gpu-scaler/target-pod-metric": "10",
}
WRONG_VALUES = ("", "?", "x" * 9000)


NAMES = sorted(
    {
        *(row.name for row in ANNOTATIONS),
        *TARGET_ANNOTATIONS.values(),
        *(
            one
            for one in vars(table).values()
            if isinstance(one, str) and one.startswith(PREFIX) and one != PREFIX
        ),
    }
)


def policy_of(name, value):
    """Return the policy of BASE with one annotation of another value, as `parse_policy` does."""
    zero = {table.ACTIVATION_THRESHOLD, table.COOLDOWN}
    needed = {table.MIN_REPLICAS: "0"} if name in zero else {}
    if name == table.SCALE_DOWN_MAX_BUSY:
        needed = {table.SCALE_DOWN_PODS: "idlest"}
    return parse_policy(BASE | needed | {name: value}, query_supported=True)


def annotation_has_an_effect(name):
    if name == ENABLED:
        assert opted_in({ENABLED: "true"})
        assert not opted_in({ENABLED: "false"})
        return
    default = {row.name: row.default for row in ANNOTATIONS}[name]
    before = policy_of(name, default) if default is not None else policy_of(ENABLED, "true")
    after = policy_of(name, GOOD_VALUES[name])
    assert isinstance(after, ScalingPolicy), after
    assert after != before, f"{name} changes nothing"


def annotation_is_refused_with_a_wrong_value(name):
    found = [policy_of(name, value) for value in WRONG_VALUES]
    assert any(
        not isinstance(one, ScalingPolicy) and name in {problem.annotation for problem in one}
        for one in found
    ), f"no value of {name} is wrong"


def annotation_is_checked(name):
    annotations = BASE | {name: GOOD_VALUES[name]}
    if name == table.SCALE_DOWN_MAX_BUSY:
        annotations[table.SCALE_DOWN_PODS] = "idlest"
    assert check_manifests([("web.yaml", manifest(annotations))]).findings == ()


def annotation_is_a_default_of_a_namespace(name):
    found = [one.annotation for one in default_problems({name: GOOD_VALUES[name]}, "prod")]
    assert found == ([ENABLED] if name == ENABLED else [])


ANNOTATION_PLACES = {
    "scaler/policy/annotations.py (ANNOTATIONS)": lambda one: {
        row.name: row for row in ANNOTATIONS
    }[one],
    "tests/unit/test_places_of_annotations.py (GOOD_VALUES)": lambda one: GOOD_VALUES[one],
    "scaler/policy/parse.py (its value counts)": annotation_has_an_effect,
    "scaler/policy/parse.py (a wrong value is refused)": annotation_is_refused_with_a_wrong_value,
    "scaler/policy/parse.py (default_problems)": annotation_is_a_default_of_a_namespace,
    "gpu-scaler check": annotation_is_checked,
}


@places(ANNOTATION_PLACES, NAMES)
def test_an_annotation_is_known(member, check):
    check(member)


def test_an_annotation_is_listed_on_the_page_once_make_docs_has_run():
    listed = Counter(
        re.findall(r"^\| `(gpu-scaler/[\w-]+)`", generated.PARTS["annotations"](), re.M)
    )
    assert listed == Counter(NAMES)
