# SPDX-License-Identifier: Apache-2.0
"""What promtool and Prometheus say about the exporters' answers."""

from __future__ import annotations

import asyncio
import subprocess
from typing import Any

import pytest

from exporter.exposition.table import FAMILIES
from exporter.model import Collector
from tests.cluster.chain.running import NODES
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="package")


# The chain's boards have no fans, no Xid errors, no MIG and no GPM, its nodes no processes and no
# batch jobs. What
# NVLinks of Blackwell count is shown by no older board.
ABSENT = {
    "nvidia_gpu_mig_info",
    *(family.name for family in FAMILIES if family.collector is Collector.GPM),
    "nvidia_gpu_fanspeed_percent",
    "nvidia_gpu_xid_last_timestamp_seconds",
    "nvidia_gpu_container_duty_cycle",
    "nvidia_gpu_container_memory_used_bytes",
    "nvidia_gpu_process_memory_used_bytes",
    "nvidia_gpu_hpc_job",
    "nvidia_gpu_nvlink_recoveries_total",
    "nvidia_gpu_nvlink_symbol_errors_total",
    "nvidia_gpu_nvlink_effective_errors_total",
    "nvidia_gpu_nvlink_bit_error_ratio",
}


async def test_promtool_has_no_complaint(busy):
    texts = await busy.texts()
    names = {family.name for family in FAMILIES}
    for name in names - ABSENT:
        assert any(f"\n{name}{{" in text for text in texts), name
    for text in texts:
        done = await asyncio.to_thread(
            subprocess.run,
            [busy.plane.tool("promtool"), "check", "metrics"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


async def test_text_and_openmetrics_are_ingested_alike(busy):
    async def names(job: str) -> set[frozenset[tuple[str, str]]]:
        found = await busy.prometheus.query(f'{{job="{job}"}}')
        return {frozenset((found["metric"] | {"job": ""}).items()) for found in found}

    async def targets_without_errors() -> list[dict[str, Any]]:
        # A busy machine may make a scrape late.
        targets = await busy.prometheus.targets()
        return targets if {target["lastError"] for target in targets} == {""} else []

    targets = await until(targets_without_errors, what="every scrape succeeds")
    assert sorted(target["labels"]["job"] for target in targets) == sorted(
        ["gpu-exporter", "openmetrics", "text"] * len(NODES)
    )

    async def are_alike() -> bool:
        return await names("text") == await names("openmetrics") == await names("gpu-exporter")

    # A new pod's series come with each job's own next scrape.
    await until(are_alike, what="the same series from all jobs")
    totals = "nvidia_gpu_memory_total_bytes"
    differing = await busy.prometheus.query(
        f'{totals}{{job="text"}} != ignoring(job) {totals}{{job="openmetrics"}}'
    )
    assert differing == []


async def test_labels_survive_the_scrape(busy):
    targets_own = {"job": "", "instance": "", "namespace": ""}

    async def series_as_shown() -> Any:
        found = await busy.prometheus.query('{__name__=~"nvidia_gpu_.+",job="gpu-exporter"}')
        scraped = {frozenset((one["metric"] | targets_own).items()) for one in found}
        shown = {
            frozenset((labels | {"__name__": name} | targets_own).items())
            for name, samples in (await busy.series()).items()
            for labels, _ in samples
            if name.startswith("nvidia_gpu_")
        }
        return found if scraped == shown else None

    # On a busy machine a scrape takes more than its second, and a node's series end until the next.
    stored = await until(series_as_shown, what="the series that the exporters show")
    assert {found["metric"]["namespace"] for found in stored} == {"gpu-exporter"}
    assert [label for label in await busy.prometheus.get("labels") if "exported" in label] == []
    # The node, so that a new exporter pod goes on with the same series.
    gpus = [found["metric"] for found in stored if "uuid" in found["metric"]]
    assert gpus
    assert all(labels["instance"] == labels["node_name"] for labels in gpus)
