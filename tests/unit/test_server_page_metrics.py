# SPDX-License-Identifier: Apache-2.0
"""One metric of a model server's page: gauges, rates, requests in hand, sums of a queue."""

from __future__ import annotations

import pytest

from scaler.budgets import METRIC_SERIES
from scaler.model import Metric, MetricSelector
from scaler.readings.servers.page import (
    PageSum,
    read_sum,
)
from scaler.readings.servers.samples import PageError
from tests.unit.serverpage import OTHER, RATE, gauge, numbers, read, vllm


@pytest.mark.parametrize(
    ("page", "labels", "expected"),
    [
        pytest.param(gauge("a", " 2"), {}, 2.0, id="one series"),
        pytest.param(gauge("a", '{x="1"} 2', '{x="2"} 3'), {}, 5.0, id="all series"),
        pytest.param(gauge("a", '{x="1",y="1"} 2', '{x="2"} 3'), {"x": "1"}, 2.0, id="some"),
        pytest.param(gauge("a", '{x="1"} 2', " 3"), {"x": ""}, 3.0, id="series without a label"),
        pytest.param(gauge("a") + OTHER, {"x": "1"}, 0.0, id="the type alone"),
        pytest.param(gauge("a", '{x="1"} 2'), {"x": "3"}, 'a{x="3"}', id="no such series"),
        pytest.param(OTHER, {}, "no metric a", id="no such metric"),
        pytest.param(gauge("a", '{x="1"} NaN', " 1"), {}, "not a number", id="not a number"),
        pytest.param(gauge("a", '{x="1"} NaN', " 1"), {"x": ""}, 1.0, id="another is no number"),
        pytest.param(gauge("a", " 1e16"), {}, "too large", id="too large"),
        pytest.param(gauge("a", " -1"), {}, "negative", id="negative"),
        pytest.param(gauge("a", " x"), {}, "not a sample", id="unreadable"),
    ],
)
def test_pod_metric(page, labels, expected):
    selector = MetricSelector(name="a", labels=tuple(labels.items()))
    value = read(page, pod_metric=selector).values[Metric.POD_METRIC]
    assert (expected in value) if isinstance(value, str) else (value == expected)


def test_without_a_pod_metric_there_is_none():
    assert Metric.POD_METRIC not in read(vllm()).values


def rates(*readings: tuple[float, str], selector: MetricSelector = RATE) -> list[float | None]:
    found: list[float | None] = []
    before = None
    for at_seconds, page in readings:
        answer = read(page, pod_metric=selector, before=before, at_seconds=at_seconds)
        before = answer.counters
        value = answer.values[Metric.POD_METRIC]
        found.append(value if isinstance(value, float) else None)
    return found


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        pytest.param([(0, "a_total 5\n"), (2, "a_total 9\n")], [None, 2], id="two readings"),
        pytest.param(
            [(0, "a_total 5\n"), (2, "a_total 3\n")], [None, 1.5], id="a reset counts from 0"
        ),
        pytest.param(
            [(0, 'a_total{x="1"} 5\n'), (2, 'a_total{x="1"} 5\na_total{x="2"} 4\n')],
            [None, 2],
            id="a new series counts from 0",
        ),
        pytest.param(
            [(0, 'a_total{x="1"} 5\na_total{x="2"} 9\n'), (2, 'a_total{x="1"} 9\n')],
            [None, 2],
            id="a series that is gone",
        ),
        pytest.param(
            [
                (0, 'a_total{x="1"} 5\na_total{x="2"} 900\n'),
                (2, 'a_total{x="1"} 5\n'),
                (4, 'a_total{x="1"} 5\n'),
                (6, 'a_total{x="1"} 5\na_total{x="2"} 904\n'),
            ],
            [None, 0, 0, 2],
            id="a series that comes back",
        ),
        pytest.param(
            [
                (0, 'a_total{x="1"} 5\na_total{x="2"} 900\n'),
                (2, 'a_total{x="1"} 5\n'),
                (4, 'a_total{x="1"} 5\na_total{x="2"} 4\n'),
            ],
            [None, 0, 2],
            id="a series that comes back after a reset",
        ),
        pytest.param(
            [(0, "a_total 900\n"), (2, "# TYPE a_total counter\nb 1\n"), (4, "a_total 904\n")],
            [None, 0, 2],
            id="all come back",
        ),
        pytest.param(
            [(0, "# TYPE a_total counter\nb 1\n"), (2, "a_total 4\n")],
            [None, 2],
            id="the type was there",
        ),
        pytest.param(
            [(0, "b 1\n"), (2, "a_total 4\n"), (4, "a_total 6\n")],
            [None, None, 1],
            id="the metric was not there",
        ),
        pytest.param(
            [(0, "a_total 0\n"), (0.5, "a_total 9\n"), (2, "a_total 4\n")],
            [None, None, 2],
            id="the first reading stays until it is a second old",
        ),
        pytest.param(
            [(0, "a_total 0\n"), (2, "a_total 4\n"), (2.9, "a_total 99\n"), (3, "a_total 5\n")],
            [None, 2, 2, 1],
            id="a rate stays for a second",
        ),
        pytest.param([(0, "a_total 5\n"), (2, "a_total NaN\n")], [None, None], id="no number"),
    ],
)
def test_rate(readings, expected):
    assert rates(*readings) == expected


def test_no_more_counters_are_remembered_than_a_metric_may_have_series():
    before = None
    for number in range(3):
        page = "".join(f'a_total{{x="{number}-{one}"}} 1\n' for one in range(METRIC_SERIES // 2))
        before = read(page, pod_metric=RATE, before=before, at_seconds=2.0 * number).counters
    assert before is not None
    (counted,) = before.values.values()
    assert len(counted) == METRIC_SERIES
    newest = {dict(series)["x"].partition("-")[0] for series in counted}
    assert newest == {"1", "2"}


def test_the_first_reading_of_a_rate_says_that_it_needs_two():
    reason = read("a_total 5\n", pod_metric=RATE).values[Metric.POD_METRIC]
    assert isinstance(reason, str)
    assert "two readings" in reason


def test_the_time_that_requests_took_in_each_second_is_their_number():
    page = (
        "nv_inference_request_duration_us {}\nnv_inference_queue_duration_us {}\n"
        "nv_inference_count 7\n"
    )
    first = read(page.format(1_000_000, 0), at_seconds=10)
    assert numbers(first) == (None, None, None)
    second = read(page.format(9_000_000, 3_000_000), before=first.counters, at_seconds=12)
    assert (second.server, *numbers(second)) == ("triton", 4, 1.5, None)
    newer = page + "nv_inference_pending_request_count 5\n"
    assert numbers(read(newer.format(0, 0)))[1] == 5


def test_torchserve_counts_requests_from_arrival_to_answer():
    page = (
        "ts_inference_requests_total 7\nts_inference_latency_microseconds {}\n"
        "ts_queue_latency_microseconds {}\n"
    )
    first = read(page.format(0, 0), at_seconds=10)
    second = read(page.format(8_000_000, 6_000_000), before=first.counters, at_seconds=12)
    assert (second.server, *numbers(second)) == ("torchserve", 4, 3, None)


def test_sums_of_a_queue():
    page = b'queued{m="a"} 1\nqueued{m="b"} 2\nrunning 4\nin_total 8\n'
    queued, running = MetricSelector(name="queued"), MetricSelector(name="running")
    assert read_sum(page, [queued, running], None, 0.0)[0] == PageSum(value=7, problem=None)
    lacking = read_sum(page, [queued, MetricSelector(name="gone"), running], None, 0.0)[0]
    assert lacking == PageSum(value=7, problem="the page has no metric gone")
    rate = [queued, MetricSelector(name="in_total", is_rate=True)]
    first, counters = read_sum(page, rate, None, 0.0)
    assert first.value is None
    assert first.problem is not None
    assert read_sum(page.replace(b"8", b"12"), rate, counters, 2.0)[0].value == 5
    with pytest.raises(PageError):
        read_sum(b"<html>", [queued], None, 0.0)


@pytest.mark.parametrize("family", ["in_total", "in"], ids=["text", "OpenMetrics"])
def test_a_counter_that_a_user_names_needs_a_rate(family):
    page = f"# TYPE {family} counter\nin_total 8\n".encode()
    total, _ = read_sum(page, [MetricSelector(name="in_total")], None, 0.0)
    assert total.value is None
    assert "rate(in_total)" in (total.problem or "")
    found = read(page.decode(), pod_metric=MetricSelector(name="in_total"))
    assert "rate(in_total)" in str(found.values[Metric.POD_METRIC])
