# SPDX-License-Identifier: Apache-2.0
"""Return codes, constants and structures of nvml.h, as far as they are simulated.

They follow https://docs.nvidia.com/deploy/nvml-api/ and not the binding, so that a layout which
differs between the two shows in a test.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int, c_uint, c_ulonglong
from typing import Final

UNINITIALIZED: Final = 1
INVALID_ARGUMENT: Final = 2
NOT_SUPPORTED: Final = 3
NOT_FOUND: Final = 6
INSUFFICIENT_SIZE: Final = 7
DRIVER_NOT_LOADED: Final = 9
TIMEOUT: Final = 10
FUNCTION_NOT_FOUND: Final = 13
GPU_IS_LOST: Final = 15
LIB_RM_VERSION_MISMATCH: Final = 18
ARGUMENT_VERSION_MISMATCH: Final = 25
UNKNOWN: Final = 999

GPU_UTILIZATION_SAMPLES: Final = 1
MEMORY_UTILIZATION_SAMPLES: Final = 2
VALUE_TYPE_UNSIGNED_INT: Final = 1
VALUE_TYPE_UNSIGNED_LONG_LONG: Final = 3
EVENT_XID_CRITICAL_ERROR: Final = 8
MEMORY_V2: Final = 0x02000028
TEMPERATURE_V1: Final = 0x0100000C
MARGIN_TEMPERATURE_V1: Final = 0x01000008
FABRIC_INFO_V2: Final = 0x02000024
SRAM_STATUS_V1: Final = 0x01000068
NOT_AVAILABLE: Final = 2**64 - 1
NO_INSTANCE: Final = 2**32 - 1


class NvmlReturn(Exception):  # noqa: N818 - a return code on its way out, not an error of ours
    """Leaves a function with an NVML return code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Memory(ctypes.Structure):
    """nvmlMemory_t, in bytes."""

    _fields_ = [(name, c_ulonglong) for name in ("total", "free", "used")]


class MemoryV2(ctypes.Structure):
    """nvmlMemory_v2_t, in bytes."""

    _fields_ = [
        ("version", c_uint),
        *((name, c_ulonglong) for name in ("total", "reserved", "free", "used")),
    ]


class Sample(ctypes.Structure):
    """nvmlSample_t."""

    # The value is a union of 8 bytes; the unsigned int lies at its start.
    _fields_ = [("timestamp", c_ulonglong), ("value", c_uint), ("padding", c_uint)]


class Temperature(ctypes.Structure):
    """nvmlTemperature_v1_t, in degrees Celsius."""

    _fields_ = [("version", c_uint), ("sensor", c_uint), ("temperature", c_int)]


class MarginTemperature(ctypes.Structure):
    """nvmlMarginTemperature_v1_t, in degrees Celsius."""

    _fields_ = [("version", c_uint), ("margin", c_int)]


class FabricInfo(ctypes.Structure):
    """nvmlGpuFabricInfo_v2_t."""

    _fields_ = [
        ("version", c_uint),
        ("cluster_uuid", ctypes.c_ubyte * 16),
        *((name, c_uint) for name in ("status", "clique_id", "state", "health_mask")),
    ]


class SramStatus(ctypes.Structure):
    """nvmlEccSramErrorStatus_v1_t, in errors."""

    _fields_ = [
        ("version", c_uint),
        *((f"aggregate_{name}", c_ulonglong) for name in ("parity", "secded", "corrected")),
        *((f"volatile_{name}", c_ulonglong) for name in ("parity", "secded", "corrected")),
        *((name, c_ulonglong) for name in ("l2", "sm", "pcie", "microcontroller", "other")),
        ("threshold_exceeded", c_uint),
    ]


class ProcessInfo(ctypes.Structure):
    """nvmlProcessInfo_t of the third version, memory in bytes."""

    _fields_ = [
        ("pid", c_uint),
        ("used_memory", c_ulonglong),
        ("gpu_instance", c_uint),
        ("compute_instance", c_uint),
    ]


class ProcessUtilization(ctypes.Structure):
    """nvmlProcessUtilizationSample_t, in percent."""

    _fields_ = [
        ("pid", c_uint),
        ("timestamp", c_ulonglong),
        *((name, c_uint) for name in ("sm", "memory", "encoder", "decoder")),
    ]


class Attributes(ctypes.Structure):
    """nvmlDeviceAttributes_t."""

    _fields_ = [
        ("multiprocessors", c_uint),
        *((name, c_uint) for name in ("copy", "decoder", "encoder", "jpeg", "ofa")),
        ("gpu_instance_slices", c_uint),
        ("compute_instance_slices", c_uint),
        ("memory_mb", c_ulonglong),
    ]


class Utilization(ctypes.Structure):
    """nvmlUtilization_t, in percent."""

    _fields_ = [("gpu", c_uint), ("memory", c_uint)]


class PciInfo(ctypes.Structure):
    """nvmlPciInfo_t of the third version."""

    _fields_ = [
        ("bus_id_legacy", ctypes.c_char * 16),
        *((name, c_uint) for name in ("domain", "bus", "device")),
        *((name, c_uint) for name in ("device_id", "subsystem_id")),
        ("bus_id", ctypes.c_char * 32),
    ]


class FieldValue(ctypes.Structure):
    """nvmlFieldValue_t."""

    # The value is a union of 8 bytes; smaller members lie at its start.
    _fields_ = [
        ("field", c_uint),
        ("scope", c_uint),
        ("timestamp", ctypes.c_longlong),
        ("latency", ctypes.c_longlong),
        ("value_type", c_int),
        ("result", c_int),
        ("value", c_ulonglong),
    ]


class ViolationTime(ctypes.Structure):
    """nvmlViolationTime_t: microseconds, and the nanoseconds until then."""

    _fields_ = [("reference", c_ulonglong), ("violation", c_ulonglong)]


class EventData(ctypes.Structure):
    """nvmlEventData_t."""

    _fields_ = [
        ("device", ctypes.c_void_p),
        ("type", c_ulonglong),
        ("data", c_ulonglong),
        ("gpu_instance", c_uint),
        ("compute_instance", c_uint),
    ]
