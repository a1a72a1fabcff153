# SPDX-License-Identifier: Apache-2.0
"""Which container holds which device: ID forms, sharing, and two pods listed with one GPU."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.attribution.attribute import Holdings, attribute, remember
from exporter.model import (
    Allocation,
    Container,
    Device,
    DeviceReading,
    ProcessOwner,
    ProcessUse,
    Readings,
)

GPU_0 = "GPU-00000000-0000-0000-0000-000000000000"
GPU_1 = "GPU-11111111-1111-1111-1111-111111111111"
MIG_1 = "MIG-22222222-2222-2222-2222-222222222222"
MIG_2 = "MIG-33333333-3333-3333-3333-333333333333"

DEVICES = (
    Device(uuid=GPU_0, name="T4", minor_number=0),
    Device(uuid=GPU_1, name="A100", minor_number=1),
    Device(
        uuid=MIG_1,
        name="A100 MIG 1g.10gb",
        minor_number=1,
        parent_uuid=GPU_1,
        gpu_instance_id=7,
        compute_instance_id=0,
    ),
    Device(
        uuid=MIG_2,
        name="A100 MIG 1g.10gb",
        minor_number=1,
        parent_uuid=GPU_1,
        gpu_instance_id=9,
        compute_instance_id=0,
    ),
)
READINGS = Readings(
    taken_at_seconds=0.0,
    device_count=2,
    unreadable_count=0,
    devices=tuple(DeviceReading(device=device) for device in DEVICES),
)


def allocation(device_id, pod="pod", *, container="main", resource="nvidia.com/gpu"):
    return Allocation(
        container=Container(namespace_name="ns", pod_name=pod, container_name=container),
        resource_name=resource,
        device_id=device_id,
    )


def held(*lists):
    """Return {uuid: (mode, [pod/container...])} after these List answers, held devices only."""
    holdings = Holdings()
    for allocations in lists:
        holdings = remember(holdings, allocations)
    result: dict[str, tuple[str, list[str]]] = {}
    for row in attribute(READINGS, holdings).rows:
        if row.container is not None:
            name = f"{row.container.pod_name}/{row.container.container_name}"
            result.setdefault(row.reading.device.uuid, (row.allocate_mode.value, []))[1].append(
                name
            )
    return result


@pytest.mark.parametrize(
    ("device_id", "resource", "uuid", "mode"),
    [
        pytest.param(GPU_0, "nvidia.com/gpu", GPU_0, "exclusive", id="whole GPU"),
        pytest.param(f"{GPU_0}::3", "nvidia.com/gpu", GPU_0, "share", id="replica"),
        pytest.param(GPU_0, "nvidia.com/gpu.shared", GPU_0, "share", id="shared resource name"),
        pytest.param(MIG_1, "nvidia.com/mig-1g.10gb", MIG_1, "mig", id="MIG"),
        pytest.param(MIG_2, "nvidia.com/gpu", MIG_2, "mig", id="MIG, strategy single"),
        pytest.param(
            f"{MIG_1}::0", "nvidia.com/mig-1g.10gb.shared", MIG_1, "mig", id="MIG replica"
        ),
        pytest.param(f"MIG-{GPU_1}/9/0", "nvidia.com/gpu", MIG_2, "mig", id="legacy MIG"),
        pytest.param("nvidia0", "nvidia.com/gpu", GPU_0, "exclusive", id="GKE"),
        pytest.param("nvidia0/vgpu1", "nvidia.com/gpu", GPU_0, "share", id="GKE shared"),
        pytest.param("nvidia1/gi9", "nvidia.com/gpu", MIG_2, "mig", id="GKE MIG"),
        pytest.param("nvidia1/gi7/vgpu0", "nvidia.com/gpu", MIG_1, "mig", id="GKE MIG shared"),
    ],
)
def test_device_ids(device_id, resource, uuid, mode):
    assert held([allocation(device_id, resource=resource)]) == {uuid: (mode, ["pod/main"])}


@pytest.mark.parametrize(
    "device_id",
    [
        pytest.param("GPU-99999999-9999-9999-9999-999999999999", id="unknown UUID"),
        pytest.param("nvidia7", id="unknown minor number"),
        pytest.param("nvidia1/gi3", id="unknown GPU instance"),
        pytest.param(f"MIG-{GPU_1}/9/4", id="unknown compute instance"),
        pytest.param("nvidia", id="nonsense"),
        pytest.param(f"{GPU_0}-x", id="a UUID with something behind"),
        pytest.param("gpu.nvidia.com/node/gpu-0", id="a claim that is not looked up"),
        pytest.param("", id="empty"),
        pytest.param("nvidia\u0660", id="a minor number in other digits"),
        pytest.param("nvidia" + "9" * 5000, id="a minor number beyond all bounds"),
        pytest.param("nvidia1/gi" + "9" * 5000, id="a GPU instance beyond all bounds"),
        pytest.param(f"MIG-{GPU_1}/{'9' * 5000}/0", id="a legacy instance beyond all bounds"),
    ],
)
def test_an_id_without_a_device_is_reported_and_labels_nothing(device_id):
    snapshot = attribute(READINGS, remember(Holdings(), [allocation(device_id)]))
    assert [row.container for row in snapshot.rows] == [None] * len(DEVICES)
    assert snapshot.unmatched_device_ids == (device_id,)


def use(pod, container="main"):
    owner = ProcessOwner(namespace_name="ns", pod_name=pod, container_name=container)
    return ProcessUse(owner=owner, memory_used_bytes=1, duty_cycle_percent=1.0)


def fractions_held(allocations, *uses, unreadable=0):
    """Return {uuid: [(pod/container, mode)...]} and the unmatched IDs.

    `uses` are those of one GPU after the other, None where the processes are not known.
    """
    gpus = [Device(uuid=one, name="T4", minor_number=n) for n, one in enumerate((GPU_0, GPU_1))]
    readings = Readings(
        taken_at_seconds=0.0,
        device_count=len(uses) + unreadable,
        unreadable_count=unreadable,
        devices=tuple(
            DeviceReading(device=gpu, uses=one) for gpu, one in zip(gpus, uses, strict=False)
        ),
    )
    snapshot = attribute(readings, remember(Holdings(), allocations))
    found: dict[str, list[tuple[str, str]]] = {}
    for row in snapshot.rows:
        if row.container:
            name = f"{row.container.pod_name}/{row.container.container_name}"
            found.setdefault(row.reading.device.uuid, []).append((name, row.allocate_mode.value))
    return found, set(snapshot.unmatched_device_ids)


ON_0 = {GPU_0: [("pod/main", "share")]}
ON_1 = {GPU_1: [("pod/main", "share")]}


@pytest.mark.parametrize("form", ["{}-{}", "{}-_-{}"], ids=["HAMi and Volcano", "Aliyun"])
@pytest.mark.parametrize(
    ("uses", "expected", "unmatched"),
    [
        pytest.param([None], ON_0, False, id="the only GPU of a node"),
        pytest.param([None, None], {}, True, id="one of two, and no processes are known"),
        pytest.param([(), (use("pod"),)], ON_1, False, id="the one with its process"),
        pytest.param([None, (use("pod"),)], ON_1, False, id="and if others are not known"),
        pytest.param([(use("pod"),), ()], ON_0, False, id="even that of the ID"),
        pytest.param([(use("pod"),)] * 2, ON_0 | ON_1, False, id="both"),
        pytest.param([(), ()], {}, False, id="without a process yet: none"),
        pytest.param([(), (use("another"),)], {}, False, id="another pod's process"),
        pytest.param([(), (use("pod", "side"),)], {}, False, id="another container's process"),
        pytest.param([(), (use("pod", None),)], ON_1, False, id="the pod's only holder"),
    ],
)
def test_a_fraction_of_one_of_several_gpus_is_known_by_its_processes_only(
    form, uses, expected, unmatched
):
    ids = {form.format(GPU_0, number) for number in (3, 11)}
    found = fractions_held([allocation(one) for one in ids], *uses)
    assert found == (expected, ids if unmatched else set())


def test_a_process_of_either_of_two_holders_with_fractions_is_nobodys():
    both = [allocation(f"{GPU_0}-{n}", container=name) for n, name in enumerate(("a", "b"))]
    assert fractions_held(both, (), (use("pod", None),)) == ({}, set())


def test_a_gpu_that_cannot_be_read_may_have_the_process():
    fraction = allocation(f"{GPU_0}-0")
    assert fractions_held([fraction], (), unreadable=1) == ({}, {fraction.device_id})


BOARD_WITH_MIG = Device(uuid=GPU_1, name="A100", minor_number=1)
INSTANCES = tuple(one for one in DEVICES if one.is_mig_instance)


@pytest.mark.parametrize(
    ("uses", "expected", "is_unmatched"),
    [
        pytest.param([(use("pod"),), ()], {MIG_1: ["pod/main"]}, False, id="the first instance"),
        pytest.param([(), (use("pod"),)], {MIG_2: ["pod/main"]}, False, id="the second one"),
        pytest.param(
            [(use("pod"),), (use("b"),)],
            {MIG_1: ["pod/main"], MIG_2: ["b/main"]},
            False,
            id="two pods",
        ),
        pytest.param([(use("pod"),)], {MIG_1: ["pod/main"]}, False, id="the only instance"),
        pytest.param([(), ()], {}, False, id="without a process yet: none"),
        pytest.param([None, None], {}, True, id="processes are not known"),
        pytest.param([None], {}, True, id="nor those of the only instance"),
        pytest.param([], {}, True, id="no instance yet, or none that can be seen"),
    ],
)
@pytest.mark.parametrize("gpus", [1, 2])
def test_a_fraction_of_a_gpu_with_mig_is_an_instance_whether_the_node_has_one_gpu_or_two(
    gpus, uses, expected, is_unmatched
):
    devices = [
        DeviceReading(device=BOARD_WITH_MIG, has_mig=True),
        *(DeviceReading(device=one, uses=each) for one, each in zip(INSTANCES, uses, strict=False)),
        *[DeviceReading(device=DEVICES[0], uses=())] * (gpus - 1),
    ]
    readings = Readings(
        taken_at_seconds=0.0, device_count=gpus, unreadable_count=0, devices=tuple(devices)
    )
    ids = {f"{GPU_1}-3": "pod", f"{GPU_1}-7": "b"}
    holdings = remember(Holdings(), [allocation(one, pod) for one, pod in ids.items()])
    snapshot = attribute(readings, holdings)
    found: dict[str, list[str]] = {}
    for row in snapshot.rows:
        if row.container:
            assert row.allocate_mode == "mig"
            name = f"{row.container.pod_name}/{row.container.container_name}"
            found.setdefault(row.reading.device.uuid, []).append(name)
    assert found == expected
    assert set(snapshot.unmatched_device_ids) == (ids.keys() if is_unmatched else set())


def test_a_fraction_and_a_replica_of_one_gpu_both_hold_it():
    found, _ = fractions_held(
        [allocation(f"{GPU_0}-_-0"), allocation(f"{GPU_1}::0", "b")], (), (use("pod"), use("b"))
    )
    assert found == {GPU_1: [("b/main", "share"), ("pod/main", "share")]}


def test_a_free_device_has_one_row_with_an_empty_mode():
    rows = attribute(READINGS, Holdings()).rows
    assert [row.reading.device.uuid for row in rows] == [device.uuid for device in DEVICES]
    assert {row.allocate_mode.value for row in rows} == {""}


def test_every_container_of_a_shared_gpu_has_a_row():
    assert held(
        [
            allocation(f"{GPU_0}::0", "b"),
            allocation(f"{GPU_0}::1", "a"),
            allocation(f"{GPU_0}::2", "a", container="side"),
        ]
    ) == {GPU_0: ("share", ["a/main", "a/side", "b/main"])}


def test_two_replicas_in_one_container_count_once():
    assert held([allocation(f"{GPU_0}::0"), allocation(f"{GPU_0}::1")]) == {
        GPU_0: ("share", ["pod/main"])
    }


def test_one_pod_may_hold_several_devices():
    assert held([allocation(GPU_0), allocation(MIG_1)]) == {
        GPU_0: ("exclusive", ["pod/main"]),
        MIG_1: ("mig", ["pod/main"]),
    }


@pytest.mark.parametrize(
    ("lists", "holder"),
    [
        pytest.param([["old"], ["old", "new"]], "new", id="the one that appeared last holds"),
        pytest.param(
            [["old"], ["old", "new"], ["new", "old"], ["old", "new"]], "new", id="and goes on to"
        ),
        pytest.param([["z"], ["z", "a"]], "a", id="whatever the names"),
        pytest.param([["b", "a"]], "a", id="appeared together: the first by name"),
        pytest.param([["a", "b"], ["b"]], "b", id="the other one once the first has gone"),
        pytest.param([["a"], ["a", "b"], ["a"]], "a", id="back when the newer one has gone"),
        pytest.param([["a", "b"], ["b"], ["b", "a"]], "a", id="a pod that comes back is new"),
    ],
)
def test_two_pods_listed_with_one_exclusive_gpu(lists, holder):
    assert held(*([allocation(GPU_0, pod) for pod in pods] for pods in lists)) == {
        GPU_0: ("exclusive", [f"{holder}/main"])
    }


def test_a_finished_pod_does_not_make_a_replica_change_hands():
    lists = [["old"], ["old", "new"], ["new", "old"]]
    assert held(*([allocation(f"{GPU_0}::0", pod) for pod in pods] for pods in lists)) == {
        GPU_0: ("share", ["new/main"])
    }


def test_an_unchanged_list_changes_nothing():
    holdings = remember(Holdings(), [allocation(GPU_0), allocation(MIG_1)])
    assert remember(holdings, [allocation(MIG_1), allocation(GPU_0)]) is holdings


ALLOCATIONS = st.lists(
    st.builds(
        allocation,
        st.sampled_from(
            [GPU_0, f"{GPU_0}::0", f"{GPU_0}::1", MIG_1, "nvidia0", f"{GPU_0}-1", "gone"]
        ),
        st.sampled_from(["a", "b", "c"]),
        container=st.sampled_from(["x", "y"]),
        resource=st.sampled_from(["nvidia.com/gpu", "nvidia.com/gpu.shared"]),
    ),
    max_size=8,
)


@given(first=ALLOCATIONS, second=ALLOCATIONS, data=st.data())
def test_the_order_of_the_list_never_counts(first, second, data):
    shuffled = [data.draw(st.permutations(one)) for one in (first, second)]
    straight = remember(remember(Holdings(), first), second)
    other = remember(remember(Holdings(), shuffled[0]), shuffled[1])
    assert attribute(READINGS, straight) == attribute(READINGS, other)


@given(lists=st.lists(ALLOCATIONS, min_size=1, max_size=4))
def test_every_device_has_rows_and_no_container_twice(lists):
    holdings = Holdings()
    for allocations in lists:
        holdings = remember(holdings, allocations)
    rows = attribute(READINGS, holdings).rows
    assert {row.reading.device for row in rows} == set(DEVICES)
    keys = [(row.reading.device.uuid, row.container) for row in rows]
    assert len(keys) == len(set(keys))
    for row in rows:
        assert (row.container is None) == (row.allocate_mode.value == "") == (row.holder_count == 0)


@given(lists=st.lists(ALLOCATIONS, min_size=1, max_size=4))
def test_listing_the_same_again_moves_no_device(lists):
    holdings = Holdings()
    for allocations in lists:
        holdings = remember(holdings, allocations)
    again = remember(holdings, reversed(lists[-1]))
    assert attribute(READINGS, holdings) == attribute(READINGS, again)
