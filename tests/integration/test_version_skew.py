# SPDX-License-Identifier: Apache-2.0
"""Exporter and scaler of different releases: each with what the other's releases published."""

from __future__ import annotations

import json
from collections import defaultdict

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter import __version__
from scaler.model.policy import Metric
from scaler.model.reading import PodValue
from scaler.model.workload import ObjectRef
from scaler.readings.devices import FAMILIES
from scaler.readings.exposition import INTERVAL, SNAPSHOT_AGE, read_page, values_by_pod
from scaler.readings.gpus import node_gpus
from simulator.driver import SimulatedDriver
from tests import skew
from tests.sharednode import FakeNode, exporter, process
from tests.waiting import until

WEB, BATCH = (ObjectRef(namespace="default", name=name) for name in ("web", "batch"))
PAGES = skew.recorded()
REQUIRED = {path.name: json.loads(path.read_text()) for path in skew.FOLDER.glob("*.json")}
CURRENT = f"{__version__}-required.json"


def without_newer_families(text: str) -> str:
    """Return the page with what the first release had: the base set, age and interval."""
    kept = {*skew.BASE, SNAPSHOT_AGE, INTERVAL}
    return "".join(
        f"{line}\n" for line in text.splitlines() if line.partition("{")[0].split(" ")[0] in kept
    )


def with_unknown_families(text: str) -> str:
    """Return the page of a newer exporter: a label and a family more."""
    lines = [
        line.replace("{", '{added_later="x",', 1) for line in text.splitlines() if line[0] != "#"
    ]
    return "\n".join((*lines, 'nvidia_gpu_added_later{uuid="GPU-1"} 1', ""))


async def fetched(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.text()


def as_is(text: str) -> str:
    return text


def samples_by_pod(text: str, family: str) -> dict[ObjectRef, list[float]]:
    found = defaultdict(list)
    for one in text_string_to_metric_families(text):
        for sample in one.samples:
            if sample.name == family and sample.labels["pod_name"]:
                pod = ObjectRef(sample.labels["namespace_name"], sample.labels["pod_name"])
                found[pod].append(sample.value)
    return found


@pytest.mark.parametrize("change", [as_is, without_newer_families, with_unknown_families])
@pytest.mark.parametrize("name", PAGES)
def test_todays_scaler_reads_the_pages_of_released_exporters(name, change):
    text = change(PAGES[name])
    page = read_page(text)
    assert page.age_seconds is not None
    assert page.stale_problem() is None
    values = values_by_pod(page, skew.GPU_METRICS)
    for metric in skew.GPU_METRICS:
        samples = samples_by_pod(text, FAMILIES[metric][0])
        assert values[metric].keys() == samples.keys()
        for pod, value in values[metric].items():
            assert isinstance(value, PodValue), value
            own = value.value_milli / 1000
            if metric is Metric.MEMORY_USED_PERCENT:
                assert 0 <= own <= 100
            elif "base" in name and len(samples[pod]) == 1:
                assert own == samples[pod][0]
            else:
                assert 0 <= own <= max(sum(samples[pod]), *samples[pod])
        assert {WEB, BATCH} <= values[metric].keys()
    duty = node_gpus(page, "n", {"nvidia_gpu_duty_cycle"})["nvidia_gpu_duty_cycle"]
    assert {sample.model for sample in duty} >= {"NVIDIA H100 80GB HBM3"}


@pytest.mark.parametrize("name", REQUIRED)
async def test_todays_exporter_publishes_what_released_scalers_require(name, tmp_path):
    required = REQUIRED[name]
    wanted = [*required["families"], *required["without_labels"]]
    node = FakeNode(tmp_path)
    for pid, pod in ((100, "web"), (200, "batch")):
        node.process_of(pid, pod)
    with SimulatedDriver(["H100"]) as driver:
        driver.set_load(0, 60)
        driver.set_processes(0, [process(100, 20, 40), process(200, 10, 20)])
        async with exporter(node, driver, "web/main", "batch/main") as url:
            asked = f"{url}?" + "&".join(f"name[]={name}" for name in wanted)
            found: dict[str, set[str]] = {}

            async def published() -> bool:
                found.clear()
                for family in text_string_to_metric_families(await fetched(asked)):
                    for sample in family.samples:
                        found[sample.name] = {*sample.labels}
                return found.keys() == {*wanted}

            await until(published, what=f"{wanted}")
    for family in required["families"]:
        assert found[family] >= {*required["labels"]}, family


def test_the_files_of_this_version_are_those_of_the_code():
    """Of a version that is not released yet, write them again: python -m tests.skew."""
    assert f"{__version__}-base.txt.gz" in PAGES
    assert f"{__version__}-all.txt.gz" in PAGES
    assert REQUIRED[CURRENT] == skew.required()
