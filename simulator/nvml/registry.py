# SPDX-License-Identifier: Apache-2.0
"""How a C function of nvml.h is registered over a `SimulatedDriver`, and what all of them share."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_uint, c_void_p
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from simulator.gpus import SimulatedGpu, SimulatedMigDevice
from simulator.nvml.header import INSUFFICIENT_SIZE, INVALID_ARGUMENT, NOT_SUPPORTED, NvmlReturn

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.driver import SimulatedDriver

Device = SimulatedGpu | SimulatedMigDevice
Implementation = Any  # each function has its own C arguments

_HANDLE_STRIDE: Final = 0x100
_R535: Final = 535

UINT_P = POINTER(c_uint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbol:
    """A C function; one of a device takes a handle first and is given the device in its place."""

    implementation: Implementation
    argtypes: tuple[Any, ...]
    of_device: bool


SYMBOLS: Final[dict[str, Symbol]] = {}


def symbol(
    name: str, *argtypes: Any, of_device: bool = True
) -> Callable[[Implementation], Implementation]:
    """Register a function under its C symbol; `argtypes` are those after a device's handle."""

    def register(function: Implementation) -> Implementation:
        types = (c_void_p, *argtypes) if of_device else argtypes
        SYMBOLS[name] = Symbol(implementation=function, argtypes=types, of_device=of_device)
        return function

    return register


def handle_of(device: Device) -> int:
    """Return the opaque pointer that stands for the device."""
    if isinstance(device, SimulatedMigDevice):
        return handle_of(device.gpu) + device.slot + 1
    return (device.index + 1) * _HANDLE_STRIDE


def device_of(driver: SimulatedDriver, handle: int | None) -> Device:
    """Return the device of a handle; raise NvmlReturn(INVALID_ARGUMENT) for any other pointer."""
    index, slot = divmod(handle or 0, _HANDLE_STRIDE)
    if not 0 < index <= len(driver.gpus):
        raise NvmlReturn(INVALID_ARGUMENT)
    gpu = driver.gpus[index - 1]
    if not slot:
        return gpu
    device = gpu.mig_devices[slot - 1] if slot <= len(gpu.mig_devices) else None
    if device is None:
        raise NvmlReturn(INVALID_ARGUMENT)
    return device


def check_faults(driver: SimulatedDriver, function: str, device: Device | None) -> None:
    """Leave with the error set for this function and device; a MIG device has its GPU's too."""
    uuids: tuple[str, ...] = () if device is None else (device.uuid,)
    if isinstance(device, SimulatedMigDevice):
        uuids = (device.uuid, device.gpu.uuid)
    code = driver.faults.code(function, *uuids)
    if code is not None:
        raise NvmlReturn(code)


def board(device: Device) -> SimulatedGpu:
    """Refuse a MIG handle where NVML knows only the whole board's reading."""
    if isinstance(device, SimulatedMigDevice):
        raise NvmlReturn(NOT_SUPPORTED)
    return device


def without_mig(device: Device) -> SimulatedGpu:
    """Refuse where MIG is on: NVML has no utilization of such a GPU or of its instances."""
    gpu = board(device)
    if gpu.mig_enabled:
        raise NvmlReturn(NOT_SUPPORTED)
    return gpu


def mig_device(device: Device) -> SimulatedMigDevice:
    """Refuse a GPU's handle where NVML takes MIG handles only."""
    if isinstance(device, SimulatedGpu):
        raise NvmlReturn(INVALID_ARGUMENT)
    return device


def put_handle(out: int, handle: int) -> None:
    """Write an opaque pointer."""
    c_void_p.from_address(out).value = handle


def number(name: str, *before: Any) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Register a function of a device that yields one unsigned int."""

    def register(read: Callable[..., int]) -> Callable[..., int]:
        @symbol(name, *before, UINT_P)
        def _answer(driver: SimulatedDriver, device: Device, *arguments: Any) -> None:
            *given, out = arguments
            value = read(driver, device, *given)
            out[0] = driver.faults.answered(name, device.uuid, value)

        return read

    return register


def text(
    name: str, *, of_device: bool = True
) -> Callable[[Callable[..., str]], Callable[..., str]]:
    """Register a function that writes a C string; INSUFFICIENT_SIZE if it is longer."""

    def register(read: Callable[..., str]) -> Callable[..., str]:
        @symbol(name, c_void_p, c_uint, of_device=of_device)
        def _answer(driver: SimulatedDriver, *arguments: Any) -> None:
            *device, buffer, length = arguments
            uuid = device[0].uuid if device else None
            data = driver.faults.said(name, uuid, read(driver, *device)) + b"\0"
            if len(data) > length:
                raise NvmlReturn(INSUFFICIENT_SIZE)
            ctypes.memmove(buffer, data, len(data))

        return read

    return register


def is_before_r535(driver: SimulatedDriver) -> bool:
    """Return whether the driver is of a branch before R535."""
    return int(driver.driver_version.partition(".")[0]) < _R535
