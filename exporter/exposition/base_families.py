# SPDX-License-Identifier: Apache-2.0
"""Pure: the families that are always on, a part of the table in `exporter.exposition.table`."""

from __future__ import annotations

from typing import Final

from exporter.model import Family, MetricType, Scope

_gauge: Final = Family.gauge

NUM_DEVICES: Final = Family(
    name="nvidia_gpu_num_devices",
    type=MetricType.GAUGE,
    unit="GPUs",
    help="Number of GPUs that the driver shows.",
    collector=None,
    source="nvmlDeviceGetCount",
    scope=Scope.NODE,
)
DUTY_CYCLE: Final = _gauge(
    "duty_cycle",
    "percent",
    "Percentage of the averaging window in which a kernel ran on the GPU.",
    of=None,
    source="nvmlDeviceGetSamples, nvmlDeviceGetUtilizationRates",
)
MEMORY_TOTAL: Final = _gauge(
    "memory_total_bytes",
    "bytes",
    "Total memory of the GPU or MIG instance.",
    of=None,
    source="nvmlDeviceGetMemoryInfo",
)
MEMORY_USED: Final = _gauge(
    "memory_used_bytes",
    "bytes",
    "Memory in use on the GPU or MIG instance; on a GPU that several containers share, "
    "the container's own, absent if unknown.",
    of=None,
    source="nvmlDeviceGetMemoryInfo",
)
POWER_USAGE: Final = _gauge(
    "power_usage_milliwatts",
    "milliwatts",
    "Power usage of the board.",
    of=None,
    source="nvmlDeviceGetPowerUsage",
)
TEMPERATURE: Final = _gauge(
    "temperature_celsius",
    "celsius",
    "Temperature of the GPU.",
    of=None,
    source="nvmlDeviceGetTemperature",
)
FAN_SPEED: Final = _gauge(
    "fanspeed_percent",
    "percent",
    "Fan speed as a percentage of its maximum; absent on boards without a fan.",
    of=None,
    source="nvmlDeviceGetFanSpeed",
)
