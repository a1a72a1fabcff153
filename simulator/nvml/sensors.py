# SPDX-License-Identifier: Apache-2.0
"""The C functions of nvml.h behind engines, sensors, modes, the fabric and the SRAM's errors."""

from __future__ import annotations

from ctypes import c_void_p
from typing import TYPE_CHECKING, Any, Final

from simulator.nvml.header import (
    ARGUMENT_VERSION_MISMATCH,
    FABRIC_INFO_V2,
    MARGIN_TEMPERATURE_V1,
    NOT_SUPPORTED,
    SRAM_STATUS_V1,
    FabricInfo,
    MarginTemperature,
    NvmlReturn,
    SramStatus,
)
from simulator.nvml.registry import UINT_P, Device, board, number, symbol, without_mig

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.boards import Board
    from simulator.driver import SimulatedDriver

_PERIOD_MICROSECONDS: Final = 167_000


def _engine(name: str, read: Callable[[Board], int]) -> None:
    """Register a function that yields the utilization of an engine, and over which time."""

    @symbol(name, UINT_P, UINT_P)
    def _answer(_driver: SimulatedDriver, device: Device, percent: Any, period: Any) -> None:
        percent[0] = read(without_mig(device).board)
        period[0] = _PERIOD_MICROSECONDS


def _jpeg_percent(state: Board) -> int:
    if not state.model.has_jpeg:
        raise NvmlReturn(NOT_SUPPORTED)
    return state.jpeg_percent


_engine("nvmlDeviceGetEncoderUtilization", lambda state: state.encoder_percent)
_engine("nvmlDeviceGetDecoderUtilization", lambda state: state.decoder_percent)
_engine("nvmlDeviceGetJpgUtilization", _jpeg_percent)
_engine("nvmlDeviceGetOfaUtilization", lambda state: state.ofa_percent)


@symbol("nvmlDeviceGetMarginTemperature", c_void_p)
def _margin(driver: SimulatedDriver, device: Device, out: int) -> None:
    gpu = board(device)
    if gpu.board.model.slowdown_celsius is None:
        raise NvmlReturn(NOT_SUPPORTED)
    answer = MarginTemperature.from_address(out)
    _check_version(answer.version, MARGIN_TEMPERATURE_V1)
    answer.margin = gpu.board.model.slowdown_celsius - driver.temperature_celsius(gpu)


@number("nvmlDeviceGetPersistenceMode")
def _persistence_mode(_driver: SimulatedDriver, device: Device) -> int:
    return int(board(device).board.persistence_mode)


@number("nvmlDeviceGetComputeMode")
def _compute_mode(_driver: SimulatedDriver, device: Device) -> int:
    return board(device).board.compute_mode


@symbol("nvmlDeviceGetGpuFabricInfoV", c_void_p)
def _fabric(_driver: SimulatedDriver, device: Device, out: int) -> None:
    state = board(device).board
    answer = FabricInfo.from_address(out)
    _check_version(answer.version, FABRIC_INFO_V2)
    if state.model.has_fabric:
        answer.state, answer.status = state.fabric_state, state.fabric_status
        answer.clique_id = state.fabric_clique
        answer.cluster_uuid[:] = state.fabric_cluster


@symbol("nvmlDeviceGetSramEccErrorStatus", c_void_p)
def _sram_status(_driver: SimulatedDriver, device: Device, out: int) -> None:
    state = board(device).board
    if not (state.model.remaps_rows and state.model.ecc_enabled):
        raise NvmlReturn(NOT_SUPPORTED)
    answer = SramStatus.from_address(out)
    _check_version(answer.version, SRAM_STATUS_V1)
    for member, errors in state.sram.items():
        setattr(answer, member, errors)


def _check_version(version: int, known: int) -> None:
    if version != known:
        raise NvmlReturn(ARGUMENT_VERSION_MISMATCH)
