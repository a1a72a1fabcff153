# SPDX-License-Identifier: Apache-2.0
"""Label selectors as they come in queries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.kube.selectors import EVERYTHING, SelectorError, parse_selector

LABELS = {"app": "web", "tier": "a", "empty": "", "number": "5", "x.io/y": "1"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        pytest.param("", True, id="nothing asked"),
        pytest.param("  ", True, id="blanks"),
        pytest.param("app=web", True, id="equal"),
        pytest.param("app==web", True, id="equal, written twice"),
        pytest.param(" app = web ", True, id="with blanks"),
        pytest.param("app=other", False, id="another value"),
        pytest.param("none=web", False, id="another key"),
        pytest.param("x.io/y=1", True, id="key with a prefix"),
        pytest.param("app=web,tier=a", True, id="both"),
        pytest.param("app=web,tier=b", False, id="one of two"),
        pytest.param("empty=", True, id="the empty value"),
        pytest.param("empty=,app=web", True, id="the empty value first"),
        pytest.param("none=", False, id="the empty value of no label"),
        pytest.param("app!=web", False, id="not equal"),
        pytest.param("none!=web", True, id="not equal, no label"),
        pytest.param("app", True, id="exists"),
        pytest.param("none", False, id="does not exist"),
        pytest.param("!none", True, id="wanted absent"),
        pytest.param("! app", False, id="wanted absent, is there"),
        pytest.param("app in (web, other)", True, id="in"),
        pytest.param("app in (other)", False, id="not in the set"),
        pytest.param("empty in ()", True, id="in the set of the empty value"),
        pytest.param("empty in (a,)", True, id="the empty value last"),
        pytest.param("tier notin (a,b),app", False, id="notin"),
        pytest.param("none notin (a)", True, id="notin, no label"),
        pytest.param("number>4", True, id="greater"),
        pytest.param("number > 5", False, id="not greater"),
        pytest.param("number<6,number>4", True, id="between"),
        pytest.param("app>4", False, id="no number"),
        pytest.param("none<4", False, id="less, no label"),
    ],
)
def test_matches(text, matches):
    assert parse_selector(text).matches(LABELS) is matches


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("=web", id="no key"),
        pytest.param("app=web,", id="comma at the end"),
        pytest.param(",app", id="comma first"),
        pytest.param("app=web tier=a", id="no comma"),
        pytest.param("app web", id="two words"),
        pytest.param("app in web", id="in without a set"),
        pytest.param("app in (web", id="an open set"),
        pytest.param("app in (a b)", id="two words in a set"),
        pytest.param("app=!", id="no value"),
        pytest.param("app>web", id="greater than a word"),
        pytest.param("app>", id="greater than nothing"),
        pytest.param("-app=web", id="wrong key"),
        pytest.param("app=we*b", id="wrong value"),
        pytest.param("app=" + "a" * 64, id="too long a value"),
        pytest.param("!", id="only a sign"),
        pytest.param("()", id="only a set"),
        pytest.param("a=b," * 5000 + "a=b", id="too long"),
        pytest.param("!a," * 64 + "!a", id="too many requirements"),
    ],
)
def test_what_is_no_selector(text):
    with pytest.raises(SelectorError):
        parse_selector(text)


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("", None),
        ("uuid=GPU-1", {"matchLabels": {"uuid": "GPU-1"}}),
        (
            "uuid in (b,a),!x,y,z!=1",
            {
                "matchExpressions": [
                    {"key": "uuid", "operator": "In", "values": ["a", "b"]},
                    {"key": "x", "operator": "DoesNotExist"},
                    {"key": "y", "operator": "Exists"},
                    {"key": "z", "operator": "NotIn", "values": ["1"]},
                ]
            },
        ),
    ],
)
def test_as_a_label_selector(text, document):
    assert parse_selector(text).document() == document


@given(st.text(max_size=40) | st.text(alphabet="ab=!<>(), innot,", max_size=30))
def test_no_text_raises_anything_else(text):
    try:
        selector = parse_selector(text)
    except SelectorError:
        return
    assert selector.matches(LABELS) in (True, False)
    assert (selector.document() is None) is (not text.strip())


VALUES = st.sampled_from(["", "a", "b", "c-1"])


@given(st.dictionaries(st.sampled_from("xyz"), VALUES), st.sets(VALUES, min_size=1))
def test_in_and_notin_are_opposites(labels, values):
    listed = ",".join(values)
    within = parse_selector(f"x in ({listed})").matches(labels)
    without = parse_selector(f"x notin ({listed})").matches(labels)
    assert within is not without
    assert parse_selector("x").matches(labels) is not parse_selector("!x").matches(labels)
    assert EVERYTHING.matches(labels)
