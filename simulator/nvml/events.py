# SPDX-License-Identifier: Apache-2.0
"""The event functions of nvml.h over a `SimulatedDriver`."""

from __future__ import annotations

from ctypes import c_uint, c_ulonglong, c_void_p
from typing import TYPE_CHECKING

from simulator.nvml.header import (
    EVENT_XID_CRITICAL_ERROR,
    GPU_IS_LOST,
    INVALID_ARGUMENT,
    NO_INSTANCE,
    NOT_SUPPORTED,
    TIMEOUT,
    EventData,
    NvmlReturn,
)
from simulator.nvml.registry import Device, board, handle_of, put_handle, symbol

if TYPE_CHECKING:
    from simulator.driver import SimulatedDriver


@symbol("nvmlEventSetCreate", c_void_p, of_device=False)
def _create(driver: SimulatedDriver, out: int) -> None:
    put_handle(out, driver.events.create())


@symbol("nvmlEventSetFree", c_void_p, of_device=False)
def _free(driver: SimulatedDriver, number: int | None) -> None:
    if not driver.events.free(number or 0):
        raise NvmlReturn(INVALID_ARGUMENT)


@symbol("nvmlDeviceRegisterEvents", c_ulonglong, c_void_p)
def _register(driver: SimulatedDriver, device: Device, types: int, number: int | None) -> None:
    if types & ~EVENT_XID_CRITICAL_ERROR:
        raise NvmlReturn(NOT_SUPPORTED)
    if not driver.events.register(number or 0, board(device).uuid):
        raise NvmlReturn(INVALID_ARGUMENT)


@symbol("nvmlEventSetWait_v2", c_void_p, c_void_p, c_uint, of_device=False)
def _wait(driver: SimulatedDriver, number: int | None, out: int, milliseconds: int) -> None:
    def gone(uuids: set[str]) -> bool:
        return driver.faults.code("nvmlEventSetWait_v2", *uuids) is not None

    try:
        event = driver.events.wait(number or 0, milliseconds / 1000, gone)
    except KeyError:
        raise NvmlReturn(INVALID_ARGUMENT) from None
    except LookupError:
        raise NvmlReturn(GPU_IS_LOST) from None
    if event is None:
        raise NvmlReturn(TIMEOUT)
    uuid, xid = event
    answer = EventData.from_address(out)
    answer.device = handle_of(driver.device(uuid))
    answer.type = EVENT_XID_CRITICAL_ERROR
    answer.data = xid
    answer.gpu_instance = answer.compute_instance = NO_INSTANCE
