# SPDX-License-Identifier: Apache-2.0
"""What becomes of namespaces when nobody serves the metrics API any more."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest_asyncio

from scaler.kube.errors import NotFound
from tests.cluster.api_services import API_SERVICES
from tests.cluster.hpa import namespace_is_gone
from tests.cluster.metricsapi import installing
from tests.cluster.processes import free_ports
from tests.running import running_scaler
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from scaler.kube.client import KubeClient
    from tests.cluster.controlplane import ControlPlane
    from tests.running import ScalerProcess

NAMESPACES: Final = "/api/v1/namespaces"
SLICES: Final = "/apis/discovery.k8s.io/v1/namespaces/gpu-scaler/endpointslices"
RESOURCE_METRICS: Final = "v1beta1.metrics.k8s.io"
# An API that was not available is looked at again only every 30 s.
AVAILABLE_SECONDS: Final = 90.0
# The namespace controller tries again after up to 60 s.
GONE_SECONDS: Final = 100.0


class Replicas:
    """Starts replicas of the scaler, one after the other."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        (self._service_port,) = free_ports(1)
        self._named = 0

    def running(self, *, in_front: bool = False) -> AbstractAsyncContextManager[ScalerProcess]:
        """Run one; the Service leads to the one that is `in_front`."""
        self._named += 1
        port = self._service_port if in_front else free_ports(1)[0]
        return running_scaler(
            self._plane.kubeconfig_for(installing.ACCOUNT),
            f"--identity=replica-{self._named}",
            *installing.flags(port, service_port=self._service_port),
        )


@pytest_asyncio.fixture
async def replicas(installed: ControlPlane, admin: KubeClient) -> AsyncIterator[Replicas]:
    await asyncio.to_thread(installing.install, installed)
    yield Replicas(installed)
    await asyncio.to_thread(installing.uninstall, installed)
    await until(lambda: installing.are_gone(admin), what="the APIServices have gone")


async def test_the_last_replica_takes_the_apiservices_along(replicas, admin):
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(replicas.running(in_front=True))
        second = await stack.enter_async_context(replicas.running())
        for one in (first, second):
            await until(
                lambda one=one: installing.is_ready(one),  # type: ignore[misc]
            )
        await _until_available(admin)
    # Both were told to end; no endpoint of the Service is ready.
    assert await installing.are_gone(admin)
    assert any("APIServices deleted" in line for line in first.log + second.log)
    await _until_gone(admin, await _deleted_namespace(admin))


async def test_while_another_replica_is_ready_the_apiservices_stay(replicas, admin):
    async with replicas.running(in_front=True) as one:
        await until(lambda: installing.is_ready(one))
        await _until_available(admin)
        await admin.post(SLICES, _endpoint_of_another())
    try:
        assert not await installing.are_gone(admin)
        assert not any("APIServices" in line and "deleted" in line for line in one.log)
    finally:
        await admin.delete(f"{SLICES}/another")


async def test_killed_replicas_hold_namespaces_up_no_longer_than_metrics_server(replicas, admin):
    """Both groups lead to nobody; what waits for ours goes when one replica is back."""
    await admin.post(API_SERVICES, _like_that_of_metrics_server())
    try:
        async with replicas.running(in_front=True) as one:
            await until(lambda: installing.is_ready(one))
            await _until_available(admin)
            one.process.kill()
        name = await _deleted_namespace(admin)
        await until(
            lambda: _waits_for(admin, name, "custom.metrics.k8s.io"),
            deadline_seconds=AVAILABLE_SECONDS,
            what="the namespace waits for our group",
        )
        assert await _waits_for(admin, name, "metrics.k8s.io")
    finally:
        await admin.delete(f"{API_SERVICES}/{RESOURCE_METRICS}")
    assert not await namespace_is_gone(admin, name)
    async with replicas.running(in_front=True) as one:
        await until(lambda: installing.is_ready(one))
        await _until_gone(admin, name)


async def test_what_killed_replicas_left_goes_with_the_manifest(replicas, installed, admin):
    async with replicas.running(in_front=True) as one:
        await until(lambda: installing.is_ready(one))
        await _until_available(admin)
        one.process.kill()
    assert not await installing.are_gone(admin)
    await asyncio.to_thread(installing.uninstall, installed)
    await until(
        lambda: installing.are_gone(admin),
        what="the APIServices have gone with their owner",
    )


async def _until_available(admin: KubeClient) -> None:
    for version in ("v1beta1", "v1beta2"):
        await until(
            lambda version=version: installing.is_available(admin, version),  # type: ignore[misc]
            deadline_seconds=AVAILABLE_SECONDS,
            what=f"{version} is available",
        )


async def _deleted_namespace(admin: KubeClient) -> str:
    name = f"to-go-{uuid.uuid4().hex[:8]}"
    await admin.post(NAMESPACES, {"metadata": {"name": name}})
    await admin.delete(f"{NAMESPACES}/{name}")
    return name


async def _until_gone(admin: KubeClient, name: str) -> None:
    await until(
        lambda: namespace_is_gone(admin, name),
        deadline_seconds=GONE_SECONDS,
        what="the namespace has gone",
    )


async def _waits_for(admin: KubeClient, name: str, group: str) -> bool:
    """Whether the namespace controller says that it cannot go without this group."""
    try:
        found = await admin.get(f"{NAMESPACES}/{name}")
    except NotFound:
        return False
    return any(
        condition["reason"] == "DiscoveryFailed"
        and condition["status"] == "True"
        and f" {group}/" in condition["message"]
        for condition in found["status"].get("conditions", ())
    )


def _endpoint_of_another() -> dict[str, Any]:
    return {
        "metadata": {
            "name": "another",
            "labels": {"kubernetes.io/service-name": installing.SERVICE},
        },
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["10.1.2.3"], "conditions": {"ready": False}},
            {"addresses": ["10.1.2.4"], "conditions": {"ready": True}},
        ],
        "ports": [{"port": 6443}],
    }


def _like_that_of_metrics_server() -> dict[str, Any]:
    """What its manifest has, leading to our Service: nobody there answers to it."""
    return {
        "metadata": {"name": RESOURCE_METRICS},
        "spec": {
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"namespace": "gpu-scaler", "name": installing.SERVICE, "port": 443},
        },
    }
