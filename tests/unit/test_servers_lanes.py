# SPDX-License-Identifier: Apache-2.0
"""Which pod is asked next: namespaces take turns, and none has all places."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from scaler.readings.servers.lanes import Lane


def taken(lane: Lane) -> list[str]:
    found = []
    while (one := lane.take()) is not None:
        found.append(one[1])
    return found


def test_namespaces_take_turns_and_each_has_half_of_the_places():
    lane = Lane(4)
    for number in range(9):
        lane.put("crowd", f"crowd-{number}")
    assert taken(lane) == ["crowd-0", "crowd-1"]
    for name in ("one", "two", "three"):
        lane.put(name, name)
    assert taken(lane) == ["one", "two"]
    lane.leave("crowd")
    assert taken(lane) == ["crowd-2"]
    lane.leave("one")
    assert taken(lane) == ["three"]


def test_a_new_pod_is_the_first_of_its_namespace():
    lane = Lane(2)
    lane.put("a", "old")
    lane.put("a", "new", first=True)
    assert taken(lane) == ["new"]


def test_only_wanted_pods_stay():
    lane = Lane(8)
    for pod in ("a", "b"):
        lane.put("one", pod)
    lane.put("two", "c")
    lane.keep_only({"b"})
    assert taken(lane) == ["b"]
    lane.leave("one")
    assert lane.is_idle


@given(
    st.integers(1, 9),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), max_size=60),
    st.randoms(use_true_random=False),
)
def test_every_pod_is_asked_once_within_the_places(places, pods, random):
    lane = Lane(places)
    for namespace, number in pods:
        lane.put(namespace, f"{namespace}{number}")
    asked: list[str] = []
    busy: list[str] = []
    while True:
        while (one := lane.take()) is not None:
            busy.append(one[0])
            asked.append(one[1])
        assert len(busy) <= places
        assert max(Counter(busy).values(), default=0) <= max(1, places // 2)
        if not busy:
            break
        lane.leave(busy.pop(random.randrange(len(busy))))
    assert sorted(asked) == sorted({f"{namespace}{number}" for namespace, number in pods})
    assert lane.is_idle
