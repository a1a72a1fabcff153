# SPDX-License-Identifier: Apache-2.0
"""The queries on the pages, run on a real Prometheus: ours, dcgm-exporter's and the LLM servers'.

What the other programs publish is made up here, by the names and labels that the pages give.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest
import pytest_asyncio
from aiohttp import web

from scaler.model import Metric, ObjectRef
from scaler.policy.annotations import QUERY
from scaler.readings.prometheus.source import PrometheusSource
from scaler.readings.settings import PrometheusSettings
from scaler.readings.source import ReadingRequest
from tests.cluster.chain.prometheus import running_prometheus
from tests.pages.files import FileKind, deployment, documents, kind_of
from tests.pages.markdown import blocks
from tests.serving import serving
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.cluster.chain.running import Chain

pytestmark = pytest.mark.asyncio(loop_scope="package")

OF_SERVERS: Final = """\
vllm:time_to_first_token_seconds_bucket{namespace="llm",pod="llama-0",le="1"} 3
vllm:time_to_first_token_seconds_bucket{namespace="llm",pod="llama-0",le="+Inf"} 4
jobs_waiting{queue="transcriptions"} 45
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-1",exported_namespace="media",exported_pod="web-0"} 63
"""
OURS: Final = re.compile(r"\bnvidia_gpu_")
KNOWN: Final = re.compile(r"(?:\b(?:vllm:|jobs_waiting)|DCGM_)\w*")
QUERIES: Final = [(block.where, block.text) for block in blocks("promql")]
RULES: Final = [
    (f"{block.where} {rule.get('record') or rule.get('alert')}", rule["expr"])
    for block in blocks("yaml")
    if kind_of(block) is FileKind.RULES
    for document in documents(block)
    for group in document["groups"]
    for rule in group["rules"]
]
SCALED_ON: Final = [
    (block.where, annotations[QUERY])
    for block in blocks("yaml")
    if kind_of(block) is FileKind.ANNOTATIONS
    for annotations in [deployment(block)["metadata"]["annotations"]]
    if QUERY in annotations
]


def by_place(queries: list[tuple[str, str]]) -> Any:
    return pytest.mark.parametrize(
        "query", [query for _, query in queries], ids=[place for place, _ in queries]
    )


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def servers(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The URL of a Prometheus that scrapes what the other programs publish."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=OF_SERVERS)

    async with serving(answer) as exporter:
        target = exporter.removeprefix("http://")
        job = {"job_name": "servers", "static_configs": [{"targets": [target]}]}
        folder = tmp_path_factory.mktemp("prometheus-servers")
        async with running_prometheus(
            chain.plane, folder, jobs=[job], scrape_interval="1s"
        ) as running:

            async def has_a_rate() -> bool:
                return bool(
                    await running.query("rate(vllm:time_to_first_token_seconds_bucket[5m])")
                )

            await until(has_a_rate, what="two scrapes of the servers")
            yield running.url


@by_place([*QUERIES, *RULES])
async def test_a_query_is_one_and_finds_what_it_is_about(busy, servers, query):
    is_of_servers = not OURS.search(query) and bool(KNOWN.search(query))
    url = servers if is_of_servers else busy.prometheus.url

    async def found() -> Any:
        async with busy.http.get(f"{url}/api/v1/query", params={"query": query}) as response:
            answer = await response.json()
        assert answer["status"] == "success", answer
        return answer["data"]["result"]

    # What the chain does not have: pods' labels, MIG, and all that is neither ours nor a server's.
    has_series = OURS.search(query) and not re.search(
        "nvidia_gpu_(pod_labels|mig_info|hpc_job|exporter)", query
    )
    if is_of_servers or has_series:
        # On a busy machine a scrape takes more than its second, and the series end until the next.
        await until(found, what=query)
    else:
        await found()


@by_place(SCALED_ON)
async def test_the_scaler_has_a_number_from_a_query(servers, query):
    request = ReadingRequest(
        deployment=ObjectRef(namespace="llm", name="served"),
        metrics=(Metric.QUERY,),
        pods=(),
        window_seconds=0,
        query=query,
    )
    async with PrometheusSource(PrometheusSettings(url=servers)) as source:
        answer = await source.read([request], {})
    reading = answer.readings[request.deployment][Metric.QUERY]
    assert (reading.problem, reading.missing) == (None, {})
    assert reading.values[request.deployment].value_milli >= 0


async def test_every_name_of_others_is_known():
    """So that no query is tried on an empty database for a name that is misspelt here."""
    named = {
        name
        for _, query in (*QUERIES, *SCALED_ON)
        for name in re.findall(r"\b(?:vllm:|DCGM_)\w+", query)
    }
    shown = {line.partition("{")[0] for line in OF_SERVERS.splitlines()}
    assert named <= shown
