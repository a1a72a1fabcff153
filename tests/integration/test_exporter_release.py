# SPDX-License-Identifier: Apache-2.0
"""NVML released on demand: no session stays open, so that a GPU can be reset, and taken back."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from exporter.app import RestartNeededError
from exporter.model import Collector
from simulator.driver import SimulatedDriver
from simulator.nvml.binding import bind
from tests.exporting import PREFIX, exporter
from tests.waiting import until

# The program as it is; it says on standard output when the number of open sessions changes.
TELLING_SESSIONS = """
import sys, threading, time
from simulator.driver import SimulatedDriver
from simulator.nvml.binding import bind
driver = SimulatedDriver(["T4"])
sys.modules["pynvml"] = bind(driver)
def tell():
    before = 0
    while True:
        now = len(driver.sessions)
        if now != before:
            print("sessions", now, flush=True)
            before = now
        time.sleep(0.01)
threading.Thread(target=tell, daemon=True).start()
from exporter.__main__ import main
sys.exit(main())
"""
EVERYTHING = frozenset(Collector)


def left(reason):
    """Return for how many seconds more NVML is released."""
    (seconds,) = re.findall(r"NVML is released for (\d+) s more", reason)
    return int(seconds)


async def test_release_shuts_nvml_down_and_publishes_no_gpu_until_resumed():
    with SimulatedDriver(["T4", "H100"]) as driver:
        async with exporter(driver, collectors=EVERYTHING) as reader:
            await until(reader.ready)
            assert driver.sessions
            assert await reader.value(f"{PREFIX}nvml_released") == 0.0
            reader.exporter.release()
            await until(lambda: not driver.sessions, what="the session is closed")

            async def released():
                return await reader.value(f"{PREFIX}nvml_released") == 1.0

            await until(released)
            assert await reader.value(f"{PREFIX}nvml_up") == 0.0
            assert await reader.value("nvidia_gpu_num_devices") is None
            assert await reader.values("nvidia_gpu_temperature_celsius") == {}
            reason = await reader.unready_reason()
            assert 0 < left(reason) <= 600
            assert (await reader.get("/healthz"))[0] == 200
            reader.exporter.resume()
            await until(reader.ready, what="NVML is in use again")
            assert len(await reader.values("nvidia_gpu_temperature_celsius")) == 2
            assert await reader.value(f"{PREFIX}nvml_released") == 0.0
        assert not driver.sessions


async def test_a_released_nvml_that_nobody_takes_back_is_taken_back_in_time():
    with SimulatedDriver(["T4"]) as driver:
        binding: Any = bind(driver)
        shut_down, sessions = binding.nvmlShutdown, []

        def shut_down_and_note():
            shut_down()
            sessions.append(set(driver.sessions))

        binding.nvmlShutdown = shut_down_and_note
        async with exporter(driver, binding=binding, nvml_release_seconds=0.3) as reader:
            await until(reader.ready)
            reader.exporter.release()
            await until(lambda: sessions == [set()])
            await until(reader.ready, what="NVML is in use again")


async def test_releasing_again_begins_the_time_anew(monkeypatch):
    ahead_seconds = 0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + ahead_seconds, time=time.time)
    monkeypatch.setattr("exporter.nvml.sampler.time", clock)
    monkeypatch.setattr("exporter.health.time", clock)

    with SimulatedDriver(["T4"]) as driver:
        async with exporter(driver, nvml_release_seconds=900.0) as reader:
            await until(reader.ready)
            reader.exporter.release()
            before = left(await until(reader.unready_reason))
            ahead_seconds = 600
            after = left(await reader.unready_reason())
            assert after <= before - 600
            reader.exporter.release()

            async def again():
                return left(await reader.unready_reason()) > after

            await until(again)


async def test_resuming_what_was_not_released_changes_nothing():
    with SimulatedDriver(["T4"]) as driver:
        async with exporter(driver) as reader:
            await until(reader.ready)
            reader.exporter.resume()
            before = await reader.value(f"{PREFIX}cycle_duration_seconds_count")

            async def goes_on():
                return await reader.value(f"{PREFIX}cycle_duration_seconds_count") > before

            await until(goes_on)
            assert await reader.ready()


async def test_a_released_exporter_ends_at_once():
    with SimulatedDriver(["T4"]) as driver:
        async with asyncio.timeout(60), exporter(driver) as reader:
            await until(reader.ready)
            reader.exporter.release()
            await until(lambda: not driver.sessions)


async def test_release_while_the_driver_is_away_lasts_too(monkeypatch):
    monkeypatch.setattr("exporter.nvml.sampler.FIRST_RETRY_SECONDS", 0.05)
    with SimulatedDriver(["T4"]) as driver:
        driver.faults.unload_driver()
        async with exporter(driver) as reader:
            await until(reader.unready_reason)
            reader.exporter.release()

            async def released():
                return "NVML is released" in (await reader.unready_reason() or "")

            await until(released)
            driver.faults.load_driver()
            reader.exporter.resume()
            await until(reader.ready)


@pytest.mark.usefixtures("quick_retries")
async def test_a_driver_that_was_replaced_meanwhile_needs_a_new_process():
    reason = ""
    with SimulatedDriver(["T4"]) as driver:
        try:
            async with exporter(driver) as reader:
                await until(reader.ready)
                reader.exporter.release()
                await until(lambda: not driver.sessions)
                driver.replace_driver("590.10.01")
                reader.exporter.resume()
                await asyncio.wait_for(asyncio.Event().wait(), timeout=60)
        except RestartNeededError as error:
            reason = str(error)
    assert "LIB_RM_VERSION_MISMATCH" in reason


@pytest.mark.usefixtures("quick_retries")
async def test_a_driver_that_does_not_come_back_after_the_release_needs_a_new_process(monkeypatch):
    monkeypatch.setattr("exporter.nvml.sampler.RESTART_AFTER_SECONDS", 0.5)
    reason = ""
    with SimulatedDriver(["T4"]) as driver:
        try:
            async with exporter(driver) as reader:
                await until(reader.ready)
                reader.exporter.release()
                await until(lambda: not driver.sessions)
                driver.faults.unload_driver()
                reader.exporter.resume()
                await asyncio.wait_for(asyncio.Event().wait(), timeout=60)
        except RestartNeededError as error:
            reason = str(error)
    assert "NVML answered before and has not for" in reason


async def test_the_signals_release_and_resume():
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", TELLING_SESSIONS, "--web.listen-address=127.0.0.1:0", "--log.format=json"),
        *("--pod-resources.socket=", "--nvml.interval=100ms", "--nvml.release-for=1h"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if not k.startswith("GPU_EXPORTER_")},
    )
    try:
        async with asyncio.timeout(60):
            await _logs(program.stderr, "Ready: current GPU readings are served")
            await _sessions_are(program, 1)
            program.send_signal(signal.SIGUSR1)
            await _sessions_are(program, 0)
            await _logs(program.stderr, "NVML is released; no GPU is read until it is taken back")
            program.send_signal(signal.SIGUSR2)
            await _logs(program.stderr, "NVML is in use again")
            await _sessions_are(program, 1)
            program.terminate()
            await program.communicate()
        assert program.returncode == 0
    finally:
        if program.returncode is None:
            program.kill()
            await program.communicate()


async def _sessions_are(program, count):
    assert await program.stdout.readline() == b"sessions %d\n" % count


async def _logs(log, message):
    async for line in log:
        if json.loads(line)["msg"] == message:
            return
    raise AssertionError(f"it never said {message!r}")
