# SPDX-License-Identifier: Apache-2.0
"""The URL of a pod's page: which port, path and scheme, and whose address."""

from __future__ import annotations

from typing import Any

import pytest

from scaler.model import ContainerPort, ObjectRef, PodNetwork, PodPhase, PodState, ServerSettings
from scaler.readings.servers.address import NoAddressError, is_loopback, page_address

PORTS = (
    ContainerPort("metrics", 9000),
    ContainerPort("http-metrics", 9001),
    ContainerPort("", 8000),
    ContainerPort("http", 9002),
)


def pod(
    *ports: ContainerPort, address: str | None = "10.1.2.3", host: bool = False, **scrape: str
) -> PodState:
    return PodState(
        ref=ObjectRef("default", "web-0"),
        uid="1",
        phase=PodPhase.RUNNING,
        deleting=False,
        ready_since_seconds=0.0,
        address=address,
        network=PodNetwork(ports=ports, host_network=host, scrape=tuple(scrape.items())),
    )


def url_of(some: PodState, default_path: str | None = None, **settings: Any) -> str:
    return page_address(
        some, ServerSettings(**settings), known_ports=(8000, 30000), path=default_path
    ).url.removeprefix("http://10.1.2.3:")


@pytest.mark.parametrize(
    ("ports", "scrape", "settings", "expected"),
    [
        (PORTS, {"port": "7000"}, {"port": "7001"}, "7001/metrics"),
        (PORTS, {"port": "7000"}, {"port": "http"}, "9002/metrics"),
        (PORTS, {"port": "7000"}, {}, "7000/metrics"),
        (PORTS, {"port": "http"}, {}, "9002/metrics"),
        (PORTS, {}, {}, "9000/metrics"),
        (PORTS[1:], {}, {}, "9001/metrics"),
        (PORTS[2:], {}, {}, "8000/metrics"),
        (PORTS[3:], {}, {}, "9002/metrics"),
        # Two defaults of known servers: neither can be told from the other.
        ((*PORTS[2:], ContainerPort("", 30000)), {}, {}, "9002/metrics"),
        ((ContainerPort("serve", 1234),), {}, {}, "1234/metrics"),
        ((ContainerPort("a", 1234), ContainerPort("b", 1234)), {}, {}, "1234/metrics"),
        ((), {}, {"port": "65535"}, "65535/metrics"),
        (PORTS, {"path": "/p"}, {"path": "/own"}, "9000/own"),
        (PORTS, {"path": "/p"}, {}, "9000/p"),
    ],
)
def test_the_port_and_the_path_come_from_the_first_that_says_one(ports, scrape, settings, expected):
    assert url_of(pod(*ports, **scrape), **settings) == expected


def test_the_servers_own_path_comes_after_what_the_pod_says():
    assert url_of(pod(*PORTS), default_path="/v1/metrics") == "9000/v1/metrics"
    assert url_of(pod(*PORTS, path="/p"), default_path="/v1/metrics") == "9000/p"


@pytest.mark.parametrize(
    ("scrape", "settings", "expected"),
    [
        ({}, {}, "http"),
        ({"scheme": "https"}, {}, "https"),
        ({"scheme": "https"}, {"scheme": "http"}, "http"),
    ],
)
def test_the_scheme_is_http_unless_somebody_says_https(scrape, settings, expected):
    assert url_of(pod(*PORTS, **scrape), **settings).startswith(
        "9000" if expected == "http" else "https://10.1.2.3:9000/"
    )


def test_an_ipv6_address_stands_in_brackets():
    assert url_of(pod(*PORTS, address="fd00:0:0::7")) == "http://[fd00::7]:9000/metrics"
    assert url_of(pod(*PORTS, address="127.0.0.9")) == "http://127.0.0.9:9000/metrics"


@pytest.mark.parametrize(
    "address",
    [
        *(None, "", "web.default.svc", "10.1.2.3@evil", "10.1.2.3/8", "0.0.0.0", "::"),
        *("224.0.0.1", "ff02::1", "169.254.169.254", "fe80::1", "fe80::1%eth0", "fd00::1%eth0"),
        *("::ffff:169.254.169.254", "::ffff:0.0.0.0", "255.255.255.255"),
    ],
)
def test_only_an_address_of_a_single_pod_is_asked(address):
    with pytest.raises(NoAddressError):
        url_of(pod(*PORTS, address=address))


@pytest.mark.parametrize(
    ("scrape", "settings", "named"),
    [
        *(({}, {"port": one}, "gpu-scaler/metrics-port") for one in ("0", "65536", "nope", "8²")),
        *(
            ({"port": one}, {}, "prometheus.io/port")
            for one in ("80/../", "99999999999999999", " ")
        ),
        *(({"path": one}, {}, "prometheus.io/path") for one in ("metrics", "/a?name[]=b", "/a b")),
        ({}, {"path": "/" + 256 * "a"}, "gpu-scaler/metrics-path"),
        ({"path": "/a#b"}, {}, "prometheus.io/path"),
        ({"scheme": "file"}, {}, "prometheus.io/scheme"),
    ],
)
def test_what_is_no_port_path_or_scheme_is_named(scrape, settings, named):
    with pytest.raises(NoAddressError, match=named):
        url_of(pod(*PORTS, **scrape), **settings)


@pytest.mark.parametrize("ports", [(), (ContainerPort("a", 1), ContainerPort("b", 2))])
def test_without_a_port_it_says_what_to_set(ports):
    with pytest.raises(NoAddressError, match="gpu-scaler/metrics-port"):
        url_of(pod(*ports))


def test_a_pod_on_the_hosts_network_is_read_only_on_a_declared_port():
    assert url_of(pod(*PORTS, host=True, port="9002")) == "9002/metrics"
    for scrape, settings in (({"port": "10250"}, {}), ({}, {"port": "10250"})):
        with pytest.raises(NoAddressError, match="hostNetwork"):
            url_of(pod(*PORTS, host=True, **scrape), **settings)


def test_the_origin_of_the_port_is_told():
    found = page_address(pod(*PORTS[3:]), ServerSettings(), known_ports=(), path=None)
    assert found.origin == "port 9002 (container port http)"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((one, True) for one in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1")),
        *((one, True) for one in ("localhost", "LocalHost")),
        *((one, False) for one in ("", "10.0.0.1", "fd00::1", "kubernetes.default.svc", "127.1")),
    ],
)
def test_which_hosts_are_the_machine_that_asks(host, expected):
    assert is_loopback(host) is expected
