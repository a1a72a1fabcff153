# SPDX-License-Identifier: Apache-2.0
"""A model server's page -> its numbers: recorded pages, and what servers do that misleads."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.model import Metric, MetricSelector
from scaler.readings.servers.page import (
    PageSum,
    RateCounters,
    ServerValues,
    read_server_page,
    read_sum,
)
from scaler.readings.servers.samples import PageError
from scaler.readings.servers.table import SERVERS

RECORDED = Path(__file__).parents[1] / "fixtures" / "servers"


def read(
    page: str | bytes,
    *,
    server: str | None = None,
    pod_metric: MetricSelector | None = None,
    before: RateCounters | None = None,
    at_seconds: float = 100.0,
) -> ServerValues:
    return read_server_page(
        page.encode() if isinstance(page, str) else page,
        server=server,
        pod_metric=pod_metric,
        before=before,
        at_seconds=at_seconds,
    )


def numbers(found: ServerValues) -> tuple[float | None, float | None, float | None]:
    """Return requests, waiting and cache, None for a reason."""
    values = [
        value if isinstance(value, float) else None
        for value in (
            found.values[Metric.REQUESTS],
            found.values[Metric.REQUESTS_WAITING],
            found.values[Metric.KV_CACHE_PERCENT],
        )
    ]
    return values[0], values[1], values[2]


def recorded(name: str) -> bytes:
    body = (RECORDED / name).read_bytes()
    return gzip.decompress(body) if name.endswith(".gz") else body


PAGES = {
    "bentoml-idle.txt": ("bentoml", 0, None, None),
    "bentoml-loaded.txt": ("bentoml", 7, None, None),
    "dynamo-fresh.txt": ("dynamo", 0, 0, None),
    "dynamo-frontend-fresh.txt": (None, None, None, None),
    "dynamo-frontend-loaded.txt": (None, None, None, None),
    "dynamo-sglang-idle.txt": ("dynamo", 0, 0, None),
    "dynamo-sglang-loaded.txt": ("dynamo", 10, 6, None),
    "dynamo-vllm-idle.txt": ("dynamo", 0, 0, 0),
    "dynamo-vllm-loaded.txt": ("dynamo", 10, 6, 3.515625),
    "llamacpp-idle.txt": ("llama.cpp", 0, 0, None),
    "llamacpp-loaded.txt": ("llama.cpp", 5, 3, None),
    "mlserver-fresh.txt": ("mlserver", 0, None, None),
    "mlserver-idle.txt": ("mlserver", 0, None, None),
    "mlserver-loaded.txt": ("mlserver", 7, None, None),
    "ray-idle.txt.gz": ("ray-serve", 0, 0, None),
    "ray-loaded.txt.gz": ("ray-serve", 7, 5, None),
    "vllm-dp2-fresh.txt": ("vllm", 0, 0, 0),
    "vllm-dp2-idle.txt": ("vllm", 0, 0, 0),
    "vllm-dp2-loaded.txt": ("vllm", 7, 3, pytest.approx(100 * 15 / 17)),
    "vllm-idle.txt": ("vllm", 0, 0, 0),
    "vllm-loaded.txt": ("vllm", 7, 5, pytest.approx(100 * 16 / 17)),
}


@pytest.mark.parametrize(("name", "expected"), PAGES.items(), ids=PAGES)
def test_recorded_page(name, expected):
    found = read(recorded(name))
    assert (found.server, *numbers(found)) == expected


OF_ONE_POD = [path.name for path in RECORDED.glob("*.txt*") if "frontend" not in path.name]


@pytest.mark.parametrize("name", sorted(OF_ONE_POD))
def test_each_recorded_page_is_of_the_server_in_its_name(name):
    found = read(recorded(name))
    assert found.server is not None
    assert found.server.replace(".", "").startswith(name.split("-")[0])
    requests = found.values[Metric.REQUESTS]
    assert isinstance(requests, float)
    assert (requests > 0) == ("loaded" in name)


def gauge(name: str, *samples: str) -> str:
    return f"# HELP {name} Text.\n# TYPE {name} gauge\n" + "".join(
        f"{name}{sample}\n" for sample in samples
    )


RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
KV_CACHE = "vllm:kv_cache_usage_perc"
GPU_CACHE = "vllm:gpu_cache_usage_perc"
OTHER = gauge("vllm:engine_sleep_state", " 0")


def vllm(running: str = " 1", waiting: str = " 2", *more: str) -> str:
    return gauge(RUNNING, running) + gauge(WAITING, waiting) + "".join(more)


SGLANG = "sglang:num_running_reqs", "sglang:num_queue_reqs"
TRT = "nv_trt_llm_request_metrics", "nv_trt_llm_kv_cache_block_metrics"
INFLIGHT = "dynamo_component_inflight_requests"
BENTO = "bentoml_service_request_in_progress"
ML = "rest_server_requests_in_progress"


@pytest.mark.parametrize(
    ("page", "server", "requests", "waiting", "cache"),
    [
        pytest.param(
            gauge(RUNNING) + gauge(WAITING) + gauge(KV_CACHE) + OTHER,
            *("vllm", 0, 0, 0),
            id="several API servers have types alone until the first request",
        ),
        pytest.param(
            vllm('{engine="0"} 1', '{engine="0"} 2')
            + f'{RUNNING}{{engine="1"}} 10\n{WAITING}{{engine="1"}} 20\n'
            + gauge(KV_CACHE, '{engine="0"} 0.2', '{engine="1"} 0.6'),
            *("vllm", 33, 22, 40),
            id="requests are summed and the cache is averaged over engines",
        ),
        pytest.param(
            vllm(" 1", " 2", gauge(GPU_CACHE, " 0.5"), gauge(KV_CACHE, " 0.25")),
            *("vllm", 3, 2, 25),
            id="both names of the cache",
        ),
        pytest.param(
            vllm(" 1", " 2", gauge(GPU_CACHE, " 0.5")),
            *("vllm", 3, 2, 50),
            id="the older name of the cache",
        ),
        pytest.param(
            vllm(" 1", " 2", gauge(KV_CACHE, " 1.0000001")),
            *("vllm", 3, 2, 100),
            id="a full cache, rounded",
        ),
        pytest.param(
            vllm(" 1", " 2", gauge(f"{RUNNING}_created", " 1.7e9"), gauge(f"{WAITING}_by", " 9")),
            *("vllm", 3, 2, None),
            id="longer names are others",
        ),
        pytest.param(
            gauge(RUNNING, " 1") + OTHER, *("vllm", None, None, None), id="without the waiting"
        ),
        pytest.param(
            gauge("vllm:lora_requests_info", " 1.7e9") + OTHER,
            *(None, None, None, None),
            id="a page with other metrics of vLLM",
        ),
        pytest.param(vllm(" 1.7e9", " 2"), *("vllm", None, 2, None), id="a time is no number"),
        pytest.param(vllm(" NaN", " 2"), *("vllm", None, 2, None), id="not a number"),
        pytest.param(vllm(" +Inf", " 2"), *("vllm", None, 2, None), id="infinite"),
        pytest.param(vllm(" -1", " 2"), *("vllm", None, 2, None), id="negative"),
        pytest.param(
            vllm(" 1", " 2", gauge(KV_CACHE, " 55")), *("vllm", 3, 2, None), id="cache above 1"
        ),
        pytest.param(
            vllm(" 1", " 2", f"{WAITING} 3\n"), *("vllm", None, None, None), id="a series twice"
        ),
        pytest.param(
            gauge(SGLANG[0], '{tp_rank="0",dp_rank="0"} 1', '{tp_rank="1",dp_rank="1"} 2')
            + gauge(SGLANG[1], '{dp_rank="0"} 3')
            + gauge("sglang:token_usage", ' {dp_rank="0"} 0.5', '{dp_rank="1"} 0.7'),
            *("sglang", 6, 3, pytest.approx(60)),
            id="SGLang with two data-parallel ranks",
        ),
        pytest.param(
            gauge(SGLANG[0], '{priority=""} 5', '{priority="0"} 2', '{priority="1"} 3')
            + gauge(SGLANG[1], '{priority=""} 1', '{priority="0"} 1'),
            *("sglang", 6, 1, None),
            id="SGLang's series without a priority is the total",
        ),
        pytest.param(
            gauge(SGLANG[0], '{pp_rank="0",tp_rank="0"} 5', '{pp_rank="1",tp_rank="0"} 4')
            + gauge(SGLANG[1], '{pp_rank="0",tp_rank="0"} 1', '{pp_rank="1",tp_rank="0"} 1'),
            *("sglang", 6, 1, None),
            id="all stages of SGLang's pipeline have the same requests",
        ),
        pytest.param(
            gauge("tgi_batch_current_size", " 4") + gauge("tgi_queue_size", " 3"),
            *("tgi", 7, 3, None),
            id="TGI",
        ),
        pytest.param(gauge("te_queue_size", " 3"), *("tei", None, 3, None), id="TEI"),
        pytest.param(
            gauge(TRT[0], *(f'{{request_type="{one}",model="m"}} {number}' for one, number in
                            {"active": 5, "scheduled": 3, "waiting": 2, "max": 512}.items()))
            + gauge(TRT[1], '{kv_cache_block_type="fraction"} 0.5',
                    '{kv_cache_block_type="max"} 6239')
            + gauge("nv_inference_request_duration_us", " 9"),
            *("triton-tensorrt-llm", 5, 2, 50),
            id="active requests of Triton TensorRT-LLM are those scheduled and waiting",
        ),
        pytest.param(
            gauge("trtllm_num_requests_running", " 1") + gauge("trtllm_num_requests_waiting", " 2")
            + gauge("trtllm_kv_cache_utilization", " 0.5"),
            *("trtllm", 3, 2, 50),
            id="trtllm-serve",
        ),
        pytest.param(
            gauge("num_requests_running", " 1") + gauge("num_requests_waiting", " 2")
            + gauge("gpu_cache_usage_perc", " 0.5"),
            *("nim", 3, 2, 50),
            id="NIM",
        ),
        pytest.param(
            gauge(INFLIGHT, '{dynamo_endpoint="generate"} 3', '{dynamo_endpoint="query_1"} 9'),
            *("dynamo", 3, None, None),
            id="Dynamo has requests and no engine",
        ),
        pytest.param(
            gauge(INFLIGHT, '{dynamo_endpoint="query_1"} 9') + vllm(" 1", " 2"),
            *("dynamo", None, 2, None),
            id="Dynamo without its endpoint",
        ),
        pytest.param(
            gauge(BENTO, '{endpoint="/readyz"} 1', '{endpoint="/livez"} 1', '{endpoint="/a"} 2',
                  '{endpoint="/b"} 3'),
            *("bentoml", 5, None, None),
            id="BentoML's probes are no load",
        ),
        pytest.param(
            gauge(BENTO, '{endpoint="/readyz"} 1'), *("bentoml", 0, None, None),
            id="BentoML had probes alone",
        ),
        pytest.param(
            gauge(ML, '{method="GET"} 2'), *("mlserver", 0, None, None),
            id="MLServer had probes alone",
        ),
        pytest.param(
            gauge("model_infer_request_success_total") + gauge("a", " 1"),
            *("mlserver", 0, None, None),
            id="MLServer had no request at all",
        ),
        pytest.param(
            gauge("ray_serve_replica_processing_queries", '{replica="a"} 2', '{replica="b"} 3'),
            *("ray-serve", 5, 0, None),
            id="Ray Serve's replicas on a node without a proxy",
        ),
    ],
)  # fmt: skip
def test_trap(page, server, requests, waiting, cache):
    found = read(page)
    assert (found.server, *numbers(found)) == (server, requests, waiting, cache)
    assert (found.recognised_by is None) == (server is None)
    with_returns = read(page.replace("\n", "\r\n") + "# EOF\r\n")
    assert (with_returns.server, *numbers(with_returns)) == (server, requests, waiting, cache)


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
@pytest.mark.parametrize("kind", ["type", "sample"])
def test_each_server_is_recognised_by_each_of_its_metrics(server, kind):
    for name in server.recognised_by:
        line = f"# TYPE {name} gauge" if kind == "type" else f'{name}{{a="b"}} 1'
        found = read(f"other 1\n{line}\n")
        assert (found.server, found.recognised_by) == (server.name, name)
        assert read(f"other 1\n{line}\n", server=server.name).server == server.name


@pytest.mark.parametrize(
    ("page", "server", "words"),
    [
        pytest.param(
            gauge(SGLANG[0], " 1") + gauge(SGLANG[1], " 1"),
            "vllm",
            ["SGLang", SGLANG[0], "vLLM", 'gpu-scaler/server: "sglang"'],
            id="another server's page",
        ),
        pytest.param(OTHER, "vllm", [RUNNING, "gpu-scaler/metrics-port"], id="an unknown page"),
        pytest.param(
            "secret 1\n",
            None,
            [
                "vLLM",
                "NIM",
                *(f"gpu-scaler/{one}" for one in ("pod-metric", "server", "metrics-port")),
            ],
            id="nothing recognised",
        ),
    ],
)
def test_a_page_of_no_or_another_server_says_what_to_do(page, server, words):
    found = read(page, server=server)
    assert found.server is None
    for metric in (Metric.REQUESTS, Metric.REQUESTS_WAITING, Metric.KV_CACHE_PERCENT):
        reason = found.values[metric]
        assert isinstance(reason, str)
        assert [word for word in words if word not in reason] == []
        assert "secret" not in reason


def test_a_named_server_is_read_from_a_page_that_more_servers_share():
    page = gauge(INFLIGHT, '{dynamo_endpoint="generate"} 9') + vllm(" 1", " 2")
    assert numbers(read(page, server="vllm"))[:2] == (3, 2)


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_what_a_server_does_not_publish_says_what_to_use(server):
    found = read(f"{server.recognised_by[0]} 1\n")
    for metric, measure in (
        (Metric.REQUESTS, server.requests),
        (Metric.REQUESTS_WAITING, server.waiting),
        (Metric.KV_CACHE_PERCENT, server.kv_cache),
    ):
        if isinstance(measure, str):
            reason = found.values[metric]
            assert isinstance(reason, str)
            assert server.title in reason
            assert "gpu-scaler/target-" in reason


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


RATE = MetricSelector(name="a_total", is_rate=True)


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


LINES = st.lists(
    st.sampled_from(
        [b"# TYPE ", b"\n", b" ", b"{", b'engine="0"', b"}", b"1", b"-1", b"NaN", b"\xff",
         b"_total", *(name.encode() for server in SERVERS for name in server.recognised_by)]
    ),
    max_size=40,
).map(b"".join)  # fmt: skip


@given(st.binary(max_size=200) | LINES, st.sampled_from([None, *(one.name for one in SERVERS)]))
def test_any_bytes_give_numbers_reasons_or_no_page(body, server):
    try:
        found = read(body, server=server, pod_metric=RATE)
    except PageError:
        return
    assert set(found.values) == {
        Metric.REQUESTS, Metric.REQUESTS_WAITING, Metric.KV_CACHE_PERCENT, Metric.POD_METRIC
    }  # fmt: skip
    for value in found.values.values():
        assert value if isinstance(value, str) else 0 <= value < 1e16
