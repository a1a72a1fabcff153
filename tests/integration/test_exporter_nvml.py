# SPDX-License-Identifier: Apache-2.0
"""NVML through the real binding over a simulated library: readings, averages, faults of devices."""

from __future__ import annotations

import time
from typing import Any

import pytest

from exporter.nvml import NvmlError
from exporter.nvml.base import TEMPERATURE_SECONDS
from simulator.gpus import GpuSpec, LoadHistory
from tests.nvmlnode import Node

MIB = 1024 * 1024
NOT_SUPPORTED, NO_PERMISSION, UNKNOWN = 3, 4, 999
NOT_AVAILABLE = 2**32 - 1


def test_the_base_readings():
    node = Node("RTX-A6000").open()
    node.driver.set_memory_used(0, 512 * MIB)
    node.driver.set_load(0, 63)
    reading = node.after(30)
    gpu = node.driver.gpus[0]
    assert reading.device.uuid == gpu.uuid
    assert reading.device.name == "NVIDIA RTX A6000"
    assert reading.device.minor_number == 0
    assert reading.duty_cycle_percent == 63.0
    assert reading.memory_total_bytes == gpu.memory_total_bytes
    assert reading.memory_used_bytes == 512 * MIB
    assert reading.power_usage_milliwatts == node.driver.power_milliwatts(gpu)
    assert reading.temperature_celsius == node.driver.temperature_celsius(gpu)
    assert reading.fan_speed_percent == node.driver.fan_percent(gpu)
    assert node.nvml.driver_version == node.driver.driver_version
    assert node.errors == []


def test_a_fanless_board_has_no_fan_speed_and_that_is_no_error():
    node = Node("T4").open()
    assert node.read_first().fan_speed_percent is None
    assert node.errors == []


@pytest.mark.parametrize("window_seconds", [1.0, 5.0, 10.0, 15.0])
def test_the_duty_cycle_is_averaged_over_the_window(window_seconds):
    node = Node("T4", window_seconds=window_seconds).open()
    node.driver.set_load(0, 100)
    node.clock.now += 4
    node.driver.set_load(0, 0)
    expected = 100 * max(0.0, min(4.0, window_seconds - 1)) / window_seconds
    assert node.after(1).duty_cycle_percent == pytest.approx(expected, abs=3)


def test_no_burst_between_two_cycles_is_lost():
    node = Node("T4").open()
    node.driver.set_load(0, 0)
    node.after(20)
    node.driver.set_load(0, 100)
    node.clock.now += 1
    node.driver.set_load(0, 0)
    assert node.after(1).duty_cycle_percent == pytest.approx(10, abs=2)


def test_a_window_longer_than_the_drivers_buffer_is_filled_from_our_own_history():
    node = Node("T4", window_seconds=60.0).open()
    node.driver.set_load(0, 100)
    for _ in range(15):
        node.after(2)
    node.driver.set_load(0, 0)
    for _ in range(15):
        reading = node.after(2)
    assert reading.duty_cycle_percent == pytest.approx(50, abs=1)


def test_without_a_sample_buffer_the_instants_are_averaged():
    node = Node("T4").open()
    node.driver.faults.fail("nvmlDeviceGetSamples", NOT_SUPPORTED)
    node.driver.set_load(0, 100)
    assert node.after(1).duty_cycle_percent == 100.0
    node.driver.set_load(0, 0)
    assert 0.0 < (node.after(1).duty_cycle_percent or 0.0) < 100.0
    assert node.errors == []


def test_samples_of_an_unknown_type_are_no_samples():
    node = Node("RTX-A6000").open()
    binding: Any = node.nvml._calls.binding
    original = binding.nvmlDeviceGetSamples
    binding.nvmlDeviceGetSamples = lambda *arguments: (99, original(*arguments)[1])
    node.driver.set_load(0, 40)
    reading = node.after(30)
    assert reading.duty_cycle_percent == 40.0, "from the instantaneous rates"
    assert reading.power_usage_milliwatts is not None


def test_a_board_with_neither_has_no_duty_cycle():
    node = Node("T4").open()
    node.driver.faults.fail("nvmlDeviceGetSamples", NOT_SUPPORTED)
    node.driver.faults.fail("nvmlDeviceGetUtilizationRates", NOT_SUPPORTED)
    assert node.read_first().duty_cycle_percent is None
    assert node.errors == []


@pytest.mark.parametrize("jump_seconds", [-86_400, -3600, 86_400])
def test_a_clock_that_jumps_does_not_freeze_the_duty_cycle(monkeypatch, jump_seconds):
    monkeypatch.setattr("exporter.nvml.duty_cycle._BUFFER_STALLED_SECONDS", 0.0)
    node = Node("T4", window_seconds=0.1).open()
    node.driver.set_load(0, 100)
    assert node.after(30).duty_cycle_percent == 100.0
    node.clock.now += jump_seconds
    node.driver.gpus[0].load = LoadHistory()  # the old one lies in the future
    node.driver.set_load(0, 30)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and node.after(1).duty_cycle_percent != 30.0:
        pass
    assert node.after(1).duty_cycle_percent == 30.0


@pytest.mark.parametrize(
    ("function", "field"),
    [
        pytest.param("nvmlDeviceGetPowerUsage", "power_usage_milliwatts", id="power"),
        pytest.param("nvmlDeviceGetTemperature", "temperature_celsius", id="temperature"),
        pytest.param("nvmlDeviceGetFanSpeed", "fan_speed_percent", id="fan"),
        pytest.param("nvmlDeviceGetSamples", "duty_cycle_percent", id="duty cycle"),
        pytest.param("nvmlDeviceGetMemoryInfo_v2", "memory_used_bytes", id="memory"),
    ],
)
def test_one_failing_reading_is_unknown_and_counted(function, field):
    node = Node("RTX-A6000").open()
    node.driver.faults.fail(function, UNKNOWN)
    reading = node.read_first()
    assert getattr(reading, field) is None
    others = {
        "power_usage_milliwatts",
        "temperature_celsius",
        "fan_speed_percent",
        "duty_cycle_percent",
        "memory_used_bytes",
    } - {field}
    assert all(getattr(reading, other) is not None for other in others)
    assert node.errors == [(function.removesuffix("_v2"), "UNKNOWN")]


@pytest.mark.parametrize(
    ("function", "field"),
    [
        pytest.param("nvmlDeviceGetPowerUsage", "power_usage_milliwatts", id="power"),
        pytest.param("nvmlDeviceGetTemperature", "temperature_celsius", id="temperature"),
        pytest.param("nvmlDeviceGetFanSpeed", "fan_speed_percent", id="fan"),
    ],
)
def test_not_available_values_are_unknown(function, field):
    node = Node("RTX-A6000").open()
    node.driver.faults.answer(function, NOT_AVAILABLE)
    assert getattr(node.read_first(), field) is None


def test_memory_that_is_not_available_is_unknown():
    node = Node("T4").open()
    node.driver.set_memory_used(0, None)
    reading = node.read_first()
    assert reading.memory_used_bytes is None
    assert reading.memory_total_bytes is not None


def test_an_old_driver_knows_the_first_memory_structure_only():
    node = Node("T4").open()
    node.driver.set_memory_used(0, 3 * MIB)
    node.driver.faults.fail("nvmlDeviceGetMemoryInfo_v2", 13)  # FUNCTION_NOT_FOUND
    reading = node.read_first()
    assert reading.memory_total_bytes == node.driver.gpus[0].memory_total_bytes
    assert reading.memory_used_bytes is not None
    assert node.errors == []


def test_a_lost_gpu_loses_its_row_only_and_comes_back():
    node = Node("T4", "T4", "T4").open()
    node.read()
    lost, first, last = (node.driver.gpus[index].uuid for index in (1, 0, 2))
    node.driver.faults.lose(lost)
    readings = node.readings()
    assert [reading.device.uuid for reading in readings.devices] == [first, last]
    assert (readings.device_count, readings.unreadable_count) == (3, 1)
    assert {code for _, code in node.errors} == {"GPU_IS_LOST"}
    node.driver.faults.find(lost)
    assert [*node.read()] == [first, lost, last]


def test_a_driver_that_goes_away_ends_the_session():
    node = Node("T4").open()
    node.read()
    node.driver.faults.unload_driver()
    with pytest.raises(NvmlError, match="UNINITIALIZED"):
        node.read()
    node.nvml.close()
    with pytest.raises(NvmlError, match="DRIVER_NOT_LOADED"):
        node.nvml.open()
    node.driver.faults.load_driver()
    node.nvml.open()
    assert node.read_first().duty_cycle_percent is not None


def test_no_library():
    node = Node("T4")
    node.driver.faults.lacks_library = True
    with pytest.raises(NvmlError, match="nvmlInit: LIBRARY_NOT_FOUND") as caught:
        node.nvml.open()
    assert (caught.value.function, caught.value.code) == ("nvmlInit", "LIBRARY_NOT_FOUND")


def test_mig_has_a_row_per_instance_and_the_board_once():
    node = Node(GpuSpec(model="A100-80GB", mig_profiles=("1g.10gb", None, "3g.40gb")), "T4").open()
    board, *instances = list(node.read().values())[:-1]
    gpu = node.driver.gpus[0]
    assert board.device.uuid == gpu.uuid
    assert board.duty_cycle_percent is None
    assert board.memory_total_bytes is None
    assert board.power_usage_milliwatts is not None
    assert board.temperature_celsius is not None
    expected = [mig for mig in gpu.mig_devices if mig is not None]
    assert [reading.device.uuid for reading in instances] == [mig.uuid for mig in expected]
    for reading, mig in zip(instances, expected, strict=True):
        assert reading.device.parent_uuid == gpu.uuid
        assert reading.device.minor_number == gpu.minor_number
        assert reading.device.name == mig.name
        assert reading.device.gpu_instance_id == mig.gpu_instance_id
        assert reading.device.compute_instance_id == mig.compute_instance_id
        assert reading.memory_total_bytes == mig.memory_total_bytes
        assert reading.memory_used_bytes is not None
        assert reading.duty_cycle_percent is None
        assert reading.power_usage_milliwatts is None
        assert reading.temperature_celsius is None
    assert node.errors == []


@pytest.mark.parametrize(
    ("model", "more"),
    [
        pytest.param("H100", set(), id="no fan, no MIG though it could"),
        pytest.param("RTX-A6000", {"nvmlDeviceGetFanSpeed"}, id="a fan"),
    ],
)
def test_a_cycle_asks_only_for_what_the_board_has_and_what_can_change(model, more):
    node = Node(model).open()
    node.read()
    node.count_calls()
    node.after(1)
    assert node.calls == dict.fromkeys(
        {
            "nvmlDeviceGetCount",
            "nvmlDeviceGetPowerUsage",
            "nvmlDeviceGetMemoryInfo",
            "nvmlDeviceGetSamples",
            *more,
        },
        1,
    )


def test_the_temperature_is_asked_every_few_seconds(monkeypatch):
    now = 1000.0
    monkeypatch.setattr("exporter.nvml.gpu.time.monotonic", lambda: now)
    node = Node("H100").open()
    monkeypatch.setattr(node.driver, "temperature_celsius", lambda _gpu: 50)
    assert node.read_first().temperature_celsius == 50
    monkeypatch.setattr(node.driver, "temperature_celsius", lambda _gpu: 51)
    node.count_calls()
    now += TEMPERATURE_SECONDS * 0.45
    assert node.read_first().temperature_celsius == 50
    assert "nvmlDeviceGetTemperature" not in node.calls
    now += TEMPERATURE_SECONDS * 0.6
    assert node.read_first().temperature_celsius == 51
    assert node.calls["nvmlDeviceGetTemperature"] == 1


def test_mig_switched_on_without_instances():
    node = Node(GpuSpec(model="A100-80GB", mig_profiles=())).open()
    (board,) = node.read().values()
    assert board.power_usage_milliwatts is not None
    assert board.memory_total_bytes is None


def test_the_running_call_is_known_by_name():
    node = Node("T4").open()
    assert node.nvml.running_call is None
    seen = []
    binding: Any = node.nvml._calls.binding
    original = binding.nvmlDeviceGetPowerUsage

    def spy(handle):
        seen.append(node.nvml.running_call)
        return original(handle)

    binding.nvmlDeviceGetPowerUsage = spy
    node.read()
    assert [call.function for call in seen if call] == ["nvmlDeviceGetPowerUsage"]
