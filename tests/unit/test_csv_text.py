# SPDX-License-Identifier: Apache-2.0
"""CSV of samples: the forms that people have, and a sentence for each that is wrong."""

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.model import Metric, ObjectRef
from scaler.replay.csv_recording import csv_recording, step_seconds_of
from scaler.replay.csv_text import CsvColumns, CsvError, read_csv

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()


def read(text: str, **names: str) -> dict[str, list[tuple[float, float]]]:
    found = read_csv(text.splitlines(keepends=True), CsvColumns(**names))
    return {pod: list(series.samples()) for pod, series in found.series.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "time,pod,value\n0,a,1\n15,b,2.5\n", {"a": [(0, 1)], "b": [(15, 2.5)]}, id="as written"
        ),
        pytest.param("time,value\n0,1\n15,2\n", {"": [(0, 1), (15, 2)]}, id="a total"),
        pytest.param("0,1\n15,2\n", {"": [(0, 1), (15, 2)]}, id="no names, a total"),
        pytest.param("0,a,1\n", {"a": [(0, 1)]}, id="no names, pods"),
        pytest.param(
            "2026-01-31T12:00:00Z,1\n2026-01-31T13:00:15+01:00,2\n2026-01-31 12:00:30,3\n"
            f"{NOON * 1000 + 45000:.0f},4\n",
            {"": [(NOON, 1), (NOON + 15, 2), (NOON + 30, 3), (NOON + 45, 4)]},
            id="forms of times",
        ),
        pytest.param("Time;Pod Name;Duty Cycle\n0;a;40%\n", {"a": [(0, 40)]}, id="semicolons"),
        pytest.param("time\tpod\tvalue\n0\ta\t40\n", {"a": [(0, 40)]}, id="tabs"),
        pytest.param("\ufefftime,value\r\n0,1\r\n", {"": [(0, 1)]}, id="of a spreadsheet"),
        pytest.param('\n\n"time","pod","my metric"\n"0","a","1"\n\n', {"a": [(0, 1)]}, id="rest"),
        pytest.param("time,value\n0,\n15,NaN\n30,3\n", {"": [(30, 3)]}, id="empty values"),
    ],
)
def test_samples_are_read(text, expected):
    assert read(text) == expected


def test_columns_may_be_named():
    text = "a,b,c,d\n0,1,web-1,9\n"
    assert read(text, time="a", pod="c", value="d") == {"web-1": [(0, 9)]}
    assert read(text, time="a", value="b") == {"": [(0, 1)]}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("time,pod,value\n", "no line with a value"),
        ("time,pod,value\n0,a,\n", "no line with a value"),
        ("pod,value\na,1\n", "--csv-columns time=NAME"),
        ("time,a,b\n0,1,2\n", "--csv-columns value=NAME"),
        ("0,a,1,2\n", "line 1 has 4 columns and no names"),
        ("time,pod,value\n0,a\n", "line 2 has 2 columns"),
        ("time,pod,value\nyesterday,a,1\n", "line 2: 'yesterday' is not a time"),
        ("time,pod,value\n1e300,a,1\n", "line 2: '1e300' is not a time"),
        ("time,pod,value\nnan,a,1\n", "line 2: 'nan' is not a time"),
        ("time,pod,value\n-5,a,1\n", "line 2: '-5' is not a time"),
        ("time,pod,value\n0,a,much\n", "line 2: 'much' is not a number"),
        ("time,pod,value\n0,a,-1\n", "line 2: '-1' is not a number"),
        ("time,pod,value\n0,a,inf\n", "line 2: 'inf' is not a number"),
        ("time,pod,value\n0,,1\n", "line 2 names no pod"),
        ('time,pod,value\n0,"a\x00,1\n', "line 2"),
        ("time,value\n" + "x" * 70_000 + "\n", "line 2 has more than"),
    ],
)
def test_a_wrong_text_is_refused_by_line(text, part):
    with pytest.raises(CsvError) as error:
        read(text)
    assert part in str(error.value)


@pytest.mark.parametrize("names", [{"time": "when"}, {"pod": "when"}, {"value": "when"}])
def test_a_column_that_is_not_there_is_named_with_those_that_are(names):
    with pytest.raises(CsvError, match=r"'when'.*'time', 'pod', 'value'"):
        read("time,pod,value\n0,a,1\n", **names)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param(["0,1", "15,1", "30,1", "3600,1"], 15, id="with a gap"),
        pytest.param(["30,1", "0,1", "15,1", "15,1"], 15, id="in disorder, twice"),
        pytest.param(["0,a,1", "0,b,1", "60,a,1", "61,b,1", "120,a,1"], 60, id="of one pod"),
    ],
)
def test_the_step_is_the_usual_time_between_samples(lines, expected):
    assert step_seconds_of(read_csv(lines, CsvColumns())) == expected


@pytest.mark.parametrize(
    ("lines", "part"),
    [
        (["0,1", "0,2"], "a single time"),
        (["0,1", "15,1", "30,1", "1e9,1"], "--step"),
        (["0,1", "0.2,1", "0.4,1"], "every 0.2 s"),
        (["0,1", "259200,1"], "every 259200 s"),
    ],
)
def test_a_step_needs_two_times_and_a_possible_length(lines, part):
    with pytest.raises(CsvError) as error:
        step_seconds_of(read_csv(lines, CsvColumns()))
    assert part in str(error.value)


@given(st.text(max_size=200))
def test_any_text_is_samples_or_a_problem(text):
    try:
        found = read_csv(text.splitlines(keepends=True), CsvColumns())
    except CsvError:
        return
    assert all(len(one.times) == len(one.values) > 0 for one in found.series.values())


def recorded(rows: list[str], metric: Metric | None = None, *, is_counter: bool = False):
    samples = read_csv(rows, CsvColumns())
    return csv_recording(samples, ObjectRef("prod", "a"), metric=metric, is_counter=is_counter)


@pytest.mark.parametrize(
    ("rows", "part"),
    [
        pytest.param(["29833333.5,a,1", "29833335,a,1"], "1970-12-12", id="minutes"),
        pytest.param(["20717.5,a,1", "20719,a,1"], "1970-01-01T05:45", id="days"),
        pytest.param(["0,a,30", "15,a,150"], "--csv-counter", id="above 100 %"),
    ],
)
def test_what_cannot_be_a_load_is_refused(rows, part):
    with pytest.raises(CsvError) as error:
        recorded(rows)
    assert part in str(error.value)


@pytest.mark.parametrize(
    ("rows", "part"),
    [
        pytest.param(["2026-01-31 12:00:00,a,5", "2026-01-31 12:00:15,a,5"], "UTC", id="local"),
        pytest.param(["0,a,0.3", "15,a,0.8"], "above 1", id="ratios"),
        pytest.param([f"{15 * n},{n}" for n in range(70)], "--csv-counter", id="only grows"),
    ],
)
def test_a_doubt_about_units_is_noted(rows, part):
    (note,) = recorded(rows).notes
    assert part in note


def test_a_rate_a_little_above_all_of_a_gpu_is_all_of_it():
    rows = ["0,a,0", "10,a,1010", "20,a,9000"]
    assert recorded(rows, Metric.DUTY_CYCLE, is_counter=True).metrics[0].demand_milli == (
        None,
        100_000,
        None,
    )


def test_samples_count_alike_in_any_order():
    times = [*range(0, 300, 10), 15, 15]
    rows = [f"{time},{pod},{time % 70}" for time in times for pod in "ab"]
    expected = recorded([f"{row}" for row in sorted(rows, key=lambda row: int(row.split(",")[0]))])
    found = [recorded(rows), recorded(random.Random(1).sample(rows, len(rows)))]
    assert found == [expected, expected]
