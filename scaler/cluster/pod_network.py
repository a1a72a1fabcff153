# SPDX-License-Identifier: Apache-2.0
"""Pure: a raw pod's address and the ports that it declares, within bounds.

What has the wrong type or size is left out: it must cost the pod no more than its page.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from scaler.model import ContainerPort, PodNetwork

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    JsonObject = Mapping[str, Any]

MAX_PORTS: Final = 32
MAX_PORT: Final = 65535
MAX_NAME: Final = 63
MAX_ADDRESS: Final = 64
MAX_NETWORKS: Final = 4096
"""Sets of declarations that pods share; a ReplicaSet has one."""
SCRAPE_ANNOTATIONS: Final = (
    ("prometheus.io/port", "port", 64),
    ("prometheus.io/path", "path", 257),
    ("prometheus.io/scheme", "scheme", 16),
)
"""Name, key and kept length. Each is longer than any valid value, so a clipped one is refused."""


def pod_address(status: JsonObject, known: str | None) -> str | None:
    """Return the pod's IP, None without a valid one; `known` is the one that it had before."""
    text = status.get("podIP")
    if not isinstance(text, str) or len(text) > MAX_ADDRESS:
        return None
    if text == known:
        return known
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return None
    return text


def pod_network(metadata: JsonObject, spec: JsonObject) -> PodNetwork:
    """Return what the pod declares: one object for all pods that declare the same."""
    annotations = metadata.get("annotations")
    if not isinstance(annotations, dict):
        annotations = {}
    scrape = tuple(
        (key, value[:most])
        for name, key, most in SCRAPE_ANNOTATIONS
        if isinstance(value := annotations.get(name), str)
    )
    ports = tuple(dict.fromkeys(_ports(spec)))
    return _shared(ports[:MAX_PORTS], spec.get("hostNetwork") is True, scrape)


@lru_cache(maxsize=MAX_NETWORKS)
def _shared(
    ports: tuple[tuple[str, int], ...], host_network: bool, scrape: tuple[tuple[str, str], ...]
) -> PodNetwork:
    return PodNetwork(
        ports=tuple(ContainerPort(name, number) for name, number in ports),
        host_network=host_network,
        scrape=scrape,
    )


def _ports(spec: JsonObject) -> Iterator[tuple[str, int]]:
    """Yield the TCP ports of containers and sidecars."""
    for container in _objects(spec.get("containers")):
        yield from _declared(container)
    for container in _objects(spec.get("initContainers")):
        if container.get("restartPolicy") == "Always":
            yield from _declared(container)


def _declared(container: JsonObject) -> Iterator[tuple[str, int]]:
    for port in _objects(container.get("ports")):
        name, number = port.get("name"), port.get("containerPort")
        if not isinstance(number, int) or isinstance(number, bool):
            continue
        if 0 < number <= MAX_PORT and port.get("protocol") in (None, "", "TCP"):
            yield (name if isinstance(name, str) and len(name) <= MAX_NAME else "", number)


def _objects(things: object) -> Iterator[JsonObject]:
    for thing in things if isinstance(things, list) else ():
        if isinstance(thing, dict):
            yield thing
