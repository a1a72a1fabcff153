# SPDX-License-Identifier: Apache-2.0
"""Pure: the model servers whose pages are known, one row each.

Names and meanings were seen on the servers' own pages where tests/fixtures/servers has one, and are
from their documentation and code otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from scaler.model import Metric, MetricSelector

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """The sum of a metric's series, times `unit`.

    `without` are labels whose series do not count. Series that differ only in the labels `same` are
    of the same requests, so the highest of them counts. With `absent_is_zero`, a page without any
    of the series says 0: the server creates them at the first request.
    """

    series: MetricSelector
    without: tuple[tuple[str, str], ...] = ()
    same: tuple[str, ...] = ()
    unit: float = 1.0
    absent_is_zero: bool = False


Measure: TypeAlias = tuple[tuple[Term, ...], ...] | str
"""Alternatives, the first on the page counts; or what to use instead of what there is none of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelServer:
    """A model server: how its page is recognised and read.

    A page is of this server if it has one of the metrics `recognised_by`. `requests` are those
    running and waiting, `waiting` those waiting alone, and `kv_cache` is the share of the cache in
    use, 0 to 1, as the mean of its series. With `counts_waiting`, none waits where there are no
    requests. `hints` say what to do about an HTTP status.
    """

    name: str
    title: str
    recognised_by: tuple[str, ...]
    requests: Measure
    waiting: Measure
    kv_cache: Measure
    port: int
    path: str = "/metrics"
    counts_waiting: bool = False
    hints: Mapping[int, str] = field(default_factory=dict)

    def measure(self, metric: Metric) -> tuple[tuple[Term, ...], ...]:
        """Return the alternatives of one of the server's own metrics.

        Raises:
            NotPublishedError: it has none.
        """
        measure, what = {
            Metric.REQUESTS: (self.requests, "requests"),
            Metric.REQUESTS_WAITING: (self.waiting, "waiting requests"),
            Metric.KV_CACHE_PERCENT: (self.kv_cache, "use of a KV cache"),
        }[metric]
        if isinstance(measure, str):
            raise NotPublishedError(f"{self.title} publishes no {what}: {measure}")
        return measure


class NotPublishedError(ValueError):
    """A server has no such metric; the message says what to use instead."""


def _gauge(name: str, **labels: str) -> Term:
    return Term(series=MetricSelector(name=name, labels=tuple(labels.items())))


def _from_first_request(name: str, **labels: str) -> Term:
    """Return a gauge that the server creates at the first request."""
    return replace(_gauge(name, **labels), absent_is_zero=True)


def _microseconds(name: str) -> Term:
    """Return the mean number of requests: seconds spent by all of them in each second."""
    return Term(series=MetricSelector(name=name, is_rate=True), unit=1e-6)


def _sglang(name: str) -> Term:
    # The series with an empty priority is the total of those with one. All stages of a pipeline,
    # and with --enable-metrics-for-all-schedulers all ranks of a tensor, count the same requests.
    return Term(
        series=MetricSelector(name=name, labels=(("priority", ""),)),
        same=("tp_rank", "pp_rank", "moe_ep_rank"),
    )


_NO_CACHE: Final = "use gpu-scaler/target-requests"
_VLLM_RUNNING: Final = _gauge("vllm:num_requests_running")
_VLLM_WAITING: Final = _gauge("vllm:num_requests_waiting")
# Versions 0.9.2 to 0.10.2 have both, with the same numbers.
_VLLM_CACHE: Final = (
    (_gauge("vllm:kv_cache_usage_perc"),),
    (_gauge("vllm:gpu_cache_usage_perc"),),
)
_SGLANG_WAITING: Final = _sglang("sglang:num_queue_reqs")
_SGLANG_CACHE: Final = (_gauge("sglang:token_usage"),)
_TRTLLM_WAITING: Final = _gauge("trtllm_num_requests_waiting")
_TRTLLM_CACHE: Final = (_gauge("trtllm_kv_cache_utilization"),)

SERVERS: Final[tuple[ModelServer, ...]] = (
    # A worker's page has the metrics of its engine too, from the first request on.
    ModelServer(
        name="dynamo",
        title="Dynamo",
        recognised_by=("dynamo_component_inflight_requests",),
        requests=((_gauge("dynamo_component_inflight_requests", dynamo_endpoint="generate"),),),
        waiting=(
            (_VLLM_WAITING,),
            (_SGLANG_WAITING,),
            (_TRTLLM_WAITING,),
            (_gauge("trtllm:num_requests_waiting"),),
        ),
        kv_cache=(
            *_VLLM_CACHE,
            _SGLANG_CACHE,
            _TRTLLM_CACHE,
            (_gauge("trtllm:kv_cache_utilization"),),
        ),
        counts_waiting=True,
        port=8081,
    ),
    ModelServer(
        name="vllm",
        title="vLLM",
        recognised_by=("vllm:num_requests_running", "vllm:num_requests_waiting"),
        requests=((_VLLM_RUNNING, _VLLM_WAITING),),
        waiting=((_VLLM_WAITING,),),
        kv_cache=_VLLM_CACHE,
        port=8000,
    ),
    ModelServer(
        name="sglang",
        title="SGLang",
        recognised_by=("sglang:num_running_reqs", "sglang:num_queue_reqs"),
        requests=((_sglang("sglang:num_running_reqs"), _SGLANG_WAITING),),
        waiting=((_SGLANG_WAITING,),),
        kv_cache=(_SGLANG_CACHE,),
        port=30000,
        hints={404: "start it with --enable-metrics"},
    ),
    ModelServer(
        name="tgi",
        title="TGI",
        recognised_by=("tgi_batch_current_size", "tgi_queue_size"),
        requests=((_gauge("tgi_batch_current_size"), _gauge("tgi_queue_size")),),
        waiting=((_gauge("tgi_queue_size"),),),
        kv_cache=_NO_CACHE,
        port=80,
    ),
    ModelServer(
        name="tei",
        title="TEI",
        recognised_by=("te_queue_size",),
        requests="use gpu-scaler/target-requests-waiting",
        waiting=((_gauge("te_queue_size"),),),
        kv_cache="use gpu-scaler/target-requests-waiting",
        port=80,
    ),
    # Its page is Triton's with further metrics.
    ModelServer(
        name="triton-tensorrt-llm",
        title="Triton TensorRT-LLM",
        recognised_by=("nv_trt_llm_request_metrics",),
        requests=((_gauge("nv_trt_llm_request_metrics", request_type="active"),),),
        waiting=((_gauge("nv_trt_llm_request_metrics", request_type="waiting"),),),
        kv_cache=((_gauge("nv_trt_llm_kv_cache_block_metrics", kv_cache_block_type="fraction"),),),
        port=8002,
    ),
    ModelServer(
        name="triton",
        title="Triton",
        recognised_by=("nv_inference_request_duration_us", "nv_inference_pending_request_count"),
        requests=((_microseconds("nv_inference_request_duration_us"),),),
        # Since 23.09 there is a gauge.
        waiting=(
            (_gauge("nv_inference_pending_request_count"),),
            (_microseconds("nv_inference_queue_duration_us"),),
        ),
        kv_cache=_NO_CACHE,
        port=8002,
    ),
    ModelServer(
        name="trtllm",
        title="trtllm-serve",
        recognised_by=("trtllm_num_requests_running", "trtllm_num_requests_waiting"),
        requests=((_gauge("trtllm_num_requests_running"), _TRTLLM_WAITING),),
        waiting=((_TRTLLM_WAITING,),),
        kv_cache=(_TRTLLM_CACHE,),
        port=8000,
        path="/prometheus/metrics",
        hints={404: "set return_perf_metrics: true in its configuration"},
    ),
    ModelServer(
        name="llama.cpp",
        title="llama.cpp",
        recognised_by=("llamacpp:requests_processing", "llamacpp:requests_deferred"),
        requests=((_gauge("llamacpp:requests_processing"), _gauge("llamacpp:requests_deferred")),),
        waiting=((_gauge("llamacpp:requests_deferred"),),),
        kv_cache=_NO_CACHE,
        port=8080,
        hints={501: "start it with --metrics"},
    ),
    # The metrics of a replica come with its next report, up to 7 s after its first request.
    ModelServer(
        name="ray-serve",
        title="Ray Serve",
        recognised_by=(
            "ray_serve_deployment_queued_queries",
            "ray_serve_replica_processing_queries",
        ),
        requests=(
            (
                _from_first_request("ray_serve_replica_processing_queries"),
                _from_first_request("ray_serve_deployment_queued_queries"),
            ),
        ),
        waiting=((_from_first_request("ray_serve_deployment_queued_queries"),),),
        kv_cache=_NO_CACHE,
        port=8080,
    ),
    # Probes are requests too, and no load.
    ModelServer(
        name="bentoml",
        title="BentoML",
        recognised_by=("bentoml_service_request_in_progress", "bentoml_service_request_total"),
        requests=(
            (
                replace(
                    _from_first_request("bentoml_service_request_in_progress"),
                    without=tuple(("endpoint", path) for path in ("/readyz", "/livez", "/healthz")),
                ),
            ),
        ),
        waiting="use gpu-scaler/target-requests, which counts them too",
        kv_cache=_NO_CACHE,
        port=3000,
    ),
    # Probes are GET, inference is POST.
    ModelServer(
        name="mlserver",
        title="MLServer",
        recognised_by=("rest_server_requests_in_progress", "model_infer_request_success_total"),
        requests=((_from_first_request("rest_server_requests_in_progress", method="POST"),),),
        waiting="use gpu-scaler/target-requests",
        kv_cache=_NO_CACHE,
        port=8082,
    ),
    ModelServer(
        name="torchserve",
        title="TorchServe",
        recognised_by=("ts_inference_requests_total", "ts_queue_latency_microseconds"),
        # From the arrival of a request to its answer.
        requests=((_microseconds("ts_inference_latency_microseconds"),),),
        waiting=((_microseconds("ts_queue_latency_microseconds"),),),
        kv_cache=_NO_CACHE,
        port=8082,
        hints={404: "set metrics_mode=prometheus in its config.properties"},
    ),
    # Last, because its names have no prefix.
    ModelServer(
        name="nim",
        title="NIM",
        recognised_by=("num_requests_running", "num_requests_waiting"),
        requests=((_gauge("num_requests_running"), _gauge("num_requests_waiting")),),
        waiting=((_gauge("num_requests_waiting"),),),
        kv_cache=((_gauge("gpu_cache_usage_perc"),), (_gauge("kv_cache_usage_perc"),)),
        port=8000,
        path="/v1/metrics",
    ),
)
BY_NAME: Final[Mapping[str, ModelServer]] = {server.name: server for server in SERVERS}


def recognise(
    has: Callable[[str], bool], server: str | None
) -> tuple[ModelServer | None, str | None]:
    """Return the server of a page and the metric that tells it, by whether the page has a metric.

    `server` is None to find it. The metric is None if the page has none of the server's.
    """
    for row in SERVERS if server is None else (BY_NAME[server],):
        for name in row.recognised_by:
            if has(name):
                return row, name
    return (None if server is None else BY_NAME[server]), None


def hints_of(name: str | None) -> Mapping[int, str]:
    """Return what to do about HTTP statuses of this server.

    None is a server that is not known yet: a status counts that one server alone answers with.
    """
    if name is not None:
        return BY_NAME[name].hints
    hints = [(status, server) for server in SERVERS for status in server.hints]
    statuses = [status for status, _ in hints]
    return {
        status: f"if it is {server.title}, {server.hints[status]}"
        for status, server in hints
        if statuses.count(status) == 1
    }
