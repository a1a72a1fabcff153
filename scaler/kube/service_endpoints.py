# SPDX-License-Identifier: Apache-2.0
"""The addresses of a Service's endpoints, with the port that each of them serves.

Only pods of the Service's namespace count, at the IP that the kubelet reports for them: whoever can
write EndpointSlices could name any host there. That is why the pods are listed too.

An endpoint that terminates but still serves counts, because it still works on its requests. One
that is not ready does not: the Service sends it none.

Sources: https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/
and https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from scaler.kube.errors import ApiError, Forbidden, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping, Sequence

    from scaler.kube.client import KubeClient

    JsonObject = Mapping[str, Any]

MAX_ENDPOINTS: Final = 64
MAX_LISTED: Final = 200
"""EndpointSlices of a Service, and pods that its selector selects."""
MAX_PORTS_NAMED: Final = 8
FRESH_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 2.0
"""The shortest time between two requests for one Service."""
KEPT_SECONDS: Final = 60.0
"""How long the last endpoints count while the API server fails."""


class ServiceError(ValueError):
    """A Service has no endpoints that may be read; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEndpoint:
    """An endpoint of a Service's port; `host` is its pod's IP as in a URL."""

    host: str
    port: int
    pod: str
    is_terminating: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Service:
    """What the API says about a Service: its port names by number and name, and its endpoints.

    `problem` says why it has no endpoints; `is_doubted` asks the API again sooner.
    """

    title: str
    ports: tuple[tuple[int, str], ...] = ()
    endpoints: tuple[tuple[str, ServiceEndpoint], ...] = ()
    problem: str | None = None
    is_doubted: bool = False


@dataclass(slots=True)
class _KnownService:
    """The last answers for a Service: when one was asked for, and when the API answered."""

    asked_seconds: float
    service: _Service
    answered_seconds: float


class ServiceEndpoints:
    """Reads Services, and remembers each for a few seconds."""

    def __init__(self, client: KubeClient, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._known: dict[tuple[str, str], _KnownService] = {}
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    async def of(self, namespace: str, name: str, port: str) -> Sequence[ServiceEndpoint]:
        """Return the endpoints of a Service's port, given by number or name; at least one.

        Raises:
            ServiceError: there is none that may be read.
        """
        key = namespace, name
        async with self._locks.setdefault(key, asyncio.Lock()):
            service = await self._current(namespace, name)
        if service.problem is not None:
            raise ServiceError(service.problem)
        port_name = _port_name(service, port)
        found = [one for its_port, one in service.endpoints if its_port == port_name]
        if not found:
            raise ServiceError(f"{service.title} has no ready endpoint for port {port!r}")
        return found

    def doubt(self, namespace: str, name: str) -> None:
        """Ask again sooner: an endpoint refused."""
        known = self._known.get((namespace, name))
        if known is not None:
            known.service = replace(known.service, is_doubted=True)

    def keep_only(self, services: Container[tuple[str, str]]) -> None:
        """Forget all other Services, given by namespace and name."""
        for memory in (self._known, self._locks):
            for key in [one for one in memory if one not in services]:
                del memory[key]

    async def _current(self, namespace: str, name: str) -> _Service:
        now, known = self._clock(), self._known.get((namespace, name))
        if known is not None:
            limit = RETRY_SECONDS if known.service.is_doubted else FRESH_SECONDS
            if now - known.asked_seconds < limit:
                return known.service
        answered = now
        try:
            service = await self._read(namespace, name)
        except ApiError as error:
            title = f"Service {namespace}/{name}"
            service = _without_endpoints(title, f"cannot be read: {error}", is_doubted=True)
            if known is not None:
                answered = known.answered_seconds
                if known.service.problem is None and now - answered < KEPT_SECONDS:
                    service = replace(known.service, is_doubted=True)
        self._known[namespace, name] = _KnownService(
            asked_seconds=now, service=service, answered_seconds=answered
        )
        return service

    async def _read(self, namespace: str, name: str) -> _Service:
        title = f"Service {namespace}/{name}"
        within = f"/namespaces/{namespace}"
        right = "get services"
        try:
            spec = (await self._client.get(f"/api/v1{within}/services/{name}")).get("spec") or {}
            selector = spec.get("selector") or {}
            if spec.get("type") == "ExternalName":
                return _without_endpoints(
                    title,
                    "is of type ExternalName: it names a host, and only pods of its namespace are"
                    " read",
                )
            if not selector:
                return _without_endpoints(
                    title, "has no selector: only endpoints that are pods are read"
                )
            right = "list endpointslices.discovery.k8s.io"
            slices = await self._client.get(
                f"/apis/discovery.k8s.io/v1{within}/endpointslices",
                params={
                    "labelSelector": f"kubernetes.io/service-name={name}",
                    "limit": str(MAX_LISTED),
                },
            )
            right = "list pods"
            pods = await self._client.get(
                f"/api/v1{within}/pods",
                params={
                    "labelSelector": ",".join(f"{key}={selector[key]}" for key in sorted(selector)),
                    "fieldSelector": "status.phase=Running",
                    "limit": str(MAX_LISTED),
                },
            )
        except NotFound:
            return _without_endpoints(title, "does not exist")
        except Forbidden:
            return _without_endpoints(
                title,
                f"may not be read: the scaler's role in namespace {namespace} must allow to"
                f" {right}",
            )
        if any((one.get("metadata") or {}).get("continue") for one in (slices, pods)):
            return _without_endpoints(
                title, f"has more than {MAX_LISTED} EndpointSlices or selects more pods"
            )
        ports = tuple(
            (port["port"], port.get("name") or "")
            for port in spec.get("ports") or ()
            if port.get("protocol") in (None, "TCP")
        )
        try:
            by_name = {pod["metadata"]["name"]: pod for pod in pods.get("items") or ()}
            endpoints = tuple(_endpoints(slices.get("items") or (), namespace, by_name))
        except ServiceError as error:
            # The pod may have ended between the two lists.
            return _without_endpoints(title, str(error), is_doubted=True)
        return _Service(title=title, ports=ports, endpoints=endpoints)


def _without_endpoints(title: str, why: str, *, is_doubted: bool = False) -> _Service:
    return _Service(title=title, problem=f"{title} {why}", is_doubted=is_doubted)


def _port_name(service: _Service, port: str) -> str:
    for number, name in service.ports:
        if port in (str(number), name):
            return name
    some = [f"{number} ({name})" if name else str(number) for number, name in service.ports]
    more = ", ..." if len(some) > MAX_PORTS_NAMED else ""
    has = f"it has {', '.join(some[:MAX_PORTS_NAMED])}{more}" if some else "it has none"
    raise ServiceError(f"{service.title} has no TCP port {port!r}; {has}")


def _endpoints(
    slices: Sequence[JsonObject], namespace: str, pods: Mapping[str, JsonObject]
) -> Iterator[tuple[str, ServiceEndpoint]]:
    """Yield each pod once per port, with the port's name.

    A pod is in two slices if it has two IP families, or while it moves from one to the other.

    Raises:
        ServiceError: there are too many, or one is not a pod of the namespace.
    """
    seen: set[tuple[str, str]] = set()
    pods_seen: set[str] = set()
    for piece in slices:
        serving = [one for one in piece.get("endpoints") or () if _serves(one)]
        ports = [
            (one.get("name") or "", one["port"])
            for one in piece.get("ports") or ()
            if one.get("protocol") in (None, "TCP") and one.get("port") is not None
        ]
        for endpoint in serving if ports else ():
            host, pod = _pod_of(endpoint, namespace, pods)
            for port_name, number in ports:
                _check_port(pod, number)
                if (port_name, pod["metadata"]["name"]) in seen:
                    continue
                seen.add((port_name, pod["metadata"]["name"]))
                pods_seen.add(pod["metadata"]["name"])
                if len(pods_seen) > MAX_ENDPOINTS:
                    raise ServiceError(f"has more than {MAX_ENDPOINTS} ready endpoints")
                yield (
                    port_name,
                    ServiceEndpoint(
                        host=host,
                        port=number,
                        pod=pod["metadata"]["name"],
                        is_terminating=_is(endpoint, "terminating"),
                    ),
                )


def _serves(endpoint: JsonObject) -> bool:
    conditions = endpoint.get("conditions") or {}
    # By the API's definition an unset condition means ready.
    return conditions.get("ready") is not False or (
        _is(endpoint, "terminating") and _is(endpoint, "serving")
    )


def _is(endpoint: JsonObject, condition: str) -> bool:
    return (endpoint.get("conditions") or {}).get(condition) is True


def _pod_of(
    endpoint: JsonObject, namespace: str, pods: Mapping[str, JsonObject]
) -> tuple[str, JsonObject]:
    """Return the endpoint's host and pod.

    Raises:
        ServiceError: it is not a running pod of the namespace, at that pod's own address.
    """
    address = str((endpoint.get("addresses") or ("",))[0])
    target = endpoint.get("targetRef") or {}
    pod = pods.get(str(target.get("name"))) if target.get("kind") == "Pod" else None
    # By hand, a reference may name any namespace, and an address any host.
    own = {one.get("ip") for one in ((pod or {}).get("status") or {}).get("podIPs") or ()}
    own.add(((pod or {}).get("status") or {}).get("podIP"))
    if pod is None or target.get("namespace") != namespace or address not in own:
        raise ServiceError(
            f"has an endpoint {address[:64]!r} that is not the address of a running pod of its"
            " selector and namespace: only these are read"
        )
    return f"[{address}]" if ipaddress.ip_address(address).version == 6 else address, pod


def _check_port(pod: JsonObject, number: int) -> None:
    """Check that a port of a pod in the node's network is its own.

    Raises:
        ServiceError: the pod does not declare it.
    """
    spec = pod.get("spec") or {}
    if spec.get("hostNetwork") is not True:
        return
    declared = {
        port.get("containerPort")
        for containers in ("containers", "initContainers")
        for container in spec.get(containers) or ()
        for port in container.get("ports") or ()
    }
    if number not in declared:
        raise ServiceError(
            f"leads to port {number} of pod {pod['metadata']['name']}, which has hostNetwork and"
            " does not declare it as a container port"
        )
