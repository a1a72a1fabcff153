# SPDX-License-Identifier: Apache-2.0
"""Every name of the metrics API, and its value."""

from __future__ import annotations

import asyncio
import json
import math
import time
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import pytest

from scaler.quantities import parse_quantity
from tests.cluster.chain.running import API, LOADS, NAMESPACE, Chain
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Ask = Callable[[], Awaitable[dict[str, int]]]

pytestmark = pytest.mark.asyncio(loop_scope="package")

FAMILIES: Final = (
    "duty_cycle",
    "memory_total_bytes",
    "memory_used_bytes",
    "power_usage_milliwatts",
    "temperature_celsius",
)
# Longer than the window: as a pod gets a GPU, one of the three jobs may show it with the pod while
# another still shows it without, and a mean that has this moment counts its memory twice.
VALUE_SECONDS: Final = 240.0


@pytest.mark.parametrize("prefix", ["", "nvidia_gpu_"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("resource", "label"), [("pods", "pod_name"), ("nodes", "node_name")], ids=["pods", "nodes"]
)
async def test_the_current_value_is_the_exporters(busy, resource, label, family, prefix):
    async def shown() -> dict[str, int]:
        return _means(await _readings(busy, family, label), round_up=False)

    await _until_equal(shown, lambda: busy.values(resource, f"{prefix}{family}_current"))


@pytest.mark.parametrize("prefix", ["", "nvidia_gpu_"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("resource", "label"), [("pods", "pod_name"), ("nodes", "node_name")], ids=["pods", "nodes"]
)
async def test_the_value_over_time_is_the_mean_of_three_minutes_rounded_up(
    busy, resource, label, family, prefix
):
    async def scraped() -> dict[str, int]:
        return _means(await _history(busy, family, label), round_up=True)

    await _until_equal(scraped, lambda: busy.values(resource, f"{prefix}{family}_over_time"))


async def test_a_pods_value_is_the_average_over_its_gpus_each_counted_once(busy):
    async def known() -> dict[str, int]:
        return {"one-gpu": 40_000, "two-gpus": 45_500, "shared": 35_000}

    await _until_equal(known, lambda: busy.values("pods", "duty_cycle_current"))


async def test_both_versions_of_the_api_answer_alike(busy):
    await _until_equal(
        lambda: busy.values("pods", "memory_used_bytes_current", "v1beta1"),
        lambda: busy.values("pods", "memory_used_bytes_current", "v1beta2"),
    )


async def test_kubectl_reads_a_metric_of_all_pods(busy):
    path = f"{API}/v1beta1/namespaces/{NAMESPACE}/pods/*/temperature_celsius_current"
    done = await asyncio.to_thread(busy.plane.kubectl, "get", "--raw", path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["kind"] == "MetricValueList"
    assert sorted(item["describedObject"]["name"] for item in answer["items"]) == sorted(LOADS)
    # An idle GPU of the simulation has 33 degrees, a fully loaded one 75.
    assert all(33 <= parse_quantity(item["value"]) <= 75 for item in answer["items"])


async def _readings(chain: Chain, family: str, label: str) -> dict[tuple[str, str], Fraction]:
    """What exporters show by (pod or node, GPU)."""
    found = (await chain.series())[f"nvidia_gpu_{family}"]
    return {
        (labels[label], labels["uuid"]): Fraction(value)
        for labels, value in found
        if label in labels and _is_default(labels, label)
    }


async def _history(chain: Chain, family: str, label: str) -> dict[tuple[str, str], Fraction]:
    """The mean of what was stored every 5 s for 3 minutes, by (pod or node, GPU)."""
    now = time.time()
    found = await chain.prometheus.get(
        "query_range",
        {
            "query": f'nvidia_gpu_{family}{{{label}!=""}}',
            "start": str((now - 180) // 5 * 5 + 5),
            "end": str(now),
            "step": "5",
        },
    )
    # Each job has a series of its own, and so has each container on a shared GPU, of equal values.
    stored: dict[tuple[str, str], dict[float, Fraction]] = {}
    for series in found["result"]:
        labels = series["metric"]
        if _is_default(labels, label):
            of_gpu = stored.setdefault((labels[label], labels["uuid"]), {})
            for moment, text in series["values"]:
                value = Fraction(float(text))
                of_gpu[moment] = max(value, of_gpu.get(moment, value))
    return {gpu: sum(by.values(), Fraction(0)) / len(by) for gpu, by in stored.items()}


def _is_default(labels: dict[str, str], label: str) -> bool:
    return label == "node_name" or labels["namespace_name"] == NAMESPACE


def _means(by_gpu: dict[tuple[str, str], Fraction], *, round_up: bool) -> dict[str, int]:
    """The average over GPUs by name in milli units, rounded as the adapter does."""
    values: dict[str, list[Fraction]] = {}
    for (name, _), value in by_gpu.items():
        values.setdefault(name, []).append(value)
    means = {name: sum(found) / len(found) for name, found in values.items()}
    if round_up:
        return {name: math.ceil(mean) * 1000 for name, mean in means.items()}
    return {name: int(mean * 1000) for name, mean in means.items()}


async def _until_equal(wanted: Ask, asked: Ask) -> None:
    """Wait until a scrape has brought what is wanted, which is not empty, to the metrics API."""
    expected: dict[str, int] = {}
    answered: dict[str, int] = {}

    async def equal() -> bool:
        nonlocal expected, answered
        expected, answered = await wanted(), await asked()
        return bool(expected) and expected == answered

    try:
        await until(equal, deadline_seconds=VALUE_SECONDS)
    except AssertionError:
        assert answered == expected
        raise
