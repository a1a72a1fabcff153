# SPDX-License-Identifier: Apache-2.0
"""Whatever goes wrong on the node, every scrape is answered before Prometheus would give up."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import aiohttp
import grpc
import pytest
from pynvml import NVML_ERROR_GPU_IS_LOST, NVML_ERROR_RESET_REQUIRED, NVML_ERROR_UNKNOWN

from exporter.model import Collector
from simulator.driver import SimulatedDriver
from simulator.kubelet import SimulatedKubelet
from tests.exporting import PREFIX, exporter
from tests.waiting import until

# What hangs here hangs for ever, so any limit tells.
SCRAPE_TIMEOUT = aiohttp.ClientTimeout(60)
# Some cycles and lists long.
SCRAPES = 50
PAUSE_SECONDS = 0.01


def lost(code):
    async def happens(driver, _kubelet):
        driver.faults.lose(driver.gpus[0].uuid, code=code)

    return happens


def hangs(function, *, everywhere=False):
    async def happens(driver, _kubelet):
        driver.faults.hang(function, uuid=None if everywhere else driver.gpus[0].uuid)

    return happens


async def driver_is_unloaded(driver, _kubelet):
    driver.faults.unload_driver()


async def driver_is_loaded_anew(driver, _kubelet):
    driver.faults.unload_driver()
    await asyncio.sleep(0)
    driver.faults.load_driver()


async def xid_storm(driver, _kubelet):
    for xid in range(1, 101):
        driver.report_xid(0, xid, times=1000)


async def mig_is_divided_anew(driver, _kubelet):
    for profiles in (("1g.10gb",) * 7, None, ("3g.40gb",)):
        driver.divide(0, profiles)
        await asyncio.sleep(0)


async def kubelet_goes(_driver, kubelet):
    await kubelet.stop()


async def kubelet_restarts(_driver, kubelet):
    await kubelet.stop()
    await kubelet.start()


async def kubelet_hangs(_driver, kubelet):
    kubelet.hang()


async def kubelet_refuses(_driver, kubelet):
    kubelet.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected by rate limit")


async def thousands_of_pods(_driver, kubelet):
    for number in range(5000):
        kubelet.admit("many", f"pod-{number}", ["main", "side"])


async def pods_come_and_go(_driver, kubelet):
    for number in range(300):
        kubelet.release("ns", f"pod-{number - 1}")
        kubelet.allocate("ns", f"pod-{number}", "main", "nvidia.com/gpu", 1)
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "happens",
    [
        pytest.param(lost(NVML_ERROR_GPU_IS_LOST), id="a GPU is lost"),
        pytest.param(lost(NVML_ERROR_UNKNOWN), id="a GPU fell off the bus"),
        pytest.param(lost(NVML_ERROR_RESET_REQUIRED), id="an uncorrectable ECC error"),
        pytest.param(driver_is_unloaded, id="no driver"),
        pytest.param(driver_is_loaded_anew, id="the driver is loaded again"),
        pytest.param(hangs("nvmlDeviceGetPowerUsage"), id="a GPU hangs"),
        pytest.param(hangs("nvmlDeviceGetCount_v2", everywhere=True), id="NVML hangs"),
        pytest.param(hangs("nvmlEventSetWait_v2", everywhere=True), id="waiting for Xids hangs"),
        pytest.param(xid_storm, id="an Xid storm"),
        pytest.param(mig_is_divided_anew, id="MIG is divided again"),
        pytest.param(kubelet_goes, id="no kubelet"),
        pytest.param(kubelet_restarts, id="the kubelet restarts"),
        pytest.param(kubelet_hangs, id="the kubelet hangs"),
        pytest.param(kubelet_refuses, id="the kubelet refuses"),
        pytest.param(thousands_of_pods, id="thousands of pods"),
        pytest.param(pods_come_and_go, id="pods come and go"),
    ],
)
async def test_every_scrape_is_answered(monkeypatch, happens):
    monkeypatch.setattr("exporter.podresources.client.MIN_INTERVAL_SECONDS", 0.05)
    with (
        tempfile.TemporaryDirectory(prefix="gpu-") as folder,
        SimulatedDriver(["H100", "T4"]) as driver,
    ):
        path = str(Path(folder) / "kubelet.sock")
        async with (
            SimulatedKubelet(driver, path, replicas=4) as kubelet,
            exporter(driver, pod_resources_socket=path, collectors=frozenset(Collector)) as reader,
        ):
            await until(reader.ready)
            url = f"http://127.0.0.1:{reader.port}/metrics"

            async def scrape():
                async with reader.session.get(url, timeout=SCRAPE_TIMEOUT) as answer:
                    assert answer.status == 200
                    assert f"\n{PREFIX}ready " in await answer.text()

            happening = asyncio.create_task(happens(driver, kubelet))
            for _ in range(SCRAPES):
                await scrape()
                await asyncio.sleep(PAUSE_SECONDS)
            await happening
            for _ in range(SCRAPES):
                await scrape()
                await asyncio.sleep(PAUSE_SECONDS)
