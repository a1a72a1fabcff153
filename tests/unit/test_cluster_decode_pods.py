# SPDX-License-Identifier: Apache-2.0
"""Raw pods to slim ones: when Ready, why unschedulable, whether they request a GPU, whose cost."""

from __future__ import annotations

from typing import Any

import pytest

from scaler.cluster.decode import (
    Instant,
    decode_pod,
)
from scaler.model import ObjectRef, PodPhase
from tests.unit.rawobjects import NOW, owned_by, pod, ready, slim


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        pytest.param([ready()], 940.0, id="a minute ago"),
        pytest.param([ready("2026-11-23T20:59:00.500000Z")], 940.5, id="with microseconds"),
        pytest.param([ready("2026-11-23T21:05:00Z")], 1000.0, id="in the future is now"),
        pytest.param([ready(None)], 1000.0, id="never said is now"),
        pytest.param([ready(status="False")], None, id="not ready"),
        pytest.param([ready(status="Unknown")], None, id="unknown is not ready"),
        pytest.param([], None, id="no condition"),
    ],
)
def test_ready_since_is_put_on_the_monotonic_clock(conditions, expected):
    decoded = slim(pod(conditions=conditions), None, NOW)
    assert decoded.state.ready_since_seconds == expected


@pytest.mark.parametrize("jump", [-7200.0, 7200.0])
def test_a_jump_of_the_wall_clock_ages_nothing(jump):
    first = slim(pod(conditions=[ready()]), None, NOW)
    later = Instant(wall_seconds=NOW.wall_seconds + jump, monotonic_seconds=1010.0)
    again = slim(pod(conditions=[ready()], podIP="10.0.0.1"), first, later)
    assert again.state.ready_since_seconds == 940.0


@pytest.mark.parametrize("wrong_by", [-7200.0, 7200.0])
def test_a_pod_seen_to_become_ready_is_as_young_as_that(wrong_by):
    """A wall clock that is wrong must not make a pod that has just begun count as serving."""
    first = slim(pod(conditions=[ready(status="False")]), None, NOW)
    later = Instant(wall_seconds=NOW.wall_seconds + wrong_by, monotonic_seconds=1010.0)
    again = slim(pod(conditions=[ready("2026-11-23T21:00:10Z")]), first, later)
    assert again.state.ready_since_seconds == 1010.0


def test_a_new_transition_counts_anew():
    first = slim(pod(conditions=[ready()]), None, NOW)
    later = Instant(wall_seconds=NOW.wall_seconds + 60, monotonic_seconds=1060.0)
    again = slim(pod(conditions=[ready("2026-11-23T21:00:30Z")]), first, later)
    assert again.state.ready_since_seconds == 1030.0


@pytest.mark.parametrize(
    ("condition", "since", "message"),
    [
        pytest.param(
            {"status": "False", "reason": "Unschedulable", "message": "0/3 nodes"},
            970.0,
            "0/3 nodes",
            id="no room",
        ),
        pytest.param(
            {"status": "False", "reason": "SchedulingGated", "message": "x"}, None, None, id="gated"
        ),
        pytest.param({"status": "True"}, None, None, id="scheduled"),
    ],
)
def test_unschedulable(condition, since, message):
    condition = {
        "type": "PodScheduled",
        "lastTransitionTime": "2026-11-23T20:59:30Z",
        **condition,
    }
    state = slim(pod(conditions=[condition], phase="Pending"), None, NOW).state
    assert (state.unschedulable_since_seconds, state.unschedulable_message) == (since, message)
    assert state.phase is PodPhase.PENDING


def test_a_pod_without_status_and_one_being_deleted():
    raw = pod()
    raw["status"] = {}
    raw["metadata"]["deletionTimestamp"] = "2026-11-23T20:59:30Z"
    state = slim(raw, None, NOW).state
    assert state.deleting
    assert state.phase is PodPhase.PENDING
    odd = slim(pod(phase="Dreaming"), None, NOW)
    assert odd.state.phase is PodPhase.UNKNOWN


def test_a_pod_of_no_replica_set_is_of_no_interest():
    raw = pod()
    raw["metadata"]["ownerReferences"] = owned_by("StatefulSet")
    assert slim(raw, None, NOW) is None


DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({}, (None, False)),
        ({DELETION_COST: "-2147483648"}, (-2147483648, False)),
        ({DELETION_COST: "-1", "gpu-scaler/marked": "true"}, (-1, True)),
        ({DELETION_COST: "0"}, (0, False)),
        # The API server admits none of these.
        ({DELETION_COST: "+1"}, (None, False)),
        ({DELETION_COST: "9" * 5000}, (None, False)),
    ],
)
def test_a_deletion_cost_and_whose_it_is(annotations, expected):
    found = slim(pod(annotations=annotations), None, NOW).state
    assert (found.deletion_cost, found.marked) == expected
    assert found.replica_set == "o1"


def at(seconds_later):
    return Instant(
        wall_seconds=NOW.wall_seconds + seconds_later,
        monotonic_seconds=NOW.monotonic_seconds + seconds_later,
    )


def seen(*steps):
    """Return the last of several states of one pod, each with the seconds at which it is seen."""
    found: Any = None
    for seconds, conditions, status in steps:
        found = slim(pod(conditions=conditions, **status), found, at(seconds))
    return found.state


SINCE = "2026-11-23T20:50:00Z"
"""600 s before NOW."""
OVERLOADED = [ready("2026-11-23T20:59:00Z", status="False")]
"""60 s before NOW."""


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([(0, [ready(SINCE)], {}), (0, OVERLOADED, {})], 540.0, id="served"),
        pytest.param([(0, [ready(SINCE)], {})], None, id="is Ready for the first time"),
        pytest.param([(0, OVERLOADED, {})], None, id="after a restart of ours nothing is known"),
        pytest.param(
            [(0, [], {}), (10, [ready()], {}), (15, [ready(None, "False")], {})],
            5.0,
            id="was Ready for a moment",
        ),
        pytest.param(
            [
                *[(0, [ready(SINCE)], {}), (0, OVERLOADED, {})],
                *[(5, [ready("2026-11-23T21:00:05Z")], {}), (7, [ready(None, "False")], {})],
            ],
            540.0,
            id="the longest time counts while it flaps",
        ),
        pytest.param(
            [
                *[(0, [ready(SINCE)], {}), (0, OVERLOADED, {})],
                (5, [ready("2026-11-23T21:00:05Z")], {}),
            ],
            540.0,
            id="still known once it is Ready again",
        ),
        pytest.param(
            [
                (0, [ready(SINCE)], {"containerStatuses": [{"restartCount": 1}]}),
                (0, OVERLOADED, {"containerStatuses": [{"restartCount": 2}]}),
            ],
            None,
            id="a container that was started again loads",
        ),
        pytest.param(
            [
                (0, [ready(SINCE)], {"containerStatuses": [{"restartCount": 1}]}),
                (0, OVERLOADED, {"containerStatuses": [{"restartCount": 1}]}),
            ],
            540.0,
            id="one that was started again long ago does not",
        ),
        pytest.param(
            [(0, [ready(SINCE)], {}), (0, [ready("2026-11-23T21:09:00Z", "Unknown")], {})],
            600.0,
            id="a time to come is now",
        ),
        pytest.param(
            [(0, [ready(SINCE)], {}), (0, [ready("2026-11-23T20:40:00Z", "False")], {})],
            600.0,
            id="an end before it was Ready is by another clock",
        ),
        pytest.param(
            [(0, [ready(SINCE)], {}), (0, [ready(SINCE, "False")], {})],
            600.0,
            id="an end that was not written",
        ),
        pytest.param([(0, [ready(SINCE)], {}), (9, [], {})], 609.0, id="the condition is gone"),
        pytest.param(
            [(0, [ready(SINCE)], {}), (9, [ready("2026-11-23T21:00:05Z")], {})],
            605.0,
            id="it flapped while nobody watched",
        ),
        pytest.param(
            [
                (0, [ready(SINCE)], {"containerStatuses": [{"restartCount": 1}]}),
                (
                    9,
                    [ready("2026-11-23T21:00:05Z")],
                    {"containerStatuses": [{"restartCount": 2}]},
                ),
            ],
            None,
            id="it was started again while nobody watched",
        ),
    ],
)
def test_how_long_a_pod_has_served_before(steps, expected):
    assert seen(*steps).served_seconds == expected


def resources(**parts):
    return {"name": "c", "resources": parts}


GPU = resources(limits={"nvidia.com/gpu": "1"})


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({"containers": [GPU]}, True, id="a limit"),
        pytest.param(
            {"containers": [resources(requests={"nvidia.com/gpu": "2"})]}, True, id="a request"
        ),
        pytest.param({"containers": [{"name": "a"}, GPU]}, True, id="of one container"),
        *(
            pytest.param({"containers": [resources(limits={name: "1"})]}, True, id=name)
            for name in ("nvidia.com/mig-1g.5gb", "nvidia.com/gpu.shared", "volcano.sh/vgpu-memory")
        ),
        pytest.param(
            {"containers": [{"name": "a"}], "initContainers": [{**GPU, "restartPolicy": "Always"}]},
            True,
            id="a sidecar",
        ),
        pytest.param(
            {"containers": [{"name": "a"}], "initContainers": [GPU]},
            False,
            id="only while it starts",
        ),
        pytest.param({"containers": [{"name": "a"}]}, False, id="nothing"),
        pytest.param(
            {"containers": [resources(limits={"cpu": "1", "memory": "1Gi", "hugepages-2Mi": "1"})]},
            False,
            id="no device",
        ),
        pytest.param({"containers": [resources(limits={"nvidia.com/gpu": "0"})]}, False, id="none"),
        pytest.param({"containers": [resources(limits=None)]}, False, id="null"),
        pytest.param(
            {"containers": [resources(limits={"example.com/a100": "1"})]},
            None,
            id="a device of a name that may be anything",
        ),
        pytest.param(
            {"containers": [{"name": "a"}], "resourceClaims": [{"name": "x"}]}, None, id="a claim"
        ),
        pytest.param({"containers": []}, None, id="no containers"),
    ],
)
def test_whether_a_pod_asks_for_a_gpu(spec, expected):
    assert slim(pod(spec=spec), None, NOW).state.requests_gpu is expected


def gpu_pod(owners: Any, *, gpus: str = "1", labels: Any = None) -> Any:
    found = pod(
        spec={"containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpu": gpus}}}]},
        labels=labels,
    )
    found["metadata"]["ownerReferences"] = owners
    return found


def owner(kind: str, name: str, version: str = "apps/v1") -> Any:
    return [
        {"kind": kind, "name": name, "apiVersion": version, "uid": "o1", "controller": True},
    ]


@pytest.mark.parametrize(
    ("owners", "labels", "workload"),
    [
        (owner("ReplicaSet", "web-6f7"), {"pod-template-hash": "6f7"}, ("ns", "web", "")),
        # Nothing says that a Deployment made it.
        (owner("ReplicaSet", "web-6f7"), {}, ("ns", "web-6f7", "replicasets.apps")),
        (owner("StatefulSet", "db"), {}, ("ns", "db", "statefulsets.apps")),
        (owner("Job", "train", "batch/v1"), {}, ("ns", "train", "jobs.batch")),
        (owner("Node", "node-1", "v1"), {}, ("ns", "node-1", "nodes")),
        ([], {}, ("ns", "thing", "pods")),
        # The API server takes any length.
        (owner("Job", "t" * 1_000_000, "batch/v1"), {}, ("ns", "thing", "pods")),
        (owner("J" * 1_000_000, "train", "batch/v1"), {}, ("ns", "thing", "pods")),
    ],
)
def test_the_workload_of_any_pod_that_requests_a_gpu(
    owners: Any, labels: Any, workload: tuple[str, str, str]
) -> None:
    found = decode_pod(gpu_pod(owners, labels=labels), None, NOW, all_gpu_pods=True)
    assert found is not None
    assert found.workload == ObjectRef(*workload)


def test_other_pods_are_watched_only_if_they_request_a_gpu_and_all_such_pods_are_wanted() -> None:
    assert decode_pod(gpu_pod([], gpus="0"), None, NOW, all_gpu_pods=True) is None
    assert decode_pod(gpu_pod([]), None, NOW) is None
