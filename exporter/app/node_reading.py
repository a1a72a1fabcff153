# SPDX-License-Identifier: Apache-2.0
"""Reads the GPUs and the pods without serving them: for `--once` and `top`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from exporter.app.parts import ExporterParts
from exporter.exposition.metrics import families

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from types import ModuleType

    from prometheus_client.metrics_core import Metric

    from exporter.cli.config import ExporterConfig


# `--once`: where the driver's buffer is empty because NVML was opened a moment ago, or GPM needs a
# second sample, another cycle follows; NVML may need seconds to wake the GPUs up.
ONCE_INTERVAL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OnceResult:
    """The exposition of one cycle; `problem` says why NVML did not answer."""

    exposition: bytes
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeMetrics:
    """The GPUs' families and the exporter's own; `problem` says why NVML did not answer."""

    metrics: tuple[Metric, ...]
    problem: str | None


async def once(config: ExporterConfig, binding: ModuleType) -> OnceResult:
    """Read the GPUs and the pods once and render them; says why if NVML does not answer."""
    parts = ExporterParts(replace(config, nvml_interval_seconds=ONCE_INTERVAL_SECONDS), binding)
    async with parts.sampling():
        problem = await parts.read()
        rendered = parts.exposition.render(parts.health.fresh_snapshot())
    return OnceResult(exposition=rendered.body, problem=problem)


@asynccontextmanager
async def node_metrics(
    config: ExporterConfig, binding: ModuleType
) -> AsyncIterator[Callable[[], Awaitable[NodeMetrics]]]:
    """Yield what reads the GPUs and the pods, as often as it is called while the context lasts."""
    parts = ExporterParts(config, binding)

    async def read() -> NodeMetrics:
        problem = await parts.read()
        snapshot = parts.health.fresh_snapshot()
        gpus = () if snapshot is None else families(snapshot, node_name=config.node_name)
        return NodeMetrics(metrics=(*gpus, *parts.health.collect()), problem=problem)

    async with parts.sampling():
        yield read
