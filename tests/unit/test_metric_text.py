# SPDX-License-Identifier: Apache-2.0
"""The texts of `gpu-scaler/pod-metric` and `gpu-scaler/queue`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.model import MetricSelector, Queue
from scaler.policy.metric_text import MAX_TERMS, parse_queue, parse_selector

DEPTH = MetricSelector(name="depth")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("depth", DEPTH),
        ("  depth  ", DEPTH),
        ("depth{}", DEPTH),
        ("vllm:num_requests_running", MetricSelector(name="vllm:num_requests_running")),
        (
            'depth{b="2", a="1"}',
            MetricSelector(name="depth", labels=(("a", "1"), ("b", "2"))),
        ),
        (
            r'depth {path="C:\\x", text="a \"b\" + }\n"}',
            MetricSelector(name="depth", labels=(("path", "C:\\x"), ("text", 'a "b" + }\n'))),
        ),
        ("rate(served_total)", MetricSelector(name="served_total", is_rate=True)),
        (
            'rate ( served_total{a="1"} )',
            MetricSelector(name="served_total", labels=(("a", "1"),), is_rate=True),
        ),
    ],
)
def test_a_metric_is_read(text, expected):
    assert parse_selector(text) == expected
    assert parse_selector(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1depth",
        "depth{",
        "depth}",
        'depth{a="1"',
        "depth{a=1}",
        'depth{a=~"x.*"}',
        'depth{a!="x"}',
        'depth{a="1",a="2"}',
        "depth[5m]",
        "rate(depth[5m])",
        "rate(rate(depth))",
        "rate()",
        "sum(depth)",
        "depth + waiting",
        "x" * 300,
        "depth{" + ",".join(f'l{n}="v"' for n in range(17)) + "}",
    ],
)
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_selector(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "http://gateway:8000/metrics queued + running",
            Queue(
                service="gateway",
                port="8000",
                path="/metrics",
                terms=(MetricSelector(name="queued"), MetricSelector(name="running")),
            ),
        ),
        (
            'http://q:http depth{text="a+b"}',
            Queue(
                service="q",
                port="http",
                path="/metrics",
                terms=(MetricSelector(name="depth", labels=(("text", "a+b"),)),),
            ),
        ),
    ],
)
def test_a_queue_is_read(text, expected):
    assert parse_queue(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "depth",
        "http://gateway:8000/metrics",
        "http://gateway:8000/metrics  ",
        "http://gateway/metrics depth",
        "https://gateway:8000/metrics depth",
        "http://gateway.other:8000/metrics depth",
        "http://gateway.other.svc.cluster.local:8000/metrics depth",
        "http://10.0.0.1:8000/metrics depth",
        "http://169.254.169.254:80/latest depth",
        "http://user@gateway:8000/metrics depth",
        "http://gateway:0/metrics depth",
        "http://gateway:65536/metrics depth",
        "http://gateway:8000/metrics?name[]=x depth",
        "http://gateway:8000/metrics depth +",
        "http://gateway:8000/metrics + depth",
        'http://gateway:8000/metrics depth{a="1} + x',
        "http://gateway:8000/metrics " + " + ".join(["depth"] * (MAX_TERMS + 1)),
    ],
)
def test_another_queue_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_queue(text)


@given(st.text(max_size=200) | st.text('depth{}"=+, ()\\rate:', max_size=200))
def test_any_text_is_read_or_refused(text):
    for parse in (parse_selector, parse_queue):
        try:
            parse(text)
        except ValueError:
            continue
