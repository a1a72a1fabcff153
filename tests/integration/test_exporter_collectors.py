# SPDX-License-Identifier: Apache-2.0
"""The collectors' values through the real binding over a simulated library."""

from __future__ import annotations

import random

import pytest

from exporter.exposition.board_families import PROCESS_MEMORY_USED
from exporter.exposition.families import MIG_INFO
from exporter.exposition.table import EXTENDED_FAMILIES
from exporter.model import Collector, MetricType, Scope
from simulator.gpus import MODELS, GpuSpec
from tests.nvmlnode import Node

pytestmark = pytest.mark.usefixtures("no_slow_pcie")

NOT_SUPPORTED = 3
ASKED = frozenset(Collector) - {Collector.XID}


def test_nothing_but_the_base_set_by_default():
    node = Node("H100").open()
    node.count_calls()
    readings = node.readings()
    assert [reading.extended for reading in readings.devices] == [()]
    assert readings.node == ()
    assert not {name for name in node.calls if "Clock" in name or "Ecc" in name or "Pci" in name}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("collector", sorted(ASKED))
def test_a_collector_yields_its_own_families_only(collector, model):
    node = Node(model, collectors=[collector]).open()
    for sample in node.read_first().extended:
        assert sample.family.collector is collector
        assert len(sample.labels) == len(sample.family.labels)
    assert node.errors == []


def test_between_them_the_models_have_every_family():
    found = set()
    for model in MODELS:
        node = Node(model, collectors=ASKED).open()
        readings = node.readings()
        found |= {sample.family.name for sample in (*readings.devices[0].extended, *readings.node)}
    assert found == {
        family.name
        for family in EXTENDED_FAMILIES
        # The others come from events, from processes and pods, from two readings, and from MIG.
        if family.collector not in (Collector.XID, Collector.CONTAINERS, Collector.GPM)
        and family not in (MIG_INFO, PROCESS_MEMORY_USED)
    }


def test_info():
    node = Node("A100-80GB", collectors=[Collector.INFO]).open()
    readings = node.readings()
    (board,) = readings.devices[0].extended
    bus_id, serial, part_number, vbios, mig_mode = board.labels
    assert board.family.scope is Scope.DEVICE
    assert bus_id == "00000000:10:00.0"
    assert serial.startswith("16")
    assert part_number == "692-2G506-0212-002"
    assert vbios.count(".") == 4
    assert mig_mode == "disabled"
    (versions,) = readings.node
    assert versions.labels == ("580.65.06", "13.0", "13.580.65.06")
    assert versions.family.scope is Scope.NODE


@pytest.mark.parametrize(
    ("spec", "mig_mode"),
    [
        pytest.param("T4", "", id="no MIG"),
        pytest.param("H100", "disabled", id="MIG off"),
        pytest.param(GpuSpec(model="H100", mig_profiles=("1g.10gb",)), "enabled", id="MIG on"),
    ],
)
def test_info_tells_the_mig_mode(spec, mig_mode):
    node = Node(spec, collectors=[Collector.INFO]).open()
    (board,) = node.read_first().extended
    assert board.labels[-1] == mig_mode


def test_what_never_changes_is_asked_once():
    node = Node("H100", collectors=ASKED).open()
    node.count_calls()
    node.read()
    first = node.calls.copy()
    node.read()
    again = {name for name, count in node.calls.items() if count > first[name]}
    once = {
        "nvmlDeviceGetPciInfo",
        "nvmlDeviceGetSerial",
        "nvmlDeviceGetBoardPartNumber",
        "nvmlDeviceGetVbiosVersion",
        "nvmlDeviceGetMaxClockInfo",
        "nvmlDeviceGetSupportedClocksEventReasons",
        "nvmlDeviceGetPowerManagementDefaultLimit",
        "nvmlDeviceGetPowerManagementLimitConstraints",
        "nvmlDeviceGetMaxPcieLinkGeneration",
        "nvmlDeviceGetMaxPcieLinkWidth",
        "nvmlSystemGetCudaDriverVersion_v2",
        "nvmlSystemGetNVMLVersion",
    }
    assert once <= first.keys()
    assert not once & again


def test_health():
    node = Node("H100", collectors=[Collector.HEALTH]).open()
    node.driver.gpus[0].board.recovery_action = 2
    assert node.samples() == {
        ("readable",): 1,
        ("recovery_action", "none"): 0,
        ("recovery_action", "gpu_reset"): 0,
        ("recovery_action", "node_reboot"): 1,
        ("recovery_action", "drain_p2p"): 0,
        ("recovery_action", "drain_and_reset"): 0,
        ("recovery_action", "recover_imex_domain"): 0,
        ("recovery_action", "bus_reset"): 0,
        ("recovery_action", "system_reboot"): 0,
        ("recovery_action", "other"): 0,
    }


def test_clocks_follow_the_load():
    node = Node("H100", collectors=[Collector.CLOCKS]).open()
    idle = node.samples(of="clock_hertz")
    node.driver.set_load(0, 80)
    node.clock.now += 5
    busy = node.samples(of="clock_hertz")
    assert idle["clock_hertz", "sm"] == 345e6
    assert busy["clock_hertz", "sm"] == busy["clock_hertz", "graphics"] == 1980e6
    assert busy["clock_hertz", "memory"] == 2619e6
    assert busy["clock_hertz", "video"] == 1782e6
    assert node.samples(of="clock_max") == {
        ("clock_max_hertz", "graphics"): 1980e6,
        ("clock_max_hertz", "sm"): 1980e6,
        ("clock_max_hertz", "memory"): 2619e6,
        ("clock_max_hertz", "video"): 1782e6,
    }


def test_throttling():
    node = Node("H100", collectors=[Collector.THROTTLE]).open()
    board = node.driver.gpus[0].board
    board.event_reasons = 0x4 | 0x40
    board.event_nanoseconds = {74: 2_500_000_000, 270: 1}
    samples = node.samples()
    active = {key[1] for key, value in samples.items() if "active" in key[0] and value == 1}
    assert active == {"gpu_idle", "sw_power_cap", "hw_thermal_slowdown"}
    assert samples["clocks_event_reason_active", "sync_boost"] == 0
    assert ("clocks_event_reason_active", "display_clock_setting") not in samples
    assert samples["clocks_event_seconds_total", "sw_power_cap"] == 2.5
    assert samples["clocks_event_seconds_total", "hw_thermal_slowdown"] == 1e-9
    assert samples["clocks_event_seconds_total", "sync_boost"] == 0


def test_power():
    node = Node("T4", collectors=[Collector.POWER]).open()
    node.driver.set_load(0, 100)
    node.read()
    node.clock.now += 10
    assert node.samples() == {
        ("power_limit_watts",): 70,
        ("power_management_limit_watts",): 70,
        ("power_default_limit_watts",): 70,
        ("power_limit_lowest_watts",): 60,
        ("power_limit_highest_watts",): 70,
        ("energy_joules_total",): pytest.approx(10 * (9 + 0.9 * 61)),
        ("power_instant_watts",): pytest.approx(9 + 0.9 * 61),
    }


@pytest.mark.parametrize(
    ("model", "load", "state"),
    [
        pytest.param("T4", 0, 8, id="idle"),
        pytest.param("T4", 50, 0, id="busy"),
        pytest.param("H100", 0, 0, id="no idle states"),
    ],
)
def test_performance_state(model, load, state):
    node = Node(model, collectors=[Collector.PERFORMANCE_STATE]).open()
    node.driver.set_load(0, load)
    node.clock.now += 2
    assert node.samples() == {("performance_state",): state}


def test_an_unknown_performance_state_is_absent():
    node = Node("T4", collectors=[Collector.PERFORMANCE_STATE]).open()
    node.driver.faults.answer("nvmlDeviceGetPerformanceState", 32)
    assert node.samples() == {}


def test_memory_bandwidth_is_averaged_like_the_duty_cycle():
    node = Node("T4", collectors=[Collector.MEMORY_BANDWIDTH]).open()
    node.driver.set_load(0, 80)
    node.clock.now += 5
    node.driver.set_load(0, 0)
    node.clock.now += 5
    assert node.samples() == {("memory_bandwidth_duty_cycle_ratio",): pytest.approx(0.2, abs=0.02)}


def test_memory_bandwidth_without_a_sample_buffer():
    node = Node("T4", collectors=[Collector.MEMORY_BANDWIDTH]).open()
    node.driver.faults.fail("nvmlDeviceGetSamples", NOT_SUPPORTED)
    node.driver.set_load(0, 80)
    node.clock.now += 1
    assert node.samples() == {("memory_bandwidth_duty_cycle_ratio",): 0.4}
    node.driver.faults.fail("nvmlDeviceGetUtilizationRates", NOT_SUPPORTED)
    assert node.samples() == {}
    node.count_calls()
    assert node.samples() == {}
    assert not {"nvmlDeviceGetSamples", "nvmlDeviceGetUtilizationRates"} & node.calls.keys()
    assert node.errors == []


def test_video():
    node = Node("L4", collectors=[Collector.VIDEO]).open()
    board = node.driver.gpus[0].board
    board.encoder_percent, board.decoder_percent = 30, 100
    assert node.samples() == {
        ("encoder_utilization_ratio",): 0.3,
        ("decoder_utilization_ratio",): 1.0,
        ("jpeg_utilization_ratio",): 0.0,
        ("ofa_utilization_ratio",): 0.0,
    }


def test_ecc_of_a_board_that_replaces_rows():
    node = Node("A100-80GB", collectors=[Collector.ECC]).open()
    board = node.driver.gpus[0].board
    board.ecc = {(0, 0, 2): 11, (1, 1, 7): 2}
    board.rows_corrected, board.rows_uncorrected = 3, 1
    board.rows_pending = True
    samples = node.samples()
    assert samples["ecc_enabled",] == 1
    assert samples["ecc_volatile_errors_total", "corrected", "dram"] == 11
    assert samples["ecc_aggregate_errors_total", "uncorrected", "sram"] == 2
    assert samples["ecc_volatile_errors_total", "uncorrected", "sram"] == 0
    assert {key[2] for key in samples if len(key) == 3} == {"dram", "sram"}
    assert samples["remapped_rows_total", "corrected"] == 3
    assert samples["remapped_rows_total", "uncorrected"] == 1
    assert samples["row_remapping_pending",] == 1
    assert samples["row_remapping_failed",] == 0
    assert not {key[0] for key in samples if "page" in key[0]}


def test_ecc_of_a_board_that_retires_pages():
    node = Node("T4", collectors=[Collector.ECC]).open()
    board = node.driver.gpus[0].board
    board.pages_single_bit, board.pages_double_bit, board.pages_pending = 4, 1, True
    samples = node.samples()
    assert samples["retired_pages_total", "single_bit"] == 4
    assert samples["retired_pages_total", "double_bit"] == 1
    assert samples["page_retirement_pending",] == 1
    assert not {key[0] for key in samples if "row" in key[0]}


def test_a_board_with_ecc_off_counts_nothing():
    node = Node("RTX-A6000", collectors=[Collector.ECC]).open()
    samples = node.samples(of="ecc")
    assert samples == {("ecc_enabled",): 0, ("ecc_pending_enabled",): 0}


def test_counters_only_grow():
    node = Node("H100", collectors=ASKED).open()
    dice = random.Random(4)
    last: dict[tuple[str, ...], float] = {}
    counters = {family.name for family in EXTENDED_FAMILIES if family.type is MetricType.COUNTER}
    for _ in range(50):
        node.driver.set_load(0, dice.choice([0, 10, 55, 100]))
        node.clock.now += dice.uniform(0.1, 5)
        now = {
            key: value
            for key, value in node.samples().items()
            if f"nvidia_gpu_{key[0]}" in counters
        }
        assert now.keys() >= last.keys()
        assert all(now[key] >= value for key, value in last.items())
        last = now
    assert last["energy_joules_total",] > 50 * 70
    assert last["nvlink_transmit_bytes_total",] > 0
