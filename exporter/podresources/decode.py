# SPDX-License-Identifier: Apache-2.0
"""Pure: the kubelet's List answer -> allocations of GPU devices.

The numbers of fields are those of kubernetes/kubelet, pkg/apis/podresources/v1, as in
`simulator/podresources.proto`; others are skipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from exporter.model import DRA_DRIVER, Allocation, Container, claimed_device_id
from exporter.podresources.wire import by_number, fields

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

RESOURCE_NAMES: Final = frozenset({"nvidia.com/gpu", "nvidia.com/gpu.shared"})
MIG_RESOURCE_PREFIX: Final = "nvidia.com/mig-"

# More than a node's pods, and more than what one of them takes.
_MAX_REMEMBERED: Final = 512
_MAX_REMEMBERED_BYTES: Final = 4096

# ListPodResourcesResponse
_PODS: Final = 1
# PodResources
_POD_NAME, _POD_NAMESPACE, _CONTAINERS = 1, 2, 3
# ContainerResources
_CONTAINER_NAME, _DEVICES, _DYNAMIC_RESOURCES = 1, 2, 5
# ContainerDevices
_RESOURCE_NAME, _DEVICE_IDS = 1, 2
# DynamicResource, ClaimResource
_CLAIM_RESOURCES = 4
_DRIVER_NAME, _POOL_NAME, _DEVICE_NAME = 2, 3, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One List answer.

    `has_api_pods` tells whether it names any pod that the kubelet has from the API server: a real
    kubelet lists every pod of its node, with devices or without, but for about a second after its
    start it knows its static pods only, or none. `other_resource_names` are those of the devices
    that were not taken for GPUs.
    """

    allocations: frozenset[Allocation]
    has_api_pods: bool
    other_resource_names: frozenset[str] = frozenset()


def decode(
    answer: bytes, extra_resource_names: Collection[str] = (), *, node_name: str = ""
) -> Listing:
    """Return what an encoded ListPodResourcesResponse lists.

    One container may have several entries for one resource, split by NUMA node; an ID listed twice
    counts once. Raises WireError and UnicodeDecodeError.
    """
    extra = frozenset(extra_resource_names)
    pods = [
        (_decoded_before if len(content) <= _MAX_REMEMBERED_BYTES else _decoded)(content, extra)
        for number, content in fields(answer)
        if number == _PODS
    ]
    return Listing(
        allocations=frozenset().union(*(pod.allocations for pod in pods)),
        has_api_pods=any(not _is_static(pod.name, node_name) for pod in pods),
        other_resource_names=frozenset().union(*(pod.other_resource_names for pod in pods)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pod:
    name: str
    allocations: frozenset[Allocation]
    other_resource_names: frozenset[str]


def _decoded(content: bytes, extra_resource_names: frozenset[str]) -> _Pod:
    allocations: set[Allocation] = set()
    other_resource_names: set[str] = set()
    pod = by_number(content)
    pod_name = _text(pod[_POD_NAME])
    for resources in map(by_number, pod[_CONTAINERS]):
        for resource_name, device_id in _device_ids(resources):
            if not _is_gpu(resource_name, extra_resource_names):
                other_resource_names.add(resource_name)
                continue
            container = Container(
                namespace_name=_text(pod[_POD_NAMESPACE]),
                pod_name=pod_name,
                container_name=_text(resources[_CONTAINER_NAME]),
            )
            allocations.add(
                Allocation(container=container, resource_name=resource_name, device_id=device_id)
            )
    return _Pod(
        name=pod_name,
        allocations=frozenset(allocations),
        other_resource_names=frozenset(other_resource_names),
    )


# Most pods of an answer are as in the one before, in any order.
_decoded_before: Final = lru_cache(maxsize=_MAX_REMEMBERED)(_decoded)


def _device_ids(resources: Mapping[int, Sequence[bytes]]) -> Iterator[tuple[str, str]]:
    """Yield (resource name, device ID) of the device plugins' devices and of the claimed GPUs."""
    for devices in map(by_number, resources.get(_DEVICES, ())):
        for device_id in devices[_DEVICE_IDS]:
            yield _text(devices[_RESOURCE_NAME]), device_id.decode()
    for dynamic in map(by_number, resources.get(_DYNAMIC_RESOURCES, ())):
        for claimed in map(by_number, dynamic[_CLAIM_RESOURCES]):
            if _text(claimed[_DRIVER_NAME]) == DRA_DRIVER:
                pool_name, device_name = _text(claimed[_POOL_NAME]), _text(claimed[_DEVICE_NAME])
                yield DRA_DRIVER, claimed_device_id(pool_name, device_name)


def _text(contents: Sequence[bytes]) -> str:
    # The last one counts; one that is left out is empty.
    return contents[-1].decode() if contents else ""


def _is_static(pod_name: str, node_name: str) -> bool:
    """Return whether the kubelet has this pod from a file.

    The API does not mark such pods, but the kubelet puts the node's name, in lower case, behind
    theirs (kubernetes, pkg/kubelet/config/common.go, generatePodName).
    """
    return pod_name.endswith(f"-{node_name.lower()}")


def _is_gpu(resource_name: str, extra_resource_names: Collection[str]) -> bool:
    return (
        resource_name in RESOURCE_NAMES
        or resource_name == DRA_DRIVER
        or resource_name.startswith(MIG_RESOURCE_PREFIX)
        or resource_name in extra_resource_names
    )
