# SPDX-License-Identifier: Apache-2.0
"""The kubelet's List answer -> allocations."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.model import DRA_DRIVER, Allocation, Container
from exporter.podresources.decode import decode
from exporter.podresources.wire import WireError, fields
from simulator.podresources_pb2 import (
    DESCRIPTOR,
    ClaimResource,
    ContainerDevices,
    ContainerResources,
    DynamicResource,
    ListPodResourcesResponse,
    PodResources,
)


def answer(*devices, pod="pod", container="main"):
    response = ListPodResourcesResponse(
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
    return response.SerializeToString()


def ids(response, *extra):
    return {allocation.device_id for allocation in decode(response, extra).allocations}


def test_one_allocation():
    assert decode(answer(("nvidia.com/gpu", ["GPU-0"]))).allocations == {
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
    response = answer((resource, ["X"]))
    assert ids(response, *extra) == ({"X"} if counts else set())
    assert decode(response, extra).other_resource_names == (set() if counts else {resource})


def test_entries_split_by_numa_node_and_repeated_ids():
    response = answer(
        ("nvidia.com/gpu", ["GPU-0", "GPU-1"]), ("nvidia.com/gpu", ["GPU-1", "GPU-2"])
    )
    found = decode(response).allocations
    assert sorted(one.device_id for one in found) == ["GPU-0", "GPU-1", "GPU-2"]


def test_pods_without_devices_and_an_empty_answer():
    assert decode(answer()).allocations == frozenset()
    assert decode(b"").allocations == frozenset()


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
    assert decode(response.SerializeToString(), node_name=node).has_api_pods is expected


def test_the_wire_format_is_the_published_one():
    # Written by hand after kubernetes/kubelet's api.proto, with fields that we do not know:
    # cpu_ids (3 of the container), topology (3 of the devices), memory (5 of the pod).
    devices = b"\x0a\x0envidia.com/gpu" + b"\x12\x05GPU-0" + b"\x1a\x00"
    container = b"\x0a\x04main" + b"\x12" + bytes([len(devices)]) + devices + b"\x1a\x02\x01\x02"
    pod = b"\x0a\x03pod\x12\x02ns" + b"\x1a" + bytes([len(container)]) + container + b"\x2a\x00"
    wire = b"\x0a" + bytes([len(pod)]) + pod
    assert ListPodResourcesResponse.FromString(wire).pod_resources[0].name == "pod"
    assert decode(wire) == decode(answer(("nvidia.com/gpu", ["GPU-0"])))


def test_the_service_has_its_name_on_the_wire():
    service = DESCRIPTOR.services_by_name["PodResourcesLister"]
    assert service.full_name == "v1.PodResourcesLister"
    assert [method.name for method in service.methods] == ["List"]


TEXTS = st.text(max_size=200)
RESOURCES = st.sampled_from(["nvidia.com/gpu", "nvidia.com/mig-1g.10gb", "corp.io/nic"])
CLAIMED = st.builds(
    ClaimResource,
    driver_name=st.sampled_from([DRA_DRIVER, "net.corp.io"]),
    pool_name=TEXTS,
    device_name=TEXTS,
)
CONTAINERS = st.builds(
    ContainerResources,
    name=TEXTS,
    devices=st.lists(
        st.builds(
            ContainerDevices,
            resource_name=RESOURCES,
            device_ids=st.lists(TEXTS.filter(bool), min_size=1, max_size=4),
        ),
        max_size=3,
    ),
    dynamic_resources=st.lists(
        st.builds(
            DynamicResource,
            claim_name=TEXTS,
            claim_namespace=TEXTS,
            claim_resources=st.lists(CLAIMED, max_size=2),
        ),
        max_size=2,
    ),
)
RESPONSES = st.builds(
    ListPodResourcesResponse,
    pod_resources=st.lists(
        st.builds(
            PodResources,
            name=TEXTS,
            namespace=TEXTS,
            containers=st.lists(CONTAINERS, max_size=3),
        ),
        max_size=3,
    ),
)


def flat(response):
    """(namespace, pod, container, resource, device ID) as protobuf's own library reads them."""
    for pod in response.pod_resources:
        for container in pod.containers:
            holder = pod.namespace, pod.name, container.name
            for devices in container.devices:
                yield from ((*holder, devices.resource_name, one) for one in devices.device_ids)
            for dynamic in container.dynamic_resources:
                for one in dynamic.claim_resources:
                    name = f"{one.driver_name}/{one.pool_name}/{one.device_name}"
                    yield *holder, one.driver_name, name


@given(response=RESPONSES)
def test_it_is_read_as_protobufs_library_reads_it(response):
    listing = decode(response.SerializeToString(), node_name="node-1")
    assert {
        (
            one.container.namespace_name,
            one.container.pod_name,
            one.container.container_name,
            one.resource_name,
            one.device_id,
        )
        for one in listing.allocations
    } == {one for one in flat(response) if "corp.io" not in one[3]}
    assert listing.other_resource_names == {one[3] for one in flat(response)} & {"corp.io/nic"}
    assert listing.has_api_pods == any(
        not pod.name.endswith("-node-1") for pod in response.pod_resources
    )


@given(response=RESPONSES, data=st.data())
def test_whatever_is_wrong_with_it_is_an_error_of_few_kinds(response, data):
    garbled = bytearray(response.SerializeToString() or b"\0")
    place = data.draw(st.integers(0, len(garbled) - 1))
    garbled[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(WireError, UnicodeDecodeError):
        decode(bytes(garbled))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        pytest.param(b"\x08\x96\x01\x12\x01x", [(2, b"x")], id="a number before"),
        pytest.param(b"\x09" + bytes(8) + b"\x15" + bytes(4), [], id="of fixed size"),
        pytest.param(b"\xfa\xff\xff\xff\x0f\x00", [(2**29 - 1, b"")], id="the highest number"),
        pytest.param(b"\x0a\x80\x00", [(1, b"")], id="a length in more bytes than it needs"),
    ],
)
def test_fields(message, expected):
    assert list(fields(message)) == expected


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"\x0a", id="no length"),
        pytest.param(b"\x0a\x02x", id="shorter than its length"),
        pytest.param(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", id="a huge length"),
        pytest.param(b"\x09\x00", id="half of a fixed size"),
        pytest.param(b"\x08" + b"\xff" * 20, id="a number without end"),
        pytest.param(b"\x02\x00", id="the number 0"),
        pytest.param(b"\x0b\x0c", id="a group"),
        pytest.param(b"\x0f", id="an unknown type"),
    ],
)
def test_what_is_no_message(message):
    with pytest.raises(WireError):
        list(fields(message))
