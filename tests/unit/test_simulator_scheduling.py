# SPDX-License-Identifier: Apache-2.0
"""Which simulated node a pod gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.scheduling import Plan, plan, pod_requests


def node(name, labels=None, *, unschedulable=False, **allocatable):
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"unschedulable": True} if unschedulable else {},
        "status": {
            "allocatable": {
                "cpu": "8",
                **{f"nvidia.com/{resource}": str(n) for resource, n in allocatable.items()},
            }
        },
    }


def pod(name, gpus=1, resource="nvidia.com/gpu", *, created="2026-01-01T00:00:00Z", **spec):
    limits = {resource: str(gpus)} if gpus else {}
    phase = spec.pop("phase", "Pending")
    metadata = {"name": name, "namespace": "a", "uid": name, "creationTimestamp": created}
    container = {"name": "main", "resources": {"limits": limits, "requests": limits}}
    return {
        "metadata": metadata | spec.pop("metadata", {}),
        "spec": {"containers": [container], **spec},
        "status": {"phase": phase},
    }


def test_a_pod_gets_the_node_with_most_gpus_free():
    nodes = [node("n1", gpu=2), node("n2", gpu=3)]
    decided = plan(nodes, [pod("p1"), pod("p2"), pod("p3")], {})
    assert decided.bindings == {"p1": "n2", "p2": "n1", "p3": "n2"}


def test_no_gpu_free():
    nodes = [node("n1", gpu=1), node("n2", gpu=1)]
    running = [pod("r1", nodeName="n1"), pod("r2", nodeName="n2")]
    decided = plan(nodes, [*running, pod("p")], {})
    message = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
    assert decided == Plan(unschedulable={"p": message})


def test_the_reasons_of_the_nodes_are_counted():
    nodes = [
        node("n1", {"zone": "b"}, gpu=1),
        node("n2", {"zone": "a"}, unschedulable=True, gpu=1),
        node("n3", {"zone": "a"}),
    ]
    decided = plan(nodes, [pod("p", nodeSelector={"zone": "a"})], {})
    assert decided.unschedulable == {
        "p": "0/3 nodes are available: 1 Insufficient nvidia.com/gpu, "
        "1 node(s) didn't match Pod's node affinity/selector, 1 node(s) were unschedulable."
    }


def test_without_nodes():
    assert plan([], [pod("p")], {}).unschedulable == {"p": "no nodes available to schedule pods"}


def test_the_oldest_pod_comes_first():
    young = pod("a-young", created="2026-01-01T00:00:09Z")
    old = pod("z-old", created="2026-01-01T00:00:01Z")
    decided = plan([node("n", gpu=1)], [young, old], {})
    assert decided.bindings == {"z-old": "n"}
    assert [*decided.unschedulable] == ["a-young"]


@pytest.mark.parametrize(
    ("holder", "fits"),
    [
        pytest.param(pod("h", nodeName="n"), False, id="running"),
        pytest.param(
            pod("h", nodeName="n", metadata={"deletionTimestamp": "2026"}), False, id="ending"
        ),
        pytest.param(pod("h", nodeName="n", phase="Failed"), True, id="failed"),
        pytest.param(pod("h", nodeName="n", phase="Succeeded"), True, id="finished"),
        pytest.param(pod("h", nodeName="elsewhere"), True, id="on a node that is not ours"),
        pytest.param(pod("h", 0, nodeName="n"), True, id="without GPUs"),
    ],
)
def test_who_holds_a_gpu(holder, fits):
    decided = plan([node("n", gpu=1)], [holder, pod("p")], {})
    assert ("p" in decided.bindings) == fits


def test_an_assumed_binding_holds_its_gpu():
    decided = plan([node("n", gpu=1)], [pod("bound"), pod("p")], {"bound": "n"})
    assert decided.bindings == {}
    assert [*decided.unschedulable] == ["p"]


@pytest.mark.parametrize(
    "waiting",
    [
        pytest.param(pod("p", metadata={"deletionTimestamp": "2026"}), id="about to end"),
        pytest.param(pod("p", schedulingGates=[{"name": "g"}]), id="gated"),
        pytest.param(pod("p", schedulerName="other"), id="of another scheduler"),
    ],
)
def test_pods_that_are_not_ours_to_schedule(waiting):
    assert plan([node("n", gpu=1)], [waiting], {}) == Plan()


def test_pods_without_gpus_go_anywhere():
    nodes = [node("n1"), node("n2")]
    decided = plan(nodes, [pod(f"p{n}", 0) for n in range(4)], {})
    assert sorted(decided.bindings.values()) == ["n1", "n1", "n2", "n2"]


def test_resources_are_kept_apart():
    nodes = [node("n1", **{"gpu.shared": 1}), node("n2", **{"mig-1g.10gb": 1})]
    shared = pod("s", resource="nvidia.com/gpu.shared")
    mig = pod("m", resource="nvidia.com/mig-1g.10gb")
    decided = plan(nodes, [shared, mig, pod("w")], {})
    assert decided.bindings == {"s": "n1", "m": "n2"}
    assert [*decided.unschedulable] == ["w"]


def test_requests_add_up_over_containers():
    wanted = pod("p", 2)
    wanted["spec"]["containers"].append({"name": "bare"})
    wanted["spec"]["containers"].append(
        {"name": "side", "resources": {"limits": {"nvidia.com/gpu": 1, "cpu": "500m"}}}
    )
    assert pod_requests(wanted) == {"nvidia.com/gpu": 3}


@given(
    gpus=st.lists(st.integers(0, 8), max_size=5), wanted=st.lists(st.integers(0, 4), max_size=12)
)
def test_no_node_is_given_more_than_it_has(gpus, wanted):
    nodes = [node(f"n{index}", gpu=number) for index, number in enumerate(gpus)]
    pods = [pod(f"p{index}", number) for index, number in enumerate(wanted)]
    decided = plan(nodes, pods, {})
    assert {*decided.bindings, *decided.unschedulable} == {one["metadata"]["uid"] for one in pods}
    assert not {*decided.bindings} & {*decided.unschedulable}
    for index, number in enumerate(gpus):
        held = [uid for uid, name in decided.bindings.items() if name == f"n{index}"]
        assert sum(wanted[int(uid[1:])] for uid in held) <= number
