"""Quantities, durations and how values are shown."""

from __future__ import annotations

import contextlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.model import Metric
from scaler.quantities import (
    format_duration,
    format_replicas,
    format_value,
    milli,
    parse_duration_seconds,
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


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("1m30s", 90), ("1h", 3600), ("1.5h", 5400), ("100ms", 0.1),
     ("0", 0), ("0s", 0), ("1us", 1e-6), ("1µs", 1e-6), ("2ns", 2e-9), (".5s", 0.5)],
)  # fmt: skip
def test_durations(text, seconds):
    assert parse_duration_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "30", "s", "-5s", "5 s", "5d", "1m30", "5S", "1e3s", "٣s", "1s" * 33]
)
def test_other_forms_of_durations_are_refused(text):
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration_seconds(text)


@given(st.text(max_size=100))
def test_no_text_breaks_the_parsers(text):
    for parse in (parse_quantity, parse_duration_seconds):
        with contextlib.suppress(ValueError):
            assert parse(text) is not None


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
def test_ages_read_well(seconds, expected):
    assert format_duration(seconds) == expected


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0 replicas"), (1, "1 replica"), (2, "2 replicas")]
)
def test_a_replica_count_has_its_noun(count, expected):
    assert format_replicas(count) == expected
