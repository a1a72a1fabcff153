# SPDX-License-Identifier: Apache-2.0
"""What a Deployment's annotations may cost: number, bytes, texts, and time to parse."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler import budgets
from scaler.cluster.decode import decode_namespace, decode_workload
from scaler.decision.decide import decide
from scaler.decision.model import (
    Condition,
    ConditionType,
    Decision,
    Outcome,
    Reason,
)
from scaler.model import DeploymentState, ObjectRef
from scaler.policy.annotations import ANNOTATIONS
from scaler.policy.parse import default_problems, parse_policy
from scaler.policy.yaml_text import YamlError, read_yaml
from scaler.reporting.serialization import decision_document

ENABLED = "gpu-scaler/enabled"
GOOD = {ENABLED: "true", "gpu-scaler/max-replicas": "3", "gpu-scaler/target-duty-cycle": "40"}


def decoded(annotations):
    raw = {
        "metadata": {
            "namespace": "evil",
            "name": "web",
            "uid": "u",
            "resourceVersion": "1",
            "annotations": annotations,
        },
        "spec": {"replicas": 1},
    }
    workload = decode_workload(raw)
    assert workload is not None
    return workload.annotations


def decision(annotations) -> Decision:
    kept = decoded(annotations)
    state = DeploymentState(
        ref=ObjectRef(namespace="evil", name="web"),
        uid="u",
        annotations=kept,
        spec_replicas=1,
        pods=(),
    )
    return decide(state, parse_policy(kept, query_supported=False), {}, None, 1000.0)


MANY = {f"gpu-scaler/a{n}": "x" for n in range(14_000)}
FLOODS = {
    "many": MANY,
    "long values": {f"gpu-scaler/a{n}": "x" * 60_000 for n in range(4)},
    "long names": {f"gpu-scaler/{'a' * 60}{n}": "" for n in range(3_000)},
    "one long value": {"gpu-scaler/window": "9" * 250_000},
    "long text of another script": {"gpu-scaler/query": "\N{GRINNING FACE}" * 60_000},
    "many mistakes in known ones": {row.name: "?" * 5_000 for row in ANNOTATIONS},
    "many mistakes in the behavior": {
        "gpu-scaler/behavior": json.dumps({"x" * n: 1 for n in range(90)})
    },
}


@pytest.mark.parametrize("annotations", FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_of_annotations_is_one_short_decision(annotations):
    kept = decoded(GOOD | annotations)
    assert len(kept) <= budgets.ANNOTATIONS + 1
    assert sum(len(name) + len(value.encode()) for name, value in kept.items()) <= 33 * 1024
    assert kept.get(ENABLED) == (GOOD | annotations)[ENABLED] or ENABLED in annotations
    found = decision(GOOD | annotations)
    assert (found.outcome, found.reason) == (Outcome.REFUSED, "InvalidAnnotation")
    assert found.message.startswith("not scaled until the annotations are corrected: gpu-scaler/")
    assert len(found.message.encode()) <= budgets.MESSAGE_BYTES
    assert len(found.problems) <= budgets.PROBLEMS + 1
    document = msgspec.json.encode(decision_document(found, decided_unix_seconds=0))
    assert len(document) <= 64 * 1024


def test_twenty_mistakes_are_named_and_the_others_counted():
    found = decision(GOOD | MANY)
    *named, more = found.problems
    assert len(named) == budgets.PROBLEMS
    # The one that says that annotations were left out stands for none of them itself.
    assert more.stands_for == len(MANY) - (budgets.PROBLEMS - 1)
    assert more.message == f"and {more.stands_for} more"
    shown = sum(problem.annotation in found.message for problem in named)
    assert 2 <= shown <= budgets.PROBLEMS
    *_, end = found.message.split("; ")
    assert end == f"and {len(MANY) + 1 - shown} more"


def test_a_few_mistakes_are_all_named():
    found = decision(GOOD | {f"gpu-scaler/a{n}": "x" for n in range(5)})
    assert [problem.annotation for problem in found.problems] == [
        f"gpu-scaler/a{n}" for n in range(5)
    ]
    assert all(problem.annotation in found.message for problem in found.problems)


def test_what_is_in_the_budget_is_kept_as_it_is():
    names = [row.name for row in ANNOTATIONS]
    full = dict.fromkeys(names, "x" * 100) | {"gpu-scaler/query": "q" * 8192}
    assert decoded(full | {"gpu-scaler/behavior": "b" * 4096}) == full | {
        "gpu-scaler/behavior": "b" * 4096
    }


def test_annotations_of_a_namespace_are_bounded_too_and_hold_its_deployments():
    namespace = decode_namespace({"metadata": {"name": "evil", "annotations": MANY}})
    assert namespace is not None
    assert len(namespace.annotations) == budgets.ANNOTATIONS + 1
    parsed = parse_policy(
        GOOD, query_supported=False, defaults=namespace.annotations, namespace="evil"
    )
    assert isinstance(parsed, tuple)
    assert len(parsed) == budgets.PROBLEMS + 1
    assert default_problems(MANY, "evil")[-1].message.startswith("and 13")


@given(
    st.dictionaries(
        st.text(max_size=30).map("gpu-scaler/".__add__) | st.sampled_from(sorted(GOOD)),
        st.text(max_size=40) | st.text(min_size=1, max_size=3).map(lambda text: text * 9_000),
        max_size=90,
    )
)
def test_whatever_the_annotations_are_the_rest_is_short(annotations):
    found = decision(annotations | {ENABLED: "true"})
    assert len(found.message.encode(errors="replace")) <= budgets.MESSAGE_BYTES
    assert len(found.problems) <= budgets.PROBLEMS + 1
    assert all(len(item.message) <= 1_500 for item in found.problems)


@pytest.mark.parametrize("unit", ["a", "\N{LATIN SMALL LETTER E WITH ACUTE}", "\N{GRINNING FACE}"])
@pytest.mark.parametrize("length", [0, 1, 2045, 2047, 2048, 2049, 10_000])
def test_messages_are_clipped_where_they_become_decisions(unit, length):
    text = unit * length
    made = Decision(
        ref=ObjectRef(namespace="n", name="d"),
        current_replicas=1,
        desired_replicas=1,
        outcome=Outcome.HELD,
        reason=Reason.INCOMPLETE_METRICS,
        message=text,
        at_seconds=0.0,
    )
    condition = Condition(type=ConditionType.ABLE_TO_SCALE, status=True, reason="R", message=text)
    for message in (made.message, condition.message):
        if len(text.encode()) <= budgets.MESSAGE_BYTES:
            assert message == text
        else:
            assert len(message.encode()) <= budgets.MESSAGE_BYTES
            assert message.endswith("...")
            assert text.startswith(message.removesuffix("..."))


@given(st.text(max_size=5000), st.integers(10, 100))
def test_clipping_never_raises(text, most):
    assert len(budgets.clipped(text, most).encode(errors="replace")) <= most


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [*{a},*{a},*{a},*{a},*{a},*{a},*{a},*{a},*{a}]\n"
    for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "[" * 4_000,
        "{a: " * 1_000,
        "- " * 2_000,
        "? " * 2_000,
        "[" + "1," * 2_000 + "]",
        "a: b\n" * 800,
        "!!python/object/apply:os.system [x]",
        "--- 1\n--- 2\n",
        "%YAML 9.9\n--- {}",
        "\t{}",
    ],
)
def test_a_text_made_to_cost_is_refused(text):
    with pytest.raises(YamlError, match="is not valid YAML or JSON"):
        read_yaml(text)


SHORT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | SHORT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SHORT, inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_json_is_read_as_json(document):
    text = json.dumps(document, ensure_ascii=False)
    try:
        assert read_yaml(text) == json.loads(text)
    except YamlError as error:
        assert "nested too deeply" in str(error) or "twice" in str(error)  # noqa: PT017


@given(st.text(max_size=200))
def test_no_text_raises_anything_else(text):
    try:
        read_yaml(text)
    except YamlError as error:
        assert str(error)  # noqa: PT017
