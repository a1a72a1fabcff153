# SPDX-License-Identifier: Apache-2.0
"""NVML's GPU performance monitoring over a `SimulatedDriver`: boards from Hopper on."""

from __future__ import annotations

import itertools
from ctypes import Structure, c_char_p, c_double, c_int, c_uint, c_void_p, sizeof
from typing import TYPE_CHECKING, Final

from simulator.gpus import SimulatedGpu
from simulator.nvml.header import INVALID_ARGUMENT, NOT_FOUND, NOT_SUPPORTED, NvmlReturn
from simulator.nvml.registry import Device, board, put_handle, symbol

if TYPE_CHECKING:
    from simulator.driver import SimulatedDriver

_handles = itertools.count(0x1000)
_CLOSEST_SECONDS: Final = 0.1
# Shares of the busy time, by metric: graphics, SM, occupancy, any tensor, DRAM bandwidth, FP64,
# FP32, FP16.
SHARES: Final = {1: 1.0, 2: 0.9, 3: 0.5, 5: 0.4, 10: 0.3, 11: 0.05, 12: 0.2, 13: 0.1}


class _Metric(Structure):
    _fields_ = (
        ("metric_id", c_uint),
        ("nvml_return", c_int),
        ("value", c_double),
        ("short_name", c_char_p),
        ("long_name", c_char_p),
        ("unit", c_char_p),
    )


class _MetricsGet(Structure):
    """Its array of metrics follows; how long it is depends on the version of the binding."""

    _fields_ = (
        ("version", c_uint),
        ("num_metrics", c_uint),
        ("sample1", c_void_p),
        ("sample2", c_void_p),
    )


@symbol("nvmlGpmQueryDeviceSupport", c_void_p)
def _support(_driver: SimulatedDriver, device: Device, out: int) -> None:
    answer = (c_uint * 2).from_address(out)
    answer[1] = board(device).model.has_gpm


@symbol("nvmlGpmSampleAlloc", c_void_p, of_device=False)
def _allocate(driver: SimulatedDriver, out: int) -> None:
    handle = next(_handles)
    driver.gpm_samples[handle] = None
    put_handle(out, handle)


@symbol("nvmlGpmSampleFree", c_void_p, of_device=False)
def _free(driver: SimulatedDriver, sample: int) -> None:
    if sample not in driver.gpm_samples:
        raise NvmlReturn(INVALID_ARGUMENT)
    del driver.gpm_samples[sample]


@symbol("nvmlGpmSampleGet", c_void_p)
def _take(driver: SimulatedDriver, device: Device, sample: int) -> None:
    gpu = _with_gpm(device)
    driver.gpm_samples[sample] = (gpu, driver.clock())


@symbol("nvmlGpmMigSampleGet", c_uint, c_void_p)
def _take_of_instance(
    driver: SimulatedDriver, device: Device, gpu_instance_id: int, sample: int
) -> None:
    for instance in _with_gpm(device).mig_devices:
        if instance is not None and instance.gpu_instance_id == gpu_instance_id:
            driver.gpm_samples[sample] = (instance, driver.clock())
            return
    raise NvmlReturn(NOT_FOUND)


@symbol("nvmlGpmMetricsGet", c_void_p, of_device=False)
def _metrics(driver: SimulatedDriver, question: int) -> None:
    asked = _MetricsGet.from_address(question)
    first, second = (driver.gpm_samples.get(one) for one in (asked.sample1, asked.sample2))
    if first is None or second is None or first[0] is not second[0]:
        raise NvmlReturn(INVALID_ARGUMENT)
    (device, begin), (_, end) = first, second
    if end - begin < _CLOSEST_SECONDS:
        raise NvmlReturn(INVALID_ARGUMENT)
    if isinstance(device, SimulatedGpu):
        busy = device.busy_percent(begin, end)
    else:
        busy = device.load.average(begin, end)
    metrics = _Metric * asked.num_metrics
    for metric in metrics.from_address(question + sizeof(_MetricsGet)):
        share = SHARES.get(metric.metric_id)
        metric.nvml_return = NOT_SUPPORTED if share is None else 0
        metric.value = float("nan") if share is None else busy * share


def _with_gpm(device: Device) -> SimulatedGpu:
    gpu = board(device)
    if not gpu.model.has_gpm:
        raise NvmlReturn(NOT_SUPPORTED)
    return gpu
