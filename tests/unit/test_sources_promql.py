# SPDX-License-Identifier: Apache-2.0
"""The queries that we send to Prometheus, and every way in which an answer says nothing."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scaler.model import ObjectRef
from scaler.readings.prometheus.names import PRESETS
from scaler.readings.prometheus.queries import PART, series_query
from scaler.readings.prometheus.query_results import SeriesValues, read_series, read_total
from scaler.readings.prometheus.response import PromqlError, Result, read_error, read_result
from scaler.readings.window import PodRanges

OURS = PRESETS["gpu-exporter"]
DCGM = PRESETS["dcgm"]
WEB_0 = ObjectRef(namespace="default", name="web-0")
WEB_1 = ObjectRef(namespace="default", name="web-1")
NOW = 1_800_000_000.5


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param(
            series_query("nvidia_gpu_duty_cycle", OURS, per_container=False),
            "label_replace(max by (namespace_name, pod_name, uuid)"
            ' (nvidia_gpu_duty_cycle{pod_name!=""}), "gpu_scaler_part", "value", "", "")'
            " or label_replace(min by (namespace_name, pod_name, uuid)"
            ' (timestamp(nvidia_gpu_duty_cycle{pod_name!=""})), "gpu_scaler_part", "time", "", "")',
            id="the latest value with its time",
        ),
        pytest.param(
            series_query("used", OURS, per_container=True, matchers=['cluster="eu"', 'a=~"b|c"']),
            "label_replace(max by (namespace_name, pod_name, uuid, container_name)"
            ' (used{pod_name!="", cluster="eu", a=~"b|c"}), "gpu_scaler_part", "value", "", "")'
            " or label_replace(min by (namespace_name, pod_name, uuid, container_name)"
            ' (timestamp(used{pod_name!="", cluster="eu", a=~"b|c"})),'
            ' "gpu_scaler_part", "time", "", "")',
            id="memory by container, and matchers",
        ),
        pytest.param(
            series_query("util", DCGM, per_container=True, window_seconds=90.5),
            "label_replace((sum by (namespace, pod, UUID, GPU_I_ID)"
            ' (sum_over_time(util{pod!=""}[90500ms]))'
            " / sum by (namespace, pod, UUID, GPU_I_ID)"
            ' (count_over_time(util{pod!=""}[90500ms]))'
            " and 2 * count_over_time((min by (namespace, pod, UUID, GPU_I_ID)"
            ' (time() - timestamp(util{pod!=""})) < 60)[90500ms:4525ms])'
            " - count_over_time((min by (namespace, pod, UUID, GPU_I_ID)"
            ' (time() - timestamp(util{pod!=""})) < 120)[90500ms:4525ms]) >= 10),'
            ' "gpu_scaler_part", "value", "", "")'
            " or label_replace(min by (namespace, pod, UUID, GPU_I_ID)"
            ' (timestamp(util{pod!=""})), "gpu_scaler_part", "time", "", "")',
            id="a window, of which half has to have samples; dcgm-exporter's labels",
        ),
    ],
)
def test_the_query(query, expected):
    assert query == expected


def test_pods_that_were_not_ready_for_all_of_a_window_have_shorter_ones():
    query = series_query(
        "util",
        DCGM,
        per_container=True,
        window_seconds=60,
        shorter={30_000: ["web-0", "api.v1-0"], 57_000: ["web-1"]},
    )
    assert query.count('"gpu_scaler_part"') == 4
    assert query.count('"gpu_scaler_part", "value"') == 1
    for milliseconds, names in ((30_000, r"api\\.v1-0|web-0"), (57_000, "web-1")):
        selector = f'util{{pod!="", pod=~"{names}"}}'
        assert f"(sum_over_time({selector}[{milliseconds}ms]))" in query
        assert f"(time() - timestamp({selector})) < 60)[{milliseconds}ms:3000ms])" in query
        assert f'"gpu_scaler_part", "value_of_{milliseconds}"' in query


def test_each_pod_has_the_value_of_its_own_range():
    found = [
        *rows("40"),
        *rows("40", pod="web-1"),
        *rows("40", pod="web-2"),
        {**rows("80")[0], "metric": rows("80")[0]["metric"] | {PART: "value_of_30000"}},
        {**rows("90")[0], "metric": rows("90")[0]["metric"] | {PART: "value_of_57000"}},
    ]
    web_2 = WEB_0._replace(name="web-2")
    ranges = PodRanges(window_seconds=60, milliseconds={WEB_0: 30_000}, too_young={web_2: 29.9})
    values, _ = read_series(
        Result(type="vector", rows=found),
        OURS,
        factor=1,
        pods={WEB_0, WEB_1, web_2},
        ranges=ranges,
    )
    assert values.values == {WEB_0: {"GPU-a": [80.0]}, WEB_1: {"GPU-a": [40.0]}}
    assert values.problems == {
        web_2: "samples cover only 29 s of the 60 s window since the pod became Ready;"
        " half of it is required"
    }


def answer(data: object, **more: object) -> bytes:
    return orjson.dumps({"status": "success", "data": data, **more})


def vector(*rows: object) -> dict[str, object]:
    return {"resultType": "vector", "result": list(rows)}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"", "not valid JSON or is truncated", id="nothing"),
        pytest.param(answer(vector())[:-9], "not valid JSON or is truncated", id="truncated"),
        pytest.param(b"\xff\xfe\x00", "not valid JSON or is truncated", id="no text"),
        pytest.param(b" <html>Log in</html>", "an HTML page, not JSON", id="HTML"),
        pytest.param(b"[]", "JSON but not a Prometheus response", id="a list"),
        pytest.param(b'{"data":' + b"[" * 99_999, "not valid JSON or is truncated", id="nested"),
        pytest.param(b'{"status":"\xff"}', "not valid JSON", id="no UTF-8"),
        pytest.param(b"{}", "has no status", id="no status"),
        pytest.param(
            b'{"status":"error","errorType":"timeout","error":"query timed out"}',
            "timeout: query timed out",
            id="an error",
        ),
        pytest.param(
            answer(vector(), warnings=["store a is away", "and b"]),
            "the answer has warnings: store a is away; and b",
            id="warnings",
        ),
        pytest.param(answer(vector(), isPartial=True), "partial (isPartial)", id="partial"),
        pytest.param(answer(None), "no data", id="no data"),
        pytest.param(answer({"resultType": "vector"}), "no result", id="no result"),
        pytest.param(answer({"resultType": 3, "result": []}), "no result", id="no type"),
        pytest.param(
            answer(vector({}, {}, {})), "3 series, more than --prometheus.max-series=2", id="many"
        ),
    ],
)
def test_answers_without_a_result(body, message):
    with pytest.raises(PromqlError) as error:
        read_result(body, max_series=2)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, id="nothing more"),
        pytest.param({"warnings": [], "isPartial": False}, id="nothing to say"),
        pytest.param({"infos": ["metric might not be a counter"]}, id="infos are about style"),
    ],
)
def test_a_complete_answer(more):
    result = read_result(answer(vector(1, 2), **more), max_series=2)
    assert (result.type, list(result.rows)) == ("vector", [1, 2])


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(b'{"metric":{"a":"\xff"},"value":[1,"2"]}', id="no UTF-8"),
        pytest.param(b'{"metric":{},"value":[1e999,"2"]}', id="a number out of range"),
    ],
)
def test_a_row_that_is_no_json_is_found_when_it_is_looked_at(row):
    body = b'{"status":"success","data":{"resultType":"vector","result":[' + row + b"]}}"
    result = read_result(body, max_series=2)
    for read_rows in (read_total, partial(read_series, names=OURS, factor=1, pods={WEB_0})):
        with pytest.raises(PromqlError, match="not valid JSON"):
            read_rows(result)


def test_what_an_error_says_is_short():
    text = read_error(orjson.dumps({"status": "error", "error": "x" * 9999, "errorType": "a\nb"}))
    assert text is not None
    assert text.startswith("a b: xxx")
    assert len(text) < 400
    assert read_error(b"<html>") is None


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        pytest.param(Result(type="scalar", rows=[NOW, "12.5"]), 12_500, id="scalar"),
        pytest.param(
            Result(type="vector", rows=[{"metric": {}, "value": [NOW, "1.001"]}]), 1001, id="exact"
        ),
        pytest.param(Result(type="scalar", rows=[NOW, "-3"]), -3000, id="negative"),
        pytest.param(Result(type="scalar", rows=[NOW, "1e300"]), 2**63 - 1, id="large"),
        pytest.param(Result(type="scalar", rows=[NOW, "1e-300"]), 1, id="small, and above 0"),
        pytest.param(Result(type="scalar", rows=[NOW, "0.0009"]), 1, id="less than a thousandth"),
        pytest.param(
            Result(type="scalar", rows=[NOW, "1.0001"]), 1001, id="finer than thousandths"
        ),
        pytest.param(Result(type="scalar", rows=[NOW, "-0.0009"]), 0, id="below 0, by little"),
        pytest.param(Result(type="scalar", rows=[NOW, "64.1"]), 64_100, id="no float's error"),
        pytest.param(Result(type="scalar", rows=[NOW, "0"]), 0, id="none"),
    ],
)
def test_the_total_of_a_query(result, expected):
    assert read_total(result) == expected


@pytest.mark.parametrize(
    ("result", "message"),
    [
        pytest.param(Result(type="vector", rows=[]), "empty: no series", id="empty"),
        pytest.param(Result(type="vector", rows=[{}, {}]), "has 2 series", id="several"),
        pytest.param(Result(type="matrix", rows=[{}]), "is a matrix", id="a range"),
        pytest.param(Result(type="string", rows=[NOW, "7"]), "is a string", id="a string"),
        pytest.param(Result(type="scalar", rows=[NOW, "NaN"]), "not a finite number", id="NaN"),
        pytest.param(Result(type="scalar", rows=[NOW, "+Inf"]), "not a finite number", id="Inf"),
        pytest.param(
            Result(type="scalar", rows=[NOW, "1e999999999"]), "not a finite", id="too large"
        ),
        pytest.param(Result(type="scalar", rows=[NOW]), "not a sample", id="half a sample"),
        pytest.param(Result(type="scalar", rows=[NOW, "x"]), "not a sample", id="a word"),
        pytest.param(Result(type="vector", rows=["x"]), "not a sample", id="no series"),
        pytest.param(
            Result(type="vector", rows=[{"metric": {}, "histogram": [NOW, {}]}]),
            "not a sample",
            id="a native histogram",
        ),
    ],
)
def test_queries_without_a_total(result, message):
    with pytest.raises(PromqlError) as error:
        read_total(result)
    assert message in str(error.value)


def rows(
    value: str | None, *, age: float | None = 5, pod: str = "web-0", **labels: str
) -> list[dict[str, Any]]:
    """The value part and the time part of one series."""
    named = {"namespace_name": "default", "pod_name": pod, "uuid": "GPU-a"} | labels
    parts = {"value": value, "time": None if age is None else str(NOW - age)}
    return [
        {"metric": named | {PART: part}, "value": [NOW, text]}
        for part, text in parts.items()
        if text is not None
    ]


def read(*found: list[dict[str, Any]], factor: int = 1) -> SeriesValues:
    result = Result(type="vector", rows=[row for one in found for row in one])
    return read_series(result, OURS, factor=factor, pods={WEB_0, WEB_1})[0]


def test_values_by_pod_and_gpu_with_the_age_of_the_oldest():
    values = read(
        rows("40"),
        rows("60", age=9, uuid="GPU-b"),
        rows("7", pod="web-1", container_name="a"),
        rows("8", pod="web-1", container_name="b", age=-3),
        rows("99", pod="other"),
        rows("99", namespace_name="elsewhere"),
    )
    assert values == SeriesValues(
        values={
            WEB_0: {"GPU-a": [40.0], "GPU-b": [60.0]},
            WEB_1: {"GPU-a": [7.0, 8.0]},
        },
        ages_seconds={WEB_0: 9.0, WEB_1: 5.0},
        problems={},
    )


@pytest.mark.parametrize(
    ("value", "factor", "expected"),
    [
        pytest.param("71.353", 1000, 71_353.0, id="watts"),
        pytest.param("81559", 2**20, 81559.0 * 2**20, id="mebibytes"),
        pytest.param("0.29", 1, 0.29, id="as it is"),
    ],
)
def test_units_are_exact(value, factor, expected):
    assert read(rows(value), factor=factor).values[WEB_0]["GPU-a"] == [expected]


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        pytest.param(rows("NaN"), "the value for this pod is NaN", id="NaN"),
        pytest.param(rows("+Inf"), "the value for this pod is +Inf", id="Inf"),
        pytest.param(rows("-1"), "the value for this pod is -1", id="negative"),
        pytest.param(
            [*rows("1"), *rows(None, uuid="GPU-b")],
            "samples cover less than half of the window for this pod",
            id="one GPU without a window",
        ),
    ],
)
def test_pods_whose_values_may_not_be_used(found, problem):
    assert read(found).problems == {WEB_0: problem}


def test_a_gpu_that_the_pod_held_earlier_in_the_window_does_not_count():
    values = read(rows("10"), rows("90", age=None, uuid="GPU-old"))
    assert values.values == {WEB_0: {"GPU-a": [10.0]}}


def test_a_sample_without_a_usable_time_is_older_than_any_limit():
    assert read([{**rows("1")[0]}, {**rows("1")[1], "value": [NOW, "NaN"]}]).ages_seconds == {
        WEB_0: float("inf")
    }


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(Result(type="matrix", rows=[]), id="type"),
        pytest.param(Result(type="vector", rows=[1]), id="no row"),
        pytest.param(Result(type="vector", rows=[{"metric": {}, "value": [NOW, "1"]}]), id="part"),
        pytest.param(Result(type="vector", rows=[{"metric": {PART: "value"}}]), id="foreign"),
        pytest.param(
            Result(type="vector", rows=[{**rows("1")[0], "value": [NOW]}]), id="half a sample"
        ),
        pytest.param(
            Result(type="vector", rows=[*rows("x"), *rows("1", pod="web-1")]), id="no number"
        ),
    ],
)
def test_an_answer_to_something_else(result):
    if result.rows and result.rows == [{"metric": {PART: "value"}}]:
        # Of a pod that nobody asked for, nothing is looked at.
        assert read_series(result, OURS, factor=1, pods={WEB_0})[0].values == {}
        return
    with pytest.raises(PromqlError):
        read_series(result, OURS, factor=1, pods={WEB_0})


def test_mig_instances_of_one_gpu_are_told_apart():
    labels = {"namespace": "default", "pod": "web-0", "UUID": "GPU-a"}
    found = [
        {"metric": labels | {"GPU_I_ID": str(n), PART: part}, "value": [NOW, text]}
        for n in (1, 2)
        for part, text in (("value", str(n)), ("time", str(NOW)))
    ]
    values, _ = read_series(Result(type="vector", rows=found), DCGM, factor=1, pods={WEB_0})
    assert values.values == {WEB_0: {"GPU-a/1": [1.0], "GPU-a/2": [2.0]}}


def test_a_container_label_of_its_own():
    names = replace(OURS, container_label="c")
    found = [*rows("1", c="a"), *rows("2", c="b")]
    values, _ = read_series(Result(type="vector", rows=found), names, factor=1, pods={WEB_0})
    assert values.values == {WEB_0: {"GPU-a": [1.0, 2.0]}}


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_an_error(body):
    with contextlib.suppress(PromqlError):
        assert isinstance(read_result(body, max_series=10), Result)
    read_error(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=4) | st.just("1"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["metric", "value", PART, "pod_name"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@example("vector", [{"metric": {PART: None}}])
@given(st.sampled_from(["vector", "scalar", "matrix"]), st.lists(JSON, max_size=4))
def test_any_result_is_values_or_an_error(type_, found):
    result = Result(type=type_, rows=found)
    pods = {WEB_0, ObjectRef(namespace="", name="1")}
    with contextlib.suppress(PromqlError):
        assert isinstance(read_total(result), int)
    with contextlib.suppress(PromqlError):
        values, _ = read_series(result, OURS, factor=1000, pods=pods)
        assert values.values.keys() <= pods
