# SPDX-License-Identifier: Apache-2.0
"""Quantities, durations and how values are shown."""

from __future__ import annotations

import contextlib
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scaler.model import Metric
from scaler.quantities import (
    format_age,
    format_duration,
    format_replicas,
    format_value,
    is_milli,
    measured_milli,
    milli,
    parse_quantity,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20Gi", 20 * 1024**3),
        ("500M", 500 * 10**6),
        ("1e9", 10**9),
        ("1E3", 1000),
        ("1E", 10**18),
        ("1.5Ki", 1536),
        ("100m", Fraction(1, 10)),
        ("250u", Fraction(1, 4000)),
        ("3n", Fraction(3, 10**9)),
        (".5", Fraction(1, 2)),
        ("5.", 5),
        ("+5", 5),
        ("-5", -5),
        ("1e-3", Fraction(1, 1000)),
        ("0", 0),
    ],
)
def test_quantities(text, expected):
    assert parse_quantity(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "1K", "1ki", "1 Gi", " 1", "1_0", "NaN", "inf", "1e", "1e4000", "1GiB", "0x10", "٣", ".",
     "1" * 65, "20gi", "1e3Ki", "1\n"],
)  # fmt: skip
def test_what_the_api_server_refuses_is_refused(text):
    with pytest.raises(ValueError, match="not a quantity"):
        parse_quantity(text)


def test_milli_units_round_up():
    assert milli(parse_quantity("1.0001")) == 1001
    assert milli(parse_quantity("1n")) == 1


@given(st.fractions(-(10**6), 10**6), st.integers(-(10**9), 10**9))
def test_milli_units_are_above_a_threshold_where_the_value_is(value, threshold_milli):
    assert (milli(value) > threshold_milli) == (value * 1000 > threshold_milli)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", True), ("0.001", True), ("40.125", True), ("1m", True), ("0.3333Gi", True),
     ("1P", True), ("0.0002", False), ("40.0005", False), ("1u", False), ("1n", False),
     ("1e-4", False), ("999.9999", False), ("0.0000001Ki", False)],
)  # fmt: skip
def test_what_milli_units_say(text, expected):
    assert is_milli(parse_quantity(text)) == expected


@given(st.integers(-(10**12), 10**12))
@example(8_589_934_583)
def test_a_measured_value_is_what_its_text_says(value_milli):
    """Truncating 64.1 * 1000 makes 64099 of it, rounding up makes 1101 of 1.1."""
    assert measured_milli(value_milli / 1000) == value_milli


@given(st.floats(5e-324, 1e18))
def test_a_measured_value_above_zero_stays_above_zero(value):
    assert measured_milli(value) >= 1
    assert measured_milli(value) == pytest.approx(value * 1000, abs=1)


@given(st.integers(1, 999))
def test_a_small_value_is_shown_as_it_is(value_milli):
    text = format_value(Metric.QUERY, value_milli)
    assert parse_quantity(text) * 1000 == value_milli


@given(st.text(max_size=100))
def test_no_text_breaks_the_parser(text):
    with contextlib.suppress(ValueError):
        assert parse_quantity(text) is not None


@pytest.mark.parametrize(
    ("metric", "value_milli", "expected"),
    [
        (Metric.DUTY_CYCLE, 63_000, "63"),
        (Metric.DUTY_CYCLE, 62_666, "62.7"),
        (Metric.MEMORY_USED_BYTES, 12 * 1024**3 * 1000, "12Gi"),
        (Metric.MEMORY_USED_BYTES, 1536 * 1024 * 1000, "1.5Mi"),
        (Metric.MEMORY_USED_BYTES, 0, "0"),
        (Metric.POWER_USAGE_MILLIWATTS, 250_000 * 1000, "250W"),
        (Metric.POWER_USAGE_MILLIWATTS, 1_500_000 * 1000, "1.5kW"),
        (Metric.TEMPERATURE_CELSIUS, -3_500, "-3.5"),
    ],
)
def test_values_read_well(metric, value_milli, expected):
    assert format_value(metric, value_milli) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-1, "0s"), (0, "0s"), (45.9, "45s"), (90, "1m30s"), (300, "5m"), (7260, "2h1m"),
     (7200, "2h"), (3 * 86400, "3d")],
)  # fmt: skip
def test_durations_read_well(seconds, expected):
    assert format_duration(seconds) == expected


MINUTE, HOUR, DAY, YEAR = 60, 3600, 86400, 365 * 86400


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-5, "0s"), (1.9, "1s"), (119, "119s"), (120, "2m"), (2 * MINUTE + 5, "2m5s"),
     (10 * MINUTE + 5, "10m"), (3 * HOUR - 1, "179m"), (3 * HOUR, "3h"), (8 * HOUR - 1, "7h59m"),
     (8 * HOUR + 59, "8h"), (2 * DAY - 1, "47h"), (2 * DAY, "2d"), (8 * DAY - 1, "7d23h"),
     (8 * DAY + HOUR, "8d"), (2 * YEAR - 1, "729d"), (2 * YEAR, "2y"), (3 * YEAR + DAY, "3y1d"),
     (8 * YEAR + 99 * DAY, "8y")],
)  # fmt: skip
def test_ages_are_those_of_kubectl(seconds, expected):
    assert format_age(seconds) == expected


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0 replicas"), (1, "1 replica"), (2, "2 replicas")]
)
def test_a_replica_count_has_its_noun(count, expected):
    assert format_replicas(count) == expected
