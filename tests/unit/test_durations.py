# SPDX-License-Identifier: Apache-2.0
"""Durations, for all programs alike."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cli.config import parse as parse_exporter
from tests.unit.test_scaler_config import parse as parse_scaler
from toolkit.cli.arguments import UsageError
from toolkit.durations import parse_duration, parse_duration_within

SECONDS = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
}
UNITS = st.sampled_from(sorted(SECONDS))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("1m30s", 90), ("1h", 3600), ("1.5h", 5400), ("100ms", 0.1),
     ("0", 0), ("0s", 0), ("1us", 1e-6), ("1µs", 1e-6), ("1μs", 1e-6), ("2ns", 2e-9), (".5s", 0.5),
     ("1.s", 1)],
)  # fmt: skip
def test_durations(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "30", "00", "s", "-5s", "+5s", "5 s", " 5s", "5s\n", "5d", "1m30", "5S", "1e3s", "٣s",
     "1s" * 33, ".s"],
)  # fmt: skip
def test_other_forms_are_refused_by_both_programs_in_the_same_words(text):
    expected = f"{text!r} is not a duration such as 10s, 500ms or 1m30s"
    with pytest.raises(ValueError, match="is not a duration") as refused:
        parse_duration(text)
    assert str(refused.value) == expected
    with pytest.raises(UsageError) as by_exporter:
        parse_exporter([f"--nvml.interval={text}"], {}, host_name="node", version="1")
    assert by_exporter.value.problems == (f"--nvml.interval: {expected}",)
    with pytest.raises(UsageError) as by_scaler:
        parse_scaler(f"--interval={text}")
    assert str(by_scaler.value) == f"--interval: {expected}"


@pytest.mark.parametrize(
    ("text", "lowest", "highest", "allowed"),
    [
        ("0", 0, float("inf"), "above 0s"),
        ("0ns", 0, float("inf"), "above 0s"),
        ("0", 0, 60, "above 0s and up to 1m"),
        ("61s", 0, 60, "above 0s and up to 1m"),
        ("31s", 0, 30, "above 0s and up to 30s"),
        ("0", 0.1, 60, "from 100ms to 1m"),
        ("99ms", 0.1, 300, "from 100ms to 5m"),
        ("25h", 1, 86400, "from 1s to 24h"),
        ("91s", 1, 90, "from 1s to 90s"),
    ],
)
def test_a_duration_out_of_bounds_is_told_them(text, lowest, highest, allowed):
    with pytest.raises(ValueError, match="is not a duration") as refused:
        parse_duration_within(text, lowest=lowest, highest=highest)
    assert str(refused.value) == f"{text!r} is not a duration {allowed}"


def test_the_bounds_themselves_are_allowed():
    assert parse_duration_within("100ms", lowest=0.1, highest=60) == 0.1
    assert parse_duration_within("1m", lowest=0.1, highest=60) == 60


@given(
    st.lists(
        st.tuples(st.from_regex(r"[0-9]{1,9}(\.[0-9]{1,9})?", fullmatch=True), UNITS),
        min_size=1,
        max_size=2,
    )
)
def test_a_duration_is_the_exact_sum_of_its_parts(parts):
    seconds = sum(Fraction(number) * SECONDS[unit] for number, unit in parts)
    assert parse_duration("".join(number + unit for number, unit in parts)) == float(seconds)


@given(st.text(max_size=8) | st.from_regex(r"[0-9.]{1,4}(ns|us|ms|s|m|h)", fullmatch=True))
def test_any_text_is_a_duration_or_a_sentence_that_names_it(text):
    try:
        is_understood = parse_duration(text) >= 0
    except ValueError as error:
        is_understood = str(error).startswith(repr(text))
    assert is_understood
