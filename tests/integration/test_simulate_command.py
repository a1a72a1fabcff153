# SPDX-License-Identifier: Apache-2.0
"""`gpu-scaler simulate` over the past of a real Prometheus, a CSV, and a recording."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from aiohttp import web

from scaler.cli import simulate_command as command
from scaler.cli.parser import build_parser
from scaler.cli.simulate import parse_simulate_arguments
from scaler.readings.prometheus.ranges import PastError
from tests.pages.reading import read_through, run
from tests.recorded_prometheus import recorded_prometheus, scraped
from tests.scrapedpages import target, text_of
from tests.serving import serving
from tests.simulating import HOURS, rows, simulate, simulate_annotated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tests.cluster.chain.prometheus import Prometheus

pytestmark = [
    pytest.mark.needs("prometheus"),
    pytest.mark.needs("promtool"),
    pytest.mark.asyncio(loop_scope="module"),
]
SCRAPE = 15
FIRST, SECOND = "web-7d9f8c6b5-x2x4z", "web-7d9f8c6b5-bcdfg"
ODD = "odd-strange"


def ours(gpu: int, pod: str, namespace: str = "prod") -> str:
    return (
        f'uuid="GPU-{gpu}",name="NVIDIA H100 80GB HBM3",node_name="node-1",'
        f'namespace_name="{namespace}",pod_name="{pod}",container_name="c"'
    )


points = partial(scraped, hours=HOURS, scrape_seconds=SCRAPE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prometheus(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    """Six hours: one pod of `web` with an hour without samples, a second one in between."""
    now = time.time() // 60 * 60
    odd = f'namespace="prod",pod="{ODD}"'
    past: dict[str, dict[str, Iterable[tuple[float, float]]]] = {
        "nvidia_gpu_duty_cycle": {
            ours(0, FIRST): [*points(now, 40, 0, 2), *points(now, 90, 3, 6)],
            ours(1, SECOND): points(now, 100, 3, 4),
            ours(2, ODD): points(now, 20, 0, 6),
            ours(3, "lone"): points(now, 20, 0, 6),
        },
        "nvidia_gpu_temperature_celsius": {ours(0, FIRST): points(now, 4000)},
        "nvidia_gpu_memory_used_bytes": {
            ours(0, FIRST): points(now, 4e10),
            ours(2, ODD): points(now, 3e9),
        },
        "kube_pod_owner": {
            f'{odd},owner_kind="ReplicaSet",owner_name="odd-rs",owner_is_controller="true"': points(
                now, 1
            )
        },
        "kube_replicaset_owner": {
            'namespace="prod",replicaset="odd-rs",owner_kind="Deployment",owner_name="odd"': points(
                now, 1
            )
        },
        "kube_pod_created": {odd: points(now, now - 50_000)},
        "kube_pod_status_ready_time": {odd: points(now, now - 50_000 + 42)},
        "DCGM_FI_DEV_GPU_UTIL": {
            'Hostname="n",UUID="GPU-9",pod="exporter-1",exported_namespace="prod",'
            'exported_pod="dcgm-7d9f8c6b5-bcdfg",modelName="NVIDIA L4"': points(now, 50)
        },
        "vllm:num_requests_running": {text_of(target(FIRST, "prod")): points(now, 20)},
        "vllm:num_requests_waiting": {text_of(target(FIRST, "prod")): points(now, 4)},
        "balance": {"": points(now, -5)},
        "queue_length": {'queue="a"': points(now, 12), 'queue="b"': points(now, 8)},
    }
    async with recorded_prometheus(tmp_path_factory.mktemp("past"), past) as running:
        yield running


async def test_a_named_deployment_without_a_cluster(prometheus: Prometheus) -> None:
    found, _ = await simulate(prometheus, "prod/web", "--targets=50")
    assert found.keys() == {"web"}
    web = found["web"]
    assert rows(web) == [("as-it-was", None), ("gpu-scaler", 50_000), ("hpa", 50_000)]
    assert web["gpu_model"] == "NVIDIA H100 80GB HBM3"
    # An hour is a gap: it is neither filled nor counted.
    assert web["known_ratio"] == pytest.approx(5 / 6, abs=0.02)
    was = web["results"][0]
    assert was["gpu_hours"] == pytest.approx(5 + 1, abs=0.1)
    assert was["saturated_ratio"] == pytest.approx(1 / 5, abs=0.02)
    assert was["highest_replicas"] == 2
    assert any("2 of its 2 pods" in note for note in web["notes"])


async def test_all_deployments_by_the_owners_of_kube_state_metrics(prometheus: Prometheus) -> None:
    found, _ = await simulate(prometheus, "--all", "--targets=50")
    assert found.keys() == {"web", "odd"}
    assert found["odd"]["start_seconds"] == 42
    assert not any("pods" in note for note in found["odd"]["notes"])


async def test_pods_of_dcgm_exporter(prometheus: Prometheus) -> None:
    found, _ = await simulate(
        prometheus, "--all", "--prometheus.metrics=dcgm-exported", "--price=L4=0.5"
    )
    (dcgm,) = found.values()
    assert (dcgm["name"], dcgm["gpu_model"]) == ("dcgm", "NVIDIA L4")
    assert dcgm["results"][0]["cost"] == pytest.approx(3, abs=0.05)


async def test_a_total_by_a_query(prometheus: Prometheus) -> None:
    found, _ = await simulate(prometheus, "prod/odd", "--query=sum(queue_length)", "--targets=10")
    (odd,) = found.values()
    assert odd["metric"] == "query"
    was, ours_, _ = odd["results"]
    assert was["gpu_hours"] == pytest.approx(6, abs=0.1)
    assert ours_["highest_replicas"] == 2


async def test_annotations_of_deployments_that_are_opted_in(
    prometheus: Prometheus, tmp_path: Path
) -> None:
    web, _ = await simulate_annotated(
        prometheus, tmp_path, "web", max_replicas="3", target_duty_cycle="30"
    )
    assert rows(web)[1:] == [("gpu-scaler", 30_000), ("hpa", 30_000)]
    assert web["results"][1]["highest_replicas"] == 3


SEVERAL = {
    "max_replicas": "9",
    "target_duty_cycle": "50",
    "target_memory_used_bytes": "1G",
    "target_requests": "3",
    "query": "sum(queue_length)",
    "target_query": "10",
}


@pytest.mark.parametrize("flags", [[], ["--all"]])
async def test_all_metrics_of_the_annotations_count(
    prometheus: Prometheus, tmp_path: Path, flags: list[str]
) -> None:
    file = tmp_path / "case.json"
    odd, _ = await simulate_annotated(
        prometheus, tmp_path, "odd", *flags, f"--record={file}", **SEVERAL
    )
    assert odd["metric"] == "duty_cycle"
    others = [(one["metric"], one["target_milli"]) for one in odd["other_metrics"]]
    assert others == [("memory_used_bytes", 10**12), ("query", 10_000)]
    # 20 % of one GPU are less than a pod, a queue of 20 needs two, 3 GB in a pod need the maximum.
    assert rows(odd)[1:] == [("gpu-scaler", 50_000), ("hpa", 50_000)]
    assert [one["highest_replicas"] for one in odd["results"][1:]] == [3, 3]
    notes = " ".join(odd["notes"])
    assert "gpu-scaler/target-requests counts too, and is not simulated" in notes
    assert set(odd["recommendation"]["annotations"]) >= {
        "gpu-scaler/query",
        "gpu-scaler/target-query",
        "gpu-scaler/target-memory-used-bytes",
    }
    # The file has the policy too.
    again, _ = await simulate(prometheus, f"--recording={file}", "prod/odd")
    for what in ("results", "other_metrics", "recommendation"):
        assert again["odd"][what] == odd[what]
    again, _ = await simulate(
        *(prometheus, f"--recording={file}", "prod/odd", "--targets=40"),
        "--annotation=target-query=20",
    )
    assert rows(again["odd"])[1:] == [("gpu-scaler", 40_000), ("hpa", 40_000)]
    assert again["odd"]["other_metrics"][1]["target_milli"] == 20_000
    waiting, _ = await simulate(
        *(prometheus, f"--recording={file}", "prod/odd", "--metric=query", "--targets=10,20"),
        "--annotation=target-memory-used-bytes=1T",
    )
    assert waiting["odd"]["metric"] == "query"
    assert [one["metric"] for one in waiting["odd"]["other_metrics"]] == [
        *("duty_cycle", "memory_used_bytes")
    ]
    assert [one["highest_replicas"] for one in waiting["odd"]["results"][1::2]] == [2, 1]


@pytest.mark.parametrize(
    ("changed", "left", "remark"),
    [
        pytest.param({"query": "sum(nothing)"}, 1, "no value of query", id="no result"),
        pytest.param({"query": "queue_length"}, 1, "2 series", id="many series"),
        pytest.param({"query": "sum("}, 1, "parse error", id="no query"),
        pytest.param({"query": "balance"}, 1, "negative", id="a result below 0"),
        pytest.param(
            {"target_temperature_celsius": "60"},
            2,
            "values of temperature_celsius are impossible",
            id="impossible values",
        ),
        pytest.param(
            {"target_memory_used_percent": "60"},
            2,
            "no value of memory_used_percent",
            id="half of a metric",
        ),
    ],
)
async def test_a_metric_that_cannot_be_had_is_said_and_the_others_go_on(
    prometheus: Prometheus, tmp_path: Path, changed: dict[str, str], left: int, remark: str
) -> None:
    given = {key: SEVERAL[key] for key in ("target_duty_cycle", "query", "target_query")}
    web, _ = await simulate_annotated(
        prometheus, tmp_path, "web", max_replicas="9", **{**given, **changed}
    )
    assert web["metric"] == "duty_cycle"
    assert len(web["other_metrics"]) == left - 1
    notes = " ".join(web["notes"])
    assert remark in notes
    assert "counts too, and is not simulated" in notes


@pytest.mark.parametrize(
    ("flags", "remarks"),
    [
        pytest.param(["prod/gone"], ODD, id="no pod of it"),
        pytest.param(
            ["--all", '--prometheus.matcher=job="x"'], "--prometheus.matcher", id="other matcher"
        ),
        pytest.param(["--all", "--prometheus.pod-label=pod"], "pod_name", id="other labels"),
        pytest.param(
            ["--all", "--prometheus.namespace-label=ns"], "namespace_name", id="no namespaces"
        ),
        pytest.param(["prod/gone", "--since=30d"], ODD, id="no pod of it in a month"),
        pytest.param(
            ["--all", "--prometheus.metrics=dcgm"], "dcgm-exported", id="pods are exported"
        ),
        pytest.param(
            ["prod/web", "--query=queue_length", "--targets=1"], "2 series", id="many series"
        ),
        pytest.param(["prod/web", "--query=sum(", "--targets=1"], "parse error", id="no query"),
        pytest.param(
            ["prod/web", "--query=sum(nothing)", "--targets=1"], "--query", id="no result"
        ),
        pytest.param(
            ["prod/web", "--query=balance", "--targets=1"], "negative", id="a result below 0"
        ),
        pytest.param(
            ["prod/web", "--metric=memory_used_percent", "--targets=50"],
            "no nvidia_gpu_memory_total_bytes",
            id="half of a metric",
        ),
        pytest.param(
            ["prod/web", "--metric=temperature_celsius", "--targets=50"],
            "impossible",
            id="impossible values",
        ),
        pytest.param(["prod/web", "--max-replicas=0"], "max-replicas", id="wrong annotation"),
        pytest.param([], "--all", id="neither names nor a cluster"),
    ],
)
async def test_what_is_wrong_is_said_with_what_to_pass(
    prometheus: Prometheus, flags: list[str], remarks: str
) -> None:
    found, err = await simulate(prometheus, *flags)
    assert found == {}
    assert remarks in err


async def test_a_server_that_answers_another_question_is_a_problem() -> None:
    async def handle(_: web.Request) -> web.Response:
        data = {"resultType": "matrix", "result": list[object]()}
        return web.json_response({"status": "success", "data": data})

    async with serving(handle) as url:
        parsed = build_parser({}, "0").parse_args(
            ["simulate", f"--prometheus.url={url}", "--kubeconfig=/nowhere", "prod/web"]
        )
        settings = parse_simulate_arguments(parsed, default_namespace=lambda: "default")
        with pytest.raises(PastError, match=r"matrix instead of a vector"):
            await command.simulate(settings)


async def test_a_time_before_the_first_sample_is_said(prometheus: Prometheus) -> None:
    found, err = await simulate(prometheus, "prod/web", "--targets=50", "--since=2d")
    assert found["web"]["recorded_seconds"] == pytest.approx(6 * 3600, abs=120)
    assert "retention" in err


async def test_a_recording_gives_the_same_without_a_cluster(
    prometheus: Prometheus, tmp_path: Path
) -> None:
    file = tmp_path / "case.json"
    first, _ = await simulate(prometheus, "--all", "--targets=50", f"--record={file}")
    again, _ = await simulate(prometheus, f"--recording={file}")
    assert {name: one["results"] for name, one in again.items()} == {
        name: one["results"] for name, one in first.items()
    }
    hidden, _ = await simulate(
        prometheus, "--all", "--targets=50", f"--record={file}", "--anonymize"
    )
    text = file.read_text()
    for name in ("prod", "web", "odd", "node-1"):
        assert name not in text
        assert name not in json.dumps(hidden)


async def test_what_the_page_says(prometheus: Prometheus, tmp_path: Path) -> None:
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "KUBECONFIG": "/nowhere"}
    with read_through("docs/simulate.md") as reading:
        for block in reading.take():
            here = block.text.replace("http://localhost:9090", prometheus.url)
            out = await asyncio.to_thread(run, replace(block, text=here), tmp_path, environment)
            assert "web" in out
