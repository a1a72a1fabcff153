# SPDX-License-Identifier: Apache-2.0
"""Kinds of workload beside Deployments: their names, their pods, and who else scales them."""

from __future__ import annotations

from typing import Any

import pytest

from scaler.cluster.decode import Instant, decode_autoscaler, decode_pod, decode_workload
from scaler.cluster.kinds import DEPLOYMENTS, STATEFUL_SETS, Kinds, WorkloadKind
from scaler.model import ObjectRef, workload_ref

ROLLOUTS = WorkloadKind(
    group="argoproj.io", version="v1alpha1", plural="rollouts", kind="Rollout", owns_pods=False
)
CONTROLLERS = WorkloadKind(
    group="", version="v1", plural="replicationcontrollers", kind="ReplicationController"
)
NOW = Instant(wall_seconds=0.0, monotonic_seconds=0.0)
WEB = ObjectRef(namespace="ns", name="web")


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (DEPLOYMENTS, "/apis/apps/v1/namespaces/ns/deployments/web/scale"),
        (ROLLOUTS, "/apis/argoproj.io/v1alpha1/namespaces/ns/rollouts/web/scale"),
        (CONTROLLERS, "/api/v1/namespaces/ns/replicationcontrollers/web/scale"),
    ],
)
def test_where_the_scale_is(kind, path):
    assert kind.scale_path(WEB) == path


def test_workloads_of_two_kinds_are_two_although_they_have_one_name():
    stateful = ObjectRef(namespace="ns", name="web", kind=STATEFUL_SETS.ref_kind)
    assert {WEB: 1, stateful: 2}[stateful] == 2
    assert (str(WEB), WEB.title) == ("ns/web", "Deployment ns/web")
    assert (str(stateful), stateful.title) == (
        "ns/statefulsets.apps:web",
        "statefulsets.apps ns/web",
    )


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("web", "", "web"),
        ("deployments.apps:web", "", "web"),
        ("statefulsets.apps:web", "statefulsets.apps", "web"),
    ],
)
def test_a_workload_as_people_write_it(text, kind, name):
    assert workload_ref("ns", text) == ObjectRef(namespace="ns", name=name, kind=kind)


@pytest.mark.parametrize(
    ("kinds", "target", "found"),
    [
        pytest.param(
            Kinds([DEPLOYMENTS, STATEFUL_SETS]),
            {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web"},
            ObjectRef(namespace="ns", name="web", kind="statefulsets.apps"),
            id="a stateful set of ours",
        ),
        pytest.param(
            Kinds([STATEFUL_SETS]),
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            None,
            id="a deployment where they are not scaled",
        ),
        pytest.param(
            Kinds([ROLLOUTS]),
            {"apiVersion": "argoproj.io/v1beta7", "kind": "Rollout", "name": "web"},
            ObjectRef(namespace="ns", name="web", kind="rollouts.argoproj.io"),
            id="by whatever version",
        ),
    ],
)
def test_whom_an_autoscaler_targets(kinds, target, found):
    raw = {"metadata": {"namespace": "ns", "name": "h"}, "spec": {"scaleTargetRef": target}}
    decoded = decode_autoscaler(raw, kinds, "HorizontalPodAutoscaler")
    assert (decoded and decoded.target) == found


def decoded_selector(selector: object) -> Any:
    metadata = {
        "namespace": "ns",
        "name": "web",
        "uid": "u",
        "resourceVersion": "1",
        "annotations": {"gpu-scaler/enabled": "true"},
    }
    workload: Any = decode_workload({"metadata": metadata, "spec": {"selector": selector}}, "x.y")
    return workload.selector


@pytest.mark.parametrize(
    ("selector", "labels", "selected"),
    [
        ({"matchLabels": {"app": "web"}}, {"app": "web", "more": "x"}, True),
        ({"matchLabels": {"app": "web"}}, {"app": "other"}, False),
        ({"app": "web"}, {"app": "web"}, True),
        (
            {"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "b"]}]},
            {"app": "b"},
            True,
        ),
        (
            {
                "matchLabels": {"app": "web"},
                "matchExpressions": [{"key": "canary", "operator": "DoesNotExist"}],
            },
            {"app": "web", "canary": ""},
            False,
        ),
    ],
)
def test_the_selector_of_an_object(selector, labels, selected):
    assert decoded_selector(selector).matches(labels) is selected


@pytest.mark.parametrize("selector", [None, {}, {"matchLabels": {}}, "app=web", ["app"]])
def test_a_selector_that_selects_everything_is_none(selector):
    assert decoded_selector(selector) is None


def pod(owner: str | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "namespace": "ns",
        "name": "p",
        "uid": "p",
        "labels": {"app": "web"},
    }
    if owner is not None:
        metadata["ownerReferences"] = [{"kind": owner, "uid": "o", "controller": True}]
    return {"metadata": metadata, "spec": {}}


@pytest.mark.parametrize(
    ("owner", "options", "controller", "labels"),
    [
        ("ReplicaSet", {}, "o", {}),
        ("StatefulSet", {"controllers": ("ReplicaSet", "StatefulSet")}, "o", {}),
        ("DaemonSet", {"by_labels": True}, None, {"app": "web"}),
        (None, {"by_labels": True}, None, {"app": "web"}),
    ],
)
def test_what_is_kept_of_a_pod(owner, options, controller, labels):
    kept: Any = decode_pod(pod(owner), None, NOW, **options)
    assert (kept.controller_uid, kept.labels) == (controller, labels)


@pytest.mark.parametrize("owner", ["StatefulSet", "DaemonSet", None])
def test_a_pod_that_can_be_of_no_workload_is_not_kept(owner):
    assert decode_pod(pod(owner), None, NOW) is None
