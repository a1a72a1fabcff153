# SPDX-License-Identifier: Apache-2.0
"""Readings and allocations arriving in any order -> the newest snapshot."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from exporter.attribution.snapshots import MAX_LOGGED_IDS, Snapshots
from exporter.model import Allocation, Container, Device, DeviceReading, Readings


def readings(duty_cycle_percent=1.0):
    return Readings(
        taken_at_seconds=0.0,
        device_count=1,
        unreadable_count=0,
        devices=(
            DeviceReading(
                device=Device(uuid="GPU-0", name="T4", minor_number=0),
                duty_cycle_percent=duty_cycle_percent,
            ),
        ),
    )


def allocations(*pods, device_id="GPU-0"):
    return {
        Allocation(
            container=Container(namespace_name="ns", pod_name=pod, container_name="main"),
            resource_name="nvidia.com/gpu",
            device_id=device_id,
        )
        for pod in pods
    }


def pods(snapshots):
    assert snapshots.newest is not None
    return [row.container.pod_name if row.container else None for row in snapshots.newest.rows]


def test_there_is_no_snapshot_before_the_first_readings():
    snapshots = Snapshots()
    snapshots.on_allocations(allocations("a"))
    assert snapshots.newest is None
    snapshots.on_readings(readings())
    assert pods(snapshots) == ["a"]


def test_new_allocations_show_without_waiting_for_the_next_cycle():
    snapshots = Snapshots()
    snapshots.on_readings(readings())
    assert pods(snapshots) == [None]
    snapshots.on_allocations(allocations("a"))
    assert pods(snapshots) == ["a"]


def test_a_snapshot_is_published_later_unless_a_newer_one_is():
    snapshots = Snapshots()
    snapshots.on_readings(readings())
    first = snapshots.newest
    second, third = snapshots.join(readings(2.0)), snapshots.join(readings(3.0))
    assert snapshots.newest is first
    snapshots.publish(second)
    assert snapshots.newest is second.snapshot
    snapshots.publish(third)
    assert snapshots.newest is third.snapshot
    snapshots.publish(second)
    assert snapshots.newest is third.snapshot

    without_pod = snapshots.join(readings(4.0))
    snapshots.on_allocations(allocations("a"))
    snapshots.publish(without_pod)
    assert pods(snapshots) == ["a"], "the pod stays"
    assert snapshots.newest is not None
    assert snapshots.newest.readings.devices[0].duty_cycle_percent == 4.0


def test_readings_are_joined_once_when_somebody_asks():
    snapshots = Snapshots()
    snapshots.on_allocations(allocations("a"))
    for percent in (1.0, 2.0):
        snapshots.on_readings(newest := readings(percent))
        assert snapshots.readings is newest
    first = snapshots.newest
    assert first is not None
    assert first.readings is newest
    assert snapshots.newest is first

    ahead = snapshots.join(readings(3.0))
    assert snapshots.newest is first, "it is published by whoever joined it"
    assert snapshots.readings is newest
    snapshots.publish(ahead)
    assert snapshots.readings is ahead.snapshot.readings


def test_an_unchanged_list_keeps_the_very_snapshot():
    snapshots = Snapshots()
    snapshots.on_readings(readings())
    snapshots.on_allocations(allocations("a"))
    first = snapshots.newest
    snapshots.on_allocations(allocations("a"))
    assert snapshots.newest is first


def test_expired_allocations_vanish_and_come_back_with_who_was_first():
    snapshots = Snapshots()
    snapshots.on_readings(readings())
    snapshots.on_allocations(allocations("z-finished"))
    snapshots.on_allocations(allocations("z-finished", "y-running"))
    snapshots.on_allocations_expired()
    assert pods(snapshots) == [None]
    snapshots.on_readings(readings())
    assert pods(snapshots) == [None]
    snapshots.on_allocations(allocations("y-running", "z-finished"))
    assert pods(snapshots) == ["y-running"]


def test_devices_that_nvml_does_not_show_are_warned_about_once(caplog):
    snapshots = Snapshots()
    snapshots.on_readings(readings())
    for _ in range(3):
        snapshots.on_allocations(allocations("a", device_id="GPU-lost"))
        snapshots.on_readings(readings())
    (record,) = caplog.records
    assert vars(record)["device_ids"] == "GPU-lost"


def test_pods_that_come_and_go_write_no_log(caplog):
    caplog.set_level("INFO")
    snapshots = Snapshots()
    snapshots.on_readings(readings())
    shared = allocations("a", device_id="GPU-0::0") | allocations("b", device_id="GPU-0::1")
    for number in range(100):
        snapshots.on_allocations(allocations(f"pod-{number}", device_id="GPU-lost"))
        snapshots.on_allocations(shared)
        snapshots.on_allocations(set())
    assert len(caplog.records) == 2, "the device, and that the GPU is shared"
    snapshots.on_allocations(
        allocations("a", device_id="GPU-lost") | allocations("b", device_id="GPU-other")
    )
    assert vars(caplog.records[-1])["device_ids"] == "GPU-other"


@pytest.mark.parametrize(
    ("device_id", "says"),
    [
        pytest.param("GPU-lost", "NVML does not show", id="unknown"),
        pytest.param("gpu.nvidia.com/node/gpu-0", "--dra", id="claimed"),
        pytest.param(f"GPU-{UUID(int=1)}-0", "--collectors containers", id="a fraction"),
    ],
)
def test_why_a_device_is_not_matched(caplog, device_id, says):
    snapshots = Snapshots()
    snapshots.on_readings(replace(readings(), device_count=2))
    snapshots.on_allocations(allocations("a", device_id=device_id))
    (record,) = caplog.records
    assert says in record.getMessage()


def test_a_log_line_has_few_ids(caplog):
    snapshots = Snapshots()
    snapshots.on_readings(readings())
    ids = [f"GPU-lost-{number:03}" for number in range(500)]
    snapshots.on_allocations(frozenset().union(*(allocations("a", device_id=one) for one in ids)))
    (record,) = caplog.records
    assert vars(record)["device_ids"].split(",") == ids[:MAX_LOGGED_IDS]
    assert vars(record)["devices"] == 500


def test_left_out_memory_is_said_once(caplog):
    caplog.set_level("INFO")
    snapshots = Snapshots()
    shared = allocations("a", device_id="GPU-0::0") | allocations("b", device_id="GPU-0::1")
    for _ in range(3):
        snapshots.on_allocations(shared)
        snapshots.on_readings(readings())
        assert pods(snapshots) == ["a", "b"]
    (record,) = caplog.records
    assert "nvidia_gpu_memory_used_bytes is absent" in record.getMessage()


def test_complete_with_a_duty_cycle_or_after_two_cycles():
    snapshots = Snapshots()
    assert not snapshots.complete()
    snapshots.on_readings(readings(duty_cycle_percent=None))
    assert not snapshots.complete()
    snapshots.on_readings(readings(duty_cycle_percent=None))
    assert snapshots.complete()
    at_once = Snapshots()
    at_once.on_readings(readings())
    assert at_once.complete()


def test_not_complete_while_anything_awaits_its_second_sample():
    snapshots = Snapshots()
    for _ in range(3):
        snapshots.on_readings(replace(readings(), awaits_second_sample=True))
        assert not snapshots.complete()
    snapshots.on_readings(readings())
    assert snapshots.complete()
