# SPDX-License-Identifier: Apache-2.0
"""gpu-exporter as a process: exit statuses, signals, output."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from contextlib import asynccontextmanager

import aiohttp
import pytest

from exporter.__main__ import run
from simulator.driver import SimulatedDriver
from simulator.nvml.binding import bind
from tests.cluster.processes import free_ports
from tests.exporting import configuration
from tests.faultymachine import DISK_FULL
from tests.forbidding import CODES
from tests.waiting import until

# The program as it is, with a simulated library in the place of the real one. It says on standard
# output when a call begins to hang.
SIMULATED = """
import sys
from simulator.driver import SimulatedDriver
from simulator.nvml.binding import bind
driver = SimulatedDriver(["T4"])
sys.modules["pynvml"] = bind(driver)
HANG = {hang!r}
if HANG:
    driver.faults.hang(HANG)
    wait = driver.faults.wait_while_hung
    def tell_and_wait(function, uuid=None):
        if function == HANG:
            print("hangs", flush=True)
        wait(function, uuid)
    driver.faults.wait_while_hung = tell_and_wait
from exporter.__main__ import main
sys.exit(main())
"""
NO_LIBRARY = ("-m", "exporter")


def simulated(hang=""):
    return ("-c", SIMULATED.format(hang=hang))


@asynccontextmanager
async def process(program, *flags, **environment):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GPU_EXPORTER_")}
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        *program,
        *flags,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=inherited | {"GPU_EXPORTER_POD_RESOURCES_SOCKET": ""} | environment,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def finished(program, *flags, **environment):
    async with process(program, *flags, **environment) as started, asyncio.timeout(60):
        out, err = await started.communicate()
        return started.returncode, out.decode(), err.decode()


async def listening_port(started):
    async with asyncio.timeout(60):
        async for line in started.stderr:
            entry = json.loads(line)
            if entry["msg"] == "Listening":
                return entry["port"]
    raise AssertionError("the exporter ended before it listened")


async def test_once_prints_one_exposition():
    status, out, err = await finished(simulated(), "--once", "--node-name=node-1")
    assert status == 0, err
    assert 'nvidia_gpu_num_devices{node_name="node-1"} 1.0\n' in out
    assert "\nnvidia_gpu_duty_cycle{" in out


async def test_once_has_every_family_that_it_is_asked_for():
    _, out, _ = await finished(simulated(), "--once", "--collectors=xid", "--node-name=node-1")
    assert re.search(r'^nvidia_gpu_xid_errors_total\{.*xid="79"\} 0\.0$', out, re.M), out


async def test_once_without_nvml_fails_with_the_reason():
    status, out, err = await finished(NO_LIBRARY, "--once")
    assert status == 1
    assert "gpu-exporter: NVML did not answer: nvmlInit: LIBRARY_NOT_FOUND" in err
    assert "nvidia_gpu_exporter_nvml_up 0.0\n" in out
    assert "nvidia_gpu_duty_cycle" not in out


async def test_nvml_required():
    status, _, err = await finished(
        NO_LIBRARY, "--nvml.required", "--web.listen-address=127.0.0.1:0"
    )
    assert status == 1
    assert 'msg="NVML is required and cannot be used" error="nvmlInit: LIBRARY_NOT_FOUND' in err


async def test_every_mistake_is_named_at_once():
    status, out, err = await finished(
        NO_LIBRARY, "--nvml.window=long", GPU_EXPORTER_NVML_INTERVAL="0s"
    )
    assert (status, out) == (2, "")
    assert err.splitlines() == [
        "gpu-exporter: GPU_EXPORTER_NVML_INTERVAL: '0s' is not a duration from 100ms to 1m",
        "gpu-exporter: --nvml.window: 'long' is not a duration such as 10s, 500ms or 1m30s",
    ]


async def test_an_address_that_cannot_be_bound():
    status, _, err = await finished(NO_LIBRARY, "--web.listen-address=192.0.2.1:9445")
    assert status == 1
    assert 'msg="The address cannot be bound" host=192.0.2.1 port=9445' in err


@pytest.mark.parametrize("code", CODES, ids=os.strerror)
async def test_only_the_bind_is_called_a_bind(monkeypatch, caplog, code):
    """Any other part that fails by an error of the system ends the program as what it is."""

    def fails(*_arguments, **_options):
        raise OSError(code, os.strerror(code), "/somewhere")

    config = configuration(listen_port=9445)
    with SimulatedDriver(["T4"]) as driver:
        monkeypatch.setattr("toolkit.listening.listener.bound_sockets", fails)
        assert await run(config, bind(driver)) == 1
        (record,) = [one for one in caplog.records if one.levelname == "ERROR"]
        assert record.message == "The address cannot be bound"
        assert (record.port, record.error) == (9445, os.strerror(code))
        caplog.clear()
        monkeypatch.setattr("exporter.app.serving.application", fails)
        with pytest.raises(OSError, match="/somewhere"):
            await run(config, bind(driver))
    assert "cannot be bound" not in caplog.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly(number):
    flags = ("--web.listen-address=127.0.0.1:0", "--log.format=json")
    async with process(simulated(), *flags) as started:
        port = await listening_port(started)
        async with aiohttp.ClientSession() as session:

            async def ready():
                async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
                    return answer.status == 200

            await until(ready)
            # The connection stays open: an idle scraper must not hold the end up.
            started.send_signal(number)
            async with asyncio.timeout(60):
                _, err = await started.communicate()
    assert started.returncode == 0
    assert json.loads(err.splitlines()[-1])["msg"] == "Exiting on a signal"


async def test_it_serves_while_the_disk_is_full():
    """No file can grow, and every line of the log is lost."""
    (port,) = free_ports(1)
    code = DISK_FULL + SIMULATED.format(hang="")
    flags = (f"--web.listen-address=127.0.0.1:{port}", "--log.level=debug")
    async with process(("-c", code), *flags) as started, aiohttp.ClientSession() as session:

        async def page():
            try:
                async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                    return await answer.text()
            except aiohttp.ClientError:
                return ""

        async def cycles():
            found = re.search(r"cycle_duration_seconds_count (\S+)", await page())
            return float(found[1]) if found else 0.0

        await until(cycles, what="it reads the GPUs")
        before = await cycles()

        async def goes_on():
            return await cycles() > before + 1

        await until(goes_on, what="it goes on reading")
        assert "\nnvidia_gpu_duty_cycle{" in await page()
        started.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            out, err = await started.communicate()
    assert (out, err) == (b"", b"")


async def test_a_signal_ends_it_while_nvml_hangs():
    flags = ("--web.listen-address=127.0.0.1:0", "--log.format=json")
    async with process(simulated(hang="nvmlDeviceGetUUID"), *flags) as started:
        await listening_port(started)
        async with asyncio.timeout(60):
            assert await started.stdout.readline() == b"hangs\n"
            started.send_signal(signal.SIGTERM)
            _, err = await started.communicate()
    assert started.returncode == 0
    last = json.loads(err.splitlines()[-1])
    assert (last["msg"], last["function"]) == (
        "Exiting without nvmlShutdown, because an NVML call does not return",
        "nvmlDeviceGetUUID",
    )


@pytest.mark.parametrize("hang", ["", "nvmlDeviceGetUUID"])
async def test_sigquit_writes_stacks_and_state_and_it_goes_on(hang):
    flags = ("--web.listen-address=127.0.0.1:0", "--log.format=json")
    async with process(simulated(hang=hang), *flags) as started, aiohttp.ClientSession() as session:
        port = await listening_port(started)
        async with asyncio.timeout(60):
            # What answers has set its signals up.
            async with session.get(f"http://127.0.0.1:{port}/healthz") as answer:
                assert answer.status == 200
            if hang:
                assert await started.stdout.readline() == b"hangs\n"
            for _ in range(2):
                started.send_signal(signal.SIGQUIT)
                lines: list[bytes] = []
                while not lines or b'"State"' not in lines[-1]:
                    lines.append(await started.stderr.readline())
                    assert lines[-1], "it has ended"
                assert any(line.startswith((b"Thread 0x", b"Current thread")) for line in lines)
                state = json.loads(lines[-1])
                assert "nvml_up" in state
                assert ".py:" in state["tasks"]
            started.send_signal(signal.SIGTERM)
            await started.communicate()
    assert started.returncode == 0


async def test_what_only_serving_needs_is_not_imported_for_a_usage_error():
    code = (
        "import sys; from exporter.__main__ import main; assert main(['--none']) == 2; "
        "sys.exit(sum(name in sys.modules for name in ('aiohttp', 'grpc', 'pynvml')))"
    )
    process_ = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code), stderr=asyncio.subprocess.PIPE
    )
    _, output = await asyncio.wait_for(process_.communicate(), 60)
    assert (process_.returncode, output) == (
        0,
        b"gpu-exporter: unknown argument '--none'; see gpu-exporter --help\n",
    )
