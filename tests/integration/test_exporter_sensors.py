# SPDX-License-Identifier: Apache-2.0
"""What boards measure and how they are set, through the real binding over a simulated library."""

from __future__ import annotations

import pynvml
import pytest

from exporter.exposition import link_families
from exporter.model import Collector
from exporter.nvml.board import POLICIES
from exporter.nvml.fabric import STATES
from exporter.nvml.sensors import COMPUTE_MODES
from simulator.gpus import GpuSpec
from tests.integration.test_exporter_bounds import spoil_field
from tests.integration.test_exporter_enums import constants
from tests.nvmlnode import Node

NOT_SUPPORTED, FUNCTION_NOT_FOUND, OTHER_VERSION, UNKNOWN = 3, 13, 25, 999
GIB = 1 << 30


def test_temperature():
    node = Node("H100", collectors=[Collector.TEMPERATURE]).open()
    assert node.samples() == {
        ("memory_temperature_celsius",): 37,
        ("temperature_margin_celsius",): 87 - 33,
    }


def test_a_board_without_the_sensors_is_not_asked_again():
    node = Node("T4", collectors=[Collector.TEMPERATURE]).open()
    assert node.samples() == {}
    node.count_calls()
    assert node.samples() == {}
    assert not {name for name in node.calls if "Margin" in name or "Field" in name}
    assert node.errors == []


def test_a_memory_at_0_degrees_has_no_sensor():
    node = Node("H100", collectors=[Collector.TEMPERATURE]).open()
    spoil_field(node, pynvml.NVML_FI_DEV_MEMORY_TEMP, 0)
    assert node.samples(of="memory_temperature") == {}


@pytest.mark.parametrize("margin", [0, -3])
def test_a_gpu_at_its_limit_has_no_margin(margin):
    node = Node("H100", collectors=[Collector.TEMPERATURE]).open()
    node.binding.nvmlDeviceGetMarginTemperature = lambda _: margin
    assert node.samples(of="temperature_margin") == {("temperature_margin_celsius",): margin}


@pytest.mark.parametrize(
    "spec",
    ["T4", GpuSpec(model="H100", mig_profiles=("1g.10gb",))],
    ids=["board", "MIG"],
)
def test_memory_that_the_driver_keeps(spec):
    node = Node(spec, collectors=[Collector.MEMORY]).open()
    assert node.samples() == {("memory_reserved_bytes",): GIB // 4}


@pytest.mark.parametrize("code", [NOT_SUPPORTED, FUNCTION_NOT_FOUND, OTHER_VERSION])
def test_a_driver_that_does_not_tell_reserved_memory_apart(code):
    node = Node("T4", collectors=[Collector.MEMORY]).open()
    node.driver.faults.fail("nvmlDeviceGetMemoryInfo_v2", code)
    reading = node.read_first()
    assert reading.memory_used_bytes is not None
    assert reading.extended == ()
    assert node.errors == []


def test_reserved_memory_beyond_the_total_is_unknown():
    node = Node("T4", collectors=[Collector.MEMORY]).open()
    original = node.binding.nvmlDeviceGetMemoryInfo

    def info(*arguments):
        answer = original(*arguments)
        answer.reserved = answer.total + 1
        return answer

    node.binding.nvmlDeviceGetMemoryInfo = info
    assert node.samples() == {}


def test_average_and_instant_power_apart():
    node = Node("H100", collectors=[Collector.POWER]).open()
    samples = node.samples(of="power_")
    assert (samples["power_average_watts",], samples["power_instant_watts",]) == (70, 70)
    spoil_field(node, 186, 91_500)
    assert node.samples(of="power_instant") == {("power_instant_watts",): 91.5}


def test_a_board_that_does_not_average_its_power():
    node = Node("A100-80GB", collectors=[Collector.POWER]).open()
    samples = node.samples()
    assert samples["power_instant_watts",] == 55
    assert ("power_average_watts",) not in samples
    assert node.errors == []


def test_seconds_of_violations_by_policy():
    node = Node("H100", collectors=[Collector.THROTTLE]).open()
    node.driver.gpus[0].board.event_nanoseconds = {75: 3_000_000_000, 79: 500_000_000}
    samples = node.samples(of="violation")
    assert {policy for _, policy in samples} == POLICIES.keys()
    assert samples["violation_seconds_total", "thermal"] == 3
    assert samples["violation_seconds_total", "reliability"] == 0.5
    assert samples["violation_seconds_total", "board_limit"] == 0


@pytest.mark.parametrize("code", [NOT_SUPPORTED, FUNCTION_NOT_FOUND])
def test_violations_of_a_driver_without_such_fields(code):
    node = Node("T4", collectors=[Collector.THROTTLE])
    node.driver.driver_version = "525.147.05"
    node.driver.faults.fail("nvmlDeviceGetFieldValues", code)
    node.driver.gpus[0].board.event_nanoseconds = {79: 500_000_000, 81: 2_000_000_000}
    node.open()
    samples = node.samples(of="violation")
    assert {policy for _, policy in samples} == POLICIES.keys()
    assert samples["violation_seconds_total", "reliability"] == 0.5
    assert samples["violation_seconds_total", "below_base_clocks"] == 2
    assert node.errors == []


def test_every_policy_of_the_binding_is_known():
    assert set(POLICIES.values()) == constants("NVML_PERF_POLICY_", without=("_COUNT",)).keys() - {
        "COUNT"
    }


def test_modes():
    node = Node("H100", collectors=[Collector.MODES]).open()
    board = node.driver.gpus[0].board
    board.persistence_mode, board.compute_mode = False, 3
    assert node.samples() == {
        ("persistence_mode",): 0,
        ("compute_mode", "default"): 0,
        ("compute_mode", "exclusive_thread"): 0,
        ("compute_mode", "prohibited"): 0,
        ("compute_mode", "exclusive_process"): 1,
        ("compute_mode", "other"): 0,
    }


def test_every_compute_mode_of_the_binding_is_known():
    modes = constants("NVML_COMPUTEMODE_", without=("_COUNT",))
    modes.pop("COUNT", None)
    assert {COMPUTE_MODES[value]: value for value in modes.values()} == {
        name.lower(): value for name, value in modes.items()
    }


@pytest.mark.parametrize(("mode", "active"), [(4, {"other"}), (2**32 - 1, set())])
def test_a_newer_compute_mode(mode, active):
    node = Node("H100", collectors=[Collector.MODES]).open()
    node.driver.gpus[0].board.compute_mode = mode
    samples = node.samples(of="compute_mode")
    assert {name for (_, name), state in samples.items() if state} == active


def test_a_failing_mode_leaves_the_other():
    node = Node("H100", collectors=[Collector.MODES]).open()
    node.driver.faults.fail("nvmlDeviceGetPersistenceMode", UNKNOWN)
    assert {name for name, *_ in node.samples()} == {"compute_mode"}
    assert node.errors == [("nvmlDeviceGetPersistenceMode", "UNKNOWN")]


def test_a_mode_of_ecc_that_waits_for_a_reset():
    node = Node("H100", collectors=[Collector.ECC]).open()
    node.driver.gpus[0].board.ecc_pending = False
    samples = node.samples()
    assert (samples["ecc_enabled",], samples["ecc_pending_enabled",]) == (1, 0)


def test_errors_of_sram_by_kind_and_source():
    node = Node("H100", collectors=[Collector.ECC]).open()
    node.driver.gpus[0].board.sram = {
        "volatile_corrected": 5,
        "aggregate_parity": 3,
        "aggregate_secded": 2,
        "l2": 1,
        "sm": 4,
        "microcontroller": 6,
        "pcie": 7,
        "other": 8,
        "threshold_exceeded": 1,
    }
    assert node.samples(of="sram") == {
        ("sram_ecc_volatile_errors_total", "corrected"): 5,
        ("sram_ecc_volatile_errors_total", "uncorrected_parity"): 0,
        ("sram_ecc_volatile_errors_total", "uncorrected_secded"): 0,
        ("sram_ecc_aggregate_errors_total", "corrected"): 0,
        ("sram_ecc_aggregate_errors_total", "uncorrected_parity"): 3,
        ("sram_ecc_aggregate_errors_total", "uncorrected_secded"): 2,
        ("sram_ecc_aggregate_uncorrected_errors_total", "l2"): 1,
        ("sram_ecc_aggregate_uncorrected_errors_total", "sm"): 4,
        ("sram_ecc_aggregate_uncorrected_errors_total", "microcontroller"): 6,
        ("sram_ecc_aggregate_uncorrected_errors_total", "pcie"): 7,
        ("sram_ecc_aggregate_uncorrected_errors_total", "other"): 8,
        ("sram_ecc_threshold_exceeded",): 1,
    }


@pytest.mark.parametrize(
    ("collector", "function", "family"),
    [
        (Collector.ECC, "nvmlDeviceGetSramEccErrorStatus", "sram"),
        (Collector.FABRIC, "nvmlDeviceGetGpuFabricInfoV", "fabric"),
    ],
)
@pytest.mark.parametrize(
    ("code", "counted"),
    [(NOT_SUPPORTED, False), (FUNCTION_NOT_FOUND, False), (OTHER_VERSION, False), (UNKNOWN, True)],
)
def test_a_structure_that_is_not_filled_in(collector, function, family, code, counted):
    node = Node("H100", collectors=[collector]).open()
    node.driver.faults.fail(function, code)
    assert node.samples(of=family) == {}
    node.count_calls()
    assert node.samples(of=family) == {}
    assert (function in node.calls) is counted, "asked again only if it may have been passing"
    assert bool(node.errors) is counted


def test_the_fabric_that_a_gpu_has_joined():
    node = Node("B200", collectors=[Collector.FABRIC]).open()
    board = node.driver.gpus[0].board
    board.fabric_cluster, board.fabric_clique = bytes(range(16)), 32766
    samples = node.samples()
    assert samples["fabric_info", "00010203-0405-0607-0809-0a0b0c0d0e0f", "32766"] == 1
    assert active_states(samples) == {"completed"}


@pytest.mark.parametrize(
    ("state", "status", "active"),
    [
        pytest.param(0, 0, set(), id="not supported"),
        pytest.param(1, 0, {"not_started"}, id="not started"),
        pytest.param(2, UNKNOWN, {"in_progress"}, id="the status says nothing yet"),
        pytest.param(3, UNKNOWN, {"failed"}, id="failed"),
        pytest.param(4, 0, {"other"}, id="newer"),
    ],
)
def test_a_fabric_that_is_not_joined_has_no_clique(state, status, active):
    node = Node("B200", collectors=[Collector.FABRIC]).open()
    board = node.driver.gpus[0].board
    board.fabric_state, board.fabric_status = state, status
    samples = node.samples()
    assert active_states(samples) == active
    assert not [key for key in samples if key[0] == "fabric_info"]


def active_states(samples):
    return {
        key[1]
        for key, value in samples.items()
        if key[0] == link_families.FABRIC_STATE.name.removeprefix("nvidia_gpu_") and value
    }


def test_every_state_of_the_fabric_is_known():
    states = constants("NVML_GPU_FABRIC_STATE_")
    assert {value: name.lower() for name, value in states.items()} == dict(
        enumerate(("not_supported", *STATES))
    )


def test_engines_for_pictures_and_optical_flow():
    node = Node("H100", collectors=[Collector.VIDEO]).open()
    board = node.driver.gpus[0].board
    board.jpeg_percent, board.ofa_percent = 25, 75
    samples = node.samples()
    assert samples["jpeg_utilization_ratio",] == 0.25
    assert samples["ofa_utilization_ratio",] == 0.75
    node = Node("T4", collectors=[Collector.VIDEO]).open()
    assert ("jpeg_utilization_ratio",) not in node.samples()
    assert node.errors == []
