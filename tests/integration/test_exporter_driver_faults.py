# SPDX-License-Identifier: Apache-2.0
"""The driver replaced, gone for long, and GPUs that fail in every way: /metrics always answers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from exporter.__main__ import EXIT_RESTART
from exporter.app import RestartNeededError
from exporter.model import Collector
from exporter.nvml.calls import NvmlError
from exporter.nvml.sampler import RESTART_AFTER_SECONDS, restart_reason
from simulator.driver import SimulatedDriver
from simulator.gpus import GpuSpec
from simulator.nvml.binding import bind
from tests.exporting import PREFIX, exporter
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("quick_retries")

GPU_IS_LOST, RESET_REQUIRED, UNKNOWN = 15, 16, 999
IN_TIME_SECONDS = 60.0
ANOTHER_VERSION = "590.10.01"

# The program as it is; the driver under it does what it reads from standard input.
OBEYING = """
import sys, threading
from simulator.driver import SimulatedDriver
from simulator.nvml.binding import bind
driver = SimulatedDriver(["T4", "T4"])
sys.modules["pynvml"] = bind(driver)
def obey():
    for line in sys.stdin:
        exec(line)
threading.Thread(target=obey, daemon=True).start()
from exporter.__main__ import main
sys.exit(main())
"""


@dataclass
class Program:
    """gpu-exporter as a process; `log` grows while it runs."""

    process: asyncio.subprocess.Process
    log: list[dict[str, Any]] = field(default_factory=list)

    def do(self, statement: str) -> None:
        """Run a statement about `driver` in the process."""
        assert self.process.stdin is not None
        self.process.stdin.write(statement.encode() + b"\n")

    def port(self) -> int | None:
        return next((entry["port"] for entry in self.log if entry["msg"] == "Listening"), None)

    def has_logged(self, sentence: str) -> bool:
        return any(entry["msg"].startswith(sentence) for entry in self.log)

    async def get(self, path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(IN_TIME_SECONDS)) as session,
            session.get(f"http://127.0.0.1:{self.port()}{path}") as answer,
        ):
            return answer.status, await answer.text()

    async def ended(self) -> int:
        async with asyncio.timeout(60):
            return await self.process.wait()


@asynccontextmanager
async def program(*flags):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", OBEYING, "--web.listen-address=127.0.0.1:0", "--log.format=json"),
        *("--pod-resources.socket=", "--nvml.interval=100ms", *flags),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if not k.startswith("GPU_EXPORTER_")},
    )
    running = Program(process)

    async def read():
        assert process.stderr is not None
        async for line in process.stderr:
            running.log.append(json.loads(line))

    reading = asyncio.create_task(read())
    try:
        await until(lambda: running.has_logged("Ready"), what="the exporter reads")
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


async def ends_after(driver: SimulatedDriver, change: Callable[[], object]) -> str:
    """Return why a running exporter wants to be started again after the change."""
    try:
        async with exporter(driver) as reader:
            await until(reader.ready)
            change()
            await asyncio.wait_for(asyncio.Event().wait(), timeout=60)
    except RestartNeededError as error:
        return str(error)
    raise AssertionError("it did not end")


async def test_after_an_upgrade_of_the_driver_the_program_ends_to_be_started_anew():
    async with program() as running:
        running.do(f"driver.replace_driver({ANOTHER_VERSION!r})")
        assert await running.ended() == EXIT_RESTART == 3
    last = running.log[-1]
    assert last["msg"] == (
        "Exiting so that the kubelet restarts the container: this process can no longer use NVML"
    )
    assert last["status"] == 3
    assert last["error"].startswith("nvmlInit: LIB_RM_VERSION_MISMATCH")


async def test_a_new_process_loads_the_new_library():
    with SimulatedDriver(["T4"]) as driver:
        reason = await ends_after(driver, lambda: driver.replace_driver(ANOTHER_VERSION))
        assert "LIB_RM_VERSION_MISMATCH" in reason
        async with exporter(driver, collectors=frozenset({Collector.INFO})) as reader:
            await until(reader.ready, what="the next one reads")
            versions = await reader.values("nvidia_gpu_driver_info", "driver_version")
            assert set(versions) == {ANOTHER_VERSION}


async def test_a_library_that_does_not_fit_from_the_beginning():
    with SimulatedDriver(["T4"]) as driver:
        binding = bind(driver)
        binding.nvmlInit()
        driver.replace_driver(ANOTHER_VERSION)
        with pytest.raises(RestartNeededError, match="LIB_RM_VERSION_MISMATCH"):
            async with exporter(driver, binding=binding, nvml_required=True):
                await asyncio.Event().wait()


async def test_the_same_driver_loaded_again_needs_no_new_process():
    async with program() as running:
        running.do("driver.faults.unload_driver()")
        await until(lambda: running.has_logged("Not ready"), what="noticed")
        status, text = await running.get("/metrics")
        assert status == 200
        assert f"\n{PREFIX}nvml_up 0.0\n" in text
        assert "NVML cannot be used" in (await running.get("/readyz"))[1]
        running.log.clear()
        running.do("driver.faults.load_driver()")
        await until(lambda: running.has_logged("Ready"), what="ready again")
        running.process.send_signal(signal.SIGTERM)
        assert await running.ended() == 0


@pytest.mark.parametrize(
    "break_nvml",
    [
        pytest.param(lambda driver: driver.faults.unload_driver(), id="driver gone"),
        pytest.param(
            # What a container sees whose devices were taken from its cgroup.
            lambda driver: (
                driver.faults.fail("nvmlInitWithFlags", UNKNOWN),
                driver.faults.fail("nvmlDeviceGetCount_v2", UNKNOWN),
            ),
            id="devices taken away",
        ),
    ],
)
async def test_nvml_that_answered_and_stays_away_ends_it(monkeypatch, break_nvml):
    monkeypatch.setattr("exporter.nvml.sampler.RESTART_AFTER_SECONDS", 0.5)
    with SimulatedDriver(["T4"]) as driver:
        reason = await ends_after(driver, lambda: break_nvml(driver))
    assert "NVML answered before and has not for" in reason


async def test_without_a_driver_from_the_beginning_it_waits(monkeypatch):
    monkeypatch.setattr("exporter.nvml.sampler.RESTART_AFTER_SECONDS", 0.0)
    with SimulatedDriver(["T4"]) as driver:
        driver.faults.unload_driver()
        async with exporter(driver) as reader:

            async def tried_again():
                codes = await reader.values(f"{PREFIX}errors_total", "code")
                return codes.get("DRIVER_NOT_LOADED", 0) >= 5

            await until(tried_again)
            driver.faults.load_driver()
            await until(reader.ready)


@pytest.mark.parametrize(
    ("code", "lost_for_seconds", "leaves"),
    [
        pytest.param("LIB_RM_VERSION_MISMATCH", None, True, id="mismatch from the beginning"),
        pytest.param("LIB_RM_VERSION_MISMATCH", 0.0, True, id="mismatch"),
        pytest.param("DRIVER_NOT_LOADED", None, False, id="never loaded"),
        pytest.param("DRIVER_NOT_LOADED", 1.0, False, id="a moment ago"),
        pytest.param("DRIVER_NOT_LOADED", RESTART_AFTER_SECONDS, True, id="gone for long"),
        pytest.param("LIBRARY_NOT_FOUND", None, False, id="no library"),
    ],
)
def test_when_a_new_process_is_needed(code, lost_for_seconds, leaves):
    error = NvmlError("nvmlInit", code, "text")
    assert (restart_reason(error, lost_for_seconds) is not None) == leaves


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(GPU_IS_LOST, id="fell off the bus"),
        pytest.param(UNKNOWN, id="fell off the bus and unknown"),
        pytest.param(RESET_REQUIRED, id="uncorrectable ECC error"),
    ],
)
@pytest.mark.parametrize(
    "spec",
    [
        pytest.param("T4", id="whole"),
        pytest.param(GpuSpec(model="A100-80GB", mig_profiles=("1g.10gb", "2g.20gb")), id="mig"),
    ],
)
async def test_a_failing_gpu_leaves_the_others_fresh(spec, code):
    with SimulatedDriver([spec, "T4", "T4"]) as driver:
        collectors = frozenset({Collector.HEALTH, Collector.XID})
        async with exporter(driver, collectors=collectors) as reader:
            await until(reader.ready)
            lost, *others = (gpu.uuid for gpu in driver.gpus)
            driver.faults.lose(lost, code=code)

            async def only_the_others():
                temperatures = await reader.values("nvidia_gpu_temperature_celsius")
                return set(temperatures) == set(others)

            await until(only_the_others)
            assert await reader.value(f"{PREFIX}unreadable_devices") == 1.0
            assert await reader.value("nvidia_gpu_num_devices") == 3.0
            assert (await reader.values("nvidia_gpu_readable"))[lost] == 0.0
            assert set(await reader.values("nvidia_gpu_memory_total_bytes")) == set(others)
            driver.set_memory_used(others[0], 1 << 30)

            async def follows():
                used = await reader.values("nvidia_gpu_memory_used_bytes")
                return used[others[0]] == 1 << 30

            await until(follows, what="the others' readings go on")
            assert await reader.ready()
            driver.faults.find(lost)

            async def back():
                return lost in await reader.values("nvidia_gpu_temperature_celsius")

            await until(back, what="the GPU is back")
            assert (await reader.values("nvidia_gpu_readable"))[lost] == 1.0
