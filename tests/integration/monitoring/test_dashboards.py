# SPDX-License-Identifier: Apache-2.0
"""Every query of every panel and variable on a real Prometheus."""

from __future__ import annotations

import math
import re
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests import dashboards
from tests.integration.monitoring.conftest import LOAD_PERCENT, NODES
from tests.waiting import until

if TYPE_CHECKING:
    from tests.cluster.chain.prometheus import Prometheus

pytestmark = pytest.mark.asyncio(loop_scope="package")

RANGE_SECONDS: Final = 15
DATA_SECONDS: Final = 90.0
ALL: Final = {
    "cluster": ".*",
    "instance": ".+",
    "namespace": ".+",
    "pod": ".+",
    "deployment": ".+",
    "__rate_interval": "10s",
}
EMPTY: Final = {
    ("Held for an hour and never busy", ""): "nothing is an hour old",
    ("Duty cycle by container", None): "the nodes have no processes",
    ("Memory used by container", None): "the nodes have no processes",
    ("Memory by process", None): "the nodes have no processes",
    ("Failed calls", None): "none fails",
    ("Throttling", None): "nothing throttles",
    ("Changes", "failed: {{reason}}"): "none fails",
    ("Reads for the metrics API", None): "nobody asks whom it lets in",
}
"""Panels, or their series by legend, without data on this test bed; with the reason."""
EVERY_QUERY: Final = dashboards.queries()
VARIABLES: Final = [
    pytest.param(uid, name, id=f"{uid}:{name}")
    for uid in dashboards.DASHBOARDS
    for name, one in dashboards.variables(uid).items()
    if one["type"] == "query"
]


def filled(text: str, **chosen: str) -> str:
    """Return an expression with values in place of its variables; unknown ones raise KeyError."""
    values = ALL | chosen
    return re.sub(r"\$(\w+)", lambda match: values[match[1]], text)


async def answer(prometheus: Prometheus, query: dashboards.Query, node: str) -> list[Any]:
    """Return the series that a panel would get."""
    expr = filled(query.expr, node=node)
    if query.instant:
        return await prometheus.query(expr)
    now = time.time()
    found: dict[str, Any] = await prometheus.get(
        "query_range",
        {"query": expr, "start": str(now - RANGE_SECONDS), "end": str(now), "step": "1"},
    )
    series: list[Any] = found["result"]
    return series


@pytest.mark.parametrize("query", EVERY_QUERY, ids=str)
async def test_every_panel_shows_something(monitored, query):
    nodes = [node.name for node in NODES] if "$node" in query.expr else [""]

    async def is_shown() -> bool:
        return any([await answer(monitored.prometheus, query, node) for node in nodes])

    why = EMPTY.get((query.panel, query.legend)) or EMPTY.get((query.panel, None))
    if why:
        assert not await is_shown(), f"{query} has data, although {why}"
    else:
        await until(is_shown, deadline_seconds=DATA_SECONDS, what=str(query))


@pytest.mark.parametrize("query", EVERY_QUERY, ids=str)
async def test_prometheus_has_no_complaint(monitored, query):
    """It warns where a counter is taken for a gauge, or a label is joined twice."""
    params = {"query": filled(query.expr, node=NODES[0].name)}
    url = f"{monitored.prometheus.url}/api/v1/query"
    async with monitored.prometheus.session.get(url, params=params) as response:
        document = await response.json()
    assert document["status"] == "success", document
    assert document.get("warnings", []) == []
    assert document.get("infos", []) == []


@pytest.mark.parametrize(("uid", "name"), VARIABLES)
async def test_every_variable_has_values(monitored, uid, name):
    query = dashboards.variables(uid)[name]["query"]["query"]
    match = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
    assert match is not None, query
    selector = filled(match[1], node=NODES[0].name)
    found = await monitored.prometheus.get(f"label/{match[2]}/values", {"match[]": selector})
    if name == "cluster":
        assert found == [], "a single Prometheus has no such label: All stands for it"
        assert await monitored.prometheus.query(selector)
    else:
        assert found
    if name == "node":
        assert found == [node.name for node in NODES]


async def number(prometheus: Prometheus, uid: str, title: str) -> float:
    """Return what a panel shows; not a number after a scrape that took more than its second."""
    (expr,) = (one.expr for one in EVERY_QUERY if (one.dashboard, one.panel) == (uid, title))
    found = await prometheus.query(filled(expr))
    return float(found[0]["value"][1]) if found else math.nan


@pytest.mark.parametrize(
    ("uid", "title", "expected"),
    [
        ("gpu-cluster", "GPUs", 11),
        # 1 and 2 whole ones, 2 that one pod shares with itself, 2 and 1 of the Deployments.
        ("gpu-cluster", "Held by pods", 8),
        ("gpu-cluster", "Lost GPUs", 0),
        ("gpu-cluster", "Exporters without readings", 0),
        ("gpu-pods", "GPUs in use", 8),
        ("gpu-pods", "Pods with GPUs", 6),
        ("gpu-scaler", "Leaders", 1),
        ("gpu-scaler", "Replicas of the scaler", 1),
        ("gpu-scaler", "Held", 2),
        ("gpu-scaler", "Refused", 1),
    ],
)
async def test_a_gpu_counts_once_whoever_shares_and_scrapes_it(monitored, uid, title, expected):
    async def is_shown() -> bool:
        return bool(await number(monitored.prometheus, uid, title) == expected)

    await until(is_shown, deadline_seconds=DATA_SECONDS, what=f"{title} is {expected}")


async def test_the_duty_cycle_is_the_mean_over_gpus_and_not_over_series(monitored):
    """Three of the GPUs are busy; a shared one has several series, and two jobs scrape them all."""

    async def is_the_mean() -> bool:
        shown = await number(monitored.prometheus, "gpu-cluster", "Duty cycle")
        # Ten whole GPUs and two MIG instances tell theirs.
        return bool(abs(shown - 3 * LOAD_PERCENT / 12) < 0.1)

    await until(is_the_mean, deadline_seconds=DATA_SECONDS, what="the mean duty cycle")
