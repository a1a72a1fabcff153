# SPDX-License-Identifier: Apache-2.0
"""Lists of processes that cannot be true: true values of containers or none."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from exporter.processes.process_owner import ProcessOwners
from simulator.gpus import SimulatedProcess
from tests.sharednode import (
    DEVICE_MEMORY,
    DUTY_CYCLE,
    GIB,
    MEMORY,
    FakeNode,
    becomes,
    exporter,
    nvml_on,
    one_gpu,
    process,
    values,
)

pytestmark = pytest.mark.usefixtures("frequent_listings")


@pytest.fixture
def node(tmp_path):
    return FakeNode(tmp_path)


IMPOSSIBLE = [
    pytest.param(SimulatedProcess(pid=0, memory_used_bytes=GIB), id="PID 0"),
    pytest.param(SimulatedProcess(pid=2**32 - 1, memory_used_bytes=GIB), id="PID -1"),
    pytest.param(SimulatedProcess(pid=3 * GIB, memory_used_bytes=None), id="a size for a PID"),
    pytest.param(SimulatedProcess(pid=12, memory_used_bytes=4242), id="a PID for a size"),
    pytest.param(SimulatedProcess(pid=12, memory_used_bytes=16 * GIB), id="more than there is"),
    pytest.param(SimulatedProcess(pid=77, memory_used_bytes=GIB), id="no such process"),
]
TWO_SIZES = pytest.param(SimulatedProcess(pid=10, memory_used_bytes=GIB), id="one PID, two sizes")


@pytest.mark.parametrize("is_mps_client", [False, True], ids=["computing", "client of MPS"])
@pytest.mark.parametrize("entry", IMPOSSIBLE)
def test_a_list_with_an_impossible_entry_is_no_list(node, caplog, entry, is_mps_client):
    """Neither memory nor time of any container is known, and the device is read all the same."""
    caplog.set_level(logging.INFO)
    node.process_of(10, "web")
    node.process_of(12, "batch")
    true = [process(10, 2, 30)]
    with nvml_on(node, "T4", "T4") as gpus:
        gpus.driver.set_processes(1, true)
        for _ in range(3):
            gpus.driver.set_processes(0, [*true, replace(entry, is_mps_client=is_mps_client)])
            first, second = gpus.readings().devices
            assert first.uses is None
            assert first.memory_total_bytes == second.memory_total_bytes
            assert second.uses is not None, "another GPU is another list"
        gpus.driver.set_processes(0, true)
        (found,) = gpus.read_first().uses or ()
    assert found.memory_used_bytes == 2 * GIB
    messages = [one.message for one in caplog.records if "duty cycle per container" in one.message]
    assert messages == [
        "Memory and duty cycle per container are unknown",
        "Memory and duty cycle per container are known again",
    ]


@pytest.mark.parametrize("entry", [*IMPOSSIBLE, TWO_SIZES])
async def test_no_container_has_a_value_by_an_impossible_list(node, entry):
    node.process_of(10, "web")
    node.process_of(12, "batch")
    driver = one_gpu(process(10, 2, 30))
    async with exporter(node, driver, "web/main", "batch/main") as url:
        await becomes(url, MEMORY, {"web/main": 2 * GIB, "batch/main": 0})
        await becomes(url, DUTY_CYCLE, {"web/main": 30, "batch/main": 0})
        driver.set_processes(0, [process(10, 2, 30), entry])
        await becomes(url, MEMORY, {})
        assert await values(url, DUTY_CYCLE) == {}
        assert await values(url, DEVICE_MEMORY) == {}
        assert len(await values(url, "nvidia_gpu_duty_cycle")) == 2
        driver.set_processes(0, [process(10, 2, 30)])
        await becomes(url, MEMORY, {"web/main": 2 * GIB, "batch/main": 0})


@pytest.mark.parametrize(("gib", "known"), [(0, True), (1, True), (3, False), (12, False)])
def test_memory_in_use_of_no_process_makes_the_list_doubtful(node, gib, known):
    with nvml_on(node, "T4") as gpus:
        gpus.driver.set_memory_used(0, gib * GIB)
        reading = gpus.read_first()
    assert reading.memory_used_bytes == gib * GIB
    assert reading.uses == (() if known else None)


def test_a_process_that_ends_between_the_list_and_the_look_is_asked_about_again(node, monkeypatch):
    node.process_of(10, "web")
    with nvml_on(node, "T4") as gpus:
        gpus.driver.set_processes(0, [process(10, 2), process(77, 1)])
        is_running = ProcessOwners.is_running

        def ends(owners_there, pid):
            gpus.driver.set_processes(0, [process(10, 2)])
            return is_running(owners_there, pid)

        monkeypatch.setattr(ProcessOwners, "is_running", ends)
        (found,) = gpus.read_first().uses or ()
    assert found.owner.pod_name == "web"


@pytest.mark.parametrize("percent", [101, 255, 2**31, 2**32 - 1])
def test_a_share_of_time_that_cannot_be_is_not_taken_for_idleness(node, percent):
    node.process_of(10, "web")
    node.process_of(12, "batch")
    with nvml_on(node, "T4") as gpus:
        for _ in range(5):
            gpus.driver.set_processes(0, [process(10, 2, percent), process(12, 1, 40)])
            gpus.clock.now += 2
            uses = {one.owner.pod_name: one for one in gpus.read_first().uses or ()}
            assert uses["web"].duty_cycle_percent is None
            assert uses["web"].memory_used_bytes == 2 * GIB
            assert uses["batch"].duty_cycle_percent == 40


def test_times_of_processes_that_cannot_be_are_no_times(node, monkeypatch):
    node.process_of(10, "web")
    with nvml_on(node, "T4") as gpus:
        gpus.driver.set_processes(0, [process(10, 2, 30)])
        ask = gpus.binding.nvmlDeviceGetProcessUtilization

        def shifted(*arguments):
            samples = list(ask(*arguments))
            samples[0].pid = 2**32 - 1
            return samples

        monkeypatch.setattr(gpus.binding, "nvmlDeviceGetProcessUtilization", shifted)
        (found,) = gpus.read_first().uses or ()
    assert (found.memory_used_bytes, found.duty_cycle_percent) == (2 * GIB, None)


def test_a_sample_of_no_time_is_not_taken_for_the_newest_one(node, monkeypatch):
    node.process_of(10, "web")
    with nvml_on(node, "T4") as gpus:
        gpus.driver.set_processes(0, [process(10, 2, 30)])
        ask = gpus.binding.nvmlDeviceGetProcessUtilization

        def unfilled(*arguments):
            samples = list(ask(*arguments))
            samples[0].timeStamp = 2**64 - 1
            return samples

        with monkeypatch.context() as patch:
            patch.setattr(gpus.binding, "nvmlDeviceGetProcessUtilization", unfilled)
            (found,) = gpus.read_first().uses or ()
        assert (found.memory_used_bytes, found.duty_cycle_percent) == (2 * GIB, None)
        gpus.clock.now += 2
        (found,) = gpus.read_first().uses or ()
    assert found.duty_cycle_percent == 30


def test_nothing_unexpected_in_the_nodes_files_costs_a_gpu(node, monkeypatch, caplog):
    def fails(*_):
        raise KeyError("nobody thought of this")

    node.process_of(10, "web")
    with nvml_on(node, "T4") as gpus:
        gpus.driver.set_processes(0, [process(10, 2)])
        for name in ("owner_of", "problem"):
            with monkeypatch.context() as patch:
                patch.setattr(ProcessOwners, name, fails)
                readings = gpus.readings()
            assert readings.unreadable_count == 0
            assert readings.devices[0].uses is None
            assert gpus.read_first().uses
    assert "KeyError" in vars(caplog.records[0])["error"]
