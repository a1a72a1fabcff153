# SPDX-License-Identifier: Apache-2.0
"""Pure: the GPU resources that a raw pod, or a pod template, requests, within bounds.

A pod template of any kind of workload may come here, so nothing is taken for granted.
"""

from __future__ import annotations

from functools import lru_cache
from sys import intern
from typing import TYPE_CHECKING, Any, Final

from scaler.decision.gpu_requests import names_gpu, requests_gpu
from scaler.model import GpuRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    JsonObject = Mapping[str, Any]

MAX_RESOURCES: Final = 8
MAX_SELECTOR_LABELS: Final = 16
MAX_REQUESTS: Final = 4096
"""Different requests that pods share; a ReplicaSet has one."""


def gpu_request(spec: object) -> GpuRequest | None:
    """Return what the pod spec requests, None if the resource is unknown."""
    if not isinstance(spec, dict):
        return None
    resources = tuple(_resources(spec))
    named = sorted({name for name, quantity in resources if names_gpu(name) and _some(quantity)})
    if not named:
        claims = bool(spec.get("resourceClaims"))
        has_containers = bool(spec.get("containers"))
        known = has_containers and requests_gpu(resources, claims=claims) is False
        return _shared((), ()) if known else None
    selector = _labels(spec.get("nodeSelector"))
    return _shared(tuple(named[:MAX_RESOURCES]), tuple(selector[:MAX_SELECTOR_LABELS]))


def _some(quantity: object) -> bool:
    return str(quantity) != "0"


def _labels(selector: object) -> Sequence[tuple[str, str]]:
    """Return the labels that are texts; one label less can only let more compete."""
    labels = selector.items() if isinstance(selector, dict) else ()
    return sorted(pair for pair in labels if all(isinstance(text, str) for text in pair))


@lru_cache(maxsize=MAX_REQUESTS)
def _shared(resources: tuple[str, ...], node_selector: tuple[tuple[str, str], ...]) -> GpuRequest:
    return GpuRequest(
        resources=tuple(intern(name) for name in resources), node_selector=node_selector
    )


def _resources(spec: JsonObject) -> Iterator[tuple[str, object]]:
    """Yield the resources of all containers; the scheduler counts init containers too."""
    for part in ("containers", "initContainers"):
        containers = spec.get(part)
        for container in containers if isinstance(containers, list) else ():
            resources = container.get("resources") if isinstance(container, dict) else None
            if not isinstance(resources, dict):
                continue
            for kind in ("limits", "requests"):
                if isinstance(quantities := resources.get(kind), dict):
                    yield from quantities.items()
