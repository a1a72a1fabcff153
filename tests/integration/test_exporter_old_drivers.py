# SPDX-License-Identifier: Apache-2.0
"""Drivers that are older than the functions and fields that we ask first."""

from __future__ import annotations

import pytest

from exporter.model import Collector
from tests.nvmlnode import Node

FUNCTION_NOT_FOUND, NOT_SUPPORTED = 13, 3
OLD = "525.147.05"
LOWEST = "450.248.02"
# In nanoseconds by field: the power, thermal and sync boost policies.
POLICIES = {74: 2_500_000_000, 75: 4_000_000_000, 76: 1_000_000_000}
SECONDS = {
    ("clocks_event_seconds_total", "sw_power_cap"): 2.5,
    ("clocks_event_seconds_total", "sw_thermal_slowdown"): 4.0,
    ("clocks_event_seconds_total", "sync_boost"): 1.0,
}


def old_node(version=OLD, collectors=(Collector.THROTTLE,)):
    node = Node("H100", collectors=collectors)
    node.driver.driver_version = version
    board = node.driver.gpus[0].board
    board.event_reasons, board.event_nanoseconds = 0x4 | 0x40, POLICIES
    return node.open()


def test_the_reasons_of_a_driver_that_has_them_under_their_former_name():
    samples = old_node().samples(of="clocks_event_reason_active")
    active = {reason for (_, reason), state in samples.items() if state}
    assert active == {"gpu_idle", "sw_power_cap", "hw_thermal_slowdown"}
    assert ("clocks_event_reason_active", "display_clock_setting") not in samples


def test_the_times_of_a_driver_that_has_the_fields_of_policies_only():
    node = old_node()
    assert node.samples(of="clocks_event_seconds") == SECONDS
    assert node.errors == []


@pytest.mark.parametrize("code", [FUNCTION_NOT_FOUND, NOT_SUPPORTED])
def test_the_times_of_a_driver_without_such_fields(code):
    node = old_node()
    node.driver.faults.fail("nvmlDeviceGetFieldValues", code)
    assert node.samples(of="clocks_event_seconds") == SECONDS
    assert node.errors == []


def test_what_a_driver_does_not_have_is_asked_once():
    node = old_node()
    node.read()
    node.count_calls()
    assert node.samples(of="clocks_event_seconds") == SECONDS
    assert not {name for name in node.calls if "EventReasons" in name}
    assert not {name for name in node.calls if "Violation" in name}


def test_a_newer_source_that_fails_for_a_while_is_not_mixed_with_the_older_one():
    node = Node("H100", collectors=[Collector.THROTTLE]).open()
    node.driver.gpus[0].board.event_nanoseconds = {269: 7_000_000_000, 75: 1}
    before = node.samples(of="clocks_event_seconds")
    assert before["clocks_event_seconds_total", "sw_thermal_slowdown"] == 7
    node.driver.faults.fail("nvmlDeviceGetFieldValues", 999)
    assert node.samples(of="clocks_event_seconds") == {}
    node.driver.faults.heal("nvmlDeviceGetFieldValues")
    assert node.samples(of="clocks_event_seconds") == before


def test_the_lowest_driver_has_the_base_set_and_all_collectors_that_it_knows():
    node = old_node(LOWEST, frozenset(Collector) - {Collector.XID})
    for function in (
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetGraphicsRunningProcesses_v3",
        "nvmlDeviceGetMPSComputeRunningProcesses_v3",
        "nvmlGpmQueryDeviceSupport",
    ):
        node.driver.faults.fail(function, FUNCTION_NOT_FOUND)
    reading = node.read_first()
    assert reading.duty_cycle_percent is not None
    assert reading.memory_used_bytes is not None
    assert reading.power_usage_milliwatts is not None
    assert reading.uses is None
    collectors = {sample.family.collector for sample in reading.extended}
    absent = {
        *(Collector.GPM, Collector.CONTAINERS, Collector.PROCESSES, Collector.MEMORY, Collector.XID)
    }
    assert collectors == frozenset(Collector) - absent
    assert node.errors == []
