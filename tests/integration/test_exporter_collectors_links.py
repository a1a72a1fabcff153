# SPDX-License-Identifier: Apache-2.0
"""The collectors of PCIe and NVLink through the real binding over a simulated library."""

from __future__ import annotations

import pytest

from exporter.model import Collector
from tests.nvmlnode import Node

pytestmark = pytest.mark.usefixtures("no_slow_pcie")


def test_pcie():
    node = Node("T4", collectors=[Collector.PCIE]).open()
    node.driver.gpus[0].board.pcie_replays = 7
    node.driver.set_load(0, 50)
    node.clock.now += 5
    assert node.samples() == {
        ("pcie_transmit_bytes_per_second",): 3_000_050_000,
        ("pcie_receive_bytes_per_second",): 1_500_050_000,
        ("pcie_replays_total",): 7,
        ("pcie_link_generation",): 3,
        ("pcie_link_max_generation",): 3,
        ("pcie_link_width",): 16,
        ("pcie_link_max_width",): 16,
    }


def test_the_slow_pcie_measurement_is_made_seldom(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("exporter.nvml.gpu.time.monotonic", lambda: now[0])
    node = Node(*["T4"] * 4, collectors=[Collector.PCIE]).open()
    node.count_calls()
    counts = []
    for _ in range(100):
        node.read()
        counts.append(node.calls.pop("nvmlDeviceGetPcieThroughput", 0))
        now[0] += 1
    assert counts[0] == 8, "both directions of all"
    assert 4 * 2 * 10 <= sum(counts) <= 4 * 2 * 21, "each every 5 to 10 s"
    later = counts[40:]
    assert max(later) < 8, "and no longer all in one cycle"
    assert ("pcie_transmit_bytes_per_second",) in node.samples(), "the last one is kept"


def test_nvlink():
    node = Node("H100", collectors=[Collector.NVLINK]).open()
    board = node.driver.gpus[0].board
    board.links_down = {3}
    board.link_errors = {(0, 0): 5, (17, 2): 9}
    node.driver.set_load(0, 100)
    node.read()
    node.clock.now += 2
    samples = node.samples()
    assert [samples["nvlink_up", str(link)] for link in range(18)] == [1] * 3 + [0] + [1] * 14
    assert samples["nvlink_errors_total", "0", "replay"] == 5
    assert samples["nvlink_errors_total", "17", "crc_flit"] == 9
    assert samples["nvlink_errors_total", "1", "recovery"] == 0
    assert ("nvlink_errors_total", "1", "crc_data") not in samples
    assert samples["nvlink_transmit_bytes_total",] == pytest.approx(2 * 17 * 2e6 * 1024)
    assert samples["nvlink_receive_bytes_total",] == pytest.approx(2 * 17 * 2e6 * 1024)


def test_nvlink_of_blackwell():
    node = Node("B200", collectors=[Collector.NVLINK]).open()
    node.driver.gpus[0].board.link_fields = {
        (213, 0): 4,
        (214, 17): 1,
        (221, 3): 1000,
        (219, 3): 7,
        (222, 3): (8 << 8) | 7,
        (220, 3): (15 << 8) | 255,
    }
    samples = node.samples()
    assert samples["nvlink_up", "17"] == 1
    assert not {key for key in samples if key[0] == "nvlink_errors_total"}
    assert samples["nvlink_recoveries_total", "0", "successful"] == 4
    assert samples["nvlink_recoveries_total", "17", "failed"] == 1
    assert samples["nvlink_recoveries_total", "5", "failed"] == 0
    assert samples["nvlink_symbol_errors_total", "3"] == 1000
    assert samples["nvlink_effective_errors_total", "3"] == 7
    assert samples["nvlink_bit_error_ratio", "3", "symbol"] == pytest.approx(8e-7)
    assert samples["nvlink_bit_error_ratio", "3", "effective"] == pytest.approx(15e-255)
    assert samples["nvlink_bit_error_ratio", "0", "symbol"] == 0
    assert node.errors == []


def test_bit_error_ratios_that_cannot_be_are_absent():
    node = Node("B200", collectors=[Collector.NVLINK]).open()
    board = node.driver.gpus[0].board
    board.link_fields = {(222, 0): 2**64 - 1, (222, 1): 1 << 12, (222, 2): 15 << 8}
    links = {link for _, link, errors in node.samples(of="nvlink_bit") if errors == "symbol"}
    assert links == {str(link) for link in range(3, 18)}


def test_what_fields_tell_of_links_is_asked_seldom_and_not_of_older_boards(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("exporter.nvml.gpu.time.monotonic", lambda: now[0])
    for model, calls in (("B200", {1, 2}), ("H100", {1})):
        node = Node(model, collectors=[Collector.NVLINK]).open()
        node.read()
        node.count_calls()
        seen = []
        for _ in range(20):
            now[0] += 1
            assert node.samples(of="nvlink_up")
            seen.append(node.calls.pop("nvmlDeviceGetFieldValues"))
        assert set(seen) == calls
        assert seen.count(2) <= 4


def test_a_field_that_fails_is_told_as_failing_until_it_is_asked_again(caplog):
    caplog.set_level("INFO")
    node = Node("B200", collectors=[Collector.NVLINK]).open()
    original = node.binding.nvmlDeviceGetFieldValues

    def ask(handle, fields):
        answers = original(handle, fields)
        for answer in answers:
            if answer.fieldId == node.binding.NVML_FI_DEV_NVLINK_COUNT_SYMBOL_ERRORS:
                answer.nvmlReturn = node.binding.NVML_ERROR_UNKNOWN
        return answers

    node.binding.nvmlDeviceGetFieldValues = ask
    for _ in range(3):
        assert node.samples(of="nvlink_symbol") == {}
    assert [one.message for one in caplog.records if "NVML call" in one.message] == [
        "NVML call fails; what it reads is absent until it succeeds"
    ]


def test_each_links_state_and_errors_are_read_seldom_but_traffic_in_every_cycle():
    node = Node("H100", collectors=[Collector.NVLINK]).open()
    first = node.samples()
    node.count_calls()
    node.driver.set_load(0, 100)
    node.clock.now += 1
    assert node.samples().keys() == first.keys()
    assert not {name for name in node.calls if "NvLink" in name}
    node.clock.now += 1
    assert node.samples()["nvlink_receive_bytes_total",] > first["nvlink_receive_bytes_total",]


def test_a_board_without_nvlink_has_no_series_and_is_not_asked_again():
    node = Node("T4", collectors=[Collector.NVLINK]).open()
    assert node.samples() == {}
    node.count_calls()
    assert node.samples() == {}
    assert not {name for name in node.calls if "NvLink" in name or "Field" in name}
