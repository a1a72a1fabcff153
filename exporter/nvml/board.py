# SPDX-License-Identifier: Apache-2.0
"""What a board says of itself: info, health, clocks, throttling, power, video engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter.exposition import board_families, families
from exporter.nvml.calls import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from exporter.model import Family, Sample
    from exporter.nvml.gpu import Gpu

    Field = tuple[int, int]

# A newer driver may name a kind that is unknown here.
OTHER: Final = "other"
# Nothing real comes near these bounds: drivers fill what they do not know with the highest values.
_REASONS_MASK: Final = range(1 << 60)
_ENUM_VALUES: Final = range(256)

_CLOCKS: Final = {
    "graphics": "NVML_CLOCK_GRAPHICS",
    "sm": "NVML_CLOCK_SM",
    "memory": "NVML_CLOCK_MEM",
    "video": "NVML_CLOCK_VIDEO",
}
# nvmlClocksEventReasons, and the two of nvmlClocksThrottleReasons that have no successor.
REASONS: Final = {
    "gpu_idle": 0x1,
    "applications_clocks_setting": 0x2,
    "sw_power_cap": 0x4,
    "hw_slowdown": 0x8,
    "sync_boost": 0x10,
    "sw_thermal_slowdown": 0x20,
    "hw_thermal_slowdown": 0x40,
    "hw_power_brake_slowdown": 0x80,
    "display_clock_setting": 0x100,
    "board_limit": 0x200,
    "reliability": 0x400,
}
_ALL_REASONS: Final = sum(REASONS.values())
# Field values in nanoseconds; the names of the fields are younger than their numbers.
REASON_FIELDS: Final = {
    "sw_power_cap": 74,
    "sync_boost": 76,
    "sw_thermal_slowdown": 269,
    "hw_thermal_slowdown": 270,
    "hw_power_brake_slowdown": 271,
}
# The same where a driver does not have these fields, by the translation in nvml.h.
_OLDER_REASON_FIELDS: Final = {"sw_thermal_slowdown": 75}
_PERFORMANCE_POLICIES: Final = {
    "sw_power_cap": "NVML_PERF_POLICY_POWER",
    "sync_boost": "NVML_PERF_POLICY_SYNC_BOOST",
    "sw_thermal_slowdown": "NVML_PERF_POLICY_THERMAL",
}
# NVML_PERF_POLICY_*, and the fields that count the same.
POLICIES: Final = {
    "power": "POWER",
    "thermal": "THERMAL",
    "sync_boost": "SYNC_BOOST",
    "board_limit": "BOARD_LIMIT",
    "low_utilization": "LOW_UTILIZATION",
    "reliability": "RELIABILITY",
    "below_application_clocks": "TOTAL_APP_CLOCKS",
    "below_base_clocks": "TOTAL_BASE_CLOCKS",
}
# NVML_FI_DEV_POWER_AVERAGE and _INSTANT, in milliwatts.
_POWER_FIELDS: Final = (185, 186)
# nvmlDeviceGpuRecoveryAction_t, by its values from 0 on.
RECOVERY_ACTIONS: Final = (
    "none",
    "gpu_reset",
    "node_reboot",
    "drain_p2p",
    "drain_and_reset",
    "recover_imex_domain",
    "bus_reset",
    "system_reboot",
)
_RECOVERY_ACTION_FIELD: Final = 230
_MIG_MODES: Final = {None: "", 0: "disabled", 1: "enabled"}


def info(gpu: Gpu) -> Iterator[Sample]:
    """Yield who the board is; asked once per handle, the MIG mode apart."""
    pci = gpu.ask_once("nvmlDeviceGetPciInfo")
    yield families.GPU_INFO.sample(
        1,
        "" if pci is None else gpu.text_in(pci, "busId", "nvmlDeviceGetPciInfo"),
        gpu.ask_once("nvmlDeviceGetSerial") or "",
        gpu.ask_once("nvmlDeviceGetBoardPartNumber") or "",
        gpu.ask_once("nvmlDeviceGetVbiosVersion") or "",
        _MIG_MODES.get(gpu.mig_mode, OTHER),
    )


def health(gpu: Gpu) -> Iterator[Sample]:
    """Yield that the GPU can be read, and what the driver asks for."""
    yield families.READABLE.sample(1)
    field = (_RECOVERY_ACTION_FIELD, 0)
    action = named(RECOVERY_ACTIONS, gpu.ask_fields([field]).get(field))
    yield from states(families.RECOVERY_ACTION, RECOVERY_ACTIONS, action)


def named(names: Sequence[str], value: float | None) -> str | None:
    """Return the name of an enum's value; that of a newer driver is another one."""
    known = within(_ENUM_VALUES, value)
    if known is None:
        return None
    return names[known] if known < len(names) else OTHER


def states(family: Family, names: Sequence[str], state: str | None) -> Iterator[Sample]:
    """Yield 1 for the state and 0 for all others; nothing where it is not known."""
    if state is None:
        return
    for name in (*names, OTHER):
        yield family.sample(int(name == state), name)


def clocks(gpu: Gpu) -> Iterator[Sample]:
    """Yield the clocks, current and highest."""
    for clock, constant in _CLOCKS.items():
        kind = getattr(gpu.binding, constant)
        yield from families.CLOCK.known(gpu.ask("nvmlDeviceGetClockInfo", kind), clock, times=1e6)
        highest = gpu.ask_once("nvmlDeviceGetMaxClockInfo", kind)
        yield from families.CLOCK_MAX.known(highest, clock, times=1e6)


def throttle(gpu: Gpu) -> Iterator[Sample]:
    """Yield what holds the clocks down, now and in sum."""
    active = _reasons(gpu.ask, "Current")
    if active is not None:
        supported = _reasons(gpu.ask_once, "Supported")
        for reason, bit in REASONS.items():
            if supported is None or (supported | active) & bit:
                yield families.THROTTLE_ACTIVE.sample(int(bool(active & bit)), reason)
        yield families.THROTTLE_ACTIVE.sample(int(bool(active & ~_ALL_REASONS)), OTHER)
    reasons = ((field, 0) for field in REASON_FIELDS.values())
    values = gpu.ask_fields({*reasons, *_policy_fields(gpu).values()})
    for reason, nanoseconds in _reason_times(gpu, values):
        yield from families.THROTTLE_SECONDS.known(nanoseconds, reason, over=1e9)
    for policy, nanoseconds in _policy_times(gpu, values):
        yield from board_families.VIOLATION_SECONDS.known(nanoseconds, policy, over=1e9)


def _reasons(ask: Callable[[str], int | None], which: str) -> int | None:
    """Ask for a mask of reasons; drivers before R535 have it under its former name only."""
    mask = ask(f"nvmlDeviceGet{which}ClocksEventReasons")
    if mask is None:
        mask = ask(f"nvmlDeviceGet{which}ClocksThrottleReasons")
    return within(_REASONS_MASK, mask)


def _reason_times(gpu: Gpu, values: Mapping[Field, float]) -> Iterator[tuple[str, float]]:
    """Yield the nanoseconds by reason, from the newest source that the driver has of each."""
    for reason, number in REASON_FIELDS.items():
        field = (number, 0)
        if gpu.lacks_field(field) and reason in _OLDER_REASON_FIELDS:
            field = (_OLDER_REASON_FIELDS[reason], 0)
        policy = _PERFORMANCE_POLICIES.get(reason)
        if field in values:
            yield reason, values[field]
        elif policy is not None and gpu.lacks_field(field):
            violation = gpu.ask("nvmlDeviceGetViolationStatus", getattr(gpu.binding, policy))
            if violation is not None:
                yield reason, violation.violationTime


def _policy_fields(gpu: Gpu) -> dict[str, Field]:
    return {
        policy: (getattr(gpu.binding, f"NVML_FI_DEV_PERF_POLICY_{name}"), 0)
        for policy, name in POLICIES.items()
    }


def _policy_times(gpu: Gpu, values: Mapping[Field, float]) -> Iterator[tuple[str, float]]:
    """Yield the nanoseconds by policy, by an older function where the driver has no field."""
    for policy, field in _policy_fields(gpu).items():
        if field in values:
            yield policy, values[field]
        elif gpu.lacks_field(field):
            constant = getattr(gpu.binding, f"NVML_PERF_POLICY_{POLICIES[policy]}")
            violation = gpu.ask("nvmlDeviceGetViolationStatus", constant)
            if violation is not None:
                yield policy, violation.violationTime


def power(gpu: Gpu) -> Iterator[Sample]:
    """Yield the limits, the energy used, and the power by its two measurements."""
    lowest, highest = gpu.ask_once("nvmlDeviceGetPowerManagementLimitConstraints") or (None, None)
    for family, milliwatts in (
        (families.POWER_LIMIT, gpu.ask("nvmlDeviceGetEnforcedPowerLimit")),
        (families.POWER_MANAGEMENT_LIMIT, gpu.ask("nvmlDeviceGetPowerManagementLimit")),
        (
            families.POWER_DEFAULT_LIMIT,
            gpu.ask_once("nvmlDeviceGetPowerManagementDefaultLimit"),
        ),
        (families.POWER_LOWEST_LIMIT, lowest),
        (families.POWER_HIGHEST_LIMIT, highest),
    ):
        yield from family.known(milliwatts, over=1000)
    yield from families.ENERGY.known(gpu.ask("nvmlDeviceGetTotalEnergyConsumption"), over=1000)
    average, instant = ((field, gpu.binding.NVML_POWER_SCOPE_GPU) for field in _POWER_FIELDS)
    values = gpu.ask_fields((average, instant))
    yield from board_families.POWER_AVERAGE.known(values.get(average), over=1000)
    yield from board_families.POWER_INSTANT.known(values.get(instant), over=1000)


def performance_state(gpu: Gpu) -> Iterator[Sample]:
    """Yield the performance state; NVML's "unknown" is 32."""
    yield from families.PERFORMANCE_STATE.known(gpu.ask("nvmlDeviceGetPerformanceState"))


def video(gpu: Gpu) -> Iterator[Sample]:
    """Yield how busy the engines for video, pictures and optical flow are."""
    for family, function in (
        (families.ENCODER, "nvmlDeviceGetEncoderUtilization"),
        (families.DECODER, "nvmlDeviceGetDecoderUtilization"),
        (board_families.JPEG, "nvmlDeviceGetJpgUtilization"),
        (board_families.OFA, "nvmlDeviceGetOfaUtilization"),
    ):
        percent, _sampling_period = gpu.ask(function) or (None, None)
        yield from family.known(percent, over=100)
