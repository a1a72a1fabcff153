# SPDX-License-Identifier: Apache-2.0
"""Processes added up by the containers that hold a device, and what is not told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.attribution.shares import Share, shares
from exporter.model import Container, ProcessOwner, ProcessUse


def holder(pod="a", container="main"):
    return Container(namespace_name="default", pod_name=pod, container_name=container)


def use(pod="a", memory=100, percent=10.0, *, container="main", namespace="default"):
    owner = ProcessOwner(namespace_name=namespace, pod_name=pod, container_name=container)
    return ProcessUse(owner=owner, memory_used_bytes=memory, duty_cycle_percent=percent)


def share(memory, percent):
    return Share(memory_used_bytes=memory, duty_cycle_percent=percent)


A, B = holder("a"), holder("b")
SIDE = holder("a", "side")


@pytest.mark.parametrize(
    ("uses", "holders", "expected"),
    [
        pytest.param(None, [A, B], {}, id="not known"),
        pytest.param([], [A], {A: share(0, 0)}, id="no process: nothing used"),
        pytest.param(
            [use("a"), use("a", 50, 5.0), use("b", 7, 1.0)],
            [A, B],
            {A: share(150, 15.0), B: share(7, 1.0)},
            id="sums",
        ),
        pytest.param([use("a"), use("c")], [A], {A: share(100, 10.0)}, id="a pod without the GPU"),
        pytest.param([use("a", namespace="x")], [A], {A: share(0, 0)}, id="another namespace"),
        pytest.param([use(container=None)], [A, B], {A: share(100, 10), B: share(0, 0)}, id="only"),
        pytest.param([use(container=None)], [A, SIDE, B], {B: share(0, 0)}, id="one of two"),
        pytest.param(
            [use(container="side"), use()],
            [A, SIDE],
            {A: share(100, 10), SIDE: share(100, 10)},
            id="told apart",
        ),
        pytest.param([use(memory=None), use()], [A], {A: share(None, 20.0)}, id="memory unknown"),
        pytest.param([use(percent=None), use()], [A], {A: share(200, None)}, id="time unknown"),
        pytest.param([use(percent=80.0)] * 2, [A], {A: share(200, 100.0)}, id="not above the GPU"),
    ],
)
def test_shares(uses, holders, expected):
    assert shares(uses, holders, has_duty_cycle=True) == expected


def test_where_the_device_has_no_duty_cycle_its_holders_have_none():
    assert shares([], [A], has_duty_cycle=False) == {A: share(0, None)}


@given(
    st.lists(
        st.builds(
            use,
            st.sampled_from("abc"),
            st.integers(0, 10**12),
            container=st.sampled_from(["main", "side", None]),
        )
    ),
    st.sets(st.sampled_from([A, B, SIDE])),
)
def test_no_memory_is_counted_twice(uses, holders):
    found = shares(uses, holders, has_duty_cycle=True)
    total = sum(one.memory_used_bytes or 0 for one in found.values())
    assert total <= sum(one.memory_used_bytes or 0 for one in uses)
    assert found.keys() <= holders
