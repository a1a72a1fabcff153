# SPDX-License-Identifier: Apache-2.0
"""Pure: the table of bounds: which values each family can have.

Drivers fill what they do not know with the highest values of the type, with -1, with 0 or with what
is no number. A value outside its family's bounds is a missing reading. The bounds are wide: nothing
real comes near them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from exporter.model import DeviceReading, ProcessUse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.model import Sample

Measured = TypeVar("Measured", DeviceReading, ProcessUse)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The lowest and the highest value that can be real, in the family's unit."""

    lowest: float
    highest: float
    is_whole: bool = False

    def hold(self, value: float) -> bool:
        """Return whether a value can be real; NaN and infinity cannot."""
        return self.lowest <= value <= self.highest and (not self.is_whole or value == int(value))


_FLAG: Final = Bounds(0, 1, is_whole=True)
_PERCENT: Final = Bounds(0, 100)
_RATIO: Final = Bounds(0, 1)
_BYTES: Final = Bounds(0, 1 << 50)
_ERRORS: Final = Bounds(0, 1 << 60, is_whole=True)
_PAGES: Final = Bounds(0, 1_000_000, is_whole=True)
_WATTS: Final = Bounds(0.001, 10_000)
_LINK: Final = Bounds(1, 64, is_whole=True)
_PCIE_BYTES_PER_SECOND: Final = Bounds(0, 2e12)
# A link of 1.8 TB/s needs 20 years for it.
_NVLINK_BYTES: Final = Bounds(0, 1 << 70)

BOUNDS: Final[Mapping[str, Bounds]] = {
    "nvidia_gpu_num_devices": Bounds(0, 1024, is_whole=True),
    "nvidia_gpu_duty_cycle": _PERCENT,
    "nvidia_gpu_memory_total_bytes": Bounds(1, 1 << 50),
    "nvidia_gpu_memory_used_bytes": _BYTES,
    "nvidia_gpu_power_usage_milliwatts": Bounds(1, 10_000_000),
    "nvidia_gpu_temperature_celsius": Bounds(-100, 250),
    # Relative to the speed that is quiet enough: fans may run faster.
    "nvidia_gpu_fanspeed_percent": Bounds(0, 250),
    "nvidia_gpu_info": _FLAG,
    "nvidia_gpu_mig_info": _FLAG,
    "nvidia_gpu_driver_info": _FLAG,
    "nvidia_gpu_readable": _FLAG,
    "nvidia_gpu_recovery_action": _FLAG,
    "nvidia_gpu_clock_hertz": Bounds(0, 1e11),
    "nvidia_gpu_clock_max_hertz": Bounds(1, 1e11),
    "nvidia_gpu_clocks_event_reason_active": _FLAG,
    "nvidia_gpu_clocks_event_seconds_total": Bounds(0, 1e9),
    "nvidia_gpu_violation_seconds_total": Bounds(0, 1e9),
    "nvidia_gpu_power_limit_watts": _WATTS,
    "nvidia_gpu_power_management_limit_watts": _WATTS,
    "nvidia_gpu_power_default_limit_watts": _WATTS,
    "nvidia_gpu_power_limit_lowest_watts": Bounds(0, 10_000),
    "nvidia_gpu_power_limit_highest_watts": _WATTS,
    "nvidia_gpu_energy_joules_total": Bounds(0, 1e13),
    "nvidia_gpu_power_average_watts": _WATTS,
    "nvidia_gpu_power_instant_watts": _WATTS,
    # Some drivers say 0 of memory without a sensor, and none works in the cold.
    "nvidia_gpu_memory_temperature_celsius": Bounds(1, 250),
    "nvidia_gpu_temperature_margin_celsius": Bounds(-100, 250),
    "nvidia_gpu_memory_reserved_bytes": _BYTES,
    "nvidia_gpu_performance_state": Bounds(0, 15, is_whole=True),
    "nvidia_gpu_persistence_mode": _FLAG,
    "nvidia_gpu_compute_mode": _FLAG,
    "nvidia_gpu_memory_bandwidth_duty_cycle_ratio": _RATIO,
    "nvidia_gpu_graphics_engine_active_ratio": _RATIO,
    "nvidia_gpu_sm_active_ratio": _RATIO,
    "nvidia_gpu_sm_occupancy_ratio": _RATIO,
    "nvidia_gpu_tensor_active_ratio": _RATIO,
    "nvidia_gpu_dram_bandwidth_ratio": _RATIO,
    "nvidia_gpu_fp64_active_ratio": _RATIO,
    "nvidia_gpu_fp32_active_ratio": _RATIO,
    "nvidia_gpu_fp16_active_ratio": _RATIO,
    "nvidia_gpu_encoder_utilization_ratio": _RATIO,
    "nvidia_gpu_decoder_utilization_ratio": _RATIO,
    "nvidia_gpu_jpeg_utilization_ratio": _RATIO,
    "nvidia_gpu_ofa_utilization_ratio": _RATIO,
    "nvidia_gpu_pcie_transmit_bytes_per_second": _PCIE_BYTES_PER_SECOND,
    "nvidia_gpu_pcie_receive_bytes_per_second": _PCIE_BYTES_PER_SECOND,
    "nvidia_gpu_pcie_replays_total": Bounds(0, 2_000_000_000, is_whole=True),
    "nvidia_gpu_pcie_link_generation": _LINK,
    "nvidia_gpu_pcie_link_max_generation": _LINK,
    "nvidia_gpu_pcie_link_width": _LINK,
    "nvidia_gpu_pcie_link_max_width": _LINK,
    "nvidia_gpu_nvlink_up": _FLAG,
    "nvidia_gpu_nvlink_transmit_bytes_total": _NVLINK_BYTES,
    "nvidia_gpu_nvlink_receive_bytes_total": _NVLINK_BYTES,
    "nvidia_gpu_nvlink_errors_total": _ERRORS,
    "nvidia_gpu_nvlink_recoveries_total": _ERRORS,
    "nvidia_gpu_nvlink_symbol_errors_total": _ERRORS,
    "nvidia_gpu_nvlink_effective_errors_total": _ERRORS,
    "nvidia_gpu_nvlink_bit_error_ratio": _RATIO,
    "nvidia_gpu_fabric_state": _FLAG,
    "nvidia_gpu_fabric_info": _FLAG,
    "nvidia_gpu_ecc_enabled": _FLAG,
    "nvidia_gpu_ecc_pending_enabled": _FLAG,
    "nvidia_gpu_ecc_volatile_errors_total": _ERRORS,
    "nvidia_gpu_ecc_aggregate_errors_total": _ERRORS,
    "nvidia_gpu_retired_pages_total": _PAGES,
    "nvidia_gpu_page_retirement_pending": _FLAG,
    "nvidia_gpu_remapped_rows_total": _PAGES,
    "nvidia_gpu_row_remapping_pending": _FLAG,
    "nvidia_gpu_row_remapping_failed": _FLAG,
    "nvidia_gpu_sram_ecc_volatile_errors_total": _ERRORS,
    "nvidia_gpu_sram_ecc_aggregate_errors_total": _ERRORS,
    "nvidia_gpu_sram_ecc_aggregate_uncorrected_errors_total": _ERRORS,
    "nvidia_gpu_sram_ecc_threshold_exceeded": _FLAG,
    "nvidia_gpu_xid_errors_total": _ERRORS,
    "nvidia_gpu_xid_last_timestamp_seconds": Bounds(0, 1e11),
    "nvidia_gpu_container_duty_cycle": _PERCENT,
    "nvidia_gpu_container_memory_used_bytes": _BYTES,
    "nvidia_gpu_processes": Bounds(0, 1 << 22, is_whole=True),
    "nvidia_gpu_process_memory_used_bytes": _BYTES,
}

_OF_A_READING: Final = {
    "duty_cycle_percent": BOUNDS["nvidia_gpu_duty_cycle"],
    "memory_total_bytes": BOUNDS["nvidia_gpu_memory_total_bytes"],
    "memory_used_bytes": BOUNDS["nvidia_gpu_memory_used_bytes"],
    "power_usage_milliwatts": BOUNDS["nvidia_gpu_power_usage_milliwatts"],
    "temperature_celsius": BOUNDS["nvidia_gpu_temperature_celsius"],
    "fan_speed_percent": BOUNDS["nvidia_gpu_fanspeed_percent"],
}
_OF_A_USE: Final = {
    "duty_cycle_percent": BOUNDS["nvidia_gpu_container_duty_cycle"],
    "memory_used_bytes": BOUNDS["nvidia_gpu_container_memory_used_bytes"],
}


def bounded(reading: DeviceReading) -> DeviceReading:
    """Return the reading without the values that cannot be real."""
    reading = _bounded(reading, _OF_A_READING)
    if not all(map(_holds, reading.extended)):
        reading = replace(reading, extended=tuple(filter(_holds, reading.extended)))
    if reading.uses:
        uses = tuple(_bounded(use, _OF_A_USE) for use in reading.uses)
        reading = replace(reading, uses=uses)
    return reading


def _holds(sample: Sample) -> bool:
    return BOUNDS[sample.family.name].hold(sample.value)


def _bounded(measured: Measured, bounds: Mapping[str, Bounds]) -> Measured:
    wrong: dict[str, Any] = {
        field: None
        for field, one in bounds.items()
        if (value := getattr(measured, field)) is not None and not one.hold(value)
    }
    return replace(measured, **wrong) if wrong else measured
