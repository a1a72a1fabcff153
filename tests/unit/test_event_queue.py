# SPDX-License-Identifier: Apache-2.0
"""The queue of unsent events: each namespace has its share of places and turns."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.cluster.event_queue import EventQueue


async def taken(queue):
    return [await queue.get() for _ in range(len(queue))]


async def test_namespaces_take_turns_with_their_oldest_first():
    queue: EventQueue[Any] = EventQueue(10)
    for event in ("a1", "a2", "a3", "b1", "c1", "b2"):
        assert queue.put(event[0], event) is None
    assert await taken(queue) == ["a1", "b1", "c1", "a2", "b2", "a3"]


async def test_a_full_queue_drops_the_newest_of_the_namespace_with_most():
    queue: EventQueue[Any] = EventQueue(3)
    for event in ("a1", "a2", "a3"):
        assert queue.put("a", event) is None
    assert queue.put("a", "a4") == "a4"
    assert queue.put("b", "b1") == "a3"
    assert queue.put("c", "c1") == "a2"
    assert queue.put("d", "d1") == "d1"
    assert await taken(queue) == ["a1", "b1", "c1"]


@given(
    st.integers(1, 6),
    st.lists(st.one_of(st.none(), st.sampled_from("abcd")), max_size=60),
)
def test_every_event_is_sent_or_dropped_and_the_queue_keeps_its_bound(most, steps):
    async def run():
        queue: EventQueue[Any] = EventQueue(most)
        put: list[Any] = []
        out: list[Any] = []
        dropped: list[Any] = []
        for number, namespace in enumerate(steps):
            if namespace is None:
                if len(queue):
                    out.append(await queue.get())
                    queue.sent()
                continue
            put.append((namespace, number))
            lost = queue.put(namespace, (namespace, number))
            if lost is not None:
                dropped.append(lost)
            assert len(queue) <= most
        while len(queue):
            out.append(await queue.get())
            queue.sent()
        await queue.all_sent()
        assert sorted(out + dropped) == sorted(put)
        for namespace in "abcd":
            own = [event for event in out if event[0] == namespace]
            assert own == sorted(own)

    asyncio.run(run())


async def test_an_event_that_is_being_sent_is_not_yet_sent():
    queue: EventQueue[Any] = EventQueue(2)
    queue.put("a", "a1")
    await queue.get()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.all_sent(), timeout=0)
    queue.sent()
    await queue.all_sent()
