# SPDX-License-Identifier: Apache-2.0
"""The endpoints of a Service, from the embedded API: whom the scaler reads, and whom never."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from scaler.kube import service_endpoints
from scaler.kube.client import KubeClient
from scaler.kube.service_endpoints import ServiceEndpoint, ServiceEndpoints, ServiceError
from simulator.apiserver import running_apiserver
from tests.serviceobjects import (
    CORE,
    SLICES,
    create,
    endpoint,
    endpoint_slice,
    pod,
    service,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from simulator.apiserver.server import ApiServer

A = pod("a", "10.0.0.1")
B = pod("b", "10.0.0.2")
FIRST = ServiceEndpoint(host="10.0.0.1", port=8000, pod="a")
SECOND = ServiceEndpoint(host="10.0.0.2", port=8000, pod="b")
DRAINING = {"ready": False, "serving": True, "terminating": True}


class World:
    """A running API with a client and a clock that stands still."""

    def __init__(self, api: ApiServer, client: KubeClient) -> None:
        self.api = api
        self.client = client
        self.now_seconds = 1000.0
        self.endpoints = ServiceEndpoints(client, clock=lambda: self.now_seconds)

    async def of(self, port: str = "80", name: str = "gateway") -> list[ServiceEndpoint]:
        return sorted(await self.endpoints.of("default", name, port), key=lambda one: one.pod)

    async def problem(self, port: str = "80", name: str = "gateway") -> str:
        with pytest.raises(ServiceError) as caught:
            await self.of(port, name)
        return str(caught.value)

    @property
    def asked(self) -> int:
        return sum(self.client.answers.values())


@asynccontextmanager
async def world(*pods: Any, services: Any = (), slices: Any = ()) -> AsyncIterator[World]:
    async with running_apiserver(controls=False) as api, KubeClient(api.url) as client:
        await create(client, *pods, services=services, slices=slices)
        yield World(api, client)


BOTH = {
    "services": [service()],
    "slices": [endpoint_slice(endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2"))],
}


@pytest.mark.parametrize("port", ["80", "http"])
async def test_each_ready_pod_at_its_own_target_port(port: str) -> None:
    async with world(A, B, **BOTH) as it:
        assert await it.of(port) == [FIRST, SECOND]


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        pytest.param(
            [
                endpoint_slice(endpoint("a", "10.0.0.1")),
                endpoint_slice(endpoint("a", "10.0.0.1"), name="gateway-2"),
            ],
            [FIRST],
            id="a pod in two slices counts once",
        ),
        pytest.param(
            [
                endpoint_slice(
                    endpoint("a", "10.0.0.1", {}), endpoint("b", "10.0.0.2", {"ready": None})
                )
            ],
            [FIRST, SECOND],
            id="an unset condition means ready",
        ),
        pytest.param(
            [
                endpoint_slice(
                    endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2", {"ready": False})
                )
            ],
            [FIRST],
            id="not ready",
        ),
        pytest.param(
            [endpoint_slice(endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2", DRAINING))],
            [
                FIRST,
                ServiceEndpoint(host="10.0.0.2", port=8000, pod="b", is_terminating=True),
            ],
            id="terminates and still serves",
        ),
        pytest.param(
            [
                endpoint_slice(endpoint("a", "10.0.0.1"), port=8001),
                endpoint_slice(endpoint("b", "10.0.0.2"), name="gateway-2", port=8002),
            ],
            [
                ServiceEndpoint(host="10.0.0.1", port=8001, pod="a"),
                ServiceEndpoint(host="10.0.0.2", port=8002, pod="b"),
            ],
            id="a named target port may differ by pod",
        ),
        pytest.param(
            [
                endpoint_slice(endpoint("a", "10.0.0.1")),
                endpoint_slice(endpoint("b", "10.0.0.2"), name="x", of="other"),
            ],
            [FIRST],
            id="of another Service",
        ),
    ],
)
async def test_which_endpoints_count(slices: Any, expected: Any) -> None:
    async with world(A, B, services=[service()], slices=slices) as it:
        assert await it.of() == expected


def by_hand(address: str, **target: str) -> dict[str, Any]:
    reference = {"kind": "Pod", "namespace": "default", "name": "a", **target}
    return {"addresses": [address], "targetRef": reference}


@pytest.mark.parametrize(
    ("services", "endpoints", "expected"),
    [
        pytest.param([], [], "does not exist", id="no Service"),
        pytest.param(
            [service(type="ExternalName", externalName="metadata.internal")],
            [],
            "ExternalName",
            id="external name",
        ),
        pytest.param([service(selector=None)], [], "no selector", id="no selector"),
        pytest.param(
            [service(ports=[{"name": "grpc", "port": 81}, {"port": 80, "protocol": "UDP"}])],
            [endpoint("a", "10.0.0.1")],
            "no TCP port '80'; it has 81 (grpc)",
            id="no such port",
        ),
        pytest.param([service()], [], "no ready endpoint", id="no endpoint"),
        pytest.param(
            [service()],
            [endpoint("a", "10.0.0.1", {"ready": False})],
            "no ready endpoint",
            id="none is ready",
        ),
        *[
            pytest.param([service()], [one], "not the address of a running pod", id=name)
            for name, one in {
                "an address without a pod": {"addresses": ["169.254.169.254"]},
                "a pod at another address": by_hand("169.254.169.254"),
                "a pod of another namespace": by_hand("10.0.0.1", namespace="kube-system"),
                "a pod that is none": by_hand("10.0.0.1", name="made-up"),
                "no pod": by_hand("10.0.0.1", kind="Node"),
                "a pod that the Service does not select": by_hand("10.0.0.9", name="other"),
            }.items()
        ],
        pytest.param(
            [service()],
            [endpoint("host", "10.9.9.9")],
            "does not declare it",
            id="a port of the node",
        ),
    ],
)
async def test_what_may_not_be_read_is_said(services: Any, endpoints: Any, expected: str) -> None:
    other = pod("other", "10.0.0.9")
    other["metadata"]["labels"] = {"app": "other"}
    host = pod("host", "10.9.9.9", hostNetwork=True)
    slices = [endpoint_slice(*endpoints)]
    async with world(A, other, host, services=services, slices=slices) as it:
        problem = await it.problem()
        assert expected in problem
        assert "default/gateway" in problem


async def test_a_pod_of_the_node_network_is_read_at_a_port_that_it_declares() -> None:
    container = {"name": "c", "image": "i", "ports": [{"containerPort": 8000}]}
    host = pod("host", "10.9.9.9", hostNetwork=True, containers=[container])
    slices = [endpoint_slice(endpoint("host", "10.9.9.9"))]
    async with world(host, services=[service()], slices=slices) as it:
        assert [one.host for one in await it.of()] == ["10.9.9.9"]


async def test_too_many_endpoints_are_not_summed_in_part(monkeypatch: Any) -> None:
    monkeypatch.setattr(service_endpoints, "MAX_ENDPOINTS", 1)
    async with world(A, B, **BOTH) as it:
        assert "more than 1 ready" in await it.problem()
    monkeypatch.setattr(service_endpoints, "MAX_LISTED", 1)
    async with world(A, B, **BOTH) as it:
        assert "more than 1 EndpointSlices" in await it.problem()


async def test_an_address_of_ipv6_is_written_for_a_url() -> None:
    slices = [endpoint_slice(endpoint("a", "fd00::7"))]
    async with world(pod("a", "fd00::7"), services=[service()], slices=slices) as it:
        assert [one.host for one in await it.of()] == ["[fd00::7]"]


async def test_a_service_is_asked_for_again_after_ten_seconds_or_sooner_where_one_refused() -> None:
    async with world(A, B, **BOTH) as it:
        await it.of()
        once = it.asked
        await it.of("http")
        await it.client.delete(f"{SLICES}/gateway-1")
        it.now_seconds += 9.9
        assert await it.of() == [FIRST, SECOND]
        assert it.asked == once + 1, "only the deletion itself"
        it.now_seconds += 0.1
        assert "no ready endpoint" in await it.problem()
        await it.client.post(SLICES, endpoint_slice(endpoint("b", "10.0.0.2")))
        it.endpoints.doubt("default", "gateway")
        it.now_seconds += 1.9
        assert "no ready endpoint" in await it.problem()
        it.now_seconds += 0.1
        assert await it.of() == [SECOND]


async def test_an_api_server_that_fails_leaves_the_last_endpoints_for_a_minute() -> None:
    async with world(A, B, **BOTH) as it:
        await it.of()
        it.api.faults.error_status = 500
        it.now_seconds += 59.0
        assert await it.of() == [FIRST, SECOND]
        failed = it.asked
        it.now_seconds += 1.9
        assert await it.of() == [FIRST, SECOND]
        assert it.asked == failed, "not asked again within two seconds"
        it.now_seconds += 0.1
        assert "500" in await it.problem()
        it.api.faults.clear()
        it.now_seconds += 2.0
        assert await it.of() == [FIRST, SECOND]


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("/services/", "get services"),
        ("/endpointslices", "list endpointslices.discovery.k8s.io"),
        ("/pods", "list pods"),
    ],
)
async def test_a_missing_right_is_named_and_ends_what_was_read(path: str, right: str) -> None:
    async with world(A, B, **BOTH) as it:
        await it.of()
        it.api.faults.applies_to = lambda request: path in request.path
        it.api.faults.error_status = 403
        it.now_seconds += 10.0
        assert f"namespace default must allow to {right}" in await it.problem()


async def test_what_nobody_needs_is_forgotten() -> None:
    async with world(A, B, **BOTH) as it:
        await it.of()
        once = it.asked
        it.endpoints.keep_only({("default", "gateway")})
        await it.of()
        assert it.asked == once
        it.endpoints.keep_only(set())
        await it.of()
        assert it.asked > once


async def test_a_pod_that_ended_between_two_answers_costs_two_seconds() -> None:
    async with world(A, B, **BOTH) as it:
        await it.client.delete(f"{CORE}/pods/b", body={"gracePeriodSeconds": 0})
        assert "not the address of a running pod" in await it.problem()
        await it.client.delete(f"{SLICES}/gateway-1")
        await it.client.post(SLICES, endpoint_slice(endpoint("a", "10.0.0.1")))
        it.now_seconds += 2.0
        assert await it.of() == [FIRST]
