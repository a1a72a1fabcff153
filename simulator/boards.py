# SPDX-License-Identifier: Apache-2.0
"""What a simulated board is and knows beyond the base set: clocks, links, error counters."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardModel:
    """A board's data sheet; clocks in megahertz, the power limit in milliwatts.

    `remaps_rows` (Ampere and newer) says how bad memory is replaced: rows instead of pages.
    `counts_link_recoveries` (Blackwell and newer) says how failing links show: in fields of each
    link instead of error counters.
    """

    part_number: str
    graphics_max: int
    graphics_idle: int
    memory_clock: int
    power_limit_lowest: int
    pcie_generation: int
    nvlinks: int = 0
    remaps_rows: bool = True
    ecc_enabled: bool = True
    idle_performance_state: int = 0
    tells_recovery_action: bool = False
    counts_link_recoveries: bool = False
    has_memory_sensor: bool = False
    averages_power: bool = True
    has_jpeg: bool = False
    has_fabric: bool = False
    slowdown_celsius: int | None = None


_H100: Final = BoardModel(
    part_number="692-2G520-0200-000",
    graphics_max=1980,
    graphics_idle=345,
    memory_clock=2619,
    power_limit_lowest=200_000,
    pcie_generation=5,
    nvlinks=18,
    tells_recovery_action=True,
    has_memory_sensor=True,
    has_jpeg=True,
    has_fabric=True,
    slowdown_celsius=87,
)

BOARDS: Final[dict[str, BoardModel]] = {
    "T4": BoardModel(
        part_number="900-2G183-0000-001",
        graphics_max=1590,
        graphics_idle=300,
        memory_clock=5001,
        power_limit_lowest=60_000,
        pcie_generation=3,
        remaps_rows=False,
        idle_performance_state=8,
        averages_power=False,
    ),
    "A10": BoardModel(
        part_number="900-2G133-0020-100",
        graphics_max=1695,
        graphics_idle=210,
        memory_clock=6251,
        power_limit_lowest=100_000,
        pcie_generation=4,
        idle_performance_state=8,
    ),
    "A100-80GB": BoardModel(
        part_number="692-2G506-0212-002",
        graphics_max=1410,
        graphics_idle=210,
        memory_clock=1593,
        power_limit_lowest=100_000,
        pcie_generation=4,
        nvlinks=12,
        has_memory_sensor=True,
        averages_power=False,
        has_jpeg=True,
    ),
    "L4": BoardModel(
        part_number="900-2G193-0000-001",
        graphics_max=2040,
        graphics_idle=210,
        memory_clock=6251,
        power_limit_lowest=40_000,
        pcie_generation=4,
        idle_performance_state=8,
        has_jpeg=True,
        slowdown_celsius=83,
    ),
    "H100": _H100,
    "H200": replace(_H100, part_number="692-2G520-0280-000", memory_clock=3201),
    "B200": replace(
        _H100,
        part_number="692-2G525-0200-000",
        graphics_max=1965,
        graphics_idle=120,
        memory_clock=3996,
        counts_link_recoveries=True,
    ),
    "RTX-A6000": BoardModel(
        part_number="900-5G133-0300-000",
        graphics_max=2100,
        graphics_idle=210,
        memory_clock=8001,
        power_limit_lowest=100_000,
        pcie_generation=4,
        nvlinks=4,
        ecc_enabled=False,
        idle_performance_state=8,
    ),
}


class BusyTime:
    """Integrates the load, for everything that is counted and not measured."""

    def __init__(self) -> None:
        self._elapsed = 0.0
        self._busy = 0.0
        self._last: float | None = None

    def until(self, now: float, percent: Callable[[float, float], float]) -> tuple[float, float]:
        """Return (seconds since the first call, seconds of full load in them)."""
        if self._last is not None and now > self._last:
            self._elapsed += now - self._last
            self._busy += (now - self._last) * percent(self._last, now) / 100
        self._last = now if self._last is None else max(now, self._last)
        return self._elapsed, self._busy


@dataclass(slots=True)
class Board:
    """One board's state; tests set what a real board would come to know by misfortune.

    `ecc` is keyed by (error type, counter type, location) as NVML numbers them, `link_errors` by
    (link, counter), `link_fields` by (field, link). `event_reasons` are bits beside the ones that
    follow from the load, `event_nanoseconds` is keyed by field. `sram` is keyed by the member of
    `simulator.nvml.header.SramStatus`, `fabric_state` and `fabric_status` are NVML's numbers.
    """

    model: BoardModel
    busy: BusyTime = field(default_factory=BusyTime)
    ecc: dict[tuple[int, int, int], int] = field(default_factory=dict)
    link_errors: dict[tuple[int, int], int] = field(default_factory=dict)
    link_fields: dict[tuple[int, int], int] = field(default_factory=dict)
    links_down: set[int] = field(default_factory=set)
    event_reasons: int = 0
    event_nanoseconds: dict[int, int] = field(default_factory=dict)
    pcie_replays: int = 0
    pages_single_bit: int = 0
    pages_double_bit: int = 0
    pages_pending: bool = False
    rows_corrected: int = 0
    rows_uncorrected: int = 0
    rows_pending: bool = False
    rows_failed: bool = False
    recovery_action: int = 0
    encoder_percent: int = 0
    decoder_percent: int = 0
    jpeg_percent: int = 0
    ofa_percent: int = 0
    persistence_mode: bool = True
    compute_mode: int = 0
    ecc_pending: bool | None = None
    sram: dict[str, int] = field(default_factory=dict)
    fabric_state: int = 3
    fabric_status: int = 0
    fabric_clique: int = 0
    fabric_cluster: bytes = bytes(16)
