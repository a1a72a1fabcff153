# SPDX-License-Identifier: Apache-2.0
"""Raw objects to slim ones: who owns what, since when, and where exporters answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.cluster import pod_facts
from scaler.cluster.decode import (
    decode_autoscaler,
    decode_pod,
    decode_replica_set,
    decode_workload,
)
from scaler.cluster.kinds import Kinds
from scaler.cluster.scales import Scale
from scaler.kube.fields import MalformedObject
from scaler.model import ObjectRef
from tests.unit.rawobjects import NOW, metadata, owned_by, pod, ready, slim


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


EXPORTER = {"app.kubernetes.io/name": "gpu-exporter"}


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
    ("kind", "target", "expected"),
    [
        pytest.param(
            "HorizontalPodAutoscaler",
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "HorizontalPodAutoscaler ns/thing",
            id="hpa of a deployment",
        ),
        pytest.param(
            "HorizontalPodAutoscaler",
            {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web"},
            None,
            id="hpa of a stateful set",
        ),
        pytest.param(
            "HorizontalPodAutoscaler",
            {"apiVersion": "example.com/v1", "kind": "Deployment", "name": "web"},
            None,
            id="hpa of somebody's own Deployment kind",
        ),
        pytest.param("ScaledObject", {"name": "web"}, "ScaledObject ns/thing", id="keda defaults"),
        pytest.param("ScaledObject", {"kind": "StatefulSet", "name": "web"}, None, id="keda other"),
    ],
)
def test_autoscalers(kind, target, expected):
    raw = {"metadata": metadata(), "spec": {"scaleTargetRef": target}}
    decoded = decode_autoscaler(raw, Kinds(), kind)
    assert (decoded and decoded.text) == expected
    assert decoded is None or decoded.target == WEB


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
        pytest.param(members(39), 10, 10, None, 4, id="one is being made again"),
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
