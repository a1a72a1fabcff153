"""Paths of requests: what they ask for, and what a caller must be allowed to do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.metricsapi.names import Resource
from scaler.metricsapi.paths import (
    Attributes,
    GroupAsked,
    GroupsAsked,
    NothingThere,
    ResourcesAsked,
    ValuesAsked,
    read_path,
)

API = "/apis/custom.metrics.k8s.io"


def values(resource, namespace, name, metric="m", version="v1beta1"):
    return ValuesAsked(
        version=version, resource=resource, namespace=namespace, name=name, metric=metric
    )


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        pytest.param("/apis", GroupsAsked(), id="groups"),
        pytest.param("/apis/", GroupsAsked(), id="with a slash at the end"),
        pytest.param(API, GroupAsked(), id="group"),
        pytest.param(f"{API}/v1beta1", ResourcesAsked(version="v1beta1"), id="v1beta1"),
        pytest.param(f"{API}/v1beta2/", ResourcesAsked(version="v1beta2"), id="v1beta2"),
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
        pytest.param(f"{API}%2Fv1beta1/nodes/n/m", NothingThere(), id="an encoded slash before"),
        pytest.param(f"{API}/v1beta1/../v1beta1/nodes/n/m", NothingThere(), id="a way up"),
        pytest.param(f"{API}/v1", NothingThere(), id="another version"),
        pytest.param(f"{API}/v1/namespaces/ns/pods/p/m", NothingThere(), id="of another version"),
        pytest.param(f"{API}/v1beta1/namespaces/ns/pods/p", NothingThere(), id="no metric"),
        pytest.param(f"{API}/v1beta1/namespaces/ns/pods", NothingThere(), id="no pod"),
        pytest.param(f"{API}/v1beta1/namespaces/ns", NothingThere(), id="only a namespace"),
        pytest.param(f"{API}/v1beta1/namespaces", NothingThere(), id="namespaces"),
        pytest.param(f"{API}/v1beta1/nodes/n", NothingThere(), id="no metric of a node"),
        pytest.param(f"{API}/v1beta1/nodes", NothingThere(), id="nodes"),
        pytest.param(f"{API}/v1beta1/pods/p/m", NothingThere(), id="pods without a namespace"),
        pytest.param(f"{API}/v1beta1/namespaces/ns/nodes/n/m", NothingThere(), id="nodes in one"),
        pytest.param(f"{API}/v1beta1/namespaces/ns/services/s/m", NothingThere(), id="services"),
        pytest.param(f"{API}/v1beta1/namespaces/ns/pods/p/m/x", NothingThere(), id="too long"),
        pytest.param(f"{API}/v1beta1/namespaces/ns/pods//m", NothingThere(), id="an empty name"),
        pytest.param(f"{API}/v1beta1/namespaces//pods/p/m", NothingThere(), id="no namespace"),
        pytest.param("/", NothingThere(), id="root"),
        pytest.param("/metrics", NothingThere(), id="something else"),
        pytest.param("/apis/metrics.k8s.io/v1beta1", NothingThere(), id="another group"),
        pytest.param("/openapi/v2", NothingThere(), id="OpenAPI"),
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
    assert found == Attributes(path=path.replace("%2A", "*"), **attributes)


PARTS = st.sampled_from(
    ["apis", "custom.metrics.k8s.io", "v1beta1", "namespaces", "pods", "nodes", "metrics", "*", "x"]
)


@given(st.lists(PARTS | st.text(max_size=5)).map(lambda parts: "/" + "/".join(parts)))
def test_values_are_only_given_for_what_was_reviewed(path):
    asked, attributes = read_path(path)
    if isinstance(asked, ValuesAsked):
        assert attributes.resource
        assert attributes.namespace == asked.namespace
        named = {attributes.name, attributes.subresource, attributes.namespace}
        assert {asked.metric, asked.name} <= named
