# SPDX-License-Identifier: Apache-2.0
"""The C functions of nvml.h over a `SimulatedDriver`, under the symbols that nvidia-ml-py asks for.

Signatures follow https://docs.nvidia.com/deploy/nvml-api/. A function answers through the pointers
of its caller and returns nothing, or raises `NvmlReturn`.
"""

from __future__ import annotations

from ctypes import c_char_p, c_uint, c_ulonglong, c_void_p, memmove
from typing import TYPE_CHECKING, Any, Final

from simulator.driver import SAMPLE_BUFFER_LENGTH, SimulatedDriver
from simulator.gpus import MIB, SimulatedMigDevice
from simulator.nvml.header import (
    ARGUMENT_VERSION_MISMATCH,
    GPU_UTILIZATION_SAMPLES,
    INSUFFICIENT_SIZE,
    INVALID_ARGUMENT,
    MEMORY_UTILIZATION_SAMPLES,
    MEMORY_V2,
    NO_INSTANCE,
    NOT_AVAILABLE,
    NOT_FOUND,
    NOT_SUPPORTED,
    TEMPERATURE_V1,
    VALUE_TYPE_UNSIGNED_INT,
    Attributes,
    Memory,
    MemoryV2,
    NvmlReturn,
    ProcessInfo,
    ProcessUtilization,
    Sample,
    Temperature,
    Utilization,
)
from simulator.nvml.registry import (
    UINT_P,
    Device,
    board,
    check_faults,
    handle_of,
    mig_device,
    number,
    put_handle,
    symbol,
    text,
    without_mig,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.gpus import SimulatedProcess

_RESERVED_BYTES: Final = 256 * MIB
_MAX_MIG_DEVICES: Final = 7


@text("nvmlSystemGetDriverVersion", of_device=False)
def _driver_version(driver: SimulatedDriver) -> str:
    return driver.driver_version


@symbol("nvmlDeviceGetCount_v2", UINT_P, of_device=False)
def _count(driver: SimulatedDriver, out: Any) -> None:
    out[0] = len(driver.gpus)


@symbol("nvmlDeviceGetHandleByIndex_v2", c_uint, c_void_p, of_device=False)
def _handle_by_index(driver: SimulatedDriver, index: int, out: int) -> None:
    if index >= len(driver.gpus):
        raise NvmlReturn(INVALID_ARGUMENT)
    check_faults(driver, "nvmlDeviceGetHandleByIndex_v2", driver.gpus[index])
    put_handle(out, handle_of(driver.gpus[index]))


@symbol("nvmlDeviceGetHandleByUUID", c_char_p, c_void_p, of_device=False)
def _handle_by_uuid(driver: SimulatedDriver, uuid: bytes, out: int) -> None:
    try:
        device = driver.device(uuid.decode())
    except KeyError:
        raise NvmlReturn(NOT_FOUND) from None
    check_faults(driver, "nvmlDeviceGetHandleByUUID", device)
    put_handle(out, handle_of(device))


@text("nvmlDeviceGetUUID")
def _uuid(_driver: SimulatedDriver, device: Device) -> str:
    return device.uuid


@text("nvmlDeviceGetName")
def _name(_driver: SimulatedDriver, device: Device) -> str:
    return device.name


@number("nvmlDeviceGetMinorNumber")
def _minor_number(_driver: SimulatedDriver, device: Device) -> int:
    return board(device).minor_number


@number("nvmlDeviceGetIndex")
def _index(_driver: SimulatedDriver, device: Device) -> int:
    return device.slot if isinstance(device, SimulatedMigDevice) else device.index


@number("nvmlDeviceGetPowerUsage")
def _power(driver: SimulatedDriver, device: Device) -> int:
    return driver.power_milliwatts(board(device))


@number("nvmlDeviceGetTemperature", c_uint)
def _temperature(driver: SimulatedDriver, device: Device, sensor: int) -> int:
    if sensor != 0:
        raise NvmlReturn(INVALID_ARGUMENT)
    return driver.temperature_celsius(board(device))


@number("nvmlDeviceGetFanSpeed")
def _fan_speed(driver: SimulatedDriver, device: Device) -> int:
    percent = driver.fan_percent(board(device))
    if percent is None:
        raise NvmlReturn(NOT_SUPPORTED)
    return percent


@number("nvmlDeviceGetMaxMigDeviceCount")
def _max_mig_device_count(_driver: SimulatedDriver, device: Device) -> int:
    return _MAX_MIG_DEVICES if board(device).model.has_mig else 0


@number("nvmlDeviceGetGpuInstanceId")
def _gpu_instance_id(_driver: SimulatedDriver, device: Device) -> int:
    return mig_device(device).gpu_instance_id


@number("nvmlDeviceGetComputeInstanceId")
def _compute_instance_id(_driver: SimulatedDriver, device: Device) -> int:
    return mig_device(device).compute_instance_id


@number("nvmlDeviceIsMigDeviceHandle")
def _is_mig_device_handle(_driver: SimulatedDriver, device: Device) -> int:
    return int(isinstance(device, SimulatedMigDevice))


@symbol("nvmlDeviceGetTemperatureV", c_void_p)
def _temperature_v(driver: SimulatedDriver, device: Device, out: int) -> None:
    answer = Temperature.from_address(out)
    if answer.version != TEMPERATURE_V1:
        raise NvmlReturn(ARGUMENT_VERSION_MISMATCH)
    value = _temperature(driver, device, answer.sensor)
    answer.temperature = driver.faults.answered("nvmlDeviceGetTemperatureV", device.uuid, value)


@symbol("nvmlDeviceGetMemoryInfo", c_void_p)
def _memory(_driver: SimulatedDriver, device: Device, out: int) -> None:
    used = device.memory_used_bytes()
    answer = Memory.from_address(out)
    answer.total = device.memory_total_bytes
    # The first version counts the driver's own reserve as used.
    answer.used = NOT_AVAILABLE if used is None else used + _RESERVED_BYTES
    answer.free = NOT_AVAILABLE if used is None else max(answer.total - answer.used, 0)


@symbol("nvmlDeviceGetMemoryInfo_v2", c_void_p)
def _memory_v2(_driver: SimulatedDriver, device: Device, out: int) -> None:
    used = device.memory_used_bytes()
    answer = MemoryV2.from_address(out)
    if answer.version != MEMORY_V2:
        raise NvmlReturn(ARGUMENT_VERSION_MISMATCH)
    answer.total = device.memory_total_bytes
    answer.reserved = _RESERVED_BYTES
    answer.used = NOT_AVAILABLE if used is None else used
    answer.free = NOT_AVAILABLE if used is None else max(answer.total - used - _RESERVED_BYTES, 0)


@symbol("nvmlDeviceGetUtilizationRates", c_void_p)
def _utilization(driver: SimulatedDriver, device: Device, out: int) -> None:
    percent = driver.utilization_percent(without_mig(device).uuid)
    percent = driver.faults.answered("nvmlDeviceGetUtilizationRates", device.uuid, percent)
    answer = Utilization.from_address(out)
    answer.gpu, answer.memory = percent, percent // 2


@symbol("nvmlDeviceGetSamples", c_uint, c_ulonglong, UINT_P, UINT_P, c_void_p)
def _samples(
    driver: SimulatedDriver,
    device: Device,
    kind: int,
    last_seen_microseconds: int,
    value_type: Any,
    count: Any,
    out: int | None,
) -> None:
    if kind not in {GPU_UTILIZATION_SAMPLES, MEMORY_UTILIZATION_SAMPLES}:
        raise NvmlReturn(NOT_SUPPORTED)
    gpu = without_mig(device)
    value_type[0] = VALUE_TYPE_UNSIGNED_INT
    if out is None:
        count[0] = SAMPLE_BUFFER_LENGTH
        return
    samples = driver.samples(gpu.uuid, last_seen_microseconds)[-count[0] :]
    if not samples:
        raise NvmlReturn(NOT_FOUND)
    answers = (Sample * len(samples)).from_address(out)
    for answer, (timestamp, percent) in zip(answers, samples, strict=True):
        answer.timestamp = timestamp
        value = percent // 2 if kind == MEMORY_UTILIZATION_SAMPLES else percent
        answer.value = driver.faults.answered("nvmlDeviceGetSamples", gpu.uuid, value)
    count[0] = len(samples)


@symbol("nvmlDeviceGetMigMode", UINT_P, UINT_P)
def _mig_mode(_driver: SimulatedDriver, device: Device, current: Any, pending: Any) -> None:
    gpu = board(device)
    if not gpu.model.has_mig:
        raise NvmlReturn(NOT_SUPPORTED)
    current[0] = pending[0] = int(gpu.mig_enabled)


@symbol("nvmlDeviceGetMigDeviceHandleByIndex", c_uint, c_void_p)
def _mig_handle_by_index(_driver: SimulatedDriver, device: Device, slot: int, out: int) -> None:
    gpu = board(device)
    if not gpu.mig_enabled:
        raise NvmlReturn(NOT_SUPPORTED)
    if slot >= _MAX_MIG_DEVICES:
        raise NvmlReturn(INVALID_ARGUMENT)
    mig = gpu.mig_devices[slot] if slot < len(gpu.mig_devices) else None
    if mig is None:
        raise NvmlReturn(NOT_FOUND)
    put_handle(out, handle_of(mig))


@symbol("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", c_void_p)
def _handle_of_parent(_driver: SimulatedDriver, device: Device, out: int) -> None:
    put_handle(out, handle_of(mig_device(device).gpu))


@symbol("nvmlDeviceGetAttributes_v2", c_void_p)
def _attributes(_driver: SimulatedDriver, device: Device, out: int) -> None:
    mig = device if isinstance(device, SimulatedMigDevice) else None
    if mig is None:
        raise NvmlReturn(NOT_SUPPORTED)
    answer = Attributes.from_address(out)
    answer.multiprocessors = mig.multiprocessors
    answer.copy = mig.compute_slices
    answer.gpu_instance_slices = answer.compute_instance_slices = mig.compute_slices
    answer.memory_mb = mig.memory_total_bytes // MIB


@symbol("nvmlDeviceGetComputeRunningProcesses_v3", UINT_P, c_void_p)
def _processes(_driver: SimulatedDriver, device: Device, count: Any, out: int | None) -> None:
    _put_processes(device, [one for one in device.processes if not one.is_mps_client], count, out)


@symbol("nvmlDeviceGetMPSComputeRunningProcesses_v3", UINT_P, c_void_p)
def _mps_clients(_driver: SimulatedDriver, device: Device, count: Any, out: int | None) -> None:
    _put_processes(device, [one for one in device.processes if one.is_mps_client], count, out)


def _put_processes(
    device: Device, processes: Sequence[SimulatedProcess], count: Any, out: int | None
) -> None:
    room, count[0] = count[0], len(processes)
    if len(processes) > room:
        raise NvmlReturn(INSUFFICIENT_SIZE)
    mig = device if isinstance(device, SimulatedMigDevice) else None
    if out is None:
        return
    answers = (ProcessInfo * len(processes)).from_address(out)
    for answer, process in zip(answers, processes, strict=True):
        used = process.memory_used_bytes
        answer.pid = process.pid
        answer.used_memory = NOT_AVAILABLE if used is None else used
        answer.gpu_instance = mig.gpu_instance_id if mig else NO_INSTANCE
        answer.compute_instance = mig.compute_instance_id if mig else NO_INSTANCE


@symbol("nvmlSystemGetProcessName", c_uint, c_void_p, c_uint, of_device=False)
def _process_name(driver: SimulatedDriver, pid: int, out: int, room: int) -> None:
    devices = (driver.device(uuid) for uuid in driver.uuids)
    names = {one.pid: one.program for device in devices for one in device.processes}
    if pid not in names:
        raise NvmlReturn(NOT_FOUND)
    memmove(out, names[pid].encode()[: room - 1] + b"\0", min(len(names[pid]) + 1, room))


@symbol("nvmlDeviceGetGraphicsRunningProcesses_v3", UINT_P, c_void_p)
def _graphics_processes(
    _driver: SimulatedDriver, _device: Device, count: Any, _out: int | None
) -> None:
    count[0] = 0


@symbol("nvmlDeviceGetProcessUtilization", c_void_p, UINT_P, c_ulonglong)
def _process_utilization(
    driver: SimulatedDriver, device: Device, out: int | None, count: Any, last_seen: int
) -> None:
    gpu = without_mig(device)
    newest = driver.samples(gpu.uuid)[-1][0]
    busy = [process for process in gpu.processes if process.sm_percent and newest > last_seen]
    if not busy:
        raise NvmlReturn(NOT_FOUND)
    room, count[0] = count[0], len(busy)
    if out is None or len(busy) > room:
        raise NvmlReturn(INSUFFICIENT_SIZE)
    answers = (ProcessUtilization * len(busy)).from_address(out)
    for answer, process in zip(answers, busy, strict=True):
        answer.pid = process.pid
        answer.timestamp = newest
        answer.sm = process.sm_percent
        answer.memory = process.sm_percent // 2
