# SPDX-License-Identifier: Apache-2.0
"""Raw objects to slim ones: who owns what, since when, and where exporters answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.cluster import pod_facts
from scaler.cluster.decode import (
    Instant,
    decode_hpa,
    decode_pod,
    decode_replica_set,
    decode_scaled_object,
    decode_workload,
)
from scaler.cluster.kinds import Kinds
from scaler.cluster.scales import Scale
from scaler.kube.fields import MalformedObject
from scaler.model import ObjectRef, PodPhase

# 2026-11-23T21:00:00Z is 1795467600.
NOW = Instant(wall_seconds=1795467600.0, monotonic_seconds=1000.0)


def slim(raw, previous, now) -> Any:
    return decode_pod(raw, previous, now)


def metadata(**more):
    return {"namespace": "ns", "name": "thing", "uid": "u1", "resourceVersion": "7", **more}


def owned_by(kind, uid="o1", *, controller=True):
    return [{"kind": kind, "name": "owner", "uid": uid, "controller": controller}]


def pod(*, conditions=(), labels=None, annotations=None, spec=None, **status):
    return {
        "metadata": metadata(
            ownerReferences=owned_by("ReplicaSet"),
            labels=labels or {},
            annotations=annotations or {},
        ),
        "spec": {"nodeName": "node-1", "containers": [{"name": "c"}], **(spec or {})},
        "status": {"phase": "Running", "conditions": list(conditions), **status},
    }


def ready(since="2026-11-23T20:59:00Z", status="True"):
    return {"type": "Ready", "status": status, "lastTransitionTime": since}


def test_a_deployment_keeps_its_own_annotations_only():
    raw = {
        "metadata": metadata(
            annotations={"gpu-scaler/enabled": "false", "kubectl.kubernetes.io/x": "large"}
        ),
        "spec": {"replicas": 0},
    }
    deployment: Any = decode_workload(raw)
    assert deployment.annotations == {"gpu-scaler/enabled": "false"}
    assert deployment.spec_replicas == 0
    assert deployment.created_unix_seconds is None
    created = raw["metadata"] | {"creationTimestamp": "2026-11-23T20:59:00Z"}
    dated: Any = decode_workload(raw | {"metadata": created})
    assert dated.created_unix_seconds == 1_795_467_540
    defaulted: Any = decode_workload({**raw, "spec": {}})
    assert defaulted.spec_replicas == 1


@pytest.mark.parametrize("kind", ["", "statefulsets.apps", "servers.example.com"])
def test_a_workload_that_is_being_deleted_is_left_alone(kind):
    there = metadata(annotations={"gpu-scaler/enabled": "true"})
    assert decode_workload({"metadata": there, "spec": {}}, kind) is not None
    leaving = there | {"deletionTimestamp": "2026-11-23T21:00:00Z"}
    assert decode_workload({"metadata": leaving, "spec": {}}, kind) is None


def custom(selector, **spec):
    return {
        "metadata": metadata(annotations={"gpu-scaler/enabled": "true"}),
        "spec": {"selector": selector, **spec},
    }


@pytest.mark.parametrize(
    ("operator", "values"),
    [
        *[("Gt", values) for values in (["1"], [], None, ["1", "2"], ["x"])],
        *[("Lt", ["1"]), ("gt", ["1"]), ("", []), (None, []), (3, []), (["In"], ["a"])],
        *[("In", []), ("In", None), ("NotIn", []), ("In", [1]), ("In", [["a"]]), ("In", 7)],
        *[("Exists", ["a"]), ("DoesNotExist", ["a"])],
    ],
)
def test_a_selector_that_no_workload_may_have_is_refused(operator, values):
    expression = {"key": "app", "operator": operator, "values": values}
    with pytest.raises((ValueError, TypeError)):
        decode_workload(custom({"matchExpressions": [expression]}), "servers.example.com")


def test_a_selector_without_end_is_refused():
    labels = {f"label-{n}": "x" for n in range(65)}
    with pytest.raises(MalformedObject, match="more than 64"):
        decode_workload(custom({"matchLabels": labels}), "servers.example.com")


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("", 1),
        ("statefulsets.apps", 1),
        ("rollouts.argoproj.io", 1),
        ("servers.example.com", None),
    ],
)
def test_the_count_of_a_spec_without_one(kind, count):
    """Other kinds may have it anywhere: their scale says where."""
    found: Any = decode_workload(custom({"matchLabels": {"app": "web"}}), kind)
    assert found.spec_replicas == count


@pytest.mark.parametrize("count", ["3", 1.5, True, -1, 2**31, {"min": 1}, [2]])
def test_what_is_no_count_is_unknown(count):
    found: Any = decode_workload(custom(None, replicas=count), "servers.example.com")
    assert found.spec_replicas is None


@pytest.mark.parametrize(
    "annotations",
    [
        pytest.param(None, id="no annotations"),
        pytest.param({"gpu-scaler/max-replicas": "3"}, id="other annotations only"),
    ],
)
def test_a_deployment_without_the_annotation_is_of_no_interest(annotations):
    assert decode_workload({"metadata": metadata(annotations=annotations), "spec": {}}) is None


@pytest.mark.parametrize(
    ("owners", "expected"),
    [
        pytest.param(owned_by("Deployment", "d1"), "d1", id="controlled by a deployment"),
        pytest.param(owned_by("Deployment", controller=False), None, id="owner, not controller"),
        pytest.param(owned_by("Rollout"), None, id="another controller"),
        pytest.param(None, None, id="no owner"),
    ],
)
def test_replica_sets_belong_by_controller_uid(owners, expected):
    replica_set = decode_replica_set({"metadata": metadata(ownerReferences=owners)})
    assert (replica_set and replica_set.owner_uid) == expected


def test_replica_sets_of_another_owner():
    raw = {"metadata": metadata(ownerReferences=owned_by("Rollout", "r1"))}
    replica_set = decode_replica_set(raw, ["Deployment", "Rollout"])
    assert replica_set is not None
    assert replica_set.owner_uid == "r1"


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


EXPORTER = {"app.kubernetes.io/name": "gpu-exporter"}


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


def exporter(port=9445, namespace="gpu-exporter", **more):
    spec = {"containers": [{}, {"ports": [{"name": "metrics", "containerPort": port}]}]}
    raw = pod(labels=EXPORTER, spec=spec, **{"podIP": "10.1.2.3", **more})
    raw["metadata"]["namespace"] = namespace
    return raw


@pytest.mark.parametrize(
    ("raw", "url"),
    [
        pytest.param(exporter(), "http://10.1.2.3:9445/metrics", id="defaults"),
        pytest.param(exporter(podIP="fd00::7"), "http://[fd00::7]:9445/metrics", id="ipv6"),
        pytest.param(
            exporter(
                annotations={"prometheus.io/scheme": "https", "prometheus.io/path": "gpu/metrics"}
            ),
            "https://10.1.2.3:9445/gpu/metrics",
            id="annotations",
        ),
        pytest.param(exporter(podIP=None), None, id="no address yet"),
        pytest.param(pod(labels=EXPORTER, podIP="10.1.2.3"), None, id="no port named metrics"),
        pytest.param(exporter(namespace="ns"), None, id="somebody's pod that says it is one"),
    ],
)
def test_exporter_endpoint(raw, url):
    decoded = slim(raw, None, NOW)
    assert (decoded.exporter and decoded.exporter.url) == url


def test_an_exporter_needs_no_replica_set_and_ends_with_its_deletion():
    raw = exporter(conditions=[ready()])
    raw["metadata"]["ownerReferences"] = owned_by("DaemonSet")
    decoded = slim(raw, None, NOW)
    assert decoded.exporter.ready
    assert decoded.controller_uid is None
    raw["metadata"]["deletionTimestamp"] = "2026-11-23T20:59:30Z"
    assert slim(raw, None, NOW).exporter is None


WEB = ObjectRef(namespace="ns", name="web")


@pytest.mark.parametrize(
    ("decode", "target", "expected"),
    [
        pytest.param(
            decode_hpa,
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "HorizontalPodAutoscaler ns/thing",
            id="hpa of a deployment",
        ),
        pytest.param(
            decode_hpa,
            {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web"},
            None,
            id="hpa of a stateful set",
        ),
        pytest.param(
            decode_hpa,
            {"apiVersion": "example.com/v1", "kind": "Deployment", "name": "web"},
            None,
            id="hpa of somebody's own Deployment kind",
        ),
        pytest.param(
            decode_scaled_object, {"name": "web"}, "ScaledObject ns/thing", id="keda defaults"
        ),
        pytest.param(
            decode_scaled_object, {"kind": "StatefulSet", "name": "web"}, None, id="keda other"
        ),
    ],
)
def test_autoscalers(decode, target, expected):
    decoded = decode({"metadata": metadata(), "spec": {"scaleTargetRef": target}}, Kinds())
    assert (decoded and decoded.text) == expected
    assert decoded is None or decoded.target == WEB


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


def members(count, *, is_ready=True, kind="Group", **more):
    conditions = [ready()] if is_ready else []
    raws = [pod(conditions=conditions, **more) for _ in range(count)]
    for raw in raws:
        raw["metadata"]["ownerReferences"] = owned_by(kind)
    return [decode_pod(raw, None, NOW, by_labels=True) for raw in raws]


def sized(pods, asked, found, known):
    scale = Scale(replicas=asked, selector=None, found_replicas=found)
    return pod_facts.group_size(pods, scale, known)


def size(pods, replicas):
    return pod_facts.GroupSize(pods=pods, replicas=replicas)


@pytest.mark.parametrize(
    ("pods", "asked", "found", "known", "expected"),
    [
        pytest.param(members(40), 10, 10, None, 4, id="groups of four"),
        pytest.param(members(10), 10, 10, None, 1, id="pods"),
        pytest.param(members(39), 10, 10, None, 4, id="one is being made anew"),
        pytest.param(members(5), 10, 10, None, 1, id="never less than one"),
        pytest.param(members(8, kind="ReplicaSet"), 4, 4, None, 1, id="a ReplicaSet's rollout"),
        pytest.param(
            [*members(40), *members(10, is_ready=False)], 20, 20, (4, 10), 4, id="groups start"
        ),
        pytest.param([*members(4), *members(4, is_ready=False)], 2, 2, None, 4, id="seen starting"),
        pytest.param(members(20), 10, 10, (4, 10), 2, id="groups have become smaller"),
        pytest.param(members(40), 10, 10, (1, 10), 4, id="only the leaders were there at first"),
        pytest.param([*members(8), *members(4, phase="Failed")], 2, 2, None, 4, id="ended ones"),
        pytest.param([], 10, 10, (4, 10), 4, id="no pods"),
        pytest.param([], 10, 10, None, None, id="nothing known"),
        pytest.param(members(40), 0, 10, (4, 10), 4, id="none asked for"),
        pytest.param(members(8), 2, None, None, 4, id="a scale that does not count"),
        pytest.param(members(10), 5, None, (1, 10), 1, id="nothing of a scale-down has gone yet"),
        pytest.param(members(8), 2, None, (1, 10), 1, id="some of a scale-down has gone"),
        pytest.param(members(40), 20, None, (4, 10), 4, id="nothing of a scale-up has come yet"),
        pytest.param(members(60), 20, None, (4, 10), 4, id="some of a scale-up has come"),
        pytest.param(members(8), 8, 4, (1, 4), 1, id="a scale that counts late"),
        pytest.param(members(10), 10, 2, (1, 10), 1, id="a scale that counts those updated"),
        pytest.param(members(8), 4, 8, (1, 4), 1, id="a scale that counts a rollout's surge"),
        pytest.param(members(7), 4, 4, (1, 4), 1, id="a rollout's surge"),
    ],
)
def test_how_many_pods_a_replica_is(pods, asked, found, known, expected):
    before = None if known is None else size(*known)
    after = sized(pods, asked, found, before)
    assert (None if after is None else after.pods) == expected


@given(st.integers(1, 6), st.lists(st.integers(1, 12), min_size=1, max_size=6), st.booleans())
def test_a_size_stands_while_pods_come_and_go(pods, counts, says_found):
    there = counts[0] * pods
    known = sized(members(there), counts[0], counts[0], None)
    for asked in counts[1:]:
        goal = asked * pods
        for now in range(there, goal, 1 if goal > there else -1):
            known = sized(members(now), asked, -(-now // pods) if says_found else None, known)
            assert known is not None
            assert known.pods == pods
        there = goal
        known = sized(members(goal), asked, asked, known)
        assert known == size(pods, asked)


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
