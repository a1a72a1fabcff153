# SPDX-License-Identifier: Apache-2.0
"""Whose query is asked first where there is not time for all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scaler.readings.prometheus.query_order import in_fair_order

SLOW = [("crowd", f"slow{number:03}") for number in range(100)]
_QUERIES = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from([f"q{n}" for n in range(9)]))
)


def test_a_namespace_with_a_hundred_queries_keeps_nobody_waiting():
    found = in_fair_order([*SLOW, ("team", "mine")], begun_seconds={}, timed_out=())
    assert "mine" in found[:2]


def test_what_timed_out_comes_after_what_answers_whoever_was_asked_last():
    begun = {query: 1.0 for _, query in SLOW} | {"mine": 5.0, "yours": 6.0}
    found = in_fair_order(
        [*SLOW, ("team", "mine"), ("team", "yours")],
        begun_seconds=begun,
        timed_out={query for _, query in SLOW},
    )
    assert found[:2] == ["mine", "yours"]


def test_within_a_namespace_each_comes_first_in_its_turn():
    found = in_fair_order(
        [("team", "a"), ("team", "b")], begun_seconds={"a": 7.0, "b": 3.0}, timed_out=()
    )
    assert found == ["b", "a"]


@given(_QUERIES, st.dictionaries(st.sampled_from(["q0", "q1", "q2"]), st.floats(0, 9)))
def test_each_is_asked_once_and_no_namespace_twice_before_another(queries, begun):
    found = in_fair_order(queries, begun_seconds=begun, timed_out=())
    assert sorted(found) == sorted({query for _, query in queries})
    namespaces = {namespace for namespace, _ in queries}
    firsts = found[: len(namespaces)]
    assert all(
        {query for where, query in queries if where == one} & set(firsts) for one in namespaces
    )
