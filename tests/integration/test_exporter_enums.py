# SPDX-License-Identifier: Apache-2.0
"""Every enum that is published: all names of the binding are known, and what is newer is told."""

from __future__ import annotations

import pynvml
import pytest

from exporter.model import Collector
from exporter.nvml.board import REASON_FIELDS, REASONS, RECOVERY_ACTIONS
from exporter.nvml.calls import member_of
from simulator.driver import SimulatedDriver
from tests.exporting import PREFIX, exporter
from tests.integration.test_exporter_bounds import spoil_field
from tests.nvmlnode import Node
from tests.waiting import until


def constants(*prefixes, without=()):
    """Return {name without its prefix: value} of the binding's constants."""
    return {
        name.removeprefix(prefix): value
        for prefix in prefixes
        for name, value in vars(pynvml).items()
        if name.startswith(prefix) and isinstance(value, int) and not name.endswith(without)
    }


ACTIONS = constants("NVML_GPU_RECOVERY_ACTION_")
REASON_BITS = {
    value
    for value in constants("nvmlClocksEventReason", "nvmlClocksThrottleReason").values()
    if value.bit_count() == 1
}
STATES = constants("NVML_PSTATE_")


@pytest.mark.parametrize(("name", "value"), ACTIONS.items())
def test_every_recovery_action_of_the_binding_is_known_by_its_name(name, value):
    assert recovery_actions(value) == {name.lower()}


@pytest.mark.parametrize("value", [len(ACTIONS), 99, 255])
def test_a_newer_recovery_action_is_another_one(value):
    assert recovery_actions(value) == {"other"}


@pytest.mark.parametrize("value", [2**32 - 1, 2**64 - 1, -1, 7.5])
def test_what_is_no_recovery_action_is_absent(value):
    assert recovery_actions(value) is None


def recovery_actions(value):
    """Return the actions whose state is 1, None where there is no state at all."""
    node = Node("H100", collectors=[Collector.HEALTH]).open()
    spoil_field(node, 230, value)
    samples = node.samples(of="recovery_action")
    assert not samples or len(samples) == len(RECOVERY_ACTIONS) + 1
    return {action for (_, action), state in samples.items() if state} if samples else None


@pytest.mark.parametrize("bit", sorted(REASON_BITS))
def test_every_clock_event_reason_of_the_binding_is_known(bit):
    (reason,) = active_reasons(bit)
    assert REASONS[reason] == bit


@pytest.mark.parametrize("bit", [0x800, 1 << 20, 1 << 40])
def test_a_newer_clock_event_reason_is_another_one(bit):
    assert active_reasons(bit) == {"other"}
    assert active_reasons(bit | 0x40) == {"other", "hw_thermal_slowdown"}


def test_reasons_that_cannot_be_are_absent():
    assert active_reasons(2**64 - 1) is None


def active_reasons(mask):
    """Return the reasons whose state is 1, whatever the board says that it supports."""
    node = Node("H100", collectors=[Collector.THROTTLE]).open()
    node.driver.set_load(0, 50)
    node.clock.now += 2
    node.driver.gpus[0].board.event_reasons = mask
    samples = node.samples(of="clocks_event_reason_active")
    return {reason for (_, reason), state in samples.items() if state} if samples else None


@pytest.mark.parametrize("state", STATES.values())
def test_performance_states(state):
    node = Node("T4", collectors=[Collector.PERFORMANCE_STATE]).open()
    node.driver.faults.answer("nvmlDeviceGetPerformanceState", state)
    is_known = state != pynvml.NVML_PSTATE_UNKNOWN
    assert node.samples() == ({("performance_state",): state} if is_known else {})


@pytest.mark.parametrize("state", [16, 31, 33, 2**32 - 1])
def test_a_newer_performance_state_is_absent(state):
    node = Node("T4", collectors=[Collector.PERFORMANCE_STATE]).open()
    node.driver.faults.answer("nvmlDeviceGetPerformanceState", state)
    assert node.samples() == {}


@pytest.mark.parametrize(
    ("mode", "label"),
    [
        *((value, f"{name.lower()}d") for name, value in constants("NVML_DEVICE_MIG_").items()),
        (2, "other"),
        (2**32 - 1, "other"),
    ],
)
def test_mig_modes(mode, label):
    node = Node("H100", collectors=[Collector.INFO]).open()
    node.binding.nvmlDeviceGetMigMode = lambda _: [mode, mode]
    (board,) = node.read_first().extended
    assert board.labels[-1] == label


@pytest.mark.parametrize(
    ("mode", "states"),
    [
        (pynvml.NVML_FEATURE_DISABLED, {("ecc_enabled",): 0}),
        (pynvml.NVML_FEATURE_ENABLED, {("ecc_enabled",): 1}),
        (2, {}),
    ],
)
def test_ecc_modes(mode, states):
    node = Node("H100", collectors=[Collector.ECC]).open()
    node.binding.nvmlDeviceGetEccMode = lambda _: [mode, mode]
    assert node.samples(of="ecc_enabled") == states


@pytest.mark.parametrize(("state", "values"), [(0, {0}), (1, {1}), (2, set()), (3, set())])
def test_link_states(state, values):
    node = Node("H100", collectors=[Collector.NVLINK]).open()
    node.driver.faults.answer("nvmlDeviceGetNvLinkState", state)
    assert set(node.samples(of="nvlink_up").values()) == values


def test_every_field_of_a_clock_event_reason_is_read():
    fields = constants("NVML_FI_DEV_CLOCKS_EVENT_REASON_").values()
    assert set(REASON_FIELDS.values()) == set(fields)
    assert REASON_FIELDS.keys() <= REASONS.keys()


def test_every_type_of_a_field_value_is_known():
    types = constants("NVML_VALUE_TYPE_", without=("_COUNT",))
    union = pynvml.c_nvmlValue_t()
    union.ullVal = 1
    known = {kind for kind in types.values() if hasattr(union, member_of(kind))}
    assert known == set(types.values())
    assert member_of(pynvml.NVML_VALUE_TYPE_COUNT) == ""


ASKED_ENUMS = {
    ("nvmlDeviceGetClockInfo", 1): set(range(pynvml.NVML_CLOCK_COUNT)),
    ("nvmlDeviceGetMemoryErrorCounter", 1): set(range(pynvml.NVML_MEMORY_ERROR_TYPE_COUNT)),
    ("nvmlDeviceGetMemoryErrorCounter", 2): set(range(pynvml.NVML_ECC_COUNTER_TYPE_COUNT)),
    ("nvmlDeviceGetMemoryErrorCounter", 3): set(range(pynvml.NVML_MEMORY_LOCATION_COUNT)),
    ("nvmlDeviceGetNvLinkErrorCounter", 2): set(range(pynvml.NVML_NVLINK_ERROR_COUNT)),
}


@pytest.mark.parametrize(("function", "place"), ASKED_ENUMS)
def test_every_member_of_the_enums_that_are_labels_is_asked(function, place):
    node = Node("H100", collectors=[Collector.CLOCKS, Collector.ECC, Collector.NVLINK]).open()
    asked = set()
    original = getattr(node.binding, function)

    def call(*arguments):
        asked.add(arguments[place])
        return original(*arguments)

    setattr(node.binding, function, call)
    node.read()
    assert asked == ASKED_ENUMS[function, place]


@pytest.mark.parametrize("code", [31, 1000, 2**31 - 1])
async def test_error_codes_that_the_binding_does_not_know_are_one_series(code):
    with SimulatedDriver(["T4"]) as driver:
        driver.faults.fail("nvmlDeviceGetPowerUsage", code)
        async with exporter(driver) as reader:
            codes = await until(lambda: reader.values(f"{PREFIX}errors_total", "code"))
            assert codes.keys() == {"OTHER"}
