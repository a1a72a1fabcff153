# SPDX-License-Identifier: Apache-2.0
"""Details of the GPUs on screen, from real exporters and by a real Prometheus' engine."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
import yaml
from aiohttp import web

from scaler.readings.devices import MEMORY_USED, POWER_USAGE
from scaler.readings.prometheus.gpu_queries import gpu_query
from scaler.readings.prometheus.names import PRESETS
from scaler.readings.prometheus.node_gpus import node_matcher
from scaler.readings.prometheus.queries import PART, TIME, VALUE
from scaler.readings.settings import ExportersSettings, PrometheusSettings
from scaler.readings.sources import Sources
from tests.cluster import tools
from tests.embedded import running_cluster
from tests.running import running_scaler
from tests.serving import serving
from tests.waiting import until


async def test_the_scaler_answers_with_the_details_of_the_nodes_asked_for(tmp_path):
    async with (
        running_cluster(tmp_path) as cluster,
        running_scaler(cluster.kubeconfig) as scaler,
    ):
        shown: list[dict[str, Any]] = []

        async def read() -> bool:
            document = await scaler.document("/api/v1/gpus?detail=gpu-node-1&detail=other")
            shown[:] = document.get("rows", [])
            return bool(shown) and not document["awaited"] and bool(shown[0]["gpus"])

        await until(read, what="the details")
        (row,) = shown
        assert len(row["gpus"]) == 8
        for gpu in row["gpus"]:
            assert 0 <= gpu["detail"]["memory_used"] < gpu["detail"]["memory_total"]
            assert 0 < gpu["detail"]["power"] < 1000
            assert 0 < gpu["detail"]["temperature"] < 100
        document = await scaler.document("/api/v1/gpus")
        assert [gpu["detail"] for gpu in document["rows"][0]["gpus"]] == [None] * 8
        too_many = "&".join(f"detail=n{number}" for number in range(25))
        assert "detail: 25 nodes" in (await scaler.document(f"/api/v1/gpus?{too_many}"))["error"]


@pytest.mark.parametrize("preset", ["gpu-exporter", "dcgm"])
async def test_prometheus_is_asked_for_these_nodes(preset):
    queries = []

    async def answer(request: web.Request) -> web.Response:
        query = str((await request.post())["query"])
        queries.append(query)
        names = PRESETS[preset]
        labels = {names.node_label: "n1", names.device_labels[0]: "GPU-a", names.model_label: "L4"}
        result = []
        for pod in ("web-0", "web-1"):
            holder = labels | {names.pod_label: pod, names.namespace_label: "default"}
            if names.container_label is not None:
                holder[names.container_label] = "server"
            for part, value in ((VALUE, "3000"), (TIME, "1799999999")):
                result.append({"metric": holder | {PART: part}, "value": [1_800_000_000, value]})
        return web.json_response(
            {"status": "success", "data": {"resultType": "vector", "result": result}}
        )

    async with serving(answer) as url:
        sources = Sources(
            exporters=ExportersSettings(),
            scrape_timeout_seconds=2,
            prometheus=PrometheusSettings(url=url, names=PRESETS[preset]),
            gpus_from_prometheus=True,
        )
        async with sources.node_gpus(dict, every_seconds=5.0) as source:
            found = await source.read_gpus({"n1": {MEMORY_USED}, "n2": {MEMORY_USED, POWER_USAGE}})
    assert found.failed_families == {}
    assert len(queries) == 2
    assert all('=~"n1|n2"' in query for query in queries)
    # DCGM has one value of used memory for a whole GPU, ours one for each container.
    used = len(found.samples[MEMORY_USED])
    assert {sample.model for sample in found.samples[MEMORY_USED]} == {"L4"}
    assert f", {PRESETS[preset].model_label})" in queries[0]
    assert used == (2 if preset == "gpu-exporter" else 1)


@pytest.mark.needs("promtool")
def test_the_matcher_selects_the_nodes_by_their_names(tmp_path):
    names = PRESETS["gpu-exporter"]
    matcher = node_matcher(names.node_label, ["gpu-1.example", 'quoted"\\'])
    query = gpu_query(POWER_USAGE, names, POWER_USAGE, matchers=[matcher], with_model=True)
    nodes = ("gpu-1.example", "gpu-1xexample", "gpu-1.example2", r"quoted\"\\")
    case = {
        "tests": [
            {
                "input_series": [
                    {
                        "series": f'{POWER_USAGE}{{node_name="{node}",uuid="g",name="L4"}}',
                        "values": "7x3",
                    }
                    for node in nodes
                ],
                "promql_expr_test": [
                    {
                        "expr": f"count by (node_name) ({query})",
                        "eval_time": "1m",
                        "exp_samples": [
                            {"labels": f'{{node_name="{nodes[0]}"}}', "value": 2},
                            {"labels": f'{{node_name="{nodes[3]}"}}', "value": 2},
                        ],
                    }
                ],
            }
        ]
    }
    file = tmp_path / "case.yaml"
    file.write_text(yaml.safe_dump(case))
    program = tools.find("promtool")
    assert program is not None
    done = subprocess.run(
        [program, "test", "rules", file], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
