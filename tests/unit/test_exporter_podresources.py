# SPDX-License-Identifier: Apache-2.0
"""The kubelet's List answer -> allocations."""

from __future__ import annotations

import pytest

from exporter.model import Allocation, Container
from exporter.podresources.decode import decode, has_api_pods
from exporter.podresources.podresources_pb2 import (
    DESCRIPTOR,
    ContainerDevices,
    ContainerResources,
    ListPodResourcesResponse,
    PodResources,
)


def answer(*devices, pod="pod", container="main"):
    return ListPodResourcesResponse(
        pod_resources=[
            PodResources(
                name=pod,
                namespace="ns",
                containers=[
                    ContainerResources(
                        name=container,
                        devices=[
                            ContainerDevices(resource_name=resource, device_ids=ids)
                            for resource, ids in devices
                        ],
                    )
                ],
            )
        ]
    )


def ids(response, *extra):
    return {allocation.device_id for allocation in decode(response, extra)}


def test_one_allocation():
    assert decode(answer(("nvidia.com/gpu", ["GPU-0"]))) == {
        Allocation(
            container=Container(namespace_name="ns", pod_name="pod", container_name="main"),
            resource_name="nvidia.com/gpu",
            device_id="GPU-0",
        )
    }


@pytest.mark.parametrize(
    ("resource", "extra", "counts"),
    [
        pytest.param("nvidia.com/gpu", (), True, id="whole"),
        pytest.param("nvidia.com/gpu.shared", (), True, id="shared"),
        pytest.param("nvidia.com/mig-1g.10gb", (), True, id="mig"),
        pytest.param("nvidia.com/mig-1g.10gb.me", (), True, id="mig with media engines"),
        pytest.param("nvidia.com/a100", (), False, id="renamed"),
        pytest.param("nvidia.com/a100", ("nvidia.com/a100",), True, id="renamed and named"),
        pytest.param("intel.com/sriov", (), False, id="something else"),
        pytest.param("nvidia.com/gpu-memory", (), False, id="not a prefix"),
    ],
)
def test_resource_names(resource, extra, counts):
    assert ids(answer((resource, ["X"])), *extra) == ({"X"} if counts else set())


def test_entries_split_by_numa_node_and_repeated_ids():
    response = answer(
        ("nvidia.com/gpu", ["GPU-0", "GPU-1"]), ("nvidia.com/gpu", ["GPU-1", "GPU-2"])
    )
    assert sorted(one.device_id for one in decode(response)) == ["GPU-0", "GPU-1", "GPU-2"]


def test_pods_without_devices_and_an_empty_answer():
    assert decode(answer()) == frozenset()
    assert decode(ListPodResourcesResponse()) == frozenset()


@pytest.mark.parametrize(
    ("pods", "node", "expected"),
    [
        pytest.param((), "node-1", False, id="no pod"),
        pytest.param(("proxy-node-1",), "node-1", False, id="a static pod"),
        pytest.param(("proxy-node-1", "web-5d8f-x2x4z"), "node-1", True, id="both"),
        pytest.param(("proxy-node-1",), "Node-1", False, id="the node's name in lower case"),
        pytest.param(("proxy-node-1",), "node-2", True, id="another node's name"),
        pytest.param(("proxynode-1",), "node-1", True, id="no part of the name"),
        pytest.param(("proxy-node-1",), "", True, id="no name of the node"),
    ],
)
def test_pods_of_the_api_server(pods, node, expected):
    response = ListPodResourcesResponse(pod_resources=[PodResources(name=pod) for pod in pods])
    assert has_api_pods(response, node) is expected


def test_the_wire_format_is_the_published_one():
    # Written by hand after kubernetes/kubelet's api.proto, with fields that we do not know:
    # cpu_ids (3 of the container), topology (3 of the devices), memory (5 of the pod).
    devices = b"\x0a\x0envidia.com/gpu" + b"\x12\x05GPU-0" + b"\x1a\x00"
    container = b"\x0a\x04main" + b"\x12" + bytes([len(devices)]) + devices + b"\x1a\x02\x01\x02"
    pod = b"\x0a\x03pod\x12\x02ns" + b"\x1a" + bytes([len(container)]) + container + b"\x2a\x00"
    wire = b"\x0a" + bytes([len(pod)]) + pod
    assert decode(ListPodResourcesResponse.FromString(wire)) == decode(
        answer(("nvidia.com/gpu", ["GPU-0"]))
    )


def test_the_service_has_its_name_on_the_wire():
    service = DESCRIPTOR.services_by_name["PodResourcesLister"]
    assert service.full_name == "v1.PodResourcesLister"
    assert [method.name for method in service.methods] == ["List"]
