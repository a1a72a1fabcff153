# SPDX-License-Identifier: Apache-2.0
"""A scraped pod that publishes an exporter's series for pods of others, on a real Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from scaler.model import Metric, ObjectRef, PodPhase, PodState
from scaler.readings.prometheus.source import PrometheusSource
from scaler.readings.source import ReadingRequest
from tests.cluster.chain.prometheus import serving_prometheus
from tests.cluster.processes import Processes
from tests.serving import serving
from tests.unit.test_scaler_config import parse
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from scaler.model import MetricReading

WEB = ObjectRef(namespace="default", name="web")
POD = PodState(
    ref=ObjectRef(namespace="default", name="web-0"),
    uid="web-0",
    phase=PodPhase.RUNNING,
    deleting=False,
    ready_since_seconds=0.0,
    node_name="n1",
)


@pytest.mark.needs("prometheus")
async def test_a_pod_that_poses_as_an_exporter_is_not_read(tmp_path: Path):
    async def answer(request: web.Request) -> web.Response:
        labels = 'uuid="GPU-a",node_name="n1",namespace_name="default",pod_name="web-0"'
        duty = 100 if "posing" in request.query else 40
        return web.Response(text=f"nvidia_gpu_duty_cycle{{{labels}}} {duty}\n")

    async with serving(answer) as page:
        jobs = [
            {
                "job_name": "gpu-exporter",
                "params": params,
                "static_configs": [
                    {"targets": [page.removeprefix("http://")], "labels": {"namespace": namespace}}
                ],
            }
            for namespace, params in (("gpu-exporter", {}), ("tenant", {"posing": ["1"]}))
        ]
        jobs[1]["job_name"] = "tenant/gpu-exporter"
        configuration = {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}
        with Processes(tmp_path) as processes:
            async with serving_prometheus(processes, tmp_path, configuration) as prometheus:
                flags = ("--source=prometheus", f"--prometheus.url={prometheus.url}")
                anyone = '--prometheus.exporters-matcher=uuid!=""'
                await until(lambda: _value(*flags, anyone), what="both are scraped")
                assert await _value(*flags, anyone) == 100_000
                assert await _value(*flags) == 40_000


async def _value(*flags: str) -> int | None:
    """Return the duty cycle of the pod once both pages have been scraped, in milli percent."""
    settings = parse(*flags).prometheus
    assert settings is not None
    asked = ReadingRequest(
        deployment=WEB, metrics=(Metric.DUTY_CYCLE,), pods=(POD,), window_seconds=0
    )
    async with PrometheusSource(settings) as source:
        both = await source.result("count(nvidia_gpu_duty_cycle) == 2")
        answer = await source.read([asked], {})
    reading: MetricReading = answer.readings[WEB][Metric.DUTY_CYCLE]
    found = reading.values.get(POD.ref)
    return None if found is None or isinstance(both, str) or not both.rows else found.value_milli
