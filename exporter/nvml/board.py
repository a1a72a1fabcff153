"""What a board says of itself: info, health, clocks, throttling, power, video engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter import families
from exporter.nvml.calls import within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.model import Device, ExtendedFamily, Sample
    from exporter.nvml.gpu import Gpu

# Nothing real comes near these bounds.
_CLOCK_MEGAHERTZ: Final = range(1_000_000)
_POWER_MILLIWATTS: Final = range(10_000_000)
_ENERGY_MILLIJOULES: Final = range(1 << 60)
_PERCENT: Final = range(101)
_PERFORMANCE_STATES: Final = range(16)

_CLOCKS: Final = {
    "graphics": "NVML_CLOCK_GRAPHICS",
    "sm": "NVML_CLOCK_SM",
    "memory": "NVML_CLOCK_MEM",
    "video": "NVML_CLOCK_VIDEO",
}
_REASONS: Final = {
    "gpu_idle": "GpuIdle",
    "applications_clocks_setting": "ApplicationsClocksSetting",
    "sw_power_cap": "SwPowerCap",
    "hw_slowdown": "HwSlowdown",
    "sync_boost": "SyncBoost",
    "sw_thermal_slowdown": "SwThermalSlowdown",
    "hw_thermal_slowdown": "HwThermalSlowdown",
    "hw_power_brake_slowdown": "HwPowerBrakeSlowdown",
    "display_clock_setting": "DisplayClockSetting",
}
# Field values in nanoseconds; the names of the fields are younger than their numbers.
_REASON_FIELDS: Final = {
    "sw_power_cap": 74,
    "sync_boost": 76,
    "sw_thermal_slowdown": 269,
    "hw_thermal_slowdown": 270,
    "hw_power_brake_slowdown": 271,
}
# nvmlDeviceGpuRecoveryAction_t, by its values from 0 on.
_RECOVERY_ACTIONS: Final = ("none", "gpu_reset", "node_reboot", "drain_p2p", "drain_and_reset")
_RECOVERY_ACTION_FIELD: Final = 230


def info(gpu: Gpu) -> Iterator[Sample]:
    """Yield who the board is; asked once per handle, the MIG mode apart."""
    pci = gpu.ask_once("nvmlDeviceGetPciInfo")
    bus_id = getattr(pci, "busId", b"")
    yield families.GPU_INFO.sample(
        1,
        bus_id.decode(errors="replace") if isinstance(bus_id, bytes) else str(bus_id),
        gpu.ask_once("nvmlDeviceGetSerial") or "",
        gpu.ask_once("nvmlDeviceGetBoardPartNumber") or "",
        gpu.ask_once("nvmlDeviceGetVbiosVersion") or "",
        "" if gpu.mig_mode is None else "enabled" if gpu.mig_enabled else "disabled",
    )


def health(gpu: Gpu) -> Iterator[Sample]:
    """Yield that the GPU can be read, and what the driver asks for."""
    yield families.READABLE.sample(1)
    field = (_RECOVERY_ACTION_FIELD, 0)
    wanted = gpu.ask_fields([field]).get(field)
    if wanted is not None:
        for value, action in enumerate(_RECOVERY_ACTIONS):
            yield families.RECOVERY_ACTION.sample(int(value == wanted), action)


def mig_info(device: Device) -> Sample:
    """Return who an instance is; NVML's name of it is "NVIDIA A100-SXM4-80GB MIG 1g.10gb"."""
    ids = (device.gpu_instance_id, device.compute_instance_id)
    return families.MIG_INFO.sample(
        1,
        device.parent_uuid or "",
        device.name.partition(" MIG ")[2],
        *("" if one is None else str(one) for one in ids),
    )


def clocks(gpu: Gpu) -> Iterator[Sample]:
    """Yield the clocks, current and highest."""
    for clock, constant in _CLOCKS.items():
        kind = getattr(gpu.binding, constant)
        for family, megahertz in (
            (families.CLOCK, gpu.ask("nvmlDeviceGetClockInfo", kind)),
            (families.CLOCK_MAX, gpu.ask_once("nvmlDeviceGetMaxClockInfo", kind)),
        ):
            if within(_CLOCK_MEGAHERTZ, megahertz) is not None:
                yield family.sample(megahertz * 1e6, clock)


def throttle(gpu: Gpu) -> Iterator[Sample]:
    """Yield what holds the clocks down, now and in sum."""
    active = gpu.ask("nvmlDeviceGetCurrentClocksEventReasons")
    if active is not None:
        supported = gpu.ask_once("nvmlDeviceGetSupportedClocksEventReasons")
        for reason, constant in _REASONS.items():
            bit = getattr(gpu.binding, f"nvmlClocksEventReason{constant}")
            if supported is None or supported & bit:
                yield families.THROTTLE_ACTIVE.sample(int(bool(active & bit)), reason)
    nanoseconds = gpu.ask_fields((field, 0) for field in _REASON_FIELDS.values())
    for reason, field in _REASON_FIELDS.items():
        if (field, 0) in nanoseconds:
            yield families.THROTTLE_SECONDS.sample(nanoseconds[field, 0] / 1e9, reason)


def power(gpu: Gpu) -> Iterator[Sample]:
    """Yield the limits, and the energy used."""
    lowest, highest = gpu.ask_once("nvmlDeviceGetPowerManagementLimitConstraints") or (None, None)
    limits: tuple[tuple[ExtendedFamily, int | None], ...] = (
        (families.POWER_LIMIT, gpu.ask("nvmlDeviceGetEnforcedPowerLimit")),
        (families.POWER_MANAGEMENT_LIMIT, gpu.ask("nvmlDeviceGetPowerManagementLimit")),
        (
            families.POWER_DEFAULT_LIMIT,
            gpu.ask_once("nvmlDeviceGetPowerManagementDefaultLimit"),
        ),
        (families.POWER_LOWEST_LIMIT, lowest),
        (families.POWER_HIGHEST_LIMIT, highest),
    )
    for family, milliwatts in limits:
        known = within(_POWER_MILLIWATTS, milliwatts)
        if known is not None:
            yield family.sample(known / 1000)
    energy = within(_ENERGY_MILLIJOULES, gpu.ask("nvmlDeviceGetTotalEnergyConsumption"))
    if energy is not None:
        yield families.ENERGY.sample(energy / 1000)


def performance_state(gpu: Gpu) -> Iterator[Sample]:
    """Yield the performance state; NVML's "unknown" is 32."""
    state = within(_PERFORMANCE_STATES, gpu.ask("nvmlDeviceGetPerformanceState"))
    if state is not None:
        yield families.PERFORMANCE_STATE.sample(state)


def video(gpu: Gpu) -> Iterator[Sample]:
    """Yield how busy the encoder and the decoder are."""
    for family, function in (
        (families.ENCODER, "nvmlDeviceGetEncoderUtilization"),
        (families.DECODER, "nvmlDeviceGetDecoderUtilization"),
    ):
        percent, _sampling_period = gpu.ask(function) or (None, None)
        known = within(_PERCENT, percent)
        if known is not None:
            yield family.sample(known / 100)
