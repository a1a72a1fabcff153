# SPDX-License-Identifier: Apache-2.0
"""Reads a model server's page, and writes small ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaler.model import Metric, MetricSelector
from scaler.readings.servers.page import (
    ServerValues,
    read_server_page,
)

if TYPE_CHECKING:
    from scaler.readings.servers.page_terms import RateCounters


def read(
    page: str | bytes,
    *,
    server: str | None = None,
    pod_metric: MetricSelector | None = None,
    before: RateCounters | None = None,
    at_seconds: float = 100.0,
) -> ServerValues:
    return read_server_page(
        page.encode() if isinstance(page, str) else page,
        server=server,
        pod_metric=pod_metric,
        before=before,
        at_seconds=at_seconds,
    )


def numbers(found: ServerValues) -> tuple[float | None, float | None, float | None]:
    """Return requests, waiting and cache, None for a reason."""
    values = [
        value if isinstance(value, float) else None
        for value in (
            found.values[Metric.REQUESTS],
            found.values[Metric.REQUESTS_WAITING],
            found.values[Metric.KV_CACHE_PERCENT],
        )
    ]
    return values[0], values[1], values[2]


def gauge(name: str, *samples: str) -> str:
    return f"# HELP {name} Text.\n# TYPE {name} gauge\n" + "".join(
        f"{name}{sample}\n" for sample in samples
    )


RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
OTHER = gauge("vllm:engine_sleep_state", " 0")


def vllm(running: str = " 1", waiting: str = " 2", *more: str) -> str:
    return gauge(RUNNING, running) + gauge(WAITING, waiting) + "".join(more)


RATE = MetricSelector(name="a_total", is_rate=True)
