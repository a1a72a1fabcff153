# SPDX-License-Identifier: Apache-2.0
"""Pure: what boards measure and how they are set, a part of `exporter.exposition.table`."""

from __future__ import annotations

from typing import Final

from exporter.model import Collector, Family, MetricType, Scope

_gauge: Final = Family.gauge
_counter: Final = Family.counter

VIOLATION_SECONDS: Final = _counter(
    "violation_seconds",
    "seconds",
    "Time for which this policy held performance down: power, thermal, sync_boost, board_limit, "
    "low_utilization, reliability; below_application_clocks and below_base_clocks count any cause.",
    of=Collector.THROTTLE,
    source="nvmlDeviceGetFieldValues(NVML_FI_DEV_PERF_POLICY_*), without them "
    "nvmlDeviceGetViolationStatus",
    labels=("policy",),
)

POWER_AVERAGE: Final = _gauge(
    "power_average_watts",
    "watts",
    "Power usage of the GPU, averaged over 1 s. Ampere and newer, without the A100 and A30.",
    of=Collector.POWER,
    source="nvmlDeviceGetFieldValues(NVML_FI_DEV_POWER_AVERAGE)",
)
POWER_INSTANT: Final = _gauge(
    "power_instant_watts",
    "watts",
    "Power usage of the GPU at the moment.",
    of=Collector.POWER,
    source="nvmlDeviceGetFieldValues(NVML_FI_DEV_POWER_INSTANT)",
)

MEMORY_TEMPERATURE: Final = _gauge(
    "memory_temperature_celsius",
    "celsius",
    "Temperature of the memory; absent on boards without such a sensor.",
    of=Collector.TEMPERATURE,
    source="nvmlDeviceGetFieldValues(NVML_FI_DEV_MEMORY_TEMP)",
)
TEMPERATURE_MARGIN: Final = _gauge(
    "temperature_margin_celsius",
    "celsius",
    "How much warmer the GPU may become before it slows down; 0 or less while it does.",
    of=Collector.TEMPERATURE,
    source="nvmlDeviceGetMarginTemperature",
)

MEMORY_RESERVED: Final = _gauge(
    "memory_reserved_bytes",
    "bytes",
    "Memory that the driver and firmware keep for themselves, which is in no process's use, read "
    "every 5 to 10 s.",
    of=Collector.MEMORY,
    source="nvmlDeviceGetMemoryInfo_v2",
)

PERSISTENCE_MODE: Final = _gauge(
    "persistence_mode",
    "0 or 1",
    "1 if the driver stays loaded while no program uses the GPU.",
    of=Collector.MODES,
    source="nvmlDeviceGetPersistenceMode",
)
COMPUTE_MODE: Final = _gauge(
    "compute_mode",
    "0 or 1",
    "1 for the GPU's compute mode, 0 for the others: default (shared), exclusive_thread, "
    "prohibited, exclusive_process; other is unknown to this exporter.",
    of=Collector.MODES,
    source="nvmlDeviceGetComputeMode",
    labels=("mode",),
)

JPEG: Final = _gauge(
    "jpeg_utilization_ratio",
    "ratio 0-1",
    "Share of NVML's sampling period in which the JPEG engine was busy.",
    of=Collector.VIDEO,
    source="nvmlDeviceGetJpgUtilization",
)
OFA: Final = _gauge(
    "ofa_utilization_ratio",
    "ratio 0-1",
    "Share of NVML's sampling period in which the optical flow accelerator was busy.",
    of=Collector.VIDEO,
    source="nvmlDeviceGetOfaUtilization",
)

ECC_PENDING: Final = _gauge(
    "ecc_pending_enabled",
    "0 or 1",
    "1 if ECC will protect the memory after the next reset.",
    of=Collector.ECC,
    source="nvmlDeviceGetEccMode",
)
SRAM_VOLATILE: Final = _counter(
    "sram_ecc_volatile_errors",
    "errors",
    "SRAM errors since the driver was loaded: corrected, uncorrected_parity, uncorrected_secded.",
    of=Collector.ECC,
    source="nvmlDeviceGetSramEccErrorStatus",
    labels=("error",),
)
SRAM_AGGREGATE: Final = _counter(
    "sram_ecc_aggregate_errors",
    "errors",
    "SRAM errors in the board's lifetime: corrected, uncorrected_parity, uncorrected_secded.",
    of=Collector.ECC,
    source="nvmlDeviceGetSramEccErrorStatus",
    labels=("error",),
)
SRAM_SOURCES: Final = _counter(
    "sram_ecc_aggregate_uncorrected_errors",
    "errors",
    "Uncorrected SRAM errors in the board's lifetime by source: l2, sm, microcontroller, pcie, "
    "other.",
    of=Collector.ECC,
    source="nvmlDeviceGetSramEccErrorStatus",
    labels=("source",),
)
SRAM_THRESHOLD: Final = _gauge(
    "sram_ecc_threshold_exceeded",
    "0 or 1",
    "1 if the SRAM has more errors than NVIDIA's field diagnostic allows: replace the board.",
    of=Collector.ECC,
    source="nvmlDeviceGetSramEccErrorStatus",
)

PROCESSES: Final = Family(
    name="nvidia_gpu_processes",
    type=MetricType.GAUGE,
    unit="processes",
    help="Processes on the GPU, under MIG of all its instances.",
    collector=Collector.PROCESSES,
    source="nvmlDeviceGetComputeRunningProcesses_v3, nvmlDeviceGetGraphicsRunningProcesses_v3, "
    "nvmlDeviceGetMPSComputeRunningProcesses_v3",
    scope=Scope.DEVICE,
)
PROCESS_MEMORY_USED: Final = Family(
    name="nvidia_gpu_process_memory_used_bytes",
    type=MetricType.GAUGE,
    unit="bytes",
    help="Memory used by a process: the 32 of each GPU that use most. process is the name of its "
    "program, empty if unknown.",
    collector=Collector.PROCESSES,
    source="nvmlDeviceGetComputeRunningProcesses_v3, nvmlDeviceGetGraphicsRunningProcesses_v3, "
    "nvmlDeviceGetMPSComputeRunningProcesses_v3, nvmlSystemGetProcessName",
    labels=("pid", "process"),
    scope=Scope.DEVICE,
)
