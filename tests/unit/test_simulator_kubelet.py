# SPDX-License-Identifier: Apache-2.0
"""Which devices the simulated kubelet offers and hands out; no socket is opened."""

from __future__ import annotations

import pytest

from simulator.driver import SimulatedDriver
from simulator.gpus import GpuSpec
from simulator.kubelet import MAX_SOCKET_PATH_BYTES, SimulatedKubelet
from simulator.plugin_devices import SHARED_GPU_RESOURCE

MIG = GpuSpec(model="A100-80GB", mig_profiles=("1g.10gb", None, "1g.10gb", "3g.40gb"))


def test_whole_gpus_are_handed_out_until_none_is_left():
    driver = SimulatedDriver(["T4", "T4"])
    kubelet = SimulatedKubelet(driver, "unused.sock")
    assert kubelet.capacity() == {"nvidia.com/gpu": 2}
    first = kubelet.allocate("a", "one", "main", "nvidia.com/gpu", 1)
    second = kubelet.allocate("a", "two", "main", "nvidia.com/gpu", 1)
    assert first == (driver.gpus[0].uuid,)
    assert second == (driver.gpus[1].uuid,)
    assert kubelet.allocate("a", "three", "main", "nvidia.com/gpu", 1) is None
    kubelet.release("a", "one")
    assert kubelet.uuids_of("a", "one") == frozenset()
    assert kubelet.allocate("a", "three", "main", "nvidia.com/gpu", 1) == first
    assert kubelet.uuids_of("a", "three") == {driver.gpus[0].uuid}


def test_too_few_devices_means_none_at_all():
    kubelet = SimulatedKubelet(SimulatedDriver(["T4", "T4"]), "unused.sock")
    assert kubelet.allocate("a", "one", "main", "nvidia.com/gpu", 3) is None
    assert kubelet.allocate("a", "one", "main", "nvidia.com/gpu", 2) is not None


def test_a_resource_that_the_node_lacks_is_never_free():
    kubelet = SimulatedKubelet(SimulatedDriver(["T4"]), "unused.sock")
    assert kubelet.allocate("a", "one", "main", "nvidia.com/gpu.shared", 1) is None


def test_replicas_come_from_the_gpu_that_is_shared_least():
    driver = SimulatedDriver(["T4", "T4"])
    kubelet = SimulatedKubelet(driver, "unused.sock", replicas=2, resource_name=SHARED_GPU_RESOURCE)
    one, two = (gpu.uuid for gpu in driver.gpus)
    given = [kubelet.allocate("a", f"p{n}", "c", SHARED_GPU_RESOURCE, 1) for n in range(5)]
    assert given == [(f"{one}::0",), (f"{two}::0",), (f"{one}::1",), (f"{two}::1",), None]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, {"nvidia.com/mig-1g.10gb": 2, "nvidia.com/mig-3g.40gb": 1}, id="nvidia"),
        pytest.param({"gke_names": True}, {"nvidia.com/gpu": 3}, id="gke"),
    ],
)
def test_mig_instances_are_offered_by_profile(options, expected):
    kubelet = SimulatedKubelet(SimulatedDriver([MIG]), "unused.sock", **options)
    assert kubelet.capacity() == expected


def test_a_profile_with_a_plus_sign_becomes_a_resource_name():
    gpu = GpuSpec(model="A100-80GB", mig_profiles=("1g.10gb+me",))
    kubelet = SimulatedKubelet(SimulatedDriver([gpu]), "unused.sock")
    assert kubelet.capacity() == {"nvidia.com/mig-1g.10gb.me": 1}


@pytest.mark.parametrize(
    ("gpu", "replicas", "ids"),
    [
        pytest.param(GpuSpec(model="T4", minor_number=3), 1, ["nvidia3"], id="whole"),
        pytest.param("T4", 2, ["nvidia0/vgpu0", "nvidia0/vgpu1"], id="shared"),
        pytest.param(MIG, 1, ["nvidia0/gi7", "nvidia0/gi9", "nvidia0/gi10"], id="mig"),
    ],
)
def test_gke_names(gpu, replicas, ids):
    kubelet = SimulatedKubelet(
        SimulatedDriver([gpu]), "unused.sock", replicas=replicas, gke_names=True
    )
    assert [device.device_id for device in kubelet.devices] == ids


def test_a_socket_path_that_fits_no_address_is_refused():
    with pytest.raises(ValueError, match="too long"):
        SimulatedKubelet(SimulatedDriver([]), "x" * (MAX_SOCKET_PATH_BYTES + 1))


def test_less_than_one_replica_is_refused():
    with pytest.raises(ValueError, match="0 replicas"):
        SimulatedKubelet(SimulatedDriver(["T4"]), "unused.sock", replicas=0)
