# SPDX-License-Identifier: Apache-2.0
"""`gpu-scaler simulate` on metrics of model servers that a real Prometheus has scraped."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.recorded_prometheus import recorded_prometheus, scraped
from tests.scrapedpages import target, text_of
from tests.simulating import HOURS, rows, simulate, simulate_annotated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from tests.cluster.chain.prometheus import Prometheus

pytestmark = [
    pytest.mark.needs("prometheus"),
    pytest.mark.needs("promtool"),
    pytest.mark.asyncio(loop_scope="module"),
]
FIRST, SECOND = "llama-7d9f8c6b5-x2x4z", "llama-7d9f8c6b5-bcdfg"
OLD, TGI, BARE = "old-7d9f8c6b5-x2x4z", "tgi-7d9f8c6b5-x2x4z", "bare-7d9f8c6b5-x2x4z"
points = partial(scraped, hours=HOURS, scrape_seconds=30)


def page(pod: str, **labels: str) -> str:
    return text_of(target(pod, "prod", **labels))


def gpu(number: int, pod: str) -> str:
    return (
        f'uuid="GPU-{number}",name="NVIDIA H100 80GB HBM3",node_name="n",'
        f'namespace_name="prod",pod_name="{pod}",container_name="c"'
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prometheus(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    """Six hours: `llama` with two pods in the first half, three servers more, and one without."""
    now = time.time() // 60 * 60
    classic = text_of(
        {"kubernetes_namespace": "prod", "kubernetes_pod_name": OLD, "job": "p", "instance": "i"}
    )
    past: dict[str, dict[str, Iterable[tuple[float, float]]]] = {
        "vllm:num_requests_running": {
            page(FIRST): points(now, 20),
            page(SECOND): points(now, 16, 0, 3),
        },
        "vllm:num_requests_waiting": {
            page(FIRST): points(now, 4),
            page(SECOND): points(now, 0, 0, 3),
        },
        "vllm:kv_cache_usage_perc": {
            page(FIRST): points(now, 1),
            page(SECOND): points(now, 0.5, 0, 3),
        },
        "vllm:prompt_tokens_total": {
            page(FIRST): [(at, at % 1e6 * 50) for at, _ in points(now, 0)]
        },
        "llamacpp:requests_processing": {classic: points(now, 3)},
        "llamacpp:requests_deferred": {classic: points(now, 1)},
        "tgi_batch_current_size": {page(TGI): points(now, 3)},
        "tgi_queue_size": {page(TGI): points(now, 1)},
        "nvidia_gpu_duty_cycle": {
            **{gpu(number, FIRST): points(now, 50) for number in range(4)},
            gpu(9, BARE): points(now, 30),
        },
    }
    async with recorded_prometheus(tmp_path_factory.mktemp("past"), past) as running:
        yield running


async def test_requests_in_hand_of_the_pods(prometheus: Prometheus, tmp_path: Path) -> None:
    llama, _ = await simulate_annotated(
        prometheus, tmp_path, "llama", max_replicas="9", target_requests="8"
    )
    assert (llama["metric"], llama["gpus_per_replica"]) == ("requests", 4)
    assert llama["gpu_model"] == "NVIDIA H100 80GB HBM3"
    assert rows(llama)[1:] == [("gpu-scaler", 8_000), ("hpa", 8_000)]
    was, ours, _ = llama["results"]
    assert was["gpu_hours"] == pytest.approx(4 * (6 + 3), abs=0.2)
    # 40 requests in hand are five pods, 24 are three.
    assert ours["highest_replicas"] == 5
    assert ours["gpu_hours"] == pytest.approx(4 * (5 * 3 + 3 * 3), abs=2)
    assert llama["known_ratio"] == pytest.approx(1, abs=0.01)


ALL = {
    "max_replicas": "9",
    "target_requests": "30",
    "target_requests_waiting": "8",
    "target_kv_cache_percent": "50",
    "pod_metric": "rate(vllm:prompt_tokens_total)",
    "target_pod_metric": "10",
}


async def test_all_metrics_of_a_server_count(prometheus: Prometheus, tmp_path: Path) -> None:
    llama, _ = await simulate_annotated(prometheus, tmp_path, "llama", **ALL)
    assert llama["metric"] == "requests"
    assert [(one["metric"], one["target_milli"]) for one in llama["other_metrics"]] == [
        ("requests_waiting", 8_000),
        ("kv_cache_percent", 50_000),
        ("pod_metric", 10_000),
    ]
    # 50 tokens per second are five pods; the others ask for fewer.
    assert llama["results"][1]["highest_replicas"] == 5
    assert llama["results"][0]["saturated_ratio"] == pytest.approx(1, abs=0.01)
    assert not any("not simulated" in note for note in llama["notes"])
    assert llama["recommendation"]["annotations"]["gpu-scaler/pod-metric"] == ALL["pod_metric"]


@pytest.mark.parametrize("flags", [[], ["--anonymize"]])
async def test_a_recording_has_all_of_the_policy(
    prometheus: Prometheus, tmp_path: Path, flags: list[str]
) -> None:
    file = tmp_path / "case.json"
    query = {"query": "sum(tgi_queue_size)", "target_query": "1"}
    llama, _ = await simulate_annotated(
        prometheus, tmp_path, "llama", f"--record={file}", "--start-time=200s", **ALL, **query
    )
    if flags:
        await simulate(prometheus, f"--recording={file}", f"--record={file}", *flags)
        text = file.read_text()
        for name in ("prod", "llama", "tgi", "prompt_tokens"):
            assert name not in text
    (again,) = (await simulate(prometheus, f"--recording={file}"))[0].values()
    assert again["results"] == llama["results"]
    assert again["other_metrics"] == llama["other_metrics"]


async def test_pods_in_the_labels_of_older_examples(prometheus: Prometheus) -> None:
    found, _ = await simulate(prometheus, "prod/old", "--metric=requests", "--targets=2")
    assert found["old"]["results"][1]["highest_replicas"] == 2
    assert any("no series of a GPU" in note for note in found["old"]["notes"])


async def test_all_deployments_with_gpus(prometheus: Prometheus, tmp_path: Path) -> None:
    llama, _ = await simulate_annotated(
        prometheus, tmp_path, "llama", "--all", max_replicas="9", target_requests="8"
    )
    assert (llama["metric"], llama["results"][1]["highest_replicas"]) == ("requests", 5)


async def test_a_matcher_of_the_gpu_exporters_does_not_hide_the_servers(
    prometheus: Prometheus,
) -> None:
    flags = ["prod/llama", "--metric=requests", "--targets=8"]
    exporters = '--prometheus.exporters-matcher=job="gpus"'
    found, _ = await simulate(prometheus, *flags, exporters)
    assert found["llama"]["results"][1]["highest_replicas"] == 5
    found, err = await simulate(prometheus, *flags, '--prometheus.matcher=cluster="x"')
    assert found == {}
    assert "PodMonitor" in err


@pytest.mark.parametrize(
    ("name", "annotations", "remark"),
    [
        pytest.param("bare", {"target_requests": "3"}, "PodMonitor", id="not scraped"),
        pytest.param(
            "bare", {"target_requests": "3", "server": "vllm"}, "metrics of vLLM", id="no vLLM"
        ),
        pytest.param(
            "bare",
            {"pod_metric": "queued", "target_pod_metric": "3"},
            "Prometheus has no series queued",
            id="no such metric",
        ),
        pytest.param(
            "tgi",
            {"target_kv_cache_percent": "30"},
            "TGI publishes no use of a KV cache",
            id="the server has none",
        ),
        pytest.param(
            "tgi", {"target_requests": "30", "server": "vllm"}, "of TGI", id="another server"
        ),
        pytest.param(
            "llama",
            {"pod_metric": 'vllm:num_requests_running{engine="7"}', "target_pod_metric": "3"},
            'no series of its pods is vllm:num_requests_running{engine="7"}',
            id="no such series",
        ),
        pytest.param(
            "llama", {"target_requests": "3", "server": "vlm"}, "gpu-scaler/server", id="wrong"
        ),
    ],
)
async def test_a_metric_that_cannot_be_had_is_said(
    prometheus: Prometheus, tmp_path: Path, name: str, annotations: dict[str, str], remark: str
) -> None:
    given: dict[str, Any] = {"max_replicas": "9", **annotations}
    found, err = await simulate_annotated(prometheus, tmp_path, name, **given)
    assert found == {}
    assert remark in err
    if name != "bare" or "server" in annotations:
        return
    found, _ = await simulate_annotated(prometheus, tmp_path, name, target_duty_cycle="20", **given)
    assert found["metric"] == "duty_cycle"
    notes = " ".join(found["notes"])
    assert remark in notes
    assert "counts too, and is not simulated" in notes
