# SPDX-License-Identifier: Apache-2.0
"""A page's bytes -> the samples of one metric: exact names, odd lines, hostile pages."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scaler.budgets import LINE_CHARACTERS, METRIC_SERIES, SERVER_PAGE_BYTES
from scaler.readings.servers.samples import (
    MetricError,
    PageError,
    check_page,
    has_metric,
    read_metric,
)

NAME = "vllm:num_requests_running"
TYPE = f"# TYPE {NAME} gauge\n"


def samples(page: str, name: str = NAME) -> list[tuple[dict[str, str], float]] | None:
    found = read_metric(page.encode(), name)
    return None if found is None else [(dict(one.labels), one.value) for one in found]


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        pytest.param(f"{NAME} 3\n", [({}, 3.0)], id="no labels"),
        pytest.param(f"a 1\n{NAME} 3", [({}, 3.0)], id="no newline at the end"),
        pytest.param(f"a 1\r\n{NAME} 3\r\nb 2\r\n", [({}, 3.0)], id="carriage returns"),
        pytest.param(f"{NAME}{{}} 3\n", [({}, 3.0)], id="no label between the braces"),
        pytest.param(f'  {NAME} {{a="b",}}\t3.5e0  \n', [({"a": "b"}, 3.5)], id="blanks"),
        pytest.param(
            f'{NAME}{{engine="0",model_name="m"}} 1\n{NAME}{{model_name="m",engine="1"}} 2\n',
            [({"engine": "0", "model_name": "m"}, 1.0), ({"model_name": "m", "engine": "1"}, 2.0)],
            id="labels in any order",
        ),
        pytest.param(
            f'{NAME}{{a="}} \\"#\\\\",b="\\n{{"}} 3\n',
            [({"a": '} "#\\', "b": "\n{"}, 3.0)],
            id="escapes and braces",
        ),
        pytest.param(f"{NAME} 3 1700000000000\n", [({}, 3.0)], id="timestamp"),
        pytest.param(
            f'{NAME}{{a="b"}} 3 # {{trace_id="x y"}} 0.5 1.7e9\n# EOF\n',
            [({"a": "b"}, 3.0)],
            id="exemplar and end of OpenMetrics",
        ),
        pytest.param(f"{NAME} 3\n# EOF\n", [({}, 3.0)], id="end of OpenMetrics"),
        pytest.param(f"{TYPE}a 1\n", [], id="the type alone on a whole page"),
        pytest.param(f"#  TYPE\t{NAME}   gauge\na 1\n", [], id="the type with blanks"),
        pytest.param(f"# HELP {NAME} Running.\na 1\n", None, id="the help alone"),
        pytest.param(f"#TYPE {NAME} gauge\na 1\n", None, id="a comment"),
        pytest.param(f"# TYPE {NAME}_created gauge\n{NAME}_created 1.7e9\n", None, id="longer"),
        pytest.param("# TYPE vllm:num gauge\nvllm:num 1\n", None, id="shorter"),
        pytest.param(f"x{NAME} 1\nx:{NAME} 1\n", None, id="prefix"),
        pytest.param(f'a{{b="{NAME} 4"}} 1\n', None, id="inside of a label"),
        pytest.param(f'a{{b="\\n{NAME} 4"}} 1\n', None, id="behind an escaped newline"),
    ],
)
def test_samples(page, expected):
    assert samples(page) == expected
    assert has_metric(page.encode(), NAME) == (expected is not None)


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        pytest.param("# TYPE a counter\na_total 3\na_created 1.7e9\n", [({}, 3.0)], id="both"),
        pytest.param("# TYPE a counter\nb 1\n", [], id="type alone, of OpenMetrics"),
        pytest.param("# TYPE a_total counter\nb 1\n", [], id="type alone"),
        pytest.param("# TYPE a gauge\na 1\n", None, id="a gauge of the shorter name"),
    ],
)
def test_samples_of_counters(page, expected):
    assert samples(page, "a_total") == expected


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        pytest.param(f"{NAME} \n", "not a sample", id="no value"),
        pytest.param(f"{NAME} secret\n", "not a sample", id="no number"),
        pytest.param(f"{NAME} 1_0\n", "not a sample", id="a number of Python alone"),
        pytest.param(f"{NAME} ٣\n", "not a sample", id="a digit that is not ASCII"),
        pytest.param(f"{NAME} 1 2 3\n", "not a sample", id="too many numbers"),
        pytest.param(f'{NAME}{{a="secret" 1\n', "not a sample", id="no closing brace"),
        pytest.param(f"{NAME}{{a=secret}} 1\n", "not a sample", id="no quotes"),
        pytest.param(f'{NAME}{{a="b",a="c"}} 1\n', "not a sample", id="a label twice"),
        pytest.param(f'{NAME}{{a="secret"}} 1\n' * 2, "twice", id="a series twice"),
        pytest.param(
            f'{NAME}{{a="1",b="2"}} 1\n{NAME}{{b="2",a="1"}} 1\n', "twice", id="twice, reordered"
        ),
        pytest.param(f'{NAME}{{a="{"x" * LINE_CHARACTERS}"}} 1\n', "bytes", id="a long line"),
        pytest.param(TYPE, "no sample at all", id="a page without a sample"),
        pytest.param(
            "".join(f'{NAME}{{a="{n}"}} 1\n' for n in range(METRIC_SERIES + 1)), "more", id="many"
        ),
    ],
)
def test_unreadable_metrics_give_a_reason_without_words_of_the_page(page, reason):
    with pytest.raises(MetricError, match=reason) as raised:
        samples(page)
    assert NAME in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b" \r\n" * 1000, "empty", id="blank"),
        pytest.param(b"\n<!DOCTYPE html><html>secret", "HTML", id="HTML"),
        pytest.param(b'{"error": "secret"}', "JSON", id="JSON"),
        pytest.param(b"\x1f\x8b\x08\x00secret", "not text", id="compressed"),
        pytest.param(b"a 1\nb{c=\"\xff\"} 2\n", "not text", id="not UTF-8"),
        pytest.param(b"a 1\n" * (SERVER_PAGE_BYTES // 4 + 1), "more than", id="too large"),
    ],
)  # fmt: skip
def test_what_is_no_page(body, reason):
    with pytest.raises(PageError, match=reason) as raised:
        check_page(body)
    assert "secret" not in str(raised.value)


PARTS = st.sampled_from(
    [b"\n", b"\r\n", b"# TYPE ", b"#", b" ", b"{", b"}", b'"', b"\\", b",", b'a="b"', b"1", b"NaN",
     NAME.encode(), b"vllm:", b"\xc3\xa9", b"\xff", b"\0"]
)  # fmt: skip


@given(st.lists(PARTS | st.binary(max_size=4), max_size=40).map(b"".join))
@example(b"\n" + NAME.encode() + b"{\n")
def test_any_bytes_are_samples_or_a_known_error(body):
    try:
        check_page(body)
        read_metric(body, NAME)
    except (PageError, MetricError):
        return
    assert has_metric(body, NAME) == (read_metric(body, NAME) is not None)


class CountedBytes(bytes):
    """Counts the bytes that searches and slices touch."""

    touched = 0

    def find(self, sub, start=0, end=None):
        place = super().find(sub, start, len(self) if end is None else end)
        self.touched += (len(self) if place < 0 else place) - start + len(sub)
        return place

    def rfind(self, sub, start=0, end=None):
        place = super().rfind(sub, start, end)
        self.touched += end - (start if place < 0 else place)
        return place

    def __getitem__(self, key):
        part = super().__getitem__(key)
        self.touched += len(part)
        return part


@pytest.mark.parametrize(
    "unit",
    [
        pytest.param(f'{NAME}{{a="%d"}} 1\n', id="many series"),
        pytest.param(f'a{{b="{NAME}"}} 1\n', id="many lines with the name elsewhere"),
        pytest.param(f"{NAME} ", id="one line of the name"),
        pytest.param(f"a {NAME} ", id="one line with the name elsewhere"),
        pytest.param(f"# HELP {NAME}\n", id="comments"),
        pytest.param("\n", id="empty lines"),
    ],
)
def test_reading_touches_each_byte_a_few_times(unit):
    page = "".join(unit % n if "%d" in unit else unit for n in range(2000))
    body = CountedBytes(page.encode())
    with contextlib.suppress(MetricError):
        read_metric(body, NAME)
    assert body.touched <= 4 * len(body)
