# SPDX-License-Identifier: Apache-2.0
"""Field values: readings of boards that nvml.h has under numbers instead of functions."""

from __future__ import annotations

from ctypes import c_int, c_void_p
from typing import TYPE_CHECKING, Final

from simulator.nvml.header import (
    NOT_SUPPORTED,
    VALUE_TYPE_UNSIGNED_INT,
    VALUE_TYPE_UNSIGNED_LONG_LONG,
    FieldValue,
)
from simulator.nvml.registry import Device, board, is_before_r535, symbol

if TYPE_CHECKING:
    from simulator.driver import SimulatedDriver
    from simulator.gpus import SimulatedGpu

_NVLINK_KIBIBYTES_PER_SECOND: Final = 2_000_000  # per link at full load
_FIELD_RETIRED_SINGLE, _FIELD_RETIRED_DOUBLE, _FIELD_RETIRED_PENDING = 29, 30, 31
_FIELD_LINK_COUNT, _FIELD_NVLINK_TRANSMIT, _FIELD_NVLINK_RECEIVE = 91, 138, 139
# Recoveries, then effective errors, symbol errors and the bit error ratio of each.
_LINK_FIELDS: Final = {213, 214, 215, 219, 220, 221, 222}
_FIELD_RECOVERY_ACTION: Final = 230
FIELD_POLICY_POWER, _POLICY_BASE_CLOCKS = 74, 81
_POLICY_FIELDS: Final = {*range(FIELD_POLICY_POWER, _POLICY_BASE_CLOCKS + 1)}
_REASON_FIELDS: Final = {269, 270, 271}
_FIELD_MEMORY_TEMPERATURE: Final = 82
_FIELD_POWER_AVERAGE, _FIELD_POWER_INSTANT = 185, 186


@symbol("nvmlDeviceGetFieldValues", c_int, c_void_p)
def _field_values(driver: SimulatedDriver, device: Device, count: int, out: int) -> None:
    gpu = board(device)
    for answer in (FieldValue * count).from_address(out):
        value = _field(driver, gpu, answer.field, answer.scope)
        answer.result = NOT_SUPPORTED if value is None else 0
        answer.value_type = VALUE_TYPE_UNSIGNED_LONG_LONG
        answer.value = value or 0
        if answer.field in {_FIELD_LINK_COUNT, _FIELD_RECOVERY_ACTION}:
            answer.value_type = VALUE_TYPE_UNSIGNED_INT


def _field(driver: SimulatedDriver, gpu: SimulatedGpu, field: int, scope: int) -> int | None:
    state = gpu.board
    model = state.model
    if field in {_FIELD_RETIRED_SINGLE, _FIELD_RETIRED_DOUBLE, _FIELD_RETIRED_PENDING}:
        if model.remaps_rows:
            return None
        return {
            _FIELD_RETIRED_SINGLE: state.pages_single_bit,
            _FIELD_RETIRED_DOUBLE: state.pages_double_bit,
            _FIELD_RETIRED_PENDING: int(state.pages_pending),
        }[field]
    if field == _FIELD_MEMORY_TEMPERATURE:
        return driver.temperature_celsius(gpu) + 4 if model.has_memory_sensor else None
    if field in {_FIELD_POWER_AVERAGE, _FIELD_POWER_INSTANT}:
        is_known = (model.averages_power or field == _FIELD_POWER_INSTANT) and scope == 0
        return driver.power_milliwatts(gpu) if is_known else None
    if field in _POLICY_FIELDS or (field in _REASON_FIELDS and not is_before_r535(driver)):
        return state.event_nanoseconds.get(field, 0) if model.remaps_rows else None
    if field == _FIELD_RECOVERY_ACTION:
        return state.recovery_action if model.tells_recovery_action else None
    if not model.nvlinks:
        return None
    if field == _FIELD_LINK_COUNT:
        return model.nvlinks
    if field in {_FIELD_NVLINK_TRANSMIT, _FIELD_NVLINK_RECEIVE}:
        links = model.nvlinks - len(state.links_down)
        return round(driver.busy_seconds(gpu)[1] * links * _NVLINK_KIBIBYTES_PER_SECOND)
    if field in _LINK_FIELDS and model.counts_link_recoveries and scope < model.nvlinks:
        return state.link_fields.get((field, scope), 0)
    return None
