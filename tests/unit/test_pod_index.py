# SPDX-License-Identifier: Apache-2.0
"""The pods that a selector finds, whatever comes and goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.budgets import OverBudgetError
from scaler.cluster import pod_index
from scaler.cluster.objects import Pod
from scaler.cluster.pod_index import MAX_INDEXED_KEYS, PodIndex
from scaler.kube.selectors import Operator, Requirement, Selector, parse_selector
from scaler.model import ObjectRef, PodPhase, PodState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy"))
_TEXTS = st.sampled_from(
    ["a=x", "a=y,b=x", "a in (x,y)", "b in (x,y),c=x", "a!=x", "!a", "c", "b notin (x),a=x", "z=x"]
)


def pod(number: int, labels: Mapping[str, str]) -> Pod:
    state = PodState(
        ref=ObjectRef("ns", f"pod-{number}"),
        uid=f"u-{number}",
        phase=PodPhase.RUNNING,
        deleting=False,
        ready_since_seconds=None,
    )
    return Pod(
        state=state,
        controller_uid=None,
        labels=labels,
        exporter=None,
        ready_transition=None,
        unschedulable_transition=None,
    )


def index() -> PodIndex:
    return PodIndex(by_labels=True, owned_changed=lambda _: None, selectable_changed=lambda _: None)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.none() | _LABELS, _TEXTS), max_size=40),
)
def test_a_selector_finds_the_pods_that_match(
    steps: Sequence[tuple[int, Mapping[str, str] | None, str]],
) -> None:
    """Pods come, change their labels and go, between questions."""
    found = index()
    pods: dict[int, Pod] = {}
    for number, labels, text in steps:
        old = pods.pop(number, None)
        if labels is not None:
            pods[number] = pod(number, labels)
        found.pod_changed(old, pods.get(number))
        selector = parse_selector(text)
        wanted = {one.state.uid for one in pods.values() if selector.matches(one.labels)}
        selected = found.selected("ns", selector, "asker")
        assert {one.state.uid for one in selected} == wanted
        assert len(selected) == len(wanted)


def test_only_pods_with_a_label_of_the_selector_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = index()
    looked: list[Mapping[str, str]] = []
    matches = Requirement.matches

    def noted(requirement: Requirement, labels: Mapping[str, str]) -> bool:
        looked.append(labels)
        return matches(requirement, labels)

    monkeypatch.setattr(Requirement, "matches", noted)
    for number in range(100):
        found.pod_changed(None, pod(number, {"app": f"{number % 50}", "team": "a"}))
    for number in range(50):
        text = f"team=a,app={number},!canary"
        assert len(found.selected("ns", parse_selector(text), "asker")) == 2
    assert len(looked) == 100


def test_any_number_of_different_labels_is_answered() -> None:
    found = index()
    for number in range(3 * MAX_INDEXED_KEYS):
        found.pod_changed(None, pod(number, {f"key-{number}": "x"}))
        one = Requirement(key=f"key-{number}", operator=Operator.IN, values=frozenset({"x"}))
        (only,) = found.selected("ns", Selector(requirements=(one,)), "asker")
        assert only.state.ref.name == f"pod-{number}"


def test_selectors_that_overlap_too_much_share_a_budget_of_their_namespace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pod_index, "SELECTED_PODS", 6)
    monkeypatch.setattr(pod_index, "SELECTIONS_OF_POD", 2)
    changed: list[str] = []
    found = PodIndex(
        by_labels=True, owned_changed=lambda _: None, selectable_changed=changed.append
    )
    for number in range(10):
        found.pod_changed(None, pod(number, {"app": "x", "even": f"{number % 2}"}))
    everything, half = parse_selector("app=x"), parse_selector("app=x,even=0")
    changed.clear()
    # 26 in total, whoever asks twice.
    for _ in range(3):
        assert len(found.selected("ns", everything, "one")) == 10
        assert len(found.selected("ns", everything, "other")) == 10
        assert len(found.selected("ns", half, "half")) == 5
    with pytest.raises(OverBudgetError, match="overlap"):
        found.selected("ns", parse_selector("app=x,even!=2"), "last")
    assert len(found.selected("elsewhere", everything, "last")) == 0
    assert changed == []
    # One that goes leaves its part to others.
    found.selection_changed("ns", "one")
    assert changed == ["ns"]
    assert len(found.selected("ns", everything, "last")) == 10
    found.selection_changed("ns", "last")
    assert changed == ["ns"]


def test_workloads_that_share_each_of_their_labels_with_others_are_all_found() -> None:
    """Each tenant has each model in each region."""
    found = index()
    places = [(f"{a}", f"{b}", f"{c}") for a in range(8) for b in range(8) for c in range(8)]
    for number, (tenant, model, region) in enumerate(places):
        labels = {"tenant": tenant, "model": model, "region": region}
        found.pod_changed(None, pod(number, labels))
    for tenant, model, region in places:
        text = f"tenant={tenant},model={model},region={region}"
        assert len(found.selected("ns", parse_selector(text), text)) == 1


@pytest.mark.parametrize(
    "text", ["app=x,even=0,even=1", "app=x,app!=x", "!app", "app in (x,y),!app"]
)
def test_a_selector_that_finds_nothing_after_many_looks_spends_too(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(pod_index, "SELECTED_PODS", 0)
    found = index()
    for number in range(100):
        found.pod_changed(None, pod(number, {"app": "x", "even": f"{number % 2}"}))
    selector = parse_selector(text)

    def ask(workloads: int) -> None:
        for number in range(workloads):
            assert not found.selected("ns", selector, f"{number}")

    ask(1)
    with pytest.raises(OverBudgetError):
        ask(1_000)


def test_workloads_by_more_labels_than_are_indexed_are_found() -> None:
    found = index()
    names = [f"app-{number}" for number in range(4 * MAX_INDEXED_KEYS)]
    for number, name in enumerate(names):
        for replica in range(50):
            found.pod_changed(None, pod(1_000 * replica + number, {name: "x"}))
    for name in names:
        assert len(found.selected("ns", parse_selector(f"{name}=x"), name)) == 50
