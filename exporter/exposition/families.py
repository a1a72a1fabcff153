# SPDX-License-Identifier: Apache-2.0
"""Pure: the families of most collectors, a part of `exporter.exposition.table`.

Base units, and `_total` on counters, as Prometheus asks for.
"""

from __future__ import annotations

from typing import Final

from exporter.model import Collector, Family, MetricType, Scope

_gauge: Final = Family.gauge
_counter: Final = Family.counter

GPU_INFO: Final = Family(
    name="nvidia_gpu_info",
    type=MetricType.INFO,
    unit="",
    help="The GPU's board; join by uuid. mig_mode is enabled, disabled, other (unknown to this "
    "exporter) or empty (no MIG).",
    collector=Collector.INFO,
    source="nvmlDeviceGetPciInfo, nvmlDeviceGetSerial, nvmlDeviceGetBoardPartNumber, "
    "nvmlDeviceGetVbiosVersion, nvmlDeviceGetMigMode",
    labels=("pci_bus_id", "serial", "board_part_number", "vbios_version", "mig_mode"),
    scope=Scope.DEVICE,
)
MIG_INFO: Final = Family(
    name="nvidia_gpu_mig_info",
    type=MetricType.INFO,
    unit="",
    help="The MIG instance and its parent GPU; join by uuid.",
    collector=Collector.INFO,
    source="nvmlDeviceGetName, nvmlDeviceGetGpuInstanceId, nvmlDeviceGetComputeInstanceId",
    labels=("parent_uuid", "mig_profile", "gpu_instance_id", "compute_instance_id"),
    scope=Scope.DEVICE,
)
DRIVER_INFO: Final = Family(
    name="nvidia_gpu_driver_info",
    type=MetricType.INFO,
    unit="",
    help="Versions of the driver, of the CUDA that it supports and of NVML.",
    collector=Collector.INFO,
    source="nvmlSystemGetDriverVersion, nvmlSystemGetCudaDriverVersion_v2, "
    "nvmlSystemGetNVMLVersion",
    labels=("driver_version", "cuda_version", "nvml_version"),
    scope=Scope.NODE,
)

READABLE: Final = _gauge(
    "readable",
    "0 or 1",
    "1 while the GPU can be read, 0 if it could be read before and is lost.",
    of=Collector.HEALTH,
    source="nvmlDeviceGetHandleByIndex and all that follows",
)
RECOVERY_ACTION: Final = _gauge(
    "recovery_action",
    "0 or 1",
    "1 for the action that the driver requests to recover the GPU, 0 for the others; other is "
    "unknown to this exporter.",
    of=Collector.HEALTH,
    source="nvmlDeviceGetFieldValues(NVML_FI_DEV_GET_GPU_RECOVERY_ACTION)",
    labels=("action",),
)

CLOCK: Final = _gauge(
    "clock_hertz",
    "hertz",
    "Current clock by domain: graphics, sm, memory, video.",
    of=Collector.CLOCKS,
    source="nvmlDeviceGetClockInfo",
    labels=("clock",),
)
CLOCK_MAX: Final = _gauge(
    "clock_max_hertz",
    "hertz",
    "Maximum clock by domain: graphics, sm, memory, video.",
    of=Collector.CLOCKS,
    source="nvmlDeviceGetMaxClockInfo",
    labels=("clock",),
)

THROTTLE_ACTIVE: Final = _gauge(
    "clocks_event_reason_active",
    "0 or 1",
    "1 while this reason limits the clocks; absent if the board does not support the reason, "
    "other is unknown to this exporter.",
    of=Collector.THROTTLE,
    source="nvmlDeviceGetCurrentClocksEventReasons, nvmlDeviceGetSupportedClocksEventReasons, "
    "before R535 nvmlDeviceGetCurrentClocksThrottleReasons, "
    "nvmlDeviceGetSupportedClocksThrottleReasons",
    labels=("reason",),
)
THROTTLE_SECONDS: Final = _counter(
    "clocks_event_seconds",
    "seconds",
    "Time for which this reason limited the clocks.",
    of=Collector.THROTTLE,
    source="nvmlDeviceGetFieldValues(NVML_FI_DEV_CLOCKS_EVENT_REASON_*), before them "
    "nvmlDeviceGetFieldValues(NVML_FI_DEV_PERF_POLICY_*), nvmlDeviceGetViolationStatus",
    labels=("reason",),
)

POWER_LIMIT: Final = _gauge(
    "power_limit_watts",
    "watts",
    "Power limit that the driver enforces: the lowest that applies.",
    of=Collector.POWER,
    source="nvmlDeviceGetEnforcedPowerLimit",
)
POWER_MANAGEMENT_LIMIT: Final = _gauge(
    "power_management_limit_watts",
    "watts",
    "Power limit set on the board.",
    of=Collector.POWER,
    source="nvmlDeviceGetPowerManagementLimit",
)
POWER_DEFAULT_LIMIT: Final = _gauge(
    "power_default_limit_watts",
    "watts",
    "Default power limit of the board.",
    of=Collector.POWER,
    source="nvmlDeviceGetPowerManagementDefaultLimit",
)
POWER_LOWEST_LIMIT: Final = _gauge(
    "power_limit_lowest_watts",
    "watts",
    "Lowest power limit that can be set.",
    of=Collector.POWER,
    source="nvmlDeviceGetPowerManagementLimitConstraints",
)
POWER_HIGHEST_LIMIT: Final = _gauge(
    "power_limit_highest_watts",
    "watts",
    "Highest power limit that can be set.",
    of=Collector.POWER,
    source="nvmlDeviceGetPowerManagementLimitConstraints",
)
ENERGY: Final = _counter(
    "energy_joules",
    "joules",
    "Energy used by the board since the driver was loaded.",
    of=Collector.POWER,
    source="nvmlDeviceGetTotalEnergyConsumption",
)

PERFORMANCE_STATE: Final = _gauge(
    "performance_state",
    "0 to 15",
    "Performance state, from 0 (fastest) to 15 (slowest).",
    of=Collector.PERFORMANCE_STATE,
    source="nvmlDeviceGetPerformanceState",
)

MEMORY_BANDWIDTH: Final = _gauge(
    "memory_bandwidth_duty_cycle_ratio",
    "ratio 0-1",
    "Share of the averaging window in which device memory was read or written.",
    of=Collector.MEMORY_BANDWIDTH,
    source="nvmlDeviceGetSamples, nvmlDeviceGetUtilizationRates",
)

GRAPHICS_ACTIVE: Final = _gauge(
    "graphics_engine_active_ratio",
    "ratio 0-1",
    "Share of the averaging window in which any compute or graphics engine was active.",
    of=Collector.GPM,
    source="nvmlGpmMetricsGet",
)
SM_ACTIVE: Final = _gauge(
    "sm_active_ratio",
    "ratio 0-1",
    "Share of multiprocessors that were busy in the averaging window.",
    of=Collector.GPM,
    source="nvmlGpmMetricsGet",
)
SM_OCCUPANCY: Final = _gauge(
    "sm_occupancy_ratio",
    "ratio 0-1",
    "Active warps as a share of the maximum.",
    of=Collector.GPM,
    source="nvmlGpmMetricsGet",
)
TENSOR_ACTIVE: Final = _gauge(
    "tensor_active_ratio",
    "ratio 0-1",
    "Share of the averaging window in which the tensor cores were busy.",
    of=Collector.GPM,
    source="nvmlGpmMetricsGet",
)
DRAM_ACTIVE: Final = _gauge(
    "dram_bandwidth_ratio",
    "ratio 0-1",
    "Device memory bandwidth in use, as a share of the maximum.",
    of=Collector.GPM,
    source="nvmlGpmMetricsGet",
)
FP64_ACTIVE: Final = _gauge(
    "fp64_active_ratio",
    "ratio 0-1",
    "Share of the averaging window with FP64 arithmetic outside the tensor cores.",
    of=Collector.GPM,
    source="nvmlGpmMetricsGet",
)
FP32_ACTIVE: Final = _gauge(
    "fp32_active_ratio",
    "ratio 0-1",
    "Share of the averaging window with FP32 arithmetic outside the tensor cores.",
    of=Collector.GPM,
    source="nvmlGpmMetricsGet",
)
FP16_ACTIVE: Final = _gauge(
    "fp16_active_ratio",
    "ratio 0-1",
    "Share of the averaging window with FP16 arithmetic outside the tensor cores.",
    of=Collector.GPM,
    source="nvmlGpmMetricsGet",
)

ENCODER: Final = _gauge(
    "encoder_utilization_ratio",
    "ratio 0-1",
    "Share of NVML's sampling period in which the video encoder was busy.",
    of=Collector.VIDEO,
    source="nvmlDeviceGetEncoderUtilization",
)
DECODER: Final = _gauge(
    "decoder_utilization_ratio",
    "ratio 0-1",
    "Share of NVML's sampling period in which the video decoder was busy.",
    of=Collector.VIDEO,
    source="nvmlDeviceGetDecoderUtilization",
)

ECC_ENABLED: Final = _gauge(
    "ecc_enabled",
    "0 or 1",
    "1 if ECC protects the memory.",
    of=Collector.ECC,
    source="nvmlDeviceGetEccMode",
)
ECC_VOLATILE: Final = _counter(
    "ecc_volatile_errors",
    "errors",
    "Memory errors since the driver was loaded, corrected or uncorrected, by location.",
    of=Collector.ECC,
    source="nvmlDeviceGetMemoryErrorCounter",
    labels=("error", "location"),
)
ECC_AGGREGATE: Final = _counter(
    "ecc_aggregate_errors",
    "errors",
    "Memory errors in the board's lifetime, corrected or uncorrected, by location.",
    of=Collector.ECC,
    source="nvmlDeviceGetMemoryErrorCounter",
    labels=("error", "location"),
)
RETIRED_PAGES: Final = _counter(
    "retired_pages",
    "pages",
    "Memory pages retired after single_bit or double_bit errors.",
    of=Collector.ECC,
    source="nvmlDeviceGetFieldValues(NVML_FI_DEV_RETIRED_SBE, NVML_FI_DEV_RETIRED_DBE)",
    labels=("cause",),
)
RETIREMENT_PENDING: Final = _gauge(
    "page_retirement_pending",
    "0 or 1",
    "1 while pages wait for a reset to be retired.",
    of=Collector.ECC,
    source="nvmlDeviceGetFieldValues(NVML_FI_DEV_RETIRED_PENDING)",
)
REMAPPED_ROWS: Final = _counter(
    "remapped_rows",
    "rows",
    "Memory rows replaced after corrected or uncorrected errors.",
    of=Collector.ECC,
    source="nvmlDeviceGetRemappedRows",
    labels=("error",),
)
REMAPPING_PENDING: Final = _gauge(
    "row_remapping_pending",
    "0 or 1",
    "1 while rows wait for a reset to be replaced.",
    of=Collector.ECC,
    source="nvmlDeviceGetRemappedRows",
)
REMAPPING_FAILED: Final = _gauge(
    "row_remapping_failed",
    "0 or 1",
    "1 if a row could not be replaced: replace the board.",
    of=Collector.ECC,
    source="nvmlDeviceGetRemappedRows",
)

XID_ERRORS: Final = _counter(
    "xid_errors",
    "errors",
    "Xid errors since the exporter started. Xids that need action start at 0, others appear with "
    "their first error; invalid numbers, and Xids beyond 32 per GPU, count as other.",
    of=Collector.XID,
    source="nvmlEventSetWait_v2",
    labels=("xid",),
)
XID_LAST: Final = _gauge(
    "xid_last_timestamp_seconds",
    "seconds",
    "Unix time of the last Xid error; absent before the first.",
    of=Collector.XID,
    source="nvmlEventSetWait_v2",
)

CONTAINER_DUTY_CYCLE: Final = _gauge(
    "container_duty_cycle",
    "percent",
    "The container's share of the GPU's time: the sum over its processes, averaged over the "
    "window.",
    of=Collector.CONTAINERS,
    source="nvmlDeviceGetProcessUtilization",
)
CONTAINER_MEMORY_USED: Final = _gauge(
    "container_memory_used_bytes",
    "bytes",
    "Memory used by the container: the sum over its processes.",
    of=Collector.CONTAINERS,
    source="nvmlDeviceGetComputeRunningProcesses_v3, nvmlDeviceGetGraphicsRunningProcesses_v3, "
    "nvmlDeviceGetMPSComputeRunningProcesses_v3",
)
