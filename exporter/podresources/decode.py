"""The kubelet's List answer -> allocations of GPU devices; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter.model import Allocation, Container

if TYPE_CHECKING:
    from collections.abc import Collection

    from exporter.podresources.podresources_pb2 import ListPodResourcesResponse

RESOURCE_NAMES: Final = frozenset({"nvidia.com/gpu", "nvidia.com/gpu.shared"})
MIG_RESOURCE_PREFIX: Final = "nvidia.com/mig-"


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
            resource_name=devices.resource_name,
            device_id=device_id,
        )
        for pod in response.pod_resources
        for container in pod.containers
        for devices in container.devices
        if _is_gpu(devices.resource_name, extra_resource_names)
        for device_id in devices.device_ids
    )


def _is_gpu(resource_name: str, extra_resource_names: Collection[str]) -> bool:
    return (
        resource_name in RESOURCE_NAMES
        or resource_name.startswith(MIG_RESOURCE_PREFIX)
        or resource_name in extra_resource_names
    )
