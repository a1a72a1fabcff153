# SPDX-License-Identifier: Apache-2.0
"""MIG: what fails about a divided GPU or one of its instances, and what it costs."""

from __future__ import annotations

import pytest

from exporter.model import Collector
from simulator.gpus import GpuSpec
from tests.nvmlnode import Node

INSUFFICIENT_PERMISSIONS, NOT_FOUND, TIMEOUT, GPU_IS_LOST, GPU_NOT_FOUND = 4, 6, 10, 15, 28
UNKNOWN = 999
HOPPER = GpuSpec(model="H100", mig_profiles=("1g.10gb", None, "3g.40gb"))


def test_a_mig_mode_that_cannot_be_asked_stays_what_it_was():
    """A divided GPU does not turn into a whole one that is free, nor a whole one into another."""
    node = Node(HOPPER, "H100", collectors=[Collector.INFO]).open()
    before = node.read()
    for code in (UNKNOWN, INSUFFICIENT_PERMISSIONS, TIMEOUT):
        node.driver.faults.fail("nvmlDeviceGetMigMode", code)
        for _ in range(3):
            found = node.read()
            assert found.keys() == before.keys()
            for uuid, reading in found.items():
                assert reading.has_mig == before[uuid].has_mig
                assert reading.memory_total_bytes == before[uuid].memory_total_bytes
                assert reading.extended == before[uuid].extended
    node.driver.faults.heal("nvmlDeviceGetMigMode")
    node.driver.divide(0, None)
    assert node.read_first().memory_total_bytes is not None


@pytest.mark.parametrize(
    "function",
    ["nvmlDeviceGetUUID", "nvmlDeviceGetName", "nvmlDeviceGetMemoryInfo_v2"],
)
@pytest.mark.parametrize("code", [NOT_FOUND, GPU_IS_LOST, GPU_NOT_FOUND])
def test_an_instance_that_goes_away_amid_a_cycle_costs_no_other(function, code):
    node = Node(HOPPER, "T4").open()
    before = set(node.read())
    gone, stays = (mig for mig in node.driver.gpus[0].mig_devices if mig)
    node.driver.faults.fail(function, code, uuid=gone.uuid)
    readings = node.readings()
    assert readings.unreadable_count == 0
    found = {one.device.uuid: one for one in readings.devices}
    assert before - {gone.uuid} <= found.keys()
    assert found[stays.uuid].memory_used_bytes is not None
    if gone.uuid in found and function == "nvmlDeviceGetMemoryInfo_v2":
        assert found[gone.uuid].memory_used_bytes is None
