# SPDX-License-Identifier: Apache-2.0
"""The real nvidia-ml-py over the simulated library."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from simulator.driver import SimulatedDriver
from simulator.gpus import MIB, MODELS, GpuSpec, SimulatedProcess
from simulator.nvml.binding import bind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


class Clock:
    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def driver(clock: Clock) -> Iterator[SimulatedDriver]:
    mig = GpuSpec(model="A100-80GB", mig_profiles=("1g.10gb", None, "2g.20gb"))
    gpus: list[str | GpuSpec] = ["T4", "RTX-A6000", mig]
    with SimulatedDriver(gpus, seed="a", clock=clock) as driver:
        yield driver


@pytest.fixture
def nvml(driver: SimulatedDriver) -> ModuleType:
    binding = bind(driver)
    binding.nvmlInit()
    return binding


def test_devices_are_found_by_index_and_uuid(nvml, driver):
    assert nvml.nvmlDeviceGetCount() == 3
    assert nvml.nvmlSystemGetDriverVersion() == "580.65.06"
    for index, gpu in enumerate(driver.gpus):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        assert nvml.nvmlDeviceGetUUID(handle) == gpu.uuid
        assert nvml.nvmlDeviceGetName(handle) == gpu.model.name
        assert nvml.nvmlDeviceGetMinorNumber(handle) == index
        same = nvml.nvmlDeviceGetHandleByUUID(gpu.uuid.encode())
        assert nvml.nvmlDeviceGetIndex(same) == index
    with pytest.raises(nvml.NVMLError_InvalidArgument):
        nvml.nvmlDeviceGetHandleByIndex(3)
    with pytest.raises(nvml.NVMLError_NotFound):
        nvml.nvmlDeviceGetHandleByUUID(b"GPU-none")


def test_uuids_depend_on_the_seed_alone():
    def uuids(seed):
        return [gpu.uuid for gpu in SimulatedDriver(["T4", "T4"], seed=seed).gpus]

    assert uuids("a") == uuids("a")
    assert len({*uuids("a"), *uuids("b")}) == 4


def test_memory_counts_the_reserve_in_the_first_version_only(nvml, driver):
    driver.set_memory_used(0, 1000 * MIB)
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    first = nvml.nvmlDeviceGetMemoryInfo(handle)
    second = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
    assert first.total == second.total == MODELS["T4"].memory_total_bytes
    assert second.used == 1000 * MIB
    assert first.used == second.used + second.reserved
    assert first.free == second.free == second.total - first.used
    with pytest.raises(nvml.NVMLError_ArgumentVersionMismatch):
        nvml.nvmlDeviceGetMemoryInfo(handle, version=1)


def test_memory_of_processes_is_in_use(nvml, driver):
    driver.set_processes(0, [SimulatedProcess(pid=7, memory_used_bytes=300 * MIB)])
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    info = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
    assert info.used == 300 * MIB


def test_samples_average_the_load_within_each_sample(nvml, driver, clock):
    driver.set_load(0, 0)
    clock.now += 1 / 12
    driver.set_load(0, 100)
    clock.now += 1 + 1 / 12
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    kind, samples = nvml.nvmlDeviceGetSamples(handle, nvml.NVML_GPU_UTILIZATION_SAMPLES, 0)
    assert kind == nvml.NVML_VALUE_TYPE_UNSIGNED_INT
    assert len(samples) == 120
    assert [sample.sampleValue.uiVal for sample in samples][-8:] == [0, 50, *[100] * 6]
    stamps = [sample.timeStamp for sample in samples]
    assert stamps == sorted(set(stamps))
    assert clock.now - 1 / 6 <= stamps[-1] / 1e6 <= clock.now + 1e-3


def test_samples_newer_than_the_last_seen_come_once(nvml, driver, clock):
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    kind = nvml.NVML_GPU_UTILIZATION_SAMPLES
    last = nvml.nvmlDeviceGetSamples(handle, kind, 0)[1][-1].timeStamp
    with pytest.raises(nvml.NVMLError_NotFound):
        nvml.nvmlDeviceGetSamples(handle, kind, last)
    clock.now += 1.01
    assert len(nvml.nvmlDeviceGetSamples(handle, kind, last)[1]) == 6


def test_a_short_burst_shows_in_the_sum_of_the_samples(nvml, driver, clock):
    begin = int(clock.now * 1e6)
    clock.now += 1.3
    driver.set_load(0, 60)
    clock.now += 2
    driver.set_load(0, 0)
    clock.now = begin / 1e6 + 10.001
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    _, samples = nvml.nvmlDeviceGetSamples(handle, nvml.NVML_GPU_UTILIZATION_SAMPLES, begin)
    values = [sample.sampleValue.uiVal for sample in samples]
    assert sum(values) / len(values) == pytest.approx(12, abs=0.1)


def test_power_temperature_and_rates_follow_the_load(nvml, driver, clock):
    handle = nvml.nvmlDeviceGetHandleByIndex(0)

    def readings():
        temperature = nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
        assert nvml.nvmlDeviceGetTemperatureV(handle, nvml.NVML_TEMPERATURE_GPU) == temperature
        rates = nvml.nvmlDeviceGetUtilizationRates(handle)
        return nvml.nvmlDeviceGetPowerUsage(handle), temperature, rates.gpu

    assert readings() == (9000, 33, 0)
    driver.set_load(0, 100)
    clock.now += 30
    assert readings() == (63900, 75, 100)


def test_a_fan_is_only_where_the_board_has_one(nvml):
    assert nvml.nvmlDeviceGetFanSpeed(nvml.nvmlDeviceGetHandleByIndex(1)) == 30
    with pytest.raises(nvml.NVMLError_NotSupported):
        nvml.nvmlDeviceGetFanSpeed(nvml.nvmlDeviceGetHandleByIndex(0))


def test_mig_devices_have_gaps_and_a_parent(nvml, driver):
    parent = nvml.nvmlDeviceGetHandleByIndex(2)
    assert nvml.nvmlDeviceGetMigMode(parent) == [1, 1]
    assert nvml.nvmlDeviceGetMaxMigDeviceCount(parent) == 7
    found = {}
    for slot in range(7):
        try:
            found[slot] = nvml.nvmlDeviceGetMigDeviceHandleByIndex(parent, slot)
        except nvml.NVMLError_NotFound:
            continue
    assert list(found) == [0, 2]
    for slot, handle in found.items():
        mig = driver.gpus[2].mig_devices[slot]
        assert mig is not None
        assert nvml.nvmlDeviceIsMigDeviceHandle(handle).value == 1
        assert nvml.nvmlDeviceGetUUID(handle) == mig.uuid
        assert nvml.nvmlDeviceGetName(handle) == f"NVIDIA A100-SXM4-80GB MIG {mig.profile}"
        assert nvml.nvmlDeviceGetGpuInstanceId(handle) == slot + 7
        assert nvml.nvmlDeviceGetComputeInstanceId(handle) == 0
        back = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
        assert nvml.nvmlDeviceGetUUID(back) == driver.gpus[2].uuid
        attributes = nvml.nvmlDeviceGetAttributes(handle)
        assert attributes.memorySizeMB * MIB == mig.memory_total_bytes
        assert attributes.gpuInstanceSliceCount == mig.compute_slices
    assert driver.gpus[2].mig_devices[0].memory_total_bytes == 9728 * MIB


def test_mig_has_memory_but_no_utilization_of_its_own(nvml, driver):
    mig = driver.gpus[2].mig_devices[0]
    driver.set_memory_used(mig.uuid, 5 * MIB)
    handle = nvml.nvmlDeviceGetHandleByUUID(mig.uuid.encode())
    assert nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2).used == 5 * MIB
    for device in (handle, nvml.nvmlDeviceGetHandleByIndex(2)):
        with pytest.raises(nvml.NVMLError_NotSupported):
            nvml.nvmlDeviceGetUtilizationRates(device)
        with pytest.raises(nvml.NVMLError_NotSupported):
            nvml.nvmlDeviceGetSamples(device, nvml.NVML_GPU_UTILIZATION_SAMPLES, 0)
        with pytest.raises(nvml.NVMLError_NotSupported):
            nvml.nvmlDeviceGetProcessUtilization(device, 0)
    with pytest.raises(nvml.NVMLError_NotSupported):
        nvml.nvmlDeviceGetPowerUsage(handle)


def test_power_of_a_mig_board_follows_its_instances(nvml, driver, clock):
    board = nvml.nvmlDeviceGetHandleByIndex(2)
    idle = nvml.nvmlDeviceGetPowerUsage(board)
    driver.set_load(driver.gpus[2].mig_devices[2].uuid, 70)
    clock.now += 2
    model = driver.gpus[2].model
    span = (model.power_limit_milliwatts - model.power_idle_milliwatts) * 0.9
    assert nvml.nvmlDeviceGetPowerUsage(board) - idle == round(span * 0.2)


def test_processes_and_their_utilization(nvml, driver, clock):
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    assert nvml.nvmlDeviceGetComputeRunningProcesses(handle) == []
    with pytest.raises(nvml.NVMLError_NotFound):
        nvml.nvmlDeviceGetProcessUtilization(handle, 0)
    driver.set_processes(
        0,
        [
            SimulatedProcess(pid=11, memory_used_bytes=64 * MIB, sm_percent=40),
            SimulatedProcess(pid=12, memory_used_bytes=None),
        ],
    )
    processes = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    assert [(p.pid, p.usedGpuMemory) for p in processes] == [(11, 64 * MIB), (12, None)]
    samples = nvml.nvmlDeviceGetProcessUtilization(handle, 0)
    assert [(s.pid, s.smUtil) for s in samples] == [(11, 40)]
    with pytest.raises(nvml.NVMLError_NotFound):
        nvml.nvmlDeviceGetProcessUtilization(handle, samples[0].timeStamp)


def test_what_is_not_simulated_is_a_missing_symbol(nvml):
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    with pytest.raises(nvml.NVMLError_FunctionNotFound):
        nvml.nvmlDeviceGetBrand(handle)


def test_calls_need_an_init(driver):
    nvml = bind(driver)
    with pytest.raises(nvml.NVMLError_Uninitialized):
        nvml.nvmlDeviceGetCount()
    nvml.nvmlInit()
    nvml.nvmlInit()
    nvml.nvmlShutdown()
    assert nvml.nvmlDeviceGetCount() == 3
    nvml.nvmlShutdown()
    with pytest.raises(nvml.NVMLError_Uninitialized):
        nvml.nvmlDeviceGetCount()
    with pytest.raises(nvml.NVMLError_Uninitialized):
        nvml.nvmlShutdown()


def test_bindings_share_no_state(driver):
    one, other = bind(driver), bind(SimulatedDriver(["L4"]))
    one.nvmlInit()
    with pytest.raises(other.NVMLError_Uninitialized):
        other.nvmlDeviceGetCount()
    other.nvmlInit()
    assert (one.nvmlDeviceGetCount(), other.nvmlDeviceGetCount()) == (3, 1)
    assert one.NVMLError is not other.NVMLError


def test_a_lost_gpu_leaves_the_others_alone(nvml, driver):
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(2)]
    driver.faults.lose(driver.gpus[0].uuid)
    with pytest.raises(nvml.NVMLError_GpuIsLost):
        nvml.nvmlDeviceGetPowerUsage(handles[0])
    with pytest.raises(nvml.NVMLError_GpuIsLost):
        nvml.nvmlDeviceGetHandleByIndex(0)
    assert nvml.nvmlDeviceGetPowerUsage(handles[1]) > 0
    driver.faults.find(driver.gpus[0].uuid)
    assert nvml.nvmlDeviceGetPowerUsage(handles[0]) > 0


def test_a_mig_device_is_lost_with_its_board(nvml, driver):
    handle = nvml.nvmlDeviceGetHandleByUUID(driver.gpus[2].mig_devices[0].uuid.encode())
    driver.faults.lose(driver.gpus[2].uuid)
    with pytest.raises(nvml.NVMLError_GpuIsLost):
        nvml.nvmlDeviceGetMemoryInfo(handle)


def test_a_function_fails_for_one_device_or_for_all(nvml, driver):
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(2)]
    driver.faults.fail("nvmlDeviceGetPowerUsage", 3, uuid=driver.gpus[0].uuid)
    with pytest.raises(nvml.NVMLError_NotSupported):
        nvml.nvmlDeviceGetPowerUsage(handles[0])
    assert nvml.nvmlDeviceGetPowerUsage(handles[1]) > 0
    driver.faults.fail("nvmlDeviceGetPowerUsage", 999)
    with pytest.raises(nvml.NVMLError_Unknown):
        nvml.nvmlDeviceGetPowerUsage(handles[1])
    driver.faults.heal("nvmlDeviceGetPowerUsage")
    assert nvml.nvmlDeviceGetPowerUsage(handles[1]) > 0


def test_sentinels_reach_the_caller(nvml, driver):
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    driver.set_memory_used(0, None)
    driver.faults.answer("nvmlDeviceGetPowerUsage", 2**32 - 1, uuid=driver.gpus[0].uuid)
    driver.faults.answer("nvmlDeviceGetUtilizationRates", 1000)
    assert nvml.nvmlDeviceGetMemoryInfo(handle).used == 2**64 - 1
    assert nvml.nvmlDeviceGetPowerUsage(handle) == 2**32 - 1
    assert nvml.nvmlDeviceGetUtilizationRates(handle).gpu == 1000


def test_without_a_driver_init_fails_until_it_is_back(nvml, driver):
    driver.faults.unload_driver()
    with pytest.raises(nvml.NVMLError_Uninitialized):
        nvml.nvmlDeviceGetCount()
    with pytest.raises(nvml.NVMLError_DriverNotLoaded):
        nvml.nvmlInit()
    driver.faults.load_driver()
    with pytest.raises(nvml.NVMLError_Uninitialized):
        nvml.nvmlDeviceGetCount()
    nvml.nvmlInit()
    assert nvml.nvmlDeviceGetCount() == 3


def test_without_a_library_the_binding_says_so(driver):
    driver.faults.lacks_library = True
    nvml = bind(driver)
    with pytest.raises(nvml.NVMLError_LibraryNotFound):
        nvml.nvmlInit()
    driver.faults.lacks_library = False
    nvml.nvmlInit()
    assert nvml.nvmlDeviceGetCount() == 3


def test_a_hung_call_comes_back_when_released(nvml, driver):
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    driver.faults.hang("nvmlDeviceGetPowerUsage")
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(nvml.nvmlDeviceGetPowerUsage(handle)))
    thread.start()
    assert nvml.nvmlDeviceGetCount() == 3
    thread.join(0.05)
    assert thread.is_alive()
    driver.close()
    thread.join(60)
    assert answers == [9000]


def test_errors_have_texts(nvml):
    assert nvml.nvmlErrorString(15) == "GPU is lost"
    assert str(nvml.NVMLError(15)) == "GPU is lost"


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(GpuSpec(model="Z9"), id="unknown model"),
        pytest.param(GpuSpec(model="T4", mig_profiles=()), id="a board without MIG"),
        pytest.param(GpuSpec(model="H100", mig_profiles=("10gb",)), id="no such profile"),
    ],
)
def test_a_wrong_spec_is_refused(spec):
    with pytest.raises(ValueError, match=r"GPU model|MIG profile"):
        SimulatedDriver([spec])


@pytest.mark.parametrize("percent", [-1, 100.5, float("nan")])
def test_a_load_is_a_percentage(driver, percent):
    with pytest.raises(ValueError, match="percentage"):
        driver.set_load(0, percent)
