# SPDX-License-Identifier: Apache-2.0
"""The exporter's --once: one answer of everything, and the exit status."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.app import node_reading, once
from exporter.model import Collector
from simulator.driver import SimulatedDriver
from simulator.gpus import GpuSpec
from simulator.kubelet import SimulatedKubelet
from simulator.nvml.binding import bind
from tests.exporting import PREFIX, configuration, exporter
from tests.waiting import until


async def test_once():
    with SimulatedDriver(["T4"]) as driver:
        result = await once(configuration(once=True), bind(driver))
        assert result.problem is None
        text = result.exposition.decode()
        assert "\nnvidia_gpu_duty_cycle{" in text
        assert f"\n{PREFIX}nvml_up 1.0\n" in text


CYCLES = f"{PREFIX}cycle_duration_seconds_count"


@pytest.mark.parametrize(
    ("gpus", "collectors", "is_one_enough"),
    [
        pytest.param(["T4"], [], True, id="plain"),
        pytest.param(["H100"], [], True, id="plain, on a board with GPM"),
        pytest.param(["T4", "L4"], Collector, True, id="all, on boards without GPM"),
        pytest.param(["T4", "H100"], Collector, False, id="all, one board with GPM"),
        pytest.param(["H100", "H200"], [Collector.GPM], False, id="GPM alone"),
        pytest.param(
            [GpuSpec(model="H100", mig_profiles=("1g.10gb",))], [Collector.GPM], False, id="MIG"
        ),
    ],
)
async def test_once_shows_every_family_and_takes_no_cycle_more_than_that_needs(
    gpus, collectors, is_one_enough, monkeypatch
):
    if is_one_enough:
        # A second cycle never begins: one that waited for it would end in its timeout.
        monkeypatch.setattr(node_reading, "ONCE_INTERVAL_SECONDS", 3600.0)
    with SimulatedDriver(gpus) as driver:
        async with exporter(driver, collectors=frozenset(collectors)) as reader:

            async def several_cycles():
                return await reader.value(CYCLES) >= 4

            await until(several_cycles)
            running = {sample.name for sample in await reader.samples()}
        config = configuration(once=True, collectors=frozenset(collectors))
        result = await once(config, bind(driver))
    assert result.problem is None
    samples = [
        sample
        for family in text_string_to_metric_families(result.exposition.decode())
        for sample in family.samples
    ]
    gpu_families = {name for name in running if not name.startswith(PREFIX)}
    assert gpu_families <= {sample.name for sample in samples}
    (cycles,) = (sample.value for sample in samples if sample.name == CYCLES)
    assert cycles == 1 if is_one_enough else cycles >= 2


async def test_once_with_pods(socket_path):
    with SimulatedDriver(["T4"]) as driver:
        async with SimulatedKubelet(driver, socket_path) as kubelet:
            kubelet.allocate("ns", "a", "main", "nvidia.com/gpu", 1)
            config = configuration(once=True, pod_resources_socket=socket_path)
            result = await once(config, bind(driver))
            assert b'pod_name="a"' in result.exposition


async def test_once_without_a_library():
    with SimulatedDriver(["T4"]) as driver:
        driver.faults.lacks_library = True
        result = await once(configuration(once=True), bind(driver))
        assert "LIBRARY_NOT_FOUND" in (result.problem or "")
        assert f"\n{PREFIX}nvml_up 0.0\n" in result.exposition.decode()


async def test_once_with_a_hanging_driver(monkeypatch):
    monkeypatch.setattr("exporter.app.parts._ONCE_TIMEOUT_SECONDS", 20.0)
    monkeypatch.setattr("exporter.nvml.hang_guard.HANGING_CALL_SECONDS", 2.0)
    with SimulatedDriver(["T4"]) as driver:
        driver.faults.hang("nvmlDeviceGetUUID")
        result = await once(configuration(once=True), bind(driver))
        assert result.problem is not None
        assert "nvmlDeviceGetUUID has not returned" in result.problem
