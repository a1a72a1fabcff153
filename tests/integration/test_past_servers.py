# SPDX-License-Identifier: Apache-2.0
"""What a real Prometheus has of model servers' pages gives the values that a live reading gives."""

from __future__ import annotations

import gzip
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from scaler.model import SERVER_METRICS, Metric, MetricSelector
from scaler.readings.prometheus.past_servers import (
    POD_LABELS,
    PastServers,
    chosen_measure,
    pages_query,
    read_pages,
    server_measure,
    server_of,
)
from scaler.readings.prometheus.range_chunks import Span
from scaler.readings.prometheus.ranges import RangeReader
from scaler.readings.servers.page import read_server_page
from scaler.readings.servers.table import NotPublishedError
from scaler.readings.settings import PrometheusSettings
from tests.recorded_prometheus import recorded_prometheus
from tests.scrapedpages import NAMES, scraped_series, target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [
    pytest.mark.needs("prometheus"),
    pytest.mark.needs("promtool"),
    pytest.mark.asyncio(loop_scope="module"),
]
FOLDER = Path(__file__).parents[1] / "fixtures" / "servers"
SCRAPE = 15
SCRAPES = 8
OWN = sorted(SERVER_METRICS - {Metric.POD_METRIC})
VLLM = "vllm:num_requests_running"


def fixture(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()


def triton(seconds: float, *, gauge: bool) -> str:
    """Return a page on which 3 requests run, 2 of them in a queue, in two models."""
    lines = [
        f'nv_inference_request_duration_us{{model="{model}",version="1"}} {busy * seconds * 1e6}\n'
        f'nv_inference_queue_duration_us{{model="{model}",version="1"}} {queued * seconds * 1e6}'
        for model, busy, queued in (("a", 1, 0.5), ("b", 2, 1.5))
    ]
    if gauge:
        lines.append('nv_inference_pending_request_count{model="a",version="1"} 4')
    return "\n".join((*lines, ""))


def same(name: str) -> str:
    """Return series of all ranks of SGLang, of which some count the same requests."""
    return "".join(
        f'sglang:{name}{{tp_rank="{tp}",dp_rank="{dp}",priority="{priority}"}} {value}\n'
        for tp, dp, priority, value in (
            (0, 0, "", 3),
            (1, 0, "", 2),
            (0, 1, "", 4),
            (0, 0, "1", 9),
        )
    )


PAGES: dict[str, list[str]] = {
    **{path.name: [fixture(path)] * SCRAPES for path in sorted(FOLDER.glob("*.txt*"))},
    "triton-old": [triton(600 + SCRAPE * n, gauge=False) for n in range(SCRAPES)],
    "triton-new": [triton(600 + SCRAPE * n, gauge=True) for n in range(SCRAPES)],
    "triton-restarted": [triton(SCRAPE * n or 1e6, gauge=False) for n in range(SCRAPES)],
    "sglang": [same("num_running_reqs") + same("num_queue_reqs")] * SCRAPES,
    "negative": [f'{VLLM}{{e="1"}} -1\n{VLLM}{{e="2"}} 3\nvllm:num_requests_waiting 1\n'] * SCRAPES,
    "half": [f"{VLLM} 3\n"] * SCRAPES,
    "both-caches": [
        f"{VLLM} 3\nvllm:gpu_cache_usage_perc 0.2\nvllm:kv_cache_usage_perc 0.3\n"
    ] * SCRAPES,
    "percent": [f"{VLLM} 3\nvllm:kv_cache_usage_perc 30\n"] * SCRAPES,
    "nan": [f"{VLLM} NaN\nvllm:num_requests_waiting 1\n"] * SCRAPES,
    "probed": [
        'bentoml_service_request_in_progress{endpoint="/readyz"} 5\n'
        'bentoml_service_request_in_progress{endpoint="/generate"} 2\n'
    ] * SCRAPES,
}  # fmt: skip
CHOSEN = {
    "probed": MetricSelector(
        name="bentoml_service_request_in_progress", labels=(("endpoint", "/generate"),)
    ),
    "triton-old": MetricSelector(name="nv_inference_request_duration_us", is_rate=True),
    "sglang": MetricSelector(name="sglang:num_running_reqs"),
    "half": MetricSelector(name=VLLM, labels=(("absent", "x"),)),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def reader(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RangeReader]:
    """Eight scrapes of each page, the last one half a minute ago; two Prometheus scraped it."""
    past: defaultdict[str, defaultdict[str, list[tuple[float, float]]]]
    past = defaultdict(lambda: defaultdict(list))
    for pod, pages in PAGES.items():
        for number, page in enumerate(pages):
            at = LAST - (SCRAPES - 1 - number) * SCRAPE
            for replica in ("a", "b"):
                labels = target(pod, prometheus_replica=replica)
                for name, text, value in scraped_series(page, labels):
                    past[name][text].append((at, value))
    async with recorded_prometheus(tmp_path_factory.mktemp("past"), past) as running:
        settings = PrometheusSettings(url=running.url)
        async with RangeReader(settings) as opened:
            yield opened


LAST = time.time() // 60 * 60 - 60
SPAN = Span(LAST - 2 * SCRAPE, float(SCRAPE), 3)


async def values(reader: RangeReader, metric: Metric) -> dict[str, float]:
    """Return the value of each pod at the last step, as far as it has one."""
    query = pages_query(sorted(NAMES), POD_LABELS[0], matchers=(), seconds=600)
    found = defaultdict(set)
    for page, name in read_pages(await reader.now(query, at_unix_seconds=LAST), POD_LABELS[0]):
        found[page].add(name)
    measures = {}
    for page, names in found.items():
        if metric is Metric.POD_METRIC:
            if page.pod.name in CHOSEN:
                measures[page] = chosen_measure(CHOSEN[page.pod.name])
            continue
        row = server_of(names, None)
        try:
            if row is not None:
                measures[page] = server_measure(row, metric)
        except NotPublishedError:
            pass
    past = PastServers(measures, POD_LABELS[0], matchers=())
    read: dict[str, float] = {}
    async for chunk in reader.chunks(past.queries(60), SPAN):
        for pod, points in past.read(chunk).items():
            for at, value in points.values:
                if at == LAST:
                    read[pod.name] = value
    return read


def live(pod: str, metric: Metric) -> float | None:
    """Return what the scaler reads of the last page, with the one before for rates."""
    before = None
    for number, page in enumerate(PAGES[pod][-2:]):
        found = read_server_page(
            page.encode(),
            server=None,
            pod_metric=CHOSEN.get(pod),
            before=before,
            at_seconds=100.0 + SCRAPE * number,
        )
        before = found.counters
    value = found.values.get(metric)
    return value if isinstance(value, float) else None


@pytest.mark.parametrize("metric", [*OWN, Metric.POD_METRIC])
async def test_each_page_has_the_value_that_the_scaler_reads(
    reader: RangeReader, metric: Metric
) -> None:
    expected = {pod: value for pod in PAGES if (value := live(pod, metric)) is not None}
    # Where a page has only the type of a metric, Prometheus has no series.
    expected.pop("vllm-dp2-fresh.txt", None)
    assert len(expected) >= (3 if metric is Metric.POD_METRIC else 6)
    found = await values(reader, metric)
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected)
