# SPDX-License-Identifier: Apache-2.0
"""Texts of the driver that are no text: the readings stay, and labels get what can be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.model import Collector
from exporter.nvml.calls import printable
from simulator.gpus import GpuSpec
from tests.nvmlnode import Node

NO_TEXT = b"Tesla \xff\xfe\x80"
REPLACED = "Tesla \ufffd\ufffd\ufffd"
OF_THE_BOARD = {
    "nvmlDeviceGetPciInfo_v3": 0,
    "nvmlDeviceGetSerial": 1,
    "nvmlDeviceGetBoardPartNumber": 2,
    "nvmlDeviceGetVbiosVersion": 3,
}
OF_THE_DRIVER = {"nvmlSystemGetDriverVersion": 0, "nvmlSystemGetNVMLVersion": 2}


def test_a_name_that_is_not_utf8_leaves_the_readings_and_is_counted_once():
    node = Node("T4", "T4").open()
    node.driver.faults.say("nvmlDeviceGetName", NO_TEXT, uuid=node.driver.gpus[0].uuid)
    for _ in range(3):
        first, second = node.read().values()
        assert (first.device.name, second.device.name) == (REPLACED, "Tesla T4")
        assert first.power_usage_milliwatts is not None
        assert node.readings().unreadable_count == 0
    assert node.errors == [("nvmlDeviceGetName", "NOT_UTF8")]


def test_an_instances_name_is_asked_every_cycle_and_counted_once():
    node = Node(GpuSpec(model="H100", mig_profiles=("1g.10gb",))).open()
    uuid = node.driver.uuids[-1]
    node.driver.faults.say("nvmlDeviceGetName", NO_TEXT, uuid=uuid)
    for _ in range(3):
        assert node.read()[uuid].device.name == REPLACED
    assert node.errors == [("nvmlDeviceGetName", "NOT_UTF8")]


def test_a_uuid_that_is_not_utf8():
    node = Node("T4").open()
    node.driver.faults.say("nvmlDeviceGetUUID", b"GPU-\xff")
    (reading,) = node.read().values()
    assert reading.device.uuid == "GPU-\ufffd"
    assert reading.power_usage_milliwatts is not None


@pytest.mark.parametrize("function", OF_THE_BOARD)
def test_a_boards_text_that_is_not_utf8(function):
    node = Node("H100", collectors=[Collector.INFO]).open()
    (before,) = node.read_first().extended
    node = Node("H100", collectors=[Collector.INFO]).open()
    node.driver.faults.say(function, NO_TEXT)
    for _ in range(3):
        (board,) = node.read_first().extended
        texts = list(before.labels)
        texts[OF_THE_BOARD[function]] = REPLACED
        assert list(board.labels) == texts
    assert node.errors == [(function.removesuffix("_v3"), "NOT_UTF8")]


@pytest.mark.parametrize("function", OF_THE_DRIVER)
def test_a_version_that_is_not_utf8(function):
    node = Node("H100", collectors=[Collector.INFO])
    node.driver.faults.say(function, NO_TEXT)
    node.open()
    for _ in range(2):
        (versions,) = node.readings().node
        assert versions.labels[OF_THE_DRIVER[function]] == REPLACED
    assert set(node.errors) == {(function, "NOT_UTF8")}
    assert len(node.errors) == 1


def test_control_characters_are_left_out():
    node = Node("T4").open()
    node.driver.faults.say("nvmlDeviceGetName", b" Tesla\x01\n\x1b[31m T4\x7f\xc2\x85 ")
    assert node.read_first().device.name == "Tesla[31m T4"
    assert node.errors == []


def test_a_gpu_without_a_uuid_cannot_be_told_from_another_one():
    node = Node("T4", "T4").open()
    node.driver.faults.say("nvmlDeviceGetUUID", b"", uuid=node.driver.gpus[0].uuid)
    readings = node.readings()
    assert [one.device.uuid for one in readings.devices] == [node.driver.gpus[1].uuid]
    assert readings.unreadable_count == 1


def test_texts_that_change_all_the_time_are_counted_a_bounded_number_of_times():
    node = Node(GpuSpec(model="A100-80GB", mig_profiles=("1g.10gb",))).open()
    for number in range(300):
        node.driver.faults.say("nvmlDeviceGetName", b"\xff%d" % number, uuid=node.driver.uuids[-1])
        node.read()
    assert len(node.errors) == 256


@given(st.text())
def test_what_becomes_a_label_is_short_and_printable(text):
    label = printable(text)
    assert label.isprintable()
    assert len(label) <= 192
    assert label == label.strip()


@given(st.text("abc -./:0123456789", max_size=96))
def test_an_ordinary_text_stays_as_it_is(text):
    assert printable(text) == text.strip()


def test_an_error_whose_text_is_not_utf8_is_an_error_like_any_other(monkeypatch):
    def undecoded(_error):
        return b"sm\xf8rrebr\xf8d".decode()

    node = Node("T4").open()
    monkeypatch.setattr(node.binding.NVMLError, "__str__", undecoded)
    node.driver.faults.fail("nvmlDeviceGetFanSpeed", 3)
    node.driver.faults.fail("nvmlDeviceGetPowerUsage", 999)
    for _ in range(2):
        readings = node.readings()
        assert readings.unreadable == ()
        assert readings.devices[0].temperature_celsius is not None
    assert node.errors.count(("nvmlErrorString", "NOT_UTF8")) == 1
    assert ("nvmlDeviceGetPowerUsage", "UNKNOWN") in node.errors
