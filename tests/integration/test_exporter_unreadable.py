# SPDX-License-Identifier: Apache-2.0
"""Which GPUs are lost: not those that cannot tell anything, and each by its UUID."""

from __future__ import annotations

import pytest

from exporter.model import Collector, Device
from exporter.nvml.base import FUNCTIONS
from exporter.nvml.seen import SeenGpus
from simulator.driver import SimulatedDriver
from simulator.gpus import GpuSpec
from simulator.nvml.registry import SYMBOLS
from tests.exporting import PREFIX, exporter
from tests.nvmlnode import Node
from tests.waiting import until

NOT_SUPPORTED, FUNCTION_NOT_FOUND, GPU_IS_LOST, RESET_REQUIRED, UNKNOWN = 3, 13, 15, 16, 999
NOT_AVAILABLE = 2**32 - 1
MINOR_NUMBER = "nvmlDeviceGetMinorNumber"
HEALTH = frozenset({Collector.INFO, Collector.HEALTH})
# What a GPU has to tell to be told apart.
IDENTITY = {"nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetUUID"}
BASE_SYMBOLS = (
    "nvmlDeviceGetSamples",
    "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetMemoryInfo",
    "nvmlDeviceGetMemoryInfo_v2",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetTemperatureV",
    "nvmlDeviceGetFanSpeed",
)
JETSON = GpuSpec(model="T4")
GUEST = GpuSpec(model="A100-80GB", mig_profiles=())


def everything(spec: GpuSpec) -> list[str]:
    """The symbols of a device but for what tells it apart, and the MIG mode of a MIG board."""
    kept = IDENTITY if spec.mig_profiles is None else IDENTITY | {"nvmlDeviceGetMigMode"}
    return [name for name, symbol in SYMBOLS.items() if symbol.of_device and name not in kept]


def fail(driver: SimulatedDriver, functions, code: int, index: int = 0) -> None:
    for function in functions:
        driver.faults.fail(function, code, uuid=driver.gpus[index].uuid)


@pytest.mark.parametrize("code", [NOT_SUPPORTED, FUNCTION_NOT_FOUND])
@pytest.mark.parametrize("spec", [JETSON, GUEST], ids=["whole", "MIG without an instance"])
def test_a_board_that_cannot_tell_anything_is_readable(spec, code):
    node = Node(spec, "T4", collectors=HEALTH).open()
    fail(node.driver, everything(spec), code)
    for _ in range(3):
        readings = node.readings()
        assert readings.unreadable_count == 0
        assert readings.unreadable == ()
    assert node.samples(of="readable") == {("readable",): 1}
    assert len(node.samples(of="info")) == 1
    assert node.errors == []


def test_what_is_not_available_is_not_lost_either():
    node = Node("RTX-A6000", collectors=HEALTH).open()
    fail(node.driver, ["nvmlDeviceGetMemoryInfo", "nvmlDeviceGetMemoryInfo_v2"], NOT_SUPPORTED)
    for function in (
        *("nvmlDeviceGetPowerUsage", "nvmlDeviceGetTemperature", "nvmlDeviceGetTemperatureV"),
        *("nvmlDeviceGetFanSpeed", "nvmlDeviceGetSamples", "nvmlDeviceGetUtilizationRates"),
    ):
        node.driver.faults.answer(function, NOT_AVAILABLE)
    assert node.readings().unreadable_count == 0


@pytest.mark.parametrize("value", [NOT_AVAILABLE, 1_000_000])
def test_a_value_that_cannot_be_real_is_no_sign_of_life(value):
    node = Node("RTX-A6000", collectors=HEALTH).open()
    fail(node.driver, set(BASE_SYMBOLS) - {"nvmlDeviceGetFanSpeed"}, UNKNOWN)
    node.driver.faults.answer("nvmlDeviceGetFanSpeed", value)
    assert node.readings().unreadable_count == 1


@pytest.mark.parametrize("code", [GPU_IS_LOST, RESET_REQUIRED, UNKNOWN])
@pytest.mark.parametrize("spec", [JETSON, GUEST], ids=["whole", "MIG without an instance"])
def test_a_board_that_could_not_tell_anything_is_lost_when_calls_fail(spec, code):
    node = Node(spec, "T4", collectors=HEALTH).open()
    fail(node.driver, everything(spec), NOT_SUPPORTED)
    node.read()
    node.driver.faults.lose(node.driver.gpus[0].uuid, code=code)
    (unreadable,) = node.readings().unreadable
    assert (unreadable.index, unreadable.uuid) == (0, node.driver.gpus[0].uuid)
    assert node.samples(of="readable") == {("readable",): 0}
    node.driver.faults.find(node.driver.gpus[0].uuid)
    assert node.samples(of="readable") == {("readable",): 1}


def test_a_board_that_answered_a_moment_ago_is_lost_at_once():
    node = Node("RTX-A6000", collectors=HEALTH).open()
    assert node.readings().unreadable_count == 0
    fail(node.driver, BASE_SYMBOLS, UNKNOWN)
    assert node.readings().unreadable_count == 1


@pytest.mark.parametrize("code", [RESET_REQUIRED, UNKNOWN])
@pytest.mark.parametrize("absent", [(), ("nvmlDeviceGetFanSpeed",)], ids=["none", "no fan"])
def test_a_board_of_which_every_reading_fails_is_lost_although_it_tells_its_name(absent, code):
    node = Node("RTX-A6000", collectors=HEALTH).open()
    fail(node.driver, BASE_SYMBOLS, code)
    fail(node.driver, absent, NOT_SUPPORTED)
    (unreadable,) = node.readings().unreadable
    assert unreadable.problem.partition(":")[0] in FUNCTIONS
    assert node.samples(of="readable") == {("readable",): 0}


@pytest.mark.parametrize(
    "functions",
    [
        pytest.param({"nvmlDeviceGetSamples"}, id="duty cycle"),
        pytest.param({"nvmlDeviceGetMemoryInfo_v2"}, id="memory"),
        pytest.param({"nvmlDeviceGetPowerUsage"}, id="power"),
        pytest.param({"nvmlDeviceGetTemperature", "nvmlDeviceGetTemperatureV"}, id="temperature"),
        pytest.param({"nvmlDeviceGetFanSpeed"}, id="fan"),
    ],
)
def test_one_reading_is_enough_to_be_readable(functions):
    node = Node("RTX-A6000", collectors=HEALTH).open()
    fail(node.driver, set(BASE_SYMBOLS) - functions, UNKNOWN)
    assert node.readings().unreadable_count == 0


async def test_an_exporter_of_boards_that_cannot_tell_anything_is_ready():
    with SimulatedDriver([JETSON, GUEST]) as driver:
        for index, gpu in enumerate((JETSON, GUEST)):
            fail(driver, everything(gpu), NOT_SUPPORTED, index)
        async with exporter(driver, collectors=HEALTH) as reader:
            await until(reader.ready)
            uuids = {gpu.uuid for gpu in driver.gpus}
            assert await reader.values("nvidia_gpu_readable") == dict.fromkeys(uuids, 1.0)
            assert set(await reader.values("nvidia_gpu_info")) == uuids
            assert await reader.value(f"{PREFIX}unreadable_devices") == 0.0
            assert await reader.value(f"{PREFIX}errors_total") is None


async def test_when_all_are_lost_readyz_names_the_first_one_and_why():
    with SimulatedDriver(["T4", "T4"]) as driver:
        async with exporter(driver) as reader:
            await until(reader.ready)
            for gpu in driver.gpus:
                driver.faults.lose(gpu.uuid)
            reason = await until(reader.unready_reason)
    assert reason.startswith(
        f"no GPU can be read, of 2 that the driver shows; GPU 0 ({driver.gpus[0].uuid}) cannot be "
        "read: nvml"
    )
    assert reason.endswith(": GPU_IS_LOST (GPU is lost)")


@pytest.fixture(params=["own", "none", "the same"])
def minor_numbers(request):
    """Return specs of two GPUs, and a function that takes away what has no minor number."""
    numbers = (0, 0) if request.param == "the same" else (0, 1)

    def prepare(driver):
        if request.param == "none":
            driver.faults.fail(MINOR_NUMBER, NOT_SUPPORTED)

    return [GpuSpec(minor_number=number) for number in numbers], prepare


@pytest.mark.parametrize("lost", [0, 1])
async def test_a_lost_gpu_is_told_whatever_the_minor_numbers(minor_numbers, lost, monkeypatch):
    monkeypatch.setattr("exporter.nvml.xid.WAIT_MILLISECONDS", 20)
    specs, prepare = minor_numbers
    collectors = frozenset({Collector.HEALTH, Collector.XID})
    with SimulatedDriver(specs) as driver:
        prepare(driver)
        gone, other = driver.gpus[lost].uuid, driver.gpus[1 - lost].uuid
        async with exporter(driver, collectors=collectors) as reader:
            await until(reader.ready)
            await until(lambda: len(driver.events.registered()) == 2, what="the event thread")
            driver.report_xid(lost, 79)

            async def reported():
                samples = await reader.samples("?name[]=nvidia_gpu_xid_errors_total")
                return {
                    one.labels["uuid"]
                    for one in samples
                    if one.labels["xid"] == "79" and one.value == 1
                }

            assert await until(reported, what="the Xid") == {gone}
            driver.faults.lose(gone)

            async def is_lost():
                return await reader.values("nvidia_gpu_readable") == {gone: 0.0, other: 1.0}

            await until(is_lost, what="the loss")
            assert await reported() == {gone}
            driver.faults.find(gone)

            async def is_back():
                return await reader.values("nvidia_gpu_readable") == {gone: 1.0, other: 1.0}

            await until(is_back)


def test_a_gpu_that_hangs_in_its_first_reading_is_told_too(monkeypatch):
    monkeypatch.setattr("exporter.nvml.hang_guard.HANGING_CALL_SECONDS", 2.0)
    with Node("T4", "T4", collectors=HEALTH) as node:
        node.driver.faults.fail(MINOR_NUMBER, NOT_SUPPORTED)
        node.driver.faults.hang("nvmlDeviceGetPowerUsage", uuid=node.driver.gpus[0].uuid)
        assert node.samples(of="readable") == {("readable",): 0}


def device(uuid: str) -> Device:
    return Device(uuid=uuid, name="T4", minor_number=None)


@pytest.mark.parametrize(
    ("cycles", "lost"),
    [
        pytest.param(["AB", "AB"], "", id="all there"),
        pytest.param(["AB", "A-"], "B", id="one lost"),
        pytest.param(["AB", "--"], "AB", id="all lost"),
        pytest.param(["ABC", "AC"], "B", id="not counted any more"),
        pytest.param(["AB", "AC"], "", id="another one in its place"),
        pytest.param(["AB", "AC", "-C"], "A", id="another one in its place, then one is lost"),
        pytest.param(["AB", "BA", "-A"], "B", id="at another place"),
        pytest.param(["-B", "--"], "B", id="one that was never seen"),
        pytest.param(["A", "AB", "A-"], "B", id="one more, and lost"),
        pytest.param(["AB", "A-", "AB"], "", id="back"),
    ],
)
def test_who_is_lost(cycles, lost):
    seen = SeenGpus()
    for cycle in cycles:
        for index, uuid in enumerate(cycle):
            if uuid != "-":
                seen.see(index, device(uuid))
        gone = seen.lost(set(cycle) - {"-"}, len(cycle))
    assert [one.uuid for one in gone] == list(lost)


def test_a_new_session_has_lost_nobody():
    seen = SeenGpus()
    seen.see(0, device("A"))
    seen.lost({"A"}, 1)
    seen.clear()
    assert seen.lost(set(), 1) == []
    assert seen.uuid_at(0) == ""
