# SPDX-License-Identifier: Apache-2.0
"""The C functions of nvml.h behind the exporter's extended families, over a `SimulatedDriver`.

Counters grow with the load; what misfortune would bring is set on `SimulatedGpu.board`.
"""

from __future__ import annotations

import time
from ctypes import POINTER, c_int, c_uint, c_ulonglong, c_void_p
from typing import TYPE_CHECKING, Any, Final

from simulator.nvml.fields import FIELD_POLICY_POWER
from simulator.nvml.header import (
    FUNCTION_NOT_FOUND,
    INVALID_ARGUMENT,
    NOT_SUPPORTED,
    NvmlReturn,
    PciInfo,
    ViolationTime,
)
from simulator.nvml.registry import (
    UINT_P,
    Device,
    board,
    is_before_r535,
    number,
    symbol,
    text,
    without_mig,
)

if TYPE_CHECKING:
    from simulator.driver import SimulatedDriver
    from simulator.gpus import SimulatedGpu

ULONGLONG_P = POINTER(c_ulonglong)

# As long as the real driver measures PCIe traffic.
PCIE_THROUGHPUT_SECONDS = 0.02
_CUDA_VERSION: Final = 13000
_PCIE_IDLE_KILOBYTES: Final = 50
_PCIE_BUSY_KILOBYTES: Final = 6_000_000
_PCIE_WIDTH: Final = 16

_GPU_IDLE: Final = 0x1
_SUPPORTED_REASONS: Final = 0x1FF & ~0x100  # all but the one of boards with displays
_DRAM, _SRAM = 2, 7
_LOCATIONS_BEFORE_AMPERE: Final = {0, 1, _DRAM, 3, 6}
_CLOCK_MEMORY, _CLOCK_VIDEO = 2, 3
_NVLINK_COUNTERS: Final = 3  # replay, recovery, CRC of flits

_POLICY_TOTALS: Final = 10


@symbol("nvmlSystemGetCudaDriverVersion_v2", POINTER(c_int), of_device=False)
def _cuda_version(_driver: SimulatedDriver, out: Any) -> None:
    out[0] = _CUDA_VERSION


@text("nvmlSystemGetNVMLVersion", of_device=False)
def _nvml_version(driver: SimulatedDriver) -> str:
    return f"13.{driver.driver_version}"


@symbol("nvmlDeviceGetPciInfo_v3", c_void_p)
def _pci_info(driver: SimulatedDriver, device: Device, out: int) -> None:
    answer = PciInfo.from_address(out)
    answer.bus = 0x10 + board(device).index
    answer.bus_id_legacy = f"0000:{answer.bus:02X}:00.0".encode()
    bus_id = f"00000000:{answer.bus:02X}:00.0"
    answer.bus_id = driver.faults.said("nvmlDeviceGetPciInfo_v3", device.uuid, bus_id)


@text("nvmlDeviceGetSerial")
def _serial(_driver: SimulatedDriver, device: Device) -> str:
    return f"16{int(board(device).uuid[-8:], 16):011d}"


@text("nvmlDeviceGetBoardPartNumber")
def _part_number(_driver: SimulatedDriver, device: Device) -> str:
    return board(device).board.model.part_number


@text("nvmlDeviceGetVbiosVersion")
def _vbios_version(_driver: SimulatedDriver, device: Device) -> str:
    return f"96.00.{board(device).board.model.nvlinks:02X}.00.01"


@number("nvmlDeviceGetClockInfo", c_uint)
def _clock(driver: SimulatedDriver, device: Device, clock: int) -> int:
    gpu = board(device)
    model = gpu.board.model
    if clock == _CLOCK_MEMORY:
        return model.memory_clock
    busy = driver.is_busy(gpu)
    return _scaled(model.graphics_max if busy else model.graphics_idle, clock)


@number("nvmlDeviceGetMaxClockInfo", c_uint)
def _max_clock(_driver: SimulatedDriver, device: Device, clock: int) -> int:
    model = board(device).board.model
    return model.memory_clock if clock == _CLOCK_MEMORY else _scaled(model.graphics_max, clock)


def _scaled(graphics: int, clock: int) -> int:
    if clock > _CLOCK_VIDEO:
        raise NvmlReturn(INVALID_ARGUMENT)
    return graphics * 9 // 10 if clock == _CLOCK_VIDEO else graphics


def _require(driver: SimulatedDriver, *, is_since_r535: bool) -> None:
    """Refuse what came with R535 before it, and from then on what it took the place of.

    Real drivers keep the latter for some time; here nobody may come to depend on it.
    """
    if is_before_r535(driver) is is_since_r535:
        raise NvmlReturn(FUNCTION_NOT_FOUND)


@symbol("nvmlDeviceGetCurrentClocksThrottleReasons", ULONGLONG_P)
def _throttle_reasons(driver: SimulatedDriver, device: Device, out: Any) -> None:
    _require(driver, is_since_r535=False)
    _put_reasons(driver, device, out)


@symbol("nvmlDeviceGetSupportedClocksThrottleReasons", ULONGLONG_P)
def _supported_throttle_reasons(driver: SimulatedDriver, device: Device, out: Any) -> None:
    _require(driver, is_since_r535=False)
    out[0] = _SUPPORTED_REASONS if board(device) else 0


@symbol("nvmlDeviceGetViolationStatus", c_uint, c_void_p)
def _violation(driver: SimulatedDriver, device: Device, policy: int, out: int) -> None:
    _require(driver, is_since_r535=False)
    # The enum has a gap that the fields do not have.
    field = FIELD_POLICY_POWER + (policy if policy < _POLICY_TOTALS else policy - 4)
    answer = ViolationTime.from_address(out)
    answer.violation = board(device).board.event_nanoseconds.get(field, 0)


@symbol("nvmlDeviceGetCurrentClocksEventReasons", ULONGLONG_P)
def _event_reasons(driver: SimulatedDriver, device: Device, out: Any) -> None:
    _require(driver, is_since_r535=True)
    _put_reasons(driver, device, out)


def _put_reasons(driver: SimulatedDriver, device: Device, out: Any) -> None:
    gpu = board(device)
    out[0] = gpu.board.event_reasons | (0 if driver.is_busy(gpu) else _GPU_IDLE)


@symbol("nvmlDeviceGetSupportedClocksEventReasons", ULONGLONG_P)
def _supported_event_reasons(driver: SimulatedDriver, device: Device, out: Any) -> None:
    _require(driver, is_since_r535=True)
    out[0] = _SUPPORTED_REASONS if board(device) else 0


@number("nvmlDeviceGetEnforcedPowerLimit")
@number("nvmlDeviceGetPowerManagementLimit")
@number("nvmlDeviceGetPowerManagementDefaultLimit")
def _power_limit(_driver: SimulatedDriver, device: Device) -> int:
    return board(device).model.power_limit_milliwatts


@symbol("nvmlDeviceGetPowerManagementLimitConstraints", UINT_P, UINT_P)
def _power_constraints(_driver: SimulatedDriver, device: Device, low: Any, high: Any) -> None:
    gpu = board(device)
    low[0] = gpu.board.model.power_limit_lowest
    high[0] = gpu.model.power_limit_milliwatts


@symbol("nvmlDeviceGetTotalEnergyConsumption", ULONGLONG_P)
def _energy(driver: SimulatedDriver, device: Device, out: Any) -> None:
    gpu = board(device)
    elapsed, busy = driver.busy_seconds(gpu)
    model = gpu.model
    span = (model.power_limit_milliwatts - model.power_idle_milliwatts) * 0.9
    out[0] = round(model.power_idle_milliwatts * elapsed + span * busy)


@number("nvmlDeviceGetPerformanceState")
def _performance_state(driver: SimulatedDriver, device: Device) -> int:
    gpu = board(device)
    return 0 if driver.is_busy(gpu) else gpu.board.model.idle_performance_state


@number("nvmlDeviceGetPcieThroughput", c_uint)
def _pcie_throughput(driver: SimulatedDriver, device: Device, direction: int) -> int:
    gpu = without_mig(device)
    time.sleep(PCIE_THROUGHPUT_SECONDS)
    percent = driver.utilization_percent(gpu.uuid)
    return _PCIE_IDLE_KILOBYTES + _PCIE_BUSY_KILOBYTES * percent // 100 // (1 + direction)


@number("nvmlDeviceGetPcieReplayCounter")
def _pcie_replays(_driver: SimulatedDriver, device: Device) -> int:
    return board(device).board.pcie_replays


@number("nvmlDeviceGetMaxPcieLinkGeneration")
def _pcie_max_generation(_driver: SimulatedDriver, device: Device) -> int:
    return board(device).board.model.pcie_generation


@number("nvmlDeviceGetCurrPcieLinkGeneration")
def _pcie_generation(driver: SimulatedDriver, device: Device) -> int:
    gpu = board(device)
    saves = gpu.board.model.idle_performance_state > 0 and not driver.is_busy(gpu)
    return 1 if saves else gpu.board.model.pcie_generation


@number("nvmlDeviceGetMaxPcieLinkWidth")
@number("nvmlDeviceGetCurrPcieLinkWidth")
def _pcie_width(_driver: SimulatedDriver, device: Device) -> int:
    return _PCIE_WIDTH if board(device) else 0


def _link(device: Device, link: int) -> SimulatedGpu:
    gpu = board(device)
    if not gpu.board.model.nvlinks:
        raise NvmlReturn(NOT_SUPPORTED)
    if link >= gpu.board.model.nvlinks:
        raise NvmlReturn(INVALID_ARGUMENT)
    return gpu


@number("nvmlDeviceGetNvLinkState", c_uint)
def _nvlink_state(_driver: SimulatedDriver, device: Device, link: int) -> int:
    return int(link not in _link(device, link).board.links_down)


@symbol("nvmlDeviceGetNvLinkErrorCounter", c_uint, c_uint, ULONGLONG_P)
def _nvlink_errors(
    _driver: SimulatedDriver, device: Device, link: int, counter: int, out: Any
) -> None:
    gpu = _link(device, link)
    if counter >= _NVLINK_COUNTERS or gpu.board.model.counts_link_recoveries:
        raise NvmlReturn(NOT_SUPPORTED)
    out[0] = gpu.board.link_errors.get((link, counter), 0)


@symbol("nvmlDeviceGetEccMode", UINT_P, UINT_P)
def _ecc_mode(_driver: SimulatedDriver, device: Device, current: Any, pending: Any) -> None:
    state = board(device).board
    current[0] = int(state.model.ecc_enabled)
    pending[0] = int(state.model.ecc_enabled if state.ecc_pending is None else state.ecc_pending)


@symbol("nvmlDeviceGetMemoryErrorCounter", c_uint, c_uint, c_uint, ULONGLONG_P)
def _memory_errors(
    _driver: SimulatedDriver, device: Device, error: int, period: int, location: int, out: Any
) -> None:
    state = board(device).board
    counted = {_DRAM, _SRAM} if state.model.remaps_rows else _LOCATIONS_BEFORE_AMPERE
    if not state.model.ecc_enabled or location not in counted:
        raise NvmlReturn(NOT_SUPPORTED)
    out[0] = state.ecc.get((error, period, location), 0)


@symbol("nvmlDeviceGetRemappedRows", UINT_P, UINT_P, UINT_P, UINT_P)
def _remapped_rows(
    _driver: SimulatedDriver,
    device: Device,
    corrected: Any,
    uncorrected: Any,
    pending: Any,
    failed: Any,
) -> None:
    state = board(device).board
    if not state.model.remaps_rows:
        raise NvmlReturn(NOT_SUPPORTED)
    corrected[0], uncorrected[0] = state.rows_corrected, state.rows_uncorrected
    pending[0], failed[0] = int(state.rows_pending), int(state.rows_failed)
