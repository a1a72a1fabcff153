# SPDX-License-Identifier: Apache-2.0
"""The pure parts of the embedded API: patches, selectors, rollouts, ages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from simulator.apiserver import rollout
from simulator.apiserver.patches import merge_patch, strategic_merge_patch
from simulator.apiserver.resources import PODS
from simulator.apiserver.selectors import (
    field_selector,
    label_selector,
    matches_selector,
    selector_text,
)
from simulator.apiserver.status import StatusError
from simulator.apiserver.tables import age


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [  # the examples of RFC 7386, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(target, patch, expected):
    assert merge_patch(target, patch) == expected


CONTAINERS = {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        pytest.param(
            CONTAINERS,
            {"containers": [{"name": "b", "image": "2"}]},
            {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]},
            id="an element is merged by its key",
        ),
        pytest.param(
            CONTAINERS,
            {"containers": [{"name": "a", "$patch": "delete"}]},
            {"containers": [{"name": "b", "image": "1"}]},
            id="an element is deleted",
        ),
        pytest.param(
            CONTAINERS,
            {
                "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
                "containers": [{"name": "c"}, {"name": "b", "$patch": "delete"}],
            },
            {"containers": [{"name": "c"}, {"name": "a", "image": "1"}]},
            id="the order is set",
        ),
        pytest.param(
            CONTAINERS,
            {"containers": [{"$patch": "replace"}, {"name": "z"}]},
            {"containers": [{"name": "z"}]},
            id="a list is replaced",
        ),
        pytest.param(
            {"conditions": [{"type": "Ready", "status": "False"}, {"type": "Other"}]},
            {"conditions": [{"type": "Ready", "status": "True"}]},
            {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other"}]},
            id="conditions merge by type",
        ),
        pytest.param({"args": ["a"]}, {"args": ["b"]}, {"args": ["b"]}, id="atomic list"),
        pytest.param(
            {"finalizers": ["a", "b"]},
            {"$deleteFromPrimitiveList/finalizers": ["a"]},
            {"finalizers": ["b"]},
            id="primitive list",
        ),
        pytest.param(
            {"strategy": {"type": "RollingUpdate", "rollingUpdate": {}}},
            {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}},
            {"strategy": {"type": "Recreate"}},
            id="retain keys",
        ),
        pytest.param(
            {"ports": [{"containerPort": 1}]},
            {"ports": [{"containerPort": 2}]},
            {"ports": [{"containerPort": 1}, {"containerPort": 2}]},
            id="container ports",
        ),
    ],
)
def test_strategic_merge_patch(target, patch, expected):
    assert strategic_merge_patch(target, patch) == expected


LABELS = {"app": "web", "tier": "front", "example.com/gpu": "h100"}


@pytest.mark.parametrize(
    ("text", "selects"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier=front", True),
        ("app=web,tier!=front", False),
        ("absent!=x", True),
        ("app in (web, api)", True),
        ("app notin (web,api),tier", False),
        ("absent notin (x)", True),
        ("example.com/gpu", True),
        ("!app", False),
        ("!absent , app=web", True),
        ("app=", False),
    ],
)
def test_label_selector(text, selects):
    assert label_selector(text)(LABELS) is selects


@pytest.mark.parametrize("text", ["app=web tier", "=x", "app in web", "a=b;c"])
def test_a_label_selector_that_cannot_be_parsed(text):
    with pytest.raises(StatusError) as caught:
        label_selector(text)
    assert caught.value.code == 400


@pytest.mark.parametrize(
    ("operator", "values", "selects"),
    [
        ("In", ["web"], True),
        ("NotIn", ["web"], False),
        ("Exists", None, True),
        ("DoesNotExist", None, False),
    ],
)
def test_selector_objects_agree_with_their_text(operator, values, selects):
    expression = {"key": "app", "operator": operator, **({"values": values} if values else {})}
    selector = {"matchLabels": {"tier": "front"}, "matchExpressions": [expression]}
    assert matches_selector(selector, LABELS) is selects
    assert label_selector(selector_text(selector))(LABELS) is selects
    assert not matches_selector({"matchLabels": {"tier": "back"}}, LABELS)


@pytest.mark.parametrize(
    ("text", "selects"),
    [
        ("spec.nodeName=n1", True),
        ("spec.nodeName=", False),
        ("spec.nodeName!=,status.phase!=Failed", True),
        ("metadata.name=p,status.phase=Running", False),
    ],
)
def test_field_selector(text, selects):
    pod = {"metadata": {"name": "p"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Pending"}}
    assert field_selector(text, PODS)(pod) is selects


def test_a_field_that_the_real_api_does_not_select_by():
    with pytest.raises(StatusError, match="field label not supported"):
        field_selector("spec.hostname=x", PODS)


def counts(uid, wanted, available):
    return rollout.ReplicaCounts(uid=uid, wanted=wanted, existing=wanted, available=available)


def limits(surge, unavailable):
    return {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable},
    }


@pytest.mark.parametrize(
    ("replicas", "strategy", "new", "old", "expected"),
    [
        pytest.param(4, limits(1, 0), (0, 0), [], {"new": 4}, id="nothing old"),
        pytest.param(4, limits(1, 0), (0, 0), [(4, 4)], {"new": 1, "old0": 4}, id="surge first"),
        pytest.param(4, limits(1, 0), (1, 0), [(4, 4)], {"new": 1, "old0": 4}, id="wait for it"),
        pytest.param(4, limits(1, 0), (1, 1), [(4, 4)], {"new": 1, "old0": 3}, id="then one less"),
        pytest.param(4, limits(0, 1), (0, 0), [(4, 4)], {"new": 0, "old0": 3}, id="no surge"),
        pytest.param(
            4, limits("25%", "25%"), (0, 0), [(4, 4)], {"new": 1, "old0": 3}, id="the defaults"
        ),
        pytest.param(
            3, limits("25%", "25%"), (0, 0), [(3, 3)], {"new": 1, "old0": 3}, id="rounding"
        ),
        pytest.param(
            4, limits(1, 1), (1, 0), [(4, 2)], {"new": 1, "old0": 3}, id="broken old pods go first"
        ),
        pytest.param(2, limits(0, 0), (0, 0), [(2, 2)], {"new": 0, "old0": 1}, id="never stuck"),
        pytest.param(
            4, {"type": "Recreate"}, (0, 0), [(4, 4)], {"new": 0, "old0": 0}, id="recreate: stop"
        ),
        pytest.param(
            4, {"type": "Recreate"}, (0, 0), [(0, 0)], {"new": 4, "old0": 0}, id="recreate: start"
        ),
        pytest.param(1, limits(1, 0), (3, 3), [], {"new": 1}, id="scaled down"),
    ],
)
def test_a_step_of_a_rollout(replicas, strategy, new, old, expected):
    plan = rollout.plan(
        replicas=replicas,
        strategy=strategy,
        new=counts("new", *new),
        old=[counts(f"old{i}", *pair) for i, pair in enumerate(old)],
    )
    assert plan == expected


@pytest.mark.parametrize(
    ("elapsed", "text"),
    [
        (timedelta(seconds=0), "0s"),
        (timedelta(seconds=119), "119s"),
        (timedelta(minutes=3, seconds=5), "3m5s"),
        (timedelta(minutes=9), "9m"),
        (timedelta(minutes=100), "100m"),
        (timedelta(hours=3, minutes=12), "3h12m"),
        (timedelta(hours=30), "30h"),
        (timedelta(days=3, hours=2), "3d2h"),
        (timedelta(days=40), "40d"),
        (timedelta(days=800), "2y70d"),
    ],
)
def test_ages_as_kubectl_shortens_them(elapsed, text):
    now = datetime(2026, 11, 23, 21, 0, tzinfo=UTC)
    assert age((now - elapsed).isoformat(), now) == text
    assert age(None, now) == "<unknown>"
