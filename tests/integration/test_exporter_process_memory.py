# SPDX-License-Identifier: Apache-2.0
"""Memory by process, through the real binding over a simulated library."""

from __future__ import annotations

import pytest

from exporter.model import Collector, Scope
from exporter.nvml.process_memory import FUNCTIONS, MOST_PROCESSES
from simulator.gpus import GpuSpec, SimulatedProcess
from tests.nvmlnode import Node

MIB = 1024 * 1024
NOT_SUPPORTED, NOT_FOUND, FUNCTION_NOT_FOUND, UNKNOWN = 3, 6, 13, 999
COMPUTING, _, CLIENTS_OF_MPS = FUNCTIONS


def node(*processes, spec="T4"):
    made = Node(spec, collectors=[Collector.PROCESSES])
    made.driver.gpus[0].processes = processes
    return made.open()


def process(pid, mib: int | None = 1, **more):
    used = None if mib is None else mib * MIB
    return SimulatedProcess(pid=pid, memory_used_bytes=used, **more)


def test_each_process_has_its_memory_and_name():
    found = node(
        process(7, 300, program="/opt/conda/bin/python"),
        process(8, 5, is_mps_client=True),
        process(9, None),
    )
    assert found.samples() == {
        ("processes",): 3,
        ("process_memory_used_bytes", "7", "python"): 300 * MIB,
        ("process_memory_used_bytes", "8", "python3"): 5 * MIB,
    }
    scopes = {sample.family.scope for sample in found.read_first().extended}
    assert scopes == {Scope.DEVICE}, "not once for each container that shares the GPU"


def test_a_gpu_without_processes_has_none():
    assert node().samples() == {("processes",): 0}


def test_processes_that_the_driver_hides_are_not_none():
    found = node()
    found.driver.gpus[0].memory_set_bytes = 5000 * MIB
    assert found.samples() == {}


def test_only_those_with_the_most_memory_have_series():
    samples = node(*(process(pid, mib=pid) for pid in range(1, 101))).samples()
    assert samples.pop(("processes",)) == 100
    assert {int(pid) for _, pid, _ in samples} == {*range(101 - MOST_PROCESSES, 101)}


@pytest.mark.parametrize("code", [NOT_FOUND, FUNCTION_NOT_FOUND])
def test_a_process_without_a_name_has_its_memory(code):
    found = node(process(7))
    found.driver.faults.fail("nvmlSystemGetProcessName", code)
    assert found.samples(of="process_") == {("process_memory_used_bytes", "7", ""): MIB}
    assert found.errors == []


@pytest.mark.parametrize("code", [NOT_SUPPORTED, FUNCTION_NOT_FOUND])
def test_a_driver_without_mps_lists_the_others(code):
    found = node(process(7))
    found.driver.faults.fail(CLIENTS_OF_MPS, code)
    for _ in range(2):
        assert found.samples()["processes",] == 1


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_list_that_fails_leaves_all_out(function):
    found = node(process(7))
    found.driver.faults.fail(function, UNKNOWN)
    assert found.samples() == {}
    assert found.errors == [(function, "UNKNOWN")]
    found.driver.faults.heal(function)
    assert found.samples()["processes",] == 1


def test_a_driver_that_lists_no_processes():
    found = node(process(7))
    found.driver.faults.fail(COMPUTING, NOT_SUPPORTED)
    assert found.samples() == {}
    found.count_calls()
    assert found.samples() == {}
    assert COMPUTING not in found.calls


def test_a_list_that_cannot_be_true_is_left_out():
    assert node(process(0)).samples() == {}


def test_under_mig_the_instances_have_no_series_of_their_own():
    found = node(spec=GpuSpec(model="H100", mig_profiles=("1g.10gb",)))
    _, instance = found.read().values()
    assert instance.extended == ()
