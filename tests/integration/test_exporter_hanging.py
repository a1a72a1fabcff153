# SPDX-License-Identifier: Apache-2.0
"""One GPU whose calls hang in the driver: the others stay fresh, whatever the call is."""

from __future__ import annotations

import itertools
import threading

import pytest

from exporter.model import Collector
from exporter.nvml import Nvml, NvmlError
from exporter.nvml.calls import Calls
from exporter.nvml.hang_guard import HangGuard, HangsError
from simulator.driver import SimulatedDriver
from simulator.nvml.binding import bind
from simulator.nvml.header import UNINITIALIZED
from tests.exporting import PREFIX, exporter
from tests.nvmlnode import Node
from tests.waiting import until

TEMPERATURE = "nvidia_gpu_temperature_celsius"
SIZES = itertools.count(1 << 20, 1 << 20)
HEALTH = frozenset({Collector.HEALTH})


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr("exporter.nvml.hang_guard.HANGING_CALL_SECONDS", 1.0)


async def fresh(reader, driver, uuid):
    """Wait until a change on this GPU is published."""
    used = next(SIZES)
    driver.set_memory_used(uuid, used)

    async def follows():
        return (await reader.values("nvidia_gpu_memory_used_bytes")).get(uuid) == used

    await until(follows, what=f"{uuid} is read")


async def shown(reader, uuids):
    async def are():
        return (await reader.values(TEMPERATURE)).keys() == set(uuids)

    await until(are, what=f"exactly {uuids} are shown")


async def left_out(reader, functions):
    """Wait until as many GPUs are left out as functions hang; a slow machine may leave out more."""

    async def are():
        count = await reader.value(f"{PREFIX}unreadable_devices")
        hanging = await reader.values(f"{PREFIX}hanging_call_seconds", "function")
        return count == len(functions) and hanging.keys() == set(functions)

    await until(are, what=f"exactly {functions} hang")


@pytest.mark.parametrize(
    "function",
    ["nvmlDeviceGetTemperature", "nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetMaxClockInfo"],
)
@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
async def test_the_others_stay_fresh_and_it_comes_back(caplog, function, place):
    with SimulatedDriver(["T4"] * 3) as driver:
        uuids = [gpu.uuid for gpu in driver.gpus]
        stuck = uuids[place]
        others = [uuid for uuid in uuids if uuid != stuck]
        async with exporter(driver, collectors=frozenset(Collector)) as reader:
            await until(reader.ready)
            if function == "nvmlDeviceGetMaxClockInfo":  # asked once per session
                reader.exporter.release()
                await until(reader.unready_reason)
            driver.faults.hang(function, uuid=stuck)
            reader.exporter.resume()
            await shown(reader, others)
            for uuid in others:
                await fresh(reader, driver, uuid)
            assert await reader.ready()
            name = function.removesuffix("_v2")
            await left_out(reader, [name])
            records = [vars(one) for one in caplog.records if "left out" in one.msg]
            assert (place, name) in [(one["index"], one["function"]) for one in records]
            driver.faults.release()
            await shown(reader, uuids)
            await fresh(reader, driver, stuck)
            await left_out(reader, [])


async def test_a_gpu_that_hangs_is_told_unreadable_by_the_health_collector():
    with SimulatedDriver(["T4", "T4"]) as driver:
        stuck, other = (gpu.uuid for gpu in driver.gpus)
        async with exporter(driver, collectors=HEALTH) as reader:
            await until(reader.ready)
            driver.faults.hang("nvmlDeviceGetPowerUsage", uuid=stuck)

            async def reported():
                return await reader.values("nvidia_gpu_readable") == {stuck: 0.0, other: 1.0}

            await until(reported)


async def test_when_every_gpu_hangs_it_is_not_ready_and_names_the_call():
    with SimulatedDriver(["T4", "T4"]) as driver:
        async with exporter(driver) as reader:
            await until(reader.ready)
            driver.faults.hang("nvmlDeviceGetPowerUsage")
            reason = await until(reader.unready_reason)
            assert reason.startswith("nvmlDeviceGetPowerUsage has not returned for")
            assert (await reader.get("/healthz"))[0] == 200
            driver.faults.release()
            await until(reader.ready)


async def test_nvml_is_not_shut_down_under_a_call_that_hangs():
    with SimulatedDriver(["T4", "T4"]) as driver:
        async with exporter(driver) as reader:
            await until(reader.ready)
            driver.faults.hang("nvmlDeviceGetPowerUsage", uuid=driver.gpus[0].uuid)
            await shown(reader, [driver.gpus[1].uuid])
        assert driver.sessions, "still open"


async def test_no_thread_is_left_when_all_calls_return():
    with SimulatedDriver(["T4", "T4"]) as driver:
        before = set(threading.enumerate())
        async with exporter(driver) as reader:
            await until(reader.ready)
            driver.faults.hang("nvmlDeviceGetPowerUsage", uuid=driver.gpus[0].uuid)
            await shown(reader, [driver.gpus[1].uuid])
            driver.faults.release()
            await shown(reader, [gpu.uuid for gpu in driver.gpus])

        def ended():
            return not [one for one in set(threading.enumerate()) - before if "nvml" in one.name]

        await until(ended)


def test_what_a_thread_that_was_left_behind_read_counts_for_nothing():
    with SimulatedDriver(["T4"]) as driver:
        errors: list[Exception] = []
        nvml = Nvml(bind(driver), window_seconds=10.0, on_error=errors.append)
        nvml.open()
        before = set(threading.enumerate())
        (gpu,) = driver.gpus
        driver.faults.hang("nvmlDeviceGetPowerUsage", uuid=gpu.uuid)
        assert nvml.run(nvml.read).unreadable_count == 1
        assert nvml.run(nvml.read).unreadable_count == 1, (
            "it is not even asked while the call hangs"
        )
        (left_behind,) = set(threading.enumerate()) - before
        driver.faults.release()
        left_behind.join(60)
        (reading,) = nvml.run(nvml.read).devices
        assert reading.device.uuid == gpu.uuid
        assert not errors
        nvml.close()
        assert not driver.sessions


def test_a_call_that_hangs_is_named_as_soon_as_its_gpu_is_left_out(monkeypatch):
    monkeypatch.setattr("exporter.nvml.hang_guard.HANGING_CALL_SECONDS", 2.0)
    with SimulatedDriver(["T4"]) as driver:
        binding = bind(driver)
        asked = binding.nvmlDeviceGetUUID

        def slowly(handle):
            threading.Event().wait(0.3)
            return asked(handle)

        monkeypatch.setattr(binding, "nvmlDeviceGetUUID", slowly)
        nvml = Nvml(binding, window_seconds=10.0, on_error=lambda _: None)
        nvml.open()
        driver.faults.hang("nvmlDeviceGetPowerUsage")
        assert nvml.run(nvml.read).unreadable_count == 1
        # It has not taken all of the time that the GPU was given.
        assert nvml.hanging_call is not None
        assert nvml.hanging_call.function == "nvmlDeviceGetPowerUsage"


@pytest.fixture
def guard(monkeypatch):
    monkeypatch.setattr("exporter.nvml.hang_guard.HANGING_CALL_SECONDS", 0.05)
    with SimulatedDriver(["T4"]) as driver:
        yield HangGuard(Calls(bind(driver), lambda _: None))


def cycle(guard, read):
    """Run one cycle over a single GPU; returns what `read` returns or why it hangs."""

    def work():
        try:
            guard.begin(0)
            outcome = read()
        except HangsError as error:
            outcome = error
        guard.end_cycle()
        return outcome

    return guard.run(work)


def test_a_gpu_whose_last_call_returned_a_moment_too_late_is_read_again(guard, monkeypatch):
    returned = threading.Event()
    before = set(threading.enumerate())
    assert isinstance(cycle(guard, returned.wait), HangsError)
    (left_behind,) = set(threading.enumerate()) - before
    returned.set()
    left_behind.join(60)
    monkeypatch.setattr("exporter.nvml.hang_guard.HANGING_CALL_SECONDS", 60)
    assert cycle(guard, lambda: "read") == "read"
    assert not guard.hangs


def test_a_gpu_that_was_given_up_cannot_hold_up_the_same_cycle_again(guard):
    returned = threading.Event()
    threads = []

    def work():
        threads.append(threading.current_thread())
        if len(threads) > 1:
            returned.set()
            threads[0].join(60)
        guard.begin(0)
        returned.wait()
        guard.end_cycle()

    with pytest.raises(HangsError):
        guard.run(work)
    assert len(threads) == 2


def test_what_follows_an_error_that_ends_the_session_is_not_asked():
    node = Node("T4", "T4", "T4").open()
    node.read()
    node.driver.faults.fail("nvmlDeviceGetPowerUsage", UNINITIALIZED, uuid=node.driver.gpus[1].uuid)
    node.count_calls()
    with pytest.raises(NvmlError, match="UNINITIALIZED"):
        node.read()
    assert node.calls["nvmlDeviceGetPowerUsage"] == 2


async def test_a_release_while_a_call_hangs_is_made_up_for_when_it_returns(caplog):
    with SimulatedDriver(["T4", "T4"]) as driver:
        async with exporter(driver, collectors=frozenset({Collector.XID})) as reader:
            await until(reader.ready)
            driver.faults.hang("nvmlDeviceGetPowerUsage", uuid=driver.gpus[0].uuid)
            await shown(reader, [driver.gpus[1].uuid])
            reader.exporter.release()
            await until(reader.unready_reason)
            assert driver.sessions, "nothing is taken from under the call"
            assert "NVML stays open" in caplog.text
            driver.faults.release()
            await until(lambda: not driver.sessions, what="the session is closed")


async def test_sessions_that_a_hanging_call_kept_open_are_closed_by_the_next_release():
    with SimulatedDriver(["T4"]) as driver:
        async with exporter(driver) as reader:
            await until(reader.ready)
            driver.faults.hang("nvmlDeviceGetPowerUsage")
            await until(reader.unready_reason)
            reader.exporter.release()
            await released(reader, expected=1.0)
            reader.exporter.resume()
            await released(reader, expected=0.0)
            driver.faults.release()
            await until(reader.ready)
            reader.exporter.release()
            await until(lambda: not driver.sessions, what="all sessions are closed")


async def released(reader, *, expected):
    async def is_so():
        return await reader.value(f"{PREFIX}nvml_released") == expected

    await until(is_so)
