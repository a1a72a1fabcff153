# SPDX-License-Identifier: Apache-2.0
"""Bytes of a kubelet's answer to List."""

from __future__ import annotations

from simulator.podresources_pb2 import (
    ContainerDevices,
    ContainerResources,
    ListPodResourcesResponse,
)
from simulator.podresources_pb2 import PodResources as PodMessage


def listing(pod="pod", device_id="GPU-0"):
    """The bytes of a List answer with one device."""
    devices = [ContainerDevices(resource_name="nvidia.com/gpu", device_ids=[device_id])]
    container = ContainerResources(name="main", devices=devices)
    pods = [PodMessage(name=pod, namespace="ns", containers=[container])]
    return ListPodResourcesResponse(pod_resources=pods).SerializeToString()
