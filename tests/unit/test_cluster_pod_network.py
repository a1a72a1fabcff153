# SPDX-License-Identifier: Apache-2.0
"""A pod's address and declared ports, from raw objects of any shape."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.cluster.decode import Instant, decode_pod
from scaler.cluster.pod_network import (
    MAX_ADDRESS,
    MAX_NAME,
    MAX_PORTS,
    SCRAPE_ANNOTATIONS,
    pod_address,
    pod_network,
)
from scaler.model import ContainerPort, PodNetwork

if TYPE_CHECKING:
    from scaler.cluster.objects import Pod

NOW = Instant(wall_seconds=1795467600.0, monotonic_seconds=1000.0)
METRICS = {"name": "metrics", "containerPort": 8000}


def raw(spec: dict[str, Any] | None = None, annotations: Any = None, **status: Any) -> Any:
    return {
        "metadata": {
            "namespace": "ns",
            "name": "pod",
            "uid": "u1",
            "annotations": annotations,
            "ownerReferences": [{"kind": "ReplicaSet", "uid": "o1", "controller": True}],
        },
        "spec": {"containers": [{"name": "c", "ports": [dict(METRICS)]}], **(spec or {})},
        "status": {"phase": "Running", **status},
    }


def decoded(thing: Any, previous: Pod | None = None) -> Pod:
    pod = decode_pod(thing, previous, NOW)
    assert pod is not None
    return pod


def network(*containers: Any, annotations: Any = None, **spec: Any) -> PodNetwork:
    return pod_network({"annotations": annotations}, {"containers": list(containers), **spec})


def with_ports(*ports: Any) -> dict[str, Any]:
    return {"name": "c", "ports": list(ports)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("fd00::7", "fd00::7"),
        *[(odd, None) for odd in (None, "", "web.example", "10.1.2.3:80", "10.1.2", 7, ["::1"])],
        pytest.param("fe80::1%" + "x" * MAX_ADDRESS, None, id="too long"),
    ],
)
@pytest.mark.parametrize("known", [None, "10.9.9.9"])
def test_the_address_is_an_ip_or_unknown(text: object, expected: str | None, known: str) -> None:
    assert pod_address({"podIP": text}, known) == expected


def test_ports_of_containers_and_sidecars_by_tcp() -> None:
    sidecar = {"restartPolicy": "Always", "ports": [{"name": "http", "containerPort": 9000}]}
    found = network(
        with_ports(METRICS, {"containerPort": 8001, "protocol": "TCP"}, METRICS),
        with_ports({"name": "media", "containerPort": 5004, "protocol": "UDP"}),
        initContainers=[sidecar, with_ports({"name": "early", "containerPort": 1})],
    )
    assert found == PodNetwork(
        ports=(
            ContainerPort("metrics", 8000),
            ContainerPort("", 8001),
            ContainerPort("http", 9000),
        )
    )


def test_host_network_and_the_annotations_for_prometheus() -> None:
    annotations = {
        "prometheus.io/port": "8000",
        "prometheus.io/path": "/own",
        "prometheus.io/scrape": "true",
        "example.com/other": "x",
    }
    found = network(annotations=annotations, hostNetwork=True)
    assert found.host_network
    assert found.scrape == (("port", "8000"), ("path", "/own"))
    assert network(hostNetwork="true").host_network is False


@pytest.mark.parametrize(
    "port",
    [
        *[
            {"name": "metrics", "containerPort": odd}
            for odd in ("80", 0, -1, 65536, 8.5, True, None)
        ],
        *[None, 80, "80", [], {}, {"containerPort": 80, "protocol": ["TCP"]}],
    ],
)
def test_what_is_no_port_is_left_out(port: object) -> None:
    assert network(with_ports(port, METRICS)).ports == (ContainerPort("metrics", 8000),)


@pytest.mark.parametrize("ports", [{"name": "metrics"}, "8000", 8000, None])
def test_ports_that_are_no_list_are_none(ports: object) -> None:
    assert network({"name": "c", "ports": ports}).ports == ()


def test_texts_and_numbers_have_bounds() -> None:
    named = {"name": "n" * (MAX_NAME + 1), "containerPort": 80}
    many = [{"containerPort": number} for number in range(1000, 1000 + 2 * MAX_PORTS)]
    found = network(
        with_ports(named, *many),
        annotations={name: "x" * 10**6 for name, _, _ in SCRAPE_ANNOTATIONS},
    )
    assert found.ports[0] == ContainerPort("", 80)
    assert len(found.ports) == MAX_PORTS
    assert [len(value) for _, value in found.scrape] == [most for _, _, most in SCRAPE_ANNOTATIONS]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.just("TCP"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["ports", "name", "containerPort", "protocol", "restartPolicy"]), inner
        )
    ),
    max_leaves=8,
)


@given(
    annotations=values | st.dictionaries(st.just("prometheus.io/port"), values),
    spec=st.dictionaries(
        st.sampled_from(["containers", "initContainers", "hostNetwork"]),
        values | st.lists(st.dictionaries(st.just("ports"), values), max_size=2),
    ),
    status=st.dictionaries(st.just("podIP"), values),
)
def test_odd_input_raises_nothing(annotations: Any, spec: Any, status: Any) -> None:
    found = pod_network({"annotations": annotations}, spec)
    assert all(0 < port.number <= 65535 for port in found.ports)
    pod_address(status, None)


@pytest.mark.parametrize(
    "change",
    [
        {"podIP": "10.0.0.2"},
        {"spec": {"hostNetwork": True}},
        {"spec": {"containers": [{"name": "c", "ports": [{"containerPort": 8001}]}]}},
        {"annotations": {"prometheus.io/port": "8001"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_change_of_these_alone_is_a_change_of_the_pod(change: dict[str, Any]) -> None:
    before = decoded(raw(podIP="10.0.0.1"))
    assert decoded(raw(podIP="10.0.0.1"), before) == before
    assert decoded(raw(**{"podIP": "10.0.0.1", **change}), before) != before


def test_pods_that_declare_the_same_share_it() -> None:
    pods = [
        decoded(raw(podIP=f"10.0.0.{n}", annotations={"prometheus.io/port": "1"})) for n in (1, 2)
    ]
    assert pods[0].state.network is pods[1].state.network
    # The address is the text of the first decoding for as long as it stays.
    again = decoded(raw(podIP="10.0.0." + str(1)), pods[0])
    assert again.state.address is pods[0].state.address


def test_a_pod_keeps_nothing_of_its_own_but_the_address() -> None:
    spec = {"containers": [with_ports(*({"containerPort": n} for n in range(1, 30)))]}
    pod_network({}, spec)
    tracemalloc.start()
    kept = [pod_network({}, spec) for _ in range(1000)]
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len({id(one) for one in kept}) == 1
    assert grown < 100 * len(kept)
