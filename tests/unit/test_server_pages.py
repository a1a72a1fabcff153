# SPDX-License-Identifier: Apache-2.0
"""A model server's page -> its numbers: recorded pages, and what servers do that misleads."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.model import Metric
from scaler.readings.servers.samples import PageError
from scaler.readings.servers.table import SERVERS
from tests.unit.serverpage import OTHER, RATE, RUNNING, WAITING, gauge, numbers, read, vllm

RECORDED = Path(__file__).parents[1] / "fixtures" / "servers"


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


KV_CACHE = "vllm:kv_cache_usage_perc"
GPU_CACHE = "vllm:gpu_cache_usage_perc"


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
