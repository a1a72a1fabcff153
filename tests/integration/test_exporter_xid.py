# SPDX-License-Identifier: Apache-2.0
"""Xid errors through NVML's events: counted by GPU and kind, whatever befalls the event thread."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from exporter.model import Collector
from exporter.nvml.xid import MAX_KINDS, ZERO_XIDS
from tests.nvmlnode import Node
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_SUPPORTED, NO_PERMISSION, UNKNOWN = 3, 4, 999


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr("exporter.nvml.xid.WAIT_MILLISECONDS", 20)
    monkeypatch.setattr("exporter.nvml.xid._RETRY_SECONDS", 0.02)


@pytest.fixture
def node() -> Iterator[Node]:
    with Node("H100", "H100", collectors=[Collector.XID]) as node:
        yield node


def counts(node, index=0) -> dict[str, float]:
    """Read, and return the counters of a GPU by xid."""
    reading = node.read().get(node.driver.gpus[index].uuid)
    return {
        sample.labels[0]: sample.value
        for sample in (reading.extended if reading else ())
        if sample.family.name == "nvidia_gpu_xid_errors_total"
    }


async def registered(node):
    node.read()
    uuids = {gpu.uuid for gpu in node.driver.gpus}
    await until(lambda: node.driver.events.registered() == uuids, what="GPUs are registered")
    await until(lambda: counts(node), what="counters")


async def test_counters_begin_at_zero_so_that_the_first_error_is_an_increase(node):
    await registered(node)
    assert counts(node) == {str(xid): 0 for xid in ZERO_XIDS}
    assert ("xid_last_timestamp_seconds",) not in node.samples()


async def test_the_first_readings_have_the_zeros(node, monkeypatch):
    monkeypatch.setattr("exporter.nvml.xid._FIRST_WAIT_SECONDS", 60)
    assert counts(node, 1) == {str(xid): 0 for xid in ZERO_XIDS}


async def test_errors_are_counted_by_gpu_and_xid(node, caplog):
    await registered(node)
    before = time.time()
    node.driver.report_xid(0, 79)
    node.driver.report_xid(0, 31, times=3)
    node.driver.report_xid(1, 79)
    await until(lambda: counts(node).get("31") == 3, what="three of 31")
    assert counts(node)["79"] == 1
    await until(lambda: counts(node, 1)["79"] == 1, what="the other GPU's")
    assert "31" not in counts(node, 1)
    assert before <= node.samples()["xid_last_timestamp_seconds",] <= time.time()
    records = [
        (record.__dict__["uuid"], record.__dict__["xid"])
        for record in caplog.records
        if "Xid" in record.message
    ]
    first, second = (gpu.uuid for gpu in node.driver.gpus)
    assert sorted(records) == sorted([(first, 79), (first, 31), (second, 79)]), "each kind once"


async def test_a_storm_is_counted_in_few_series_while_the_gpus_are_read(node, caplog):
    await registered(node)
    for xid in range(1, 201):
        node.driver.report_xid(0, xid, times=10)
    cycles = 0

    def all_counted():
        nonlocal cycles
        cycles += 1
        return sum(counts(node).values()) == 2000

    await until(all_counted, what="2000 errors")
    assert cycles > 10, "the readings went on meanwhile"
    assert len(counts(node)) == MAX_KINDS + 1
    assert counts(node)["other"] > 0
    assert sum("Xid" in record.message for record in caplog.records) <= MAX_KINDS + 1


async def test_a_number_that_is_no_xid_is_counted_as_another_one(node):
    await registered(node)
    kinds = set(counts(node))
    for xid in (0, 10_000, 2**32 - 1, 2**64 - 1):
        node.driver.report_xid(0, xid)
    await until(lambda: counts(node).get("other") == 4, what="all four")
    assert set(counts(node)) == {*kinds, "other"}


async def test_a_lost_gpus_errors_stay_and_the_others_go_on(node):
    await registered(node)
    lost = node.driver.gpus[0].uuid
    node.driver.report_xid(0, 79)
    await until(lambda: counts(node)["79"] == 1, what="the error that says why")
    node.driver.faults.lose(lost)
    readings = node.readings()
    assert readings.unreadable_count == 1
    assert counts(node)["79"] == 1
    await until(lambda: lost not in node.driver.events.registered(), what="a set without it")
    await until(node.driver.events.registered, what="a new set")
    node.driver.report_xid(1, 48)
    await until(lambda: counts(node, 1)["48"] == 1, what="the other GPU's error")
    node.driver.faults.find(lost)
    await registered(node)
    node.driver.report_xid(0, 79)
    await until(lambda: counts(node)["79"] == 2, what="the next error after it came back")


async def test_counters_outlive_the_driver(node):
    await registered(node)
    node.driver.report_xid(0, 95)
    await until(lambda: counts(node)["95"] == 1, what="an error")
    node.driver.faults.unload_driver()
    node.nvml.close()
    node.driver.faults.load_driver()
    node.open()
    await registered(node)
    assert counts(node)["95"] == 1
    node.driver.report_xid(0, 95)
    await until(lambda: counts(node)["95"] == 2, what="another error")


@pytest.mark.parametrize("function", ["nvmlDeviceRegisterEvents", "nvmlEventSetCreate"])
async def test_gpus_without_events_have_no_counters(function):
    with Node("T4", collectors=[Collector.XID]) as node:
        node.driver.faults.fail(function, NOT_SUPPORTED)
        node.count_calls()
        node.read()
        await until(lambda: node.calls[function], what="an attempt")
        for _ in range(5):
            assert counts(node) == {}
        assert node.errors == []


async def test_a_gpu_that_must_not_be_watched_is_told_once_and_the_other_is_counted(node, caplog):
    first, second = (gpu.uuid for gpu in node.driver.gpus)
    node.driver.faults.fail("nvmlDeviceRegisterEvents", NO_PERMISSION, uuid=first)
    node.read()
    await until(lambda: node.driver.events.registered() == {second}, what="the other GPU")
    node.driver.report_xid(1, 48)
    await until(lambda: counts(node, 1).get("48") == 1, what="its error")
    assert counts(node) == {}
    records = [record for record in caplog.records if "Cannot watch" in record.message]
    assert [record.__dict__["uuid"] for record in records] == [first]
    assert "NO_PERMISSION" in records[0].__dict__["error"]


async def test_a_gpu_that_could_not_be_watched_is_watched_when_it_can_be(node, caplog, monkeypatch):
    caplog.set_level("INFO")
    monkeypatch.setattr("exporter.nvml.xid._REGISTER_AGAIN_SECONDS", 0.02)
    first, second = (gpu.uuid for gpu in node.driver.gpus)
    node.driver.faults.fail("nvmlDeviceRegisterEvents", UNKNOWN, uuid=first)
    node.read()
    failed = ("nvmlDeviceRegisterEvents", "UNKNOWN")
    await until(lambda: node.errors.count(failed) > 3, what="several attempts")
    assert node.driver.events.registered() == {second}
    node.driver.faults.heal("nvmlDeviceRegisterEvents", uuid=first)
    await registered(node)
    node.driver.report_xid(0, 48)
    await until(lambda: counts(node)["48"] == 1, what="its error")
    records = [record for record in caplog.records if "watch" in record.message.lower()]
    assert [vars(record)["uuid"] for record in records] == [first, first]
    assert [record.levelname for record in records] == ["WARNING", "INFO"]


async def test_a_failing_wait_is_tried_again(node):
    node.driver.faults.fail("nvmlEventSetWait_v2", UNKNOWN)
    node.read()
    await until(lambda: ("nvmlEventSetWait_v2", "UNKNOWN") in node.errors, what="an error")
    node.driver.faults.heal("nvmlEventSetWait_v2")

    def is_counted():
        # An error that falls between two event sets is lost, so more than one is needed.
        node.driver.report_xid(1, 63)
        return counts(node, 1).get("63", 0) > 0

    await until(is_counted, what="an error after all")


async def test_a_wait_that_hangs_holds_up_neither_readings_nor_the_end(node):
    await registered(node)
    node.count_calls()
    hangs, goes_on = threading.Event(), threading.Event()
    wait = node.binding.nvmlEventSetWait_v2

    def hanging(*arguments):
        hangs.set()
        goes_on.wait()
        return wait(*arguments)

    node.binding.nvmlEventSetWait_v2 = hanging
    await until(hangs.is_set, what="a call that hangs")
    assert node.read_first().power_usage_milliwatts is not None
    assert node.nvml.running_call is None
    node.nvml.close()
    assert "nvmlShutdown" not in node.calls, "not from under the call that hangs"
    node.nvml.open()
    node.nvml.close()
    assert "nvmlShutdown" not in node.calls, "nor by the session after it"
    goes_on.set()
    await until(lambda: not _xid_threads(), what="the thread's end")
    assert node.nvml.close()
    assert not node.driver.sessions, "both sessions are closed"


async def test_the_thread_ends_with_the_session(node):
    await registered(node)
    node.nvml.close()
    assert not _xid_threads()
    assert not node.driver.events.registered(), "and gave its event set back"


def _xid_threads():
    return [thread for thread in threading.enumerate() if thread.name == "xid"]
