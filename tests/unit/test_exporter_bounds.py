# SPDX-License-Identifier: Apache-2.0
"""The table of bounds: every family has its own, and no bound lets through what drivers fill in."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.exposition.table import EXTENDED_FAMILIES, FAMILIES
from exporter.model import Device, DeviceReading, ProcessOwner, ProcessUse
from exporter.nvml.bounds import BOUNDS, bounded

NAMES = {
    "nvidia_gpu_num_devices",
    *(family.name for family in FAMILIES),
}
# What drivers, and the tools above them, write for "not available".
FILLED_IN = (
    2**64 - 1,
    (2**64 - 1) * 1024,
    2**63 - 1,
    0x7FFF_FFFF_FFFF_FFF0,
    -1,
    -(2**31),
    math.nan,
    math.inf,
    -math.inf,
)
DEVICE = Device(uuid="GPU-0", name="Tesla T4", minor_number=0)
FIELDS = {
    "duty_cycle_percent": "nvidia_gpu_duty_cycle",
    "memory_total_bytes": "nvidia_gpu_memory_total_bytes",
    "memory_used_bytes": "nvidia_gpu_memory_used_bytes",
    "power_usage_milliwatts": "nvidia_gpu_power_usage_milliwatts",
    "temperature_celsius": "nvidia_gpu_temperature_celsius",
    "fan_speed_percent": "nvidia_gpu_fanspeed_percent",
}


def test_every_family_has_its_bounds_and_nothing_else_has():
    assert BOUNDS.keys() == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_what_drivers_fill_in_is_outside(name):
    # A counter in KiB: what is filled in is 1024 times as much.
    is_kibibytes = name.startswith("nvidia_gpu_nvlink") and name.endswith("bytes_total")
    inside = {value for value in FILLED_IN if BOUNDS[name].hold(value * (1 + 1023 * is_kibibytes))}
    degrees = {"nvidia_gpu_temperature_celsius", "nvidia_gpu_temperature_margin_celsius"}
    assert inside == ({-1} if name in degrees else set())


@pytest.mark.parametrize(
    ("name", "outside"),
    [
        pytest.param("nvidia_gpu_duty_cycle", 100.1, id="percent"),
        pytest.param("nvidia_gpu_encoder_utilization_ratio", 1.01, id="ratio"),
        pytest.param("nvidia_gpu_temperature_celsius", 255, id="temperature"),
        pytest.param("nvidia_gpu_temperature_celsius", -273, id="low temperature"),
        pytest.param("nvidia_gpu_fanspeed_percent", 255, id="fan"),
        pytest.param("nvidia_gpu_memory_total_bytes", 0, id="no memory"),
        pytest.param("nvidia_gpu_power_limit_watts", 0, id="no power"),
        pytest.param("nvidia_gpu_clock_max_hertz", 0, id="no clock"),
        pytest.param("nvidia_gpu_pcie_link_max_width", 0, id="no lanes"),
        pytest.param("nvidia_gpu_performance_state", 32, id="state"),
        pytest.param("nvidia_gpu_ecc_enabled", 2, id="flag"),
        pytest.param("nvidia_gpu_page_retirement_pending", 0.5, id="half a flag"),
        pytest.param("nvidia_gpu_retired_pages_total", 2**32 - 1, id="pages"),
    ],
)
def test_what_cannot_be_is_outside(name, outside):
    assert not BOUNDS[name].hold(outside)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_bounds_themselves_are_inside(name):
    bounds = BOUNDS[name]
    assert bounds.hold(bounds.lowest)
    assert bounds.hold(bounds.highest)


@given(
    values=st.fixed_dictionaries(
        {field: st.none() | st.floats() | st.integers(-(2**64), 2**64) for field in FIELDS}
    )
)
def test_a_value_of_the_base_set_stays_or_is_missing(values):
    kept = bounded(DeviceReading(device=DEVICE, **values))
    for field, name in FIELDS.items():
        value = values[field]
        is_real = value is not None and BOUNDS[name].hold(value)
        assert getattr(kept, field) == (value if is_real else None)


@given(
    value=st.floats() | st.integers(-(2**64), 2**64),
    family=st.sampled_from(EXTENDED_FAMILIES),
)
def test_an_extended_value_stays_or_is_missing(value, family):
    sample = family.sample(value, *("x" for _ in family.labels))
    kept = bounded(DeviceReading(device=DEVICE, extended=(sample,))).extended
    assert kept == ((sample,) if BOUNDS[family.name].hold(value) else ())


def test_the_parts_of_processes_are_bounded_too():
    owner = ProcessOwner(namespace_name="ns", pod_name="pod")
    uses = (
        ProcessUse(owner=owner, memory_used_bytes=2**64 - 2, duty_cycle_percent=40.0),
        ProcessUse(owner=owner, memory_used_bytes=7, duty_cycle_percent=math.nan),
    )
    kept = bounded(DeviceReading(device=DEVICE, uses=uses)).uses or ()
    assert [(one.memory_used_bytes, one.duty_cycle_percent) for one in kept] == [
        (None, 40.0),
        (7, None),
    ]
