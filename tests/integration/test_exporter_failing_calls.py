# SPDX-License-Identifier: Apache-2.0
"""A call that keeps failing is told once when that begins and once when it ends, by GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from exporter.model import Collector
from exporter.nvml.failing_calls import MAX_LOGGED
from tests.nvmlnode import Node
from tests.waiting import until

if TYPE_CHECKING:
    from simulator.gpus import GpuSpec

UNKNOWN = 999
BEGINS, ENDS = "NVML call fails; what it reads is absent until it succeeds", "no longer fails"
LOST, BACK = "GPU cannot be read", "GPU can be read again"
READ = frozenset(Collector) - {Collector.XID, Collector.CONTAINERS}
# Asked of no GPU, or once a session; and what gives back.
NOT_OF_A_GPU = {"nvmlInit", "nvmlInitWithFlags", "nvmlShutdown", "nvmlDeviceGetCount"}
# Without them it is not known which GPU it is.
IDENTITY = {"nvmlDeviceGetHandleByIndex", "nvmlDeviceGetUUID"}
CYCLES = 6


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("simulator.nvml.extended.PCIE_THROUGHPUT_SECONDS", 0.0)
    monkeypatch.setattr("exporter.nvml.links._SELDOM_SECONDS", 0.0)
    monkeypatch.setattr("exporter.nvml.sensors._SELDOM_SECONDS", 0.0)
    monkeypatch.setattr("exporter.nvml.base.TEMPERATURE_SECONDS", 0.0)


def opened(monkeypatch, *gpus: str | GpuSpec, collectors=READ) -> Node:
    """Return a node whose GPM takes its time from the driver's clock."""
    node = Node(*gpus, collectors=collectors)
    monkeypatch.setattr("exporter.nvml.gpm.monotonic", node.clock)
    return node.open()


def cycles(node: Node, number: int = CYCLES) -> None:
    for _ in range(number):
        node.clock.now += 2
        node.readings()


def logged(caplog, *messages: str) -> list[tuple[str, str]]:
    """Return (function, UUID) of the lines with one of these messages."""
    return [
        (vars(record).get("function", ""), vars(record)["uuid"])
        for record in caplog.records
        if any(message in record.getMessage() for message in messages)
    ]


class Broken:
    """A function of a node's binding that fails while `code` is set, for the first GPU only."""

    def __init__(self, node: Node, function: str, code: int = UNKNOWN) -> None:
        self.code: int | None = code
        binding: Any = node.binding
        original = getattr(binding, function)
        first = binding.nvmlDeviceGetHandleByIndex(0)

        def call(*arguments: Any) -> Any:
            handle = arguments[0] if arguments else None
            is_another_gpus = handle == 1 or (
                isinstance(handle, type(first)) and bytes(handle) != bytes(first)
            )
            if self.code is None or is_another_gpus:
                return original(*arguments)
            raise binding.NVMLError(self.code)

        setattr(binding, function, call)


def functions_called(*gpus: str) -> list[str]:
    """Return all functions that a cycle calls with all collectors that read."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        node = opened(monkeypatch, *gpus)
        node.count_calls()
        cycles(node, 3)
    called = [name for name in node.calls if not name.startswith("nvmlSystem")]
    # The binding's own names: it calls one version of a function by another one.
    return sorted(name for name in called if name not in NOT_OF_A_GPU and "_v" not in name)


# Each with a board that is asked by it: one has GPM and NVLink, the other one a fan.
CALLED = {
    function: model for model in ("RTX-A6000", "H100") for function in functions_called(model)
}


def test_the_walk_covers_what_a_cycle_calls():
    assert {
        "nvmlDeviceGetHandleByIndex",
        "nvmlDeviceGetFieldValues",
        "nvmlDeviceGetPcieThroughput",
        "nvmlGpmMetricsGet",
    } <= CALLED.keys()
    assert len(CALLED) > 35


@pytest.mark.parametrize("function", CALLED)
def test_each_call_that_fails_is_told_when_it_begins_and_when_it_ends(
    caplog, monkeypatch, function
):
    caplog.set_level("INFO")
    node = opened(monkeypatch, *[CALLED[function]] * 2)
    uuid = "" if function in IDENTITY else node.driver.gpus[0].uuid
    broken = Broken(node, function)
    cycles(node)
    begun = logged(caplog, BEGINS, LOST)
    assert begun.count((function, uuid)) == 1
    assert len(set(begun)) == len(begun)
    broken.code = None
    cycles(node)
    ended = logged(caplog, ENDS, BACK)
    assert len(ended) == len(begun)
    cycles(node)
    assert len(logged(caplog, BEGINS, LOST, ENDS, BACK)) == 2 * len(begun)


@pytest.mark.parametrize("code", [3, 13], ids=["not supported", "function not found"])
@pytest.mark.parametrize("function", [one for one in CALLED if one not in IDENTITY])
def test_what_a_board_does_not_have_is_not_told(caplog, monkeypatch, function, code):
    caplog.set_level("INFO")
    node = opened(monkeypatch, CALLED[function])
    Broken(node, function, code)
    cycles(node)
    assert not caplog.records
    assert node.errors == []


def test_the_line_says_which_function_gpu_and_code(caplog, monkeypatch):
    node = opened(monkeypatch, "T4", "T4", collectors=())
    uuid = node.driver.gpus[1].uuid
    node.driver.faults.fail("nvmlDeviceGetPowerUsage", UNKNOWN, uuid=uuid)
    cycles(node)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert vars(record)["function"] == "nvmlDeviceGetPowerUsage"
    assert (vars(record)["code"], vars(record)["uuid"]) == ("UNKNOWN", uuid)


def test_a_call_that_fails_by_turns_does_not_fill_the_log(caplog, monkeypatch):
    caplog.set_level("INFO")
    node = opened(monkeypatch, "T4", collectors=())
    for _ in range(100):
        node.driver.faults.fail("nvmlDeviceGetPowerUsage", UNKNOWN)
        node.readings()
        node.driver.faults.heal("nvmlDeviceGetPowerUsage")
        node.readings()
    assert len(logged(caplog, BEGINS)) == len(logged(caplog, ENDS)) == 1


def test_many_calls_that_fail_fill_a_bounded_number_of_lines(caplog, monkeypatch):
    node = opened(monkeypatch, *["H100"] * 8)
    for function in (
        *("nvmlDeviceGetClockInfo", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetEnforcedPowerLimit"),
        *("nvmlDeviceGetPerformanceState", "nvmlDeviceGetNvLinkState", "nvmlDeviceGetEccMode"),
        *("nvmlDeviceGetRemappedRows", "nvmlDeviceGetPcieThroughput", "nvmlDeviceGetMigMode"),
    ):
        node.driver.faults.fail(function, UNKNOWN)
    cycles(node)
    assert len(logged(caplog, BEGINS)) == len(caplog.records) == MAX_LOGGED


def test_a_seldom_call_that_fails_with_one_argument_fails_until_it_succeeds_with_it(
    caplog, monkeypatch
):
    caplog.set_level("INFO")
    monkeypatch.setattr("exporter.nvml.links._SELDOM_SECONDS", 0.05)
    node = opened(monkeypatch, "H100", collectors=[Collector.NVLINK])
    original = node.binding.nvmlDeviceGetNvLinkState
    asked = []

    def state(handle, link):
        asked.append(link)
        if link == 3:
            raise node.binding.NVMLError(UNKNOWN)
        return original(handle, link)

    node.binding.nvmlDeviceGetNvLinkState = state
    while asked.count(3) < 6:
        node.readings()
    assert len(logged(caplog, BEGINS)) == 1
    assert logged(caplog, ENDS) == []
    node.binding.nvmlDeviceGetNvLinkState = original
    while not logged(caplog, ENDS):
        node.readings()


@pytest.mark.parametrize(
    ("collector", "field", "family"),
    [
        pytest.param(Collector.THROTTLE, 74, "clocks_event_seconds", id="throttle"),
        pytest.param(Collector.HEALTH, 230, "recovery_action", id="health"),
        pytest.param(Collector.NVLINK, 138, "nvlink_transmit", id="nvlink"),
    ],
)
def test_a_field_that_fails_is_counted_and_told(caplog, monkeypatch, collector, field, family):
    caplog.set_level("INFO")
    node = opened(monkeypatch, "H100", collectors=[collector])
    whole = node.samples(of=family)
    original = node.binding.nvmlDeviceGetFieldValues

    def values(handle, fields):
        answers = original(handle, fields)
        for answer in answers:
            if answer.fieldId == field:
                answer.nvmlReturn = UNKNOWN
        return answers

    node.binding.nvmlDeviceGetFieldValues = values
    cycles(node)
    assert len(node.samples(of=family)) < len(whole)
    assert set(node.errors) == {("nvmlDeviceGetFieldValues", "UNKNOWN")}
    assert len(logged(caplog, BEGINS)) == 1
    node.binding.nvmlDeviceGetFieldValues = original
    cycles(node)
    assert len(node.samples(of=family)) == len(whole)
    assert logged(caplog, ENDS) == [("nvmlDeviceGetFieldValues", node.driver.gpus[0].uuid)]


def test_a_metric_of_gpm_that_fails_is_counted_and_told(caplog, monkeypatch):
    node = opened(monkeypatch, "H100", collectors=[Collector.GPM])
    original = node.binding.nvmlGpmMetricsGet

    def metrics(question):
        answer = original(question)
        answer.metrics[0].nvmlReturn = UNKNOWN
        return answer

    node.binding.nvmlGpmMetricsGet = metrics
    cycles(node)
    assert set(node.errors) == {("nvmlGpmMetricsGet", "UNKNOWN")}
    assert logged(caplog, BEGINS) == [("nvmlGpmMetricsGet", node.driver.gpus[0].uuid)]


def test_a_gpu_that_is_lost_has_one_line_and_not_one_for_each_call(caplog, monkeypatch):
    caplog.set_level("INFO")
    node = opened(monkeypatch, "H100", "H100")
    cycles(node, 2)
    uuid = node.driver.gpus[0].uuid
    for code in (15, 16, UNKNOWN):
        node.driver.faults.lose(uuid, code=code)
        cycles(node)
    (record,) = caplog.records
    assert record.getMessage() == LOST
    assert vars(record)["code"] == "GPU_IS_LOST"
    assert vars(record)["uuid"] == uuid
    node.driver.faults.find(uuid)
    cycles(node)
    assert logged(caplog, BACK) == [("", uuid)]


def test_a_failure_outlives_the_session_and_its_end_is_told(caplog, monkeypatch):
    caplog.set_level("INFO")
    node = opened(monkeypatch, "T4", collectors=())
    node.driver.faults.fail("nvmlDeviceGetPowerUsage", UNKNOWN)
    cycles(node)
    node.nvml.close()
    node.nvml.open()
    cycles(node)
    assert len(logged(caplog, BEGINS)) == 1
    node.driver.faults.heal("nvmlDeviceGetPowerUsage")
    cycles(node)
    assert len(logged(caplog, ENDS)) == 1


@pytest.mark.parametrize("function", ["nvmlEventSetCreate", "nvmlEventSetWait_v2"])
async def test_events_that_cannot_be_waited_for_are_told(caplog, monkeypatch, function):
    caplog.set_level("INFO")
    monkeypatch.setattr("exporter.nvml.xid.WAIT_MILLISECONDS", 20)
    monkeypatch.setattr("exporter.nvml.xid._RETRY_SECONDS", 0.02)
    node = Node("T4", collectors=[Collector.XID])
    node.driver.faults.fail(function, UNKNOWN)
    with node:
        node.readings()
        await until(lambda: len(node.errors) > 5, what="several attempts")
        assert logged(caplog, BEGINS) == [(function, "")]
        node.driver.faults.heal(function)
        await until(lambda: logged(caplog, ENDS), what="the end")
        assert logged(caplog, BEGINS, ENDS) == [(function, "")] * 2


def test_a_name_that_failed_at_first_is_asked_again(monkeypatch):
    node = opened(monkeypatch, "T4", collectors=())
    functions = ("nvmlDeviceGetName", "nvmlDeviceGetMinorNumber")
    for function in functions:
        node.driver.faults.fail(function, UNKNOWN)
    device = node.read_first().device
    assert (device.name, device.minor_number) == ("", None)
    for function in functions:
        node.driver.faults.heal(function)
    device = node.read_first().device
    assert (device.name, device.minor_number) == ("Tesla T4", 0)


@pytest.mark.parametrize(
    ("function", "label"),
    [
        ("nvmlSystemGetDriverVersion", 0),
        ("nvmlSystemGetCudaDriverVersion_v2", 1),
        ("nvmlSystemGetNVMLVersion", 2),
    ],
)
def test_a_version_that_failed_at_first_is_asked_again(caplog, monkeypatch, function, label):
    caplog.set_level("INFO")
    node = opened(monkeypatch, "T4", collectors=[Collector.INFO])
    node.driver.faults.fail(function, UNKNOWN)
    for _ in range(3):
        (sample,) = node.readings().node
        assert sample.labels[label] == ""
    assert logged(caplog, BEGINS) == [(function, "")]
    node.driver.faults.heal(function)
    (sample,) = node.readings().node
    assert "" not in sample.labels
    assert logged(caplog, ENDS) == [(function, "")]
    node.count_calls()
    node.readings()
    assert not node.calls[function]
