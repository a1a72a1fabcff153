# SPDX-License-Identifier: Apache-2.0
"""Groups of pods that are one replica: which pods are theirs, and when a group is Ready."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.cluster.decode import Instant, decode_pod
from scaler.cluster.groups import decode_member, group_states, of_whole_groups, pods_per_group
from scaler.kube.selectors import parse_selector
from scaler.model import GroupMember

if TYPE_CHECKING:
    from scaler.cluster.objects import Pod

NOW = Instant(wall_seconds=1000.0, monotonic_seconds=1000.0)
LWS = "leaderworkerset.sigs.k8s.io"


def metadata(group: object = "0", worker: object = "0", size: object = "2") -> dict[str, Any]:
    return {
        "namespace": "ns",
        "name": f"llm-{group}-{worker}",
        "uid": f"{group}/{worker}",
        "labels": {
            f"{LWS}/name": "llm",
            f"{LWS}/group-index": group,
            f"{LWS}/worker-index": worker,
        },
        "annotations": {f"{LWS}/size": size},
    }


def pod(
    group: str = "0",
    worker: str = "0",
    *,
    size: str = "2",
    ready_at: int | None = None,
    served: int | None = None,
    deleting: bool = False,
) -> Pod:
    """A pod that is Ready since a second, or that was for a while; or neither."""
    raw: dict[str, Any] = {
        "metadata": metadata(group, worker, size),
        "spec": {"containers": [{"name": "c"}], "nodeName": "n"},
        "status": {"phase": "Running", "conditions": []},
    }
    if deleting:
        raw["metadata"]["deletionTimestamp"] = "1970-01-01T00:16:00Z"

    def condition(status: str, at: int) -> None:
        when = f"1970-01-01T00:{at // 60:02}:{at % 60:02}Z"
        raw["status"]["conditions"] = [
            {"type": "Ready", "status": status, "lastTransitionTime": when}
        ]

    previous = None
    if served is not None:
        condition("True", 500)
        previous = decode_pod(raw, None, NOW, by_labels=True)
        condition("False", 500 + served)
    if ready_at is not None:
        condition("True", ready_at)
    found = decode_pod(raw, previous, NOW, by_labels=True)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (metadata(), GroupMember(group="0", size=2, leads=True)),
        (metadata("7", "3", "8"), GroupMember(group="7", size=8, leads=False)),
        (metadata(size="0"), None),
        (metadata(size="10001"), None),
        (metadata(size="9" * 40), None),
        (metadata(size="²"), None),
        (metadata(size="-1"), None),
        (metadata(size=2), None),
        (metadata(group=None), None),
        (metadata(worker=None), None),
        ({}, None),
    ],
)
def test_a_pods_place(raw, expected):
    assert decode_member(raw) == expected


@pytest.mark.parametrize(
    ("text", "leader", "worker", "other"),
    [
        (f"{LWS}/name=llm,{LWS}/worker-index=0", True, True, False),
        (f"{LWS}/name=llm", True, True, False),
        (f"{LWS}/name=else,{LWS}/worker-index=0", False, False, True),
    ],
)
def test_the_leaders_selector_finds_whole_groups(text, leader, worker, other):
    selector = of_whole_groups(parse_selector(text))
    assert selector is not None
    for found, labels in (
        (leader, metadata()["labels"]),
        (worker, metadata("0", "1")["labels"]),
        (other, {**metadata()["labels"], f"{LWS}/name": "else"}),
    ):
        assert selector.matches(labels) is found


def test_no_selector_finds_nothing():
    assert of_whole_groups(None) is None
    assert of_whole_groups(parse_selector(f"{LWS}/worker-index=0")) is None


@pytest.mark.parametrize(
    ("pods", "ready", "served"),
    [
        pytest.param(
            [pod(ready_at=700), pod(worker="1", ready_at=800)], [800, 800], [None] * 2, id="whole"
        ),
        pytest.param([pod(ready_at=700)], [None], [None], id="a worker is not there yet"),
        pytest.param(
            [pod(ready_at=700), pod(worker="1")], [None] * 2, [None] * 2, id="a worker loads"
        ),
        pytest.param(
            [pod(ready_at=700), pod(worker="1", served=90)],
            [None] * 2,
            [90, 90],
            id="a worker that served",
        ),
        pytest.param(
            [pod(served=40), pod(worker="1", served=90)], [None] * 2, [40, 40], id="both served"
        ),
        pytest.param(
            [pod(served=40), pod(worker="1")], [None] * 2, [None] * 2, id="one of them is new"
        ),
        pytest.param(
            [pod(ready_at=700), pod(worker="1", ready_at=800, deleting=True)],
            [None, 800],
            [None] * 2,
            id="a worker is going",
        ),
        pytest.param(
            [pod(ready_at=700), pod(worker="1", ready_at=800), pod("1"), pod("1", "1")],
            [800, 800, None, None],
            [None] * 4,
            id="a group does not wait for another",
        ),
        pytest.param(
            [pod(size="1", ready_at=700), pod("1", size="2", ready_at=700)],
            [700, None],
            [None] * 2,
            id="sizes change group by group",
        ),
    ],
)
def test_a_group_is_ready_when_all_of_it_is(pods, ready, served):
    states = group_states(pods)
    assert [state.ready_since_seconds for state in states] == ready
    assert [state.served_seconds for state in states] == served


def test_pods_without_the_labels_are_as_they_were():
    raw = {
        "metadata": {"namespace": "ns", "name": "a", "uid": "a"},
        "spec": {"containers": [{"name": "c"}]},
    }
    loose = decode_pod(raw, None, NOW, by_labels=True)
    assert loose is not None
    assert group_states([loose]) == (loose.state,)


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ([], None),
        ([pod(size="4")], 4),
        ([pod(size="4"), pod("1", size="2")], 2),
        ([pod(size="4"), pod("1", size="2", deleting=True)], 4),
    ],
)
def test_pods_per_replica(pods, expected):
    assert pods_per_group(group_states(pods)) == expected


@given(
    st.lists(
        st.builds(
            pod,
            st.sampled_from("012"),
            st.sampled_from("0123"),
            size=st.sampled_from("123"),
            ready_at=st.none() | st.integers(0, 900),
            deleting=st.booleans(),
        ),
        max_size=12,
    )
)
def test_no_pod_is_lost_and_those_of_one_group_are_ready_together(pods):
    states = group_states(pods)
    assert sorted(state.uid for state in states) == sorted(one.state.uid for one in pods)
    for group in "012":
        alive = {
            state.ready_since_seconds
            for state in states
            if state.member and state.member.group == group and not state.deleting
        }
        assert len(alive) <= 1
