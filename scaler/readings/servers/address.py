# SPDX-License-Identifier: Apache-2.0
"""Pure: the URL of a pod's page, from its Deployment's annotations and its own declarations.

A tenant chooses the port and the path, and never the host: it is the pod's own address.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from scaler.budgets import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scaler.model import ContainerPort, PodState, ServerSettings

PORT_ANNOTATION = "gpu-scaler/metrics-port"
PATH_ANNOTATION = "gpu-scaler/metrics-path"
SCHEME_ANNOTATION = "gpu-scaler/metrics-scheme"
SCRAPE = "prometheus.io"
DEFAULT_PATH = "/metrics"
SCHEMES = ("http", "https")
NAMES_FIRST = ("metrics", "http-metrics")
NAME_LAST = "http"
MAX_PORT = 65535
MAX_PORTS_NAMED = 8
MAX_KNOWN_HOSTS = 16384
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]{0,255}")
"""A path without a query: `name[]` makes some servers answer with nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageAddress:
    """The URL of a pod's page; `origin` says where its port comes from."""

    url: str
    origin: str


class NoAddressError(ValueError):
    """The pod has no page that may be read; the message says why and what to set."""


@dataclass(frozen=True, slots=True)
class _Port:
    number: int
    origin: str


def page_address(
    pod: PodState, settings: ServerSettings, *, known_ports: Iterable[int], path: str | None
) -> PageAddress:
    """Return the address of the pod's page.

    `known_ports` are the default ports of the servers that it may be. `path` is the server's own
    default, None if that is not known.

    Raises:
        NoAddressError: there is no such address.
    """
    scrape = dict(pod.network.scrape)
    host = _host(pod)
    port = _port(pod, settings, scrape, tuple(known_ports))
    if pod.network.host_network and port.number not in {one.number for one in pod.network.ports}:
        raise NoAddressError(
            f"{port.origin}: a pod with hostNetwork is read only on a declared container port,"
            f" and port {port.number} is not; {_declared(pod.network.ports)}"
        )
    scheme = settings.scheme or scrape.get("scheme") or SCHEMES[0]
    if scheme not in SCHEMES:
        source = SCHEME_ANNOTATION if settings.scheme else f"{SCRAPE}/scheme of the pod"
        raise NoAddressError(f"{source}: {shown(scheme)!r} is not http or https")
    chosen = settings.path or scrape.get("path") or path or DEFAULT_PATH
    if not _PATH.fullmatch(chosen):
        source = PATH_ANNOTATION if settings.path else f"{SCRAPE}/path of the pod"
        raise NoAddressError(
            f"{source}: {shown(chosen)!r} is not a path such as /metrics, without a query and of"
            " up to 256 characters"
        )
    return PageAddress(url=f"{scheme}://{host}:{port.number}{chosen}", origin=port.origin)


@lru_cache(maxsize=MAX_KNOWN_HOSTS)
def is_of_no_pod(host: str) -> bool:
    """Return whether an IP belongs to no single pod, wherever the scaler runs.

    Link-local addresses are the node's, or a cloud's metadata.
    """
    address = ipaddress.ip_address(host)
    mapped = getattr(address, "ipv4_mapped", None) or address
    is_other = mapped.is_unspecified or mapped.is_multicast or mapped.is_link_local
    return bool(is_other or getattr(address, "scope_id", None) or str(mapped) == "255.255.255.255")


@lru_cache(maxsize=MAX_KNOWN_HOSTS)
def is_loopback(host: str) -> bool:
    """Return whether a host is the machine, or the pod, that asks."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _host(pod: PodState) -> str:
    """Return the pod's address for a URL; refuse those that belong to no single pod."""
    if pod.address is None:
        raise NoAddressError("the pod has no IP address yet")
    try:
        address = ipaddress.ip_address(pod.address)
    except ValueError:
        raise NoAddressError(f"the pod's address {shown(pod.address)!r} is not an IP") from None
    if is_of_no_pod(pod.address):
        raise NoAddressError(f"the pod's address {shown(pod.address)} is not one of a single pod")
    return f"[{address}]" if address.version == 6 else str(address)


def _port(
    pod: PodState, settings: ServerSettings, scrape: Mapping[str, str], known: tuple[int, ...]
) -> _Port:
    ports = pod.network.ports
    if settings.port is not None:
        return _given(settings.port, PORT_ANNOTATION, ports)
    if scrape.get("port"):
        return _given(scrape["port"], f"{SCRAPE}/port of the pod", ports)
    for name in NAMES_FIRST:
        found = _named(name, ports)
        if found is not None:
            return found
    defaults = sorted({one.number for one in ports} & set(known))
    if len(defaults) == 1:
        return _Port(defaults[0], f"port {defaults[0]} (default port of a known server)")
    found = _named(NAME_LAST, ports)
    if found is not None:
        return found
    numbers = {one.number for one in ports}
    if len(numbers) == 1:
        number = numbers.pop()
        return _Port(number, f"port {number} (the only container port)")
    raise NoAddressError(
        f"no port is known: set {PORT_ANNOTATION}, or name the container port `metrics`;"
        f" {_declared(ports)}"
    )


def _given(text: str, where: str, ports: tuple[ContainerPort, ...]) -> _Port:
    """Return the port that an annotation gives by number or by name."""
    if text.isascii() and text.isdigit() and len(text) <= len(str(MAX_PORT)):
        number = int(text)
        if 0 < number <= MAX_PORT:
            return _Port(number, f"port {number} ({where})")
    found = _named(text, ports)
    if found is None:
        raise NoAddressError(
            f"{where}: {shown(text)!r} is neither a port from 1 to {MAX_PORT} nor the name of a"
            f" container port; {_declared(ports)}"
        )
    return _Port(found.number, f"port {found.number} ({where})")


def _named(name: str, ports: tuple[ContainerPort, ...]) -> _Port | None:
    number = next((one.number for one in ports if one.name == name), None)
    return None if number is None else _Port(number, f"port {number} (container port {name})")


def _declared(ports: tuple[ContainerPort, ...]) -> str:
    if not ports:
        return "the pod declares no container port"
    named = [f"{one.number} ({one.name})" if one.name else str(one.number) for one in ports]
    more = ", ..." if len(named) > MAX_PORTS_NAMED else ""
    return shown(f"the pod declares {', '.join(named[:MAX_PORTS_NAMED])}{more}")
