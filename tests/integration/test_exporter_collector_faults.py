# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with collectors: absent functions, failing ones, lost GPUs, changes of MIG."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.model import Collector
from simulator.gpus import GpuSpec
from tests.nvmlnode import Node

pytestmark = pytest.mark.usefixtures("no_slow_pcie")

NOT_SUPPORTED, FUNCTION_NOT_FOUND, GPU_IS_LOST, UNKNOWN = 3, 13, 15, 999
NOT_AVAILABLE = 2**32 - 1
ASKED = frozenset(Collector) - {Collector.XID}


@pytest.mark.parametrize(
    ("collector", "function", "family"),
    [
        pytest.param(Collector.CLOCKS, "nvmlDeviceGetClockInfo", "clock_hertz", id="clocks"),
        pytest.param(
            Collector.THROTTLE,
            "nvmlDeviceGetCurrentClocksEventReasons",
            "clocks_event_reason_active",
            id="throttle",
        ),
        pytest.param(
            Collector.THROTTLE, "nvmlDeviceGetFieldValues", "clocks_event_seconds", id="fields"
        ),
        pytest.param(
            Collector.POWER, "nvmlDeviceGetEnforcedPowerLimit", "power_limit_watts", id="limit"
        ),
        pytest.param(Collector.POWER, "nvmlDeviceGetTotalEnergyConsumption", "energy", id="energy"),
        pytest.param(
            Collector.POWER,
            "nvmlDeviceGetPowerManagementLimitConstraints",
            "power_limit_lowest",
            id="constraints",
        ),
        pytest.param(
            Collector.PERFORMANCE_STATE, "nvmlDeviceGetPerformanceState", "performance", id="state"
        ),
        pytest.param(Collector.VIDEO, "nvmlDeviceGetEncoderUtilization", "encoder", id="encoder"),
        pytest.param(Collector.PCIE, "nvmlDeviceGetPcieReplayCounter", "pcie_replays", id="pcie"),
        pytest.param(Collector.NVLINK, "nvmlDeviceGetNvLinkState", "nvlink_up", id="nvlink"),
        pytest.param(
            Collector.NVLINK, "nvmlDeviceGetNvLinkErrorCounter", "nvlink_errors", id="link errors"
        ),
        pytest.param(Collector.ECC, "nvmlDeviceGetMemoryErrorCounter", "ecc_volatile", id="ecc"),
        pytest.param(Collector.ECC, "nvmlDeviceGetRemappedRows", "remapped_rows", id="rows"),
    ],
)
@pytest.mark.parametrize("code", [NOT_SUPPORTED, FUNCTION_NOT_FOUND])
def test_what_a_board_does_not_have_is_absent_and_not_asked_again(
    collector, function, family, code
):
    node = Node("H100", collectors=[collector]).open()
    node.driver.faults.fail(function, code)
    assert node.samples(of=family) == {}
    node.count_calls()
    assert node.samples(of=family) == {}
    assert function not in node.calls
    assert node.errors == []


@pytest.mark.parametrize(
    ("collector", "function", "family"),
    [
        pytest.param(Collector.CLOCKS, "nvmlDeviceGetClockInfo", "clock_hertz", id="clocks"),
        pytest.param(
            Collector.POWER, "nvmlDeviceGetEnforcedPowerLimit", "power_limit_watts", id="limit"
        ),
        pytest.param(Collector.PCIE, "nvmlDeviceGetPcieReplayCounter", "pcie_replays", id="pcie"),
        pytest.param(
            Collector.PCIE, "nvmlDeviceGetPcieThroughput", "pcie_transmit", id="throughput"
        ),
        pytest.param(
            Collector.PCIE, "nvmlDeviceGetCurrPcieLinkWidth", "pcie_link_width", id="width"
        ),
    ],
)
def test_values_that_are_not_available_are_absent(collector, function, family):
    node = Node("H100", collectors=[collector]).open()
    node.driver.faults.answer(function, NOT_AVAILABLE)
    assert node.samples(of=family) == {}


def test_a_failing_function_harms_neither_its_collector_nor_the_base_set():
    node = Node("H100", collectors=ASKED).open()
    node.driver.faults.fail("nvmlDeviceGetEnforcedPowerLimit", UNKNOWN)
    reading = node.read_first()
    names = {sample.family.name for sample in reading.extended}
    assert "nvidia_gpu_power_limit_watts" not in names
    assert {"nvidia_gpu_energy_joules_total", "nvidia_gpu_ecc_enabled"} <= names
    assert reading.duty_cycle_percent is not None
    assert node.errors == [("nvmlDeviceGetEnforcedPowerLimit", "UNKNOWN")]
    node.driver.faults.heal("nvmlDeviceGetEnforcedPowerLimit")
    assert ("power_limit_watts",) in node.samples(), "asked again, as it may have been passing"


def test_a_collector_that_breaks_is_off_for_its_gpu_only(caplog):
    node = Node("H100", "T4", collectors=[Collector.CLOCKS, Collector.POWER]).open()
    original = node.binding.nvmlDeviceGetMaxClockInfo
    broken = node.binding.nvmlDeviceGetHandleByIndex(0)

    def clock(handle, kind):
        if _same(handle, broken):
            raise ArithmeticError("made up")
        return original(handle, kind)

    node.binding.nvmlDeviceGetMaxClockInfo = clock
    for _ in range(3):
        first, second = node.read().values()
    assert first.power_usage_milliwatts is not None
    assert {sample.family.collector for sample in first.extended} == {Collector.POWER}
    assert {sample.family.collector for sample in second.extended} == {
        Collector.CLOCKS,
        Collector.POWER,
    }
    records = [record for record in caplog.records if "A collector failed" in record.message]
    assert [(record.__dict__["collector"], record.levelname) for record in records] == [
        ("clocks", "ERROR")
    ]


def test_a_lack_of_memory_turns_no_collector_off():
    node = Node("H100", collectors=[Collector.CLOCKS]).open()
    whole = node.read_first().extended
    original = node.binding.nvmlDeviceGetClockInfo

    def no_memory(*_):
        raise MemoryError

    node.binding.nvmlDeviceGetClockInfo = no_memory
    reading = node.read_first()
    assert (reading.duty_cycle_percent, reading.extended) == (0.0, ())
    node.binding.nvmlDeviceGetClockInfo = original
    assert node.read_first().extended == whole


def _same(one: Any, other: Any) -> bool:
    return bytes(one) == bytes(other)


def test_a_gpu_that_is_lost_within_a_collector_keeps_its_base_readings_of_this_cycle():
    node = Node("H100", "T4", collectors=[Collector.CLOCKS]).open()
    node.driver.faults.fail("nvmlDeviceGetClockInfo", GPU_IS_LOST, uuid=node.driver.gpus[0].uuid)
    first, second = node.read().values()
    assert first.duty_cycle_percent is not None
    assert first.extended == ()
    assert second.extended


def test_a_lost_gpu_is_told_as_such():
    node = Node("T4", "T4", collectors=[Collector.HEALTH]).open()
    node.read()
    uuid = node.driver.gpus[0].uuid
    node.driver.faults.lose(uuid)
    readings = node.readings()
    assert readings.unreadable_count == 1
    lost = {reading.device.uuid: reading for reading in readings.devices}[uuid]
    assert [(one.family.name, one.value) for one in lost.extended] == [("nvidia_gpu_readable", 0)]
    assert lost.power_usage_milliwatts is None
    node.driver.faults.find(uuid)
    assert node.samples(of="readable") == {("readable",): 1}


def test_a_mig_board_has_the_boards_families_and_its_instances_their_own():
    spec = GpuSpec(model="H100", mig_profiles=("1g.10gb", "3g.40gb"))
    node = Node(spec, collectors=ASKED).open()
    board, *instances = node.read().values()
    names = {sample.family.name for sample in board.extended}
    assert {"nvidia_gpu_energy_joules_total", "nvidia_gpu_ecc_enabled"} <= names
    assert not {name for name in names if "coder" in name or "bandwidth" in name}
    for instance in instances:
        assert {sample.family.name for sample in instance.extended} == {"nvidia_gpu_mig_info"}
    assert node.errors == []


def test_when_the_mig_mode_changes_the_board_is_asked_anew():
    node = Node(GpuSpec(model="H100", mig_profiles=()), collectors=[Collector.VIDEO]).open()
    assert node.samples() == {}
    node.driver.gpus[0].mig_enabled = False
    assert ("encoder_utilization_ratio",) in node.samples()


def test_a_gpu_of_which_the_binding_cannot_read_something_leaves_the_others(caplog):
    node = Node("H100", "T4").open()
    original = node.binding.nvmlDeviceGetName
    broken = node.binding.nvmlDeviceGetHandleByIndex(0)

    def name(handle):
        if _same(handle, broken):
            raise ArithmeticError("made up")
        return original(handle)

    node.binding.nvmlDeviceGetName = name
    for _ in range(3):
        readings = node.readings()
        assert [reading.device.name for reading in readings.devices] == ["Tesla T4"]
        assert readings.unreadable_count == 1
    (line,) = [record for record in caplog.records if record.exc_info]
    assert vars(line)["index"] == 0
    node.binding.nvmlDeviceGetName = original
    assert len(node.read()) == 2
    assert node.readings().unreadable_count == 0
