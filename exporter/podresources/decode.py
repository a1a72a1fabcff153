# SPDX-License-Identifier: Apache-2.0
"""Pure: the kubelet's List answer -> allocations of GPU devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from exporter.model import DRA_DRIVER, Allocation, Container, claimed_device_id

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from exporter.podresources.podresources_pb2 import ContainerResources, ListPodResourcesResponse

RESOURCE_NAMES: Final = frozenset({"nvidia.com/gpu", "nvidia.com/gpu.shared"})
MIG_RESOURCE_PREFIX: Final = "nvidia.com/mig-"


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
    response: ListPodResourcesResponse, extra_resource_names: Collection[str] = ()
) -> frozenset[Allocation]:
    """Return every (container, device ID) of a GPU resource.

    One container may have several entries for one resource, split by NUMA node; an ID listed twice
    counts once.
    """
    return frozenset(
        Allocation(
            container=Container(
                namespace_name=pod.namespace, pod_name=pod.name, container_name=container.name
            ),
            resource_name=resource_name,
            device_id=device_id,
        )
        for pod in response.pod_resources
        for container in pod.containers
        for resource_name, device_id in _device_ids(container, extra_resource_names)
    )


def _device_ids(
    container: ContainerResources, extra_resource_names: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Yield (resource name, device ID) of the device plugins' devices and of the claimed ones."""
    for devices in container.devices:
        if _is_gpu(devices.resource_name, extra_resource_names):
            for device_id in devices.device_ids:
                yield devices.resource_name, device_id
    for resource in container.dynamic_resources:
        for claimed in resource.claim_resources:
            if claimed.driver_name == DRA_DRIVER:
                yield DRA_DRIVER, claimed_device_id(claimed.pool_name, claimed.device_name)


def has_api_pods(response: ListPodResourcesResponse, node_name: str) -> bool:
    """Return whether any pod of the answer is not a static one.

    The API does not mark static pods, but the kubelet puts the node's name, in lower case, behind
    theirs (kubernetes, pkg/kubelet/config/common.go, generatePodName).
    """
    suffix = f"-{node_name.lower()}"
    return any(not pod.name.endswith(suffix) for pod in response.pod_resources)


def other_resource_names(
    response: ListPodResourcesResponse, extra_resource_names: Collection[str] = ()
) -> frozenset[str]:
    """Return the resources with devices that `decode` passes over."""
    return frozenset(
        devices.resource_name
        for pod in response.pod_resources
        for container in pod.containers
        for devices in container.devices
        if not _is_gpu(devices.resource_name, extra_resource_names)
    )


def _is_gpu(resource_name: str, extra_resource_names: Collection[str]) -> bool:
    return (
        resource_name in RESOURCE_NAMES
        or resource_name.startswith(MIG_RESOURCE_PREFIX)
        or resource_name in extra_resource_names
    )
