# SPDX-License-Identifier: Apache-2.0
"""The JSON that clients read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.kube.delegated_auth import AccessRequest
from scaler.kube.selectors import parse_selector
from scaler.metricsapi import documents
from scaler.metricsapi.documents import Item, quantity, value_list
from scaler.metricsapi.names import METRICS, Resource, ServedKind, catalog, parse_alias
from scaler.metricsapi.paths import ValueRequest
from scaler.quantities import parse_quantity

AT = 1764018000.9  # 2025-11-24T21:00:00.9Z
STATEFUL_SET = ServedKind(kind="StatefulSet", api_version="apps/v1")
CATALOG = catalog(
    {
        "deployments.apps": ServedKind(kind="Deployment", api_version="apps/v1"),
        "statefulsets.apps": STATEFUL_SET,
    },
    [parse_alias("gpu_util=requests_current")],
)


def asked(version="v1beta1", resource=Resource.PODS, namespace="ns"):
    return ValueRequest(
        version=version, resource=resource, namespace=namespace, name="*", metric="duty_cycle"
    )


@pytest.mark.parametrize(
    ("milli", "text"),
    [(0, "0"), (40_000, "40"), (85_500, "85500m"), (1, "1m"), (80_000_000_000_000, "80000000000")],
)
def test_quantities_are_whole_numbers_or_milli_units(milli, text):
    assert quantity(milli) == text


@given(st.integers(0, 2**60))
def test_a_quantity_is_read_as_it_was_written(milli):
    assert parse_quantity(quantity(milli)) * 1000 == milli


def test_a_list_of_v1beta1():
    item = Item(name="p", value_milli=85_000, sampled_unix_seconds=AT)
    assert value_list(asked(), [item]) == {
        "kind": "MetricValueList",
        "apiVersion": "custom.metrics.k8s.io/v1beta1",
        "metadata": {},
        "items": [
            {
                "describedObject": {
                    "kind": "Pod",
                    "namespace": "ns",
                    "name": "p",
                    "apiVersion": "/v1",
                },
                "metricName": "duty_cycle",
                "timestamp": "2025-11-24T21:00:00Z",
                "value": "85",
                "selector": None,
            }
        ],
    }


def test_a_list_of_v1beta2_with_a_window_and_a_selector():
    item = Item(name="n", value_milli=45_500, sampled_unix_seconds=AT, window_seconds=180)
    selector = parse_selector("uuid=GPU-1")
    (found,) = value_list(asked("v1beta2", Resource.NODES, ""), [item], selector)["items"]
    assert found == {
        "describedObject": {"kind": "Node", "name": "n", "apiVersion": "/v1"},
        "metric": {"name": "duty_cycle", "selector": {"matchLabels": {"uuid": "GPU-1"}}},
        "timestamp": "2025-11-24T21:00:00Z",
        "windowSeconds": 180,
        "value": "45500m",
    }


def test_a_workload_is_described_by_its_kind_and_group():
    item = Item(name="web", value_milli=1, sampled_unix_seconds=AT)
    (found,) = value_list(asked(resource="statefulsets.apps"), [item], kind=STATEFUL_SET)["items"]
    assert found["describedObject"] == {
        "kind": "StatefulSet",
        "namespace": "ns",
        "name": "web",
        "apiVersion": "apps/v1",
    }


def test_the_window_and_selector_of_v1beta1():
    item = Item(name="p", value_milli=0, sampled_unix_seconds=AT, window_seconds=0)
    (found,) = value_list(asked(), [item], parse_selector("uuid=GPU-1"))["items"]
    assert (found["window"], found["selector"]) == (0, {"matchLabels": {"uuid": "GPU-1"}})


def test_no_item_is_an_empty_list():
    assert value_list(asked(), [])["items"] == []


def test_all_names_of_the_contract_are_discovered():
    families = (
        "duty_cycle",
        "memory_total_bytes",
        "memory_used_bytes",
        "power_usage_milliwatts",
        "temperature_celsius",
        "container_duty_cycle",
        "container_memory_used_bytes",
    )
    names = {
        f"{prefix}{family}_{suffix}"
        for prefix in ("", "nvidia_gpu_")
        for family in families
        for suffix in ("current", "over_time")
    }
    of_servers = {
        f"{family}_{suffix}"
        for family in ("requests", "requests_waiting", "kv_cache_percent")
        for suffix in ("current", "over_time")
    }
    sums = {
        name.replace(f"_{suffix}", f"_sum_{suffix}")
        for name in names | of_servers
        for suffix in ("current", "over_time")
        if name.endswith(suffix) and not name.partition("nvidia_gpu_")[2].startswith("temp")
        if not name.startswith(("temp", "kv"))
    }
    assert set(METRICS) == names | of_servers | sums
    for version in ("v1beta1", "v1beta2"):
        listed = documents.resources(version, CATALOG)
        assert listed["groupVersion"] == f"custom.metrics.k8s.io/{version}"
        assert {(one["name"], one["namespaced"]) for one in listed["resources"]} == {
            (f"{resource}/{name}", resource == "pods")
            for resource in ("pods", "nodes", "namespaces")
            for name in names
        } | {(f"pods/{name}", True) for name in of_servers | {"gpu_util"}} | {
            (f"{kind}/{name}", True)
            for kind in ("deployments.apps", "statefulsets.apps")
            for name in {*METRICS, "gpu_util"}
        }
        assert all(one["verbs"] == ["get"] for one in listed["resources"])


def test_aggregated_discovery_says_the_same():
    (group,) = documents.aggregated_discovery("v2", CATALOG)["items"]
    assert group["metadata"]["name"] == "custom.metrics.k8s.io"
    assert [version["version"] for version in group["versions"]] == ["v1beta2", "v1beta1"]
    for version in group["versions"]:
        plain = documents.resources(version["version"], CATALOG)["resources"]
        assert {
            (f"{one['resource']}/{sub['subresource']}", one["scope"] == "Namespaced")
            for one in version["resources"]
            for sub in one["subresources"]
        } == {(one["name"], one["namespaced"]) for one in plain}


def test_the_group_prefers_v1beta2():
    (listed,) = documents.groups()["groups"]
    assert documents.group() == {"kind": "APIGroup", "apiVersion": "v1"} | listed
    assert listed["preferredVersion"]["version"] == "v1beta2"


@pytest.mark.parametrize(
    ("document", "code", "reason", "message"),
    [
        (
            documents.no_such_metric("pods", "m"),
            404,
            "NotFound",
            "the server could not find the metric m for pods",
        ),
        (
            documents.no_such_metric("pods", "m", "p"),
            404,
            "NotFound",
            "the server could not find the metric m for pods p",
        ),
        (
            documents.no_such_metric("pods", "m", "p", "k=v"),
            404,
            "NotFound",
            "the server could not find the metric m for pods p with selector k=v",
        ),
        (
            documents.UNABLE_TO_FETCH,
            500,
            "InternalError",
            "Internal error occurred: unable to fetch metrics",
        ),
        (
            documents.forbidden("eve", AccessRequest(path="/apis")),
            403,
            "Forbidden",
            'forbidden: User "eve" cannot get path "/apis"',
        ),
        (
            documents.forbidden(
                "eve",
                AccessRequest(
                    path="", resource="pods", subresource="m", name="*", namespace="ns"
                ),
            ),
            403,
            "Forbidden",
            'pods/m.custom.metrics.k8s.io "*" is forbidden: User "eve" cannot get resource'
            ' "pods/m" in API group "custom.metrics.k8s.io" in the namespace "ns"',
        ),
        (documents.UNAUTHORIZED, 401, "Unauthorized", "Unauthorized"),
    ],
)  # fmt: skip
def test_failures_are_a_status(document, code, reason, message):
    assert document == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
