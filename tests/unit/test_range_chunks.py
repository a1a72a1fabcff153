# SPDX-License-Identifier: Apache-2.0
"""A long time in chunks: the steps, the length of the next chunk, and the rows of an answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.readings.prometheus.range_chunks import (
    CHUNK_POINTS,
    MAX_CHUNK_STEPS,
    STEPS_WISHED,
    PastRow,
    Span,
    next_steps,
    read_rows,
    span,
)
from scaler.readings.prometheus.response import PromqlError, Result

WEEK = 7 * 86400.0


@pytest.mark.parametrize(
    ("seconds", "step", "expected"),
    [
        pytest.param(WEEK, None, Span(999 * 604800 + 30, 30, 20160), id="a week at 30 s"),
        pytest.param(3600, None, Span(WEEK * 1000 - 3585, 15, 240), id="an hour at 15 s"),
        pytest.param(3600, 60.0, Span(WEEK * 1000 - 3540, 60, 60), id="the step that was asked"),
        pytest.param(5, None, Span(WEEK * 1000, 15, 1), id="one step at least"),
    ],
)
def test_a_span_ends_now_and_lies_at_multiples_of_its_step(seconds, step, expected):
    found = span(until_unix_seconds=WEEK * 1000 + 4, seconds=seconds, step_seconds=step)
    assert found == expected
    assert found.begun_unix_seconds % found.step_seconds == 0


@given(st.floats(1, 400 * 86400), st.floats(1e9, 2e9))
def test_a_span_has_no_more_steps_than_wished_up_to_two_years(seconds, until):
    found = span(until_unix_seconds=until, seconds=seconds)
    assert 1 <= found.steps <= STEPS_WISHED
    assert until - found.step_seconds < found.ended_unix_seconds <= until


@given(st.integers(1, 300), st.integers(1, 50))
def test_parts_cover_a_span_once(steps, part):
    whole = Span(600.0, 15.0, steps)
    parts = [whole.part(first, part) for first in range(0, steps, part)]
    times = [one.begun_unix_seconds + n * 15 for one in parts for n in range(one.steps)]
    assert times == [600.0 + 15.0 * step for step in range(steps)]


@given(st.integers(1, MAX_CHUNK_STEPS), st.integers(0, 10**9))
def test_the_next_chunk_is_within_its_bounds(steps, points):
    after = next_steps(steps, points=points)
    assert 1 <= after <= min(MAX_CHUNK_STEPS, 4 * steps)
    assert after == 1 or after * points / steps <= CHUNK_POINTS * 1.001


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (Result(type="matrix", rows=[]), ()),
        (
            Result(
                type="matrix", rows=[{"metric": {"a": "b"}, "values": [[15, "1"], [30, "NaN"]]}]
            ),
            (PastRow(labels={"a": "b"}, points=((15.0, "1"), (30.0, "NaN"))),),
        ),
        (
            Result(type="matrix", rows=[{"metric": {}, "histograms": [[15, {}]]}]),
            (PastRow(labels={}, points=()),),
        ),
        # Anybody who is scraped may write anything there, and it is shown on terminals.
        (
            Result(type="matrix", rows=[{"metric": {"a": "\x1b]0;x\x07y\nz"}, "values": []}]),
            (PastRow(labels={"a": "\ufffd]0;x\ufffdy z"}, points=()),),
        ),
        (
            Result(type="matrix", rows=[{"metric": {"a": "x" * 10**6}, "values": []}]),
            (PastRow(labels={"a": "x" * 253}, points=()),),
        ),
    ],
)
def test_rows_are_read(result, expected):
    assert read_rows(result) == expected


@pytest.mark.parametrize(
    "result",
    [
        Result(type="vector", rows=[]),
        Result(type="matrix", rows=["x"]),
        Result(type="matrix", rows=[{"values": []}]),
        Result(type="matrix", rows=[{"metric": {}, "values": [["x", "1"]]}]),
        Result(type="matrix", rows=[{"metric": {}, "values": [[1, "1", 2]]}]),
        Result(type="matrix", rows=[{"metric": {}, "values": 1}]),
        Result(type="matrix", rows=[{"metric": 1, "values": []}]),
    ],
)
def test_rows_of_anything_else_are_refused(result):
    with pytest.raises(PromqlError):
        read_rows(result)
