# SPDX-License-Identifier: Apache-2.0
"""gpu-exporter doctor: which GPUs cannot be read, by which NVML function, and why."""

from __future__ import annotations

import re

import pytest

from exporter.cli.config import ExporterConfig
from exporter.doctor.examination import examine
from exporter.doctor.finding import Finding, Level
from exporter.doctor.host import Host
from simulator.driver import SimulatedDriver
from simulator.gpus import GpuSpec
from simulator.nvml.binding import bind

NOT_SUPPORTED, RESET_REQUIRED, UNKNOWN = 3, 16, 999
HANGING_SECONDS = 4.0
"""Longer than a busy machine keeps a call that works from returning."""
READINGS = (
    *("nvmlDeviceGetSamples", "nvmlDeviceGetUtilizationRates"),
    *("nvmlDeviceGetMemoryInfo", "nvmlDeviceGetMemoryInfo_v2"),
    *("nvmlDeviceGetPowerUsage", "nvmlDeviceGetTemperature", "nvmlDeviceGetTemperatureV"),
    "nvmlDeviceGetFanSpeed",
)


@pytest.fixture
def devices(tmp_path):
    """Return what doctor finds of the devices of a node without any other files."""

    async def examined(driver) -> list[Finding]:
        found = await examine(
            ExporterConfig(listen_host="127.0.0.1", listen_port=0, pod_resources_socket=""),
            binding=bind(driver),
            host=Host(tmp_path),
            environment={},
            host_name="x",
        )
        return [one for one in found if one.step == "devices"]

    return examined


@pytest.mark.parametrize("index", [0, 3, 7])
@pytest.mark.parametrize(
    ("break_gpu", "text"),
    [
        pytest.param(
            lambda driver, uuid: driver.faults.lose(uuid),
            "GPU {index} cannot be read: nvmlDeviceGetHandleByIndex: GPU_IS_LOST (GPU is lost)",
            id="lost",
        ),
        pytest.param(
            lambda driver, uuid: driver.faults.fail("nvmlDeviceGetUUID", UNKNOWN, uuid=uuid),
            "GPU {index} cannot be read: nvmlDeviceGetUUID: UNKNOWN (Unknown Error)",
            id="does not tell its UUID",
        ),
        pytest.param(
            lambda driver, uuid: [
                driver.faults.fail(function, RESET_REQUIRED, uuid=uuid) for function in READINGS
            ],
            "GPU {index} ({uuid}) cannot be read: nvmlDeviceGetPowerUsage: RESET_REQUIRED (GPU "
            "requires restart)",
            id="needs a reset",
        ),
        pytest.param(
            lambda driver, uuid: driver.faults.hang("nvmlDeviceGetFanSpeed", uuid=uuid),
            "GPU {index} ({uuid}) cannot be read: nvmlDeviceGetFanSpeed has not returned for N s",
            id="hangs",
        ),
        pytest.param(
            lambda driver, uuid: driver.faults.hang("nvmlDeviceGetUUID", uuid=uuid),
            "GPU {index} cannot be read: nvmlDeviceGetUUID has not returned for N s",
            id="hangs before it tells its UUID",
        ),
    ],
)
async def test_a_gpu_that_cannot_be_read_is_named(devices, monkeypatch, index, break_gpu, text):
    monkeypatch.setattr("exporter.nvml.hang_guard.HANGING_CALL_SECONDS", HANGING_SECONDS)
    with SimulatedDriver(["RTX-A6000"] * 8) as driver:
        uuid = driver.gpus[index].uuid
        break_gpu(driver, uuid)
        found = await devices(driver)
    failures = [one for one in found if one.level is Level.FAILURE]
    texts = [re.sub(r"for \d+ s$", "for N s", one.text) for one in failures]
    assert texts == [text.format(index=index, uuid=uuid)]
    assert "reset or a reboot" in failures[0].fix
    assert sum(one.level is Level.OK for one in found) == 7, "the others are shown"


async def test_every_gpu_that_cannot_be_read_is_named(devices, monkeypatch):
    monkeypatch.setattr("exporter.nvml.hang_guard.HANGING_CALL_SECONDS", HANGING_SECONDS)
    with SimulatedDriver(["T4"] * 4) as driver:
        driver.faults.lose(driver.gpus[0].uuid)
        driver.faults.hang("nvmlDeviceGetFanSpeed", uuid=driver.gpus[1].uuid)
        driver.faults.hang("nvmlDeviceGetPowerUsage", uuid=driver.gpus[3].uuid)
        found = await devices(driver)
    failures = [one.text for one in found if one.level is Level.FAILURE]
    assert [text.partition(" (")[0] for text in failures] == [
        "GPU 0 cannot be read: nvmlDeviceGetHandleByIndex: GPU_IS_LOST",
        "GPU 1",
        "GPU 3",
    ]
    assert "nvmlDeviceGetFanSpeed has not returned" in failures[1]
    assert "nvmlDeviceGetPowerUsage has not returned" in failures[2]


async def test_a_board_that_cannot_tell_anything_is_no_failure(devices):
    with SimulatedDriver(["T4", GpuSpec(model="A100-80GB", mig_profiles=())]) as driver:
        for function in READINGS:
            driver.faults.fail(function, NOT_SUPPORTED)
        found = await devices(driver)
    assert Level.FAILURE not in {one.level for one in found}
    assert [one.text.partition(", ")[2] for one in found] == [
        "without memory, power, temperature"
    ] * 2
