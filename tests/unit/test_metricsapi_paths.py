# SPDX-License-Identifier: Apache-2.0
"""Paths of requests: what they ask for, and what a caller must be allowed to do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.kube.delegated_auth import AccessRequest
from scaler.metricsapi.names import GROUP, Resource
from scaler.metricsapi.paths import (
    GroupListRequest,
    GroupRequest,
    ResourceListRequest,
    UnknownPath,
    ValueRequest,
    read_path,
)

API = "/apis/custom.metrics.k8s.io"


def values(resource, namespace, name, metric="m", version="v1beta1"):
    return ValueRequest(
        version=version, resource=resource, namespace=namespace, name=name, metric=metric
    )


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        pytest.param("/apis", GroupListRequest(), id="groups"),
        pytest.param("/apis/", GroupListRequest(), id="with a slash at the end"),
        pytest.param(API, GroupRequest(), id="group"),
        pytest.param(f"{API}/v1beta1", ResourceListRequest(version="v1beta1"), id="v1beta1"),
        pytest.param(f"{API}/v1beta2/", ResourceListRequest(version="v1beta2"), id="v1beta2"),
        pytest.param(
            f"{API}/v1beta1/namespaces/ns/pods/*/m", values(Resource.PODS, "ns", "*"), id="all pods"
        ),
        pytest.param(
            f"{API}/v1beta1/namespaces/ns/pods/%2A/m",
            values(Resource.PODS, "ns", "*"),
            id="all pods as the HPA asks",
        ),
        pytest.param(
            f"{API}/v1beta2/namespaces/ns/pods/p/m",
            values(Resource.PODS, "ns", "p", version="v1beta2"),
            id="a pod",
        ),
        pytest.param(f"{API}/v1beta1/nodes/n/m", values(Resource.NODES, "", "n"), id="a node"),
        pytest.param(f"{API}/v1beta1/nodes/*/m", values(Resource.NODES, "", "*"), id="all nodes"),
        pytest.param(
            f"{API}/v1beta1/namespaces/ns/metrics/m",
            values(Resource.NAMESPACES, "ns", "ns"),
            id="a namespace",
        ),
        pytest.param(
            f"{API}/v1beta1/namespaces/ns/pods/%252A/m",
            values(Resource.PODS, "ns", "%2A"),
            id="encoded twice, which is a name and not all pods",
        ),
        pytest.param(
            f"{API}/v1beta1/namespaces/ns/pods/..%2F%2A/m",
            values(Resource.PODS, "ns", "../*"),
            id="an encoded slash, which parts nothing",
        ),
        pytest.param(f"{API}%2Fv1beta1/nodes/n/m", UnknownPath(), id="an encoded slash before"),
        pytest.param(f"{API}/v1beta1/../v1beta1/nodes/n/m", UnknownPath(), id="a way up"),
        pytest.param(f"{API}/v1", UnknownPath(), id="another version"),
        pytest.param(f"{API}/v1/namespaces/ns/pods/p/m", UnknownPath(), id="of another version"),
        pytest.param(f"{API}/v1beta1/namespaces/ns/pods/p", UnknownPath(), id="no metric"),
        pytest.param(f"{API}/v1beta1/namespaces/ns/pods", UnknownPath(), id="no pod"),
        pytest.param(f"{API}/v1beta1/namespaces/ns", UnknownPath(), id="only a namespace"),
        pytest.param(f"{API}/v1beta1/namespaces", UnknownPath(), id="namespaces"),
        pytest.param(f"{API}/v1beta1/nodes/n", UnknownPath(), id="no metric of a node"),
        pytest.param(f"{API}/v1beta1/nodes", UnknownPath(), id="nodes"),
        pytest.param(f"{API}/v1beta1/pods/p/m", UnknownPath(), id="pods without a namespace"),
        pytest.param(f"{API}/v1beta1/namespaces/ns/nodes/n/m", UnknownPath(), id="nodes in one"),
        pytest.param(
            f"{API}/v1beta1/namespaces/ns/deployments.apps/web/m",
            values("deployments.apps", "ns", "web"),
            id="a workload",
        ),
        pytest.param(
            f"{API}/v1beta1/namespaces/ns/services/s/m",
            values("services", "ns", "s"),
            id="a kind that may not be served",
        ),
        pytest.param(
            f"{API}/v1beta1/deployments.apps/web/m", UnknownPath(), id="a workload of no namespace"
        ),
        pytest.param(f"{API}/v1beta1/namespaces/ns/namespaces/n/m", UnknownPath(), id="twice"),
        pytest.param(f"{API}/v1beta1/namespaces/ns/pods/p/m/x", UnknownPath(), id="too long"),
        pytest.param(f"{API}/v1beta1/namespaces/ns/pods//m", UnknownPath(), id="an empty name"),
        pytest.param(f"{API}/v1beta1/namespaces//pods/p/m", UnknownPath(), id="no namespace"),
        pytest.param("/", UnknownPath(), id="root"),
        pytest.param("/metrics", UnknownPath(), id="something else"),
        pytest.param("/apis/metrics.k8s.io/v1beta1", UnknownPath(), id="another group"),
        pytest.param("/openapi/v2", UnknownPath(), id="OpenAPI"),
    ],
)
def test_what_is_asked(path, asked):
    assert read_path(path)[0] == asked


@pytest.mark.parametrize(
    ("path", "attributes"),
    [
        pytest.param(
            f"{API}/v1beta1/namespaces/ns/pods/%2A/m",
            {
                "version": "v1beta1",
                "namespace": "ns",
                "resource": "pods",
                "name": "*",
                "subresource": "m",
            },
            id="pods",
        ),
        pytest.param(
            f"{API}/v1beta2/namespaces/ns/deployments.apps/web/m",
            {
                "version": "v1beta2",
                "namespace": "ns",
                "resource": "deployments.apps",
                "name": "web",
                "subresource": "m",
            },
            id="a workload",
        ),
        pytest.param(
            f"{API}/v1beta2/namespaces/ns/metrics/m",
            {"version": "v1beta2", "namespace": "ns", "resource": "metrics", "name": "m"},
            id="a namespace",
        ),
        pytest.param(
            f"{API}/v1beta1/nodes/n/m",
            {"version": "v1beta1", "resource": "nodes", "name": "n", "subresource": "m"},
            id="a node",
        ),
        pytest.param(
            f"{API}/v1beta1/namespaces/ns",
            {"version": "v1beta1", "namespace": "ns", "resource": "namespaces", "name": "ns"},
            id="the namespace itself",
        ),
        pytest.param(f"{API}/v1beta1", {}, id="resources"),
        pytest.param("/apis", {}, id="groups"),
        pytest.param("/openapi/v2", {}, id="elsewhere"),
    ],
)
def test_what_must_be_allowed(path, attributes):
    found = read_path(path)[1]
    group = GROUP if attributes else ""
    assert found == AccessRequest(path=path.replace("%2A", "*"), group=group, **attributes)


PARTS = st.sampled_from(
    [
        "apis",
        "custom.metrics.k8s.io",
        "v1beta1",
        "namespaces",
        "pods",
        "nodes",
        "metrics",
        "*",
        "x",
        "a.b",
    ]
)


@given(st.lists(PARTS | st.text(max_size=5)).map(lambda parts: "/" + "/".join(parts)))
def test_values_are_only_given_for_what_was_reviewed(path):
    asked, attributes = read_path(path)
    if isinstance(asked, ValueRequest):
        assert attributes.resource
        assert attributes.namespace == asked.namespace
        named = {attributes.name, attributes.subresource, attributes.namespace}
        assert {asked.metric, asked.name} <= named
