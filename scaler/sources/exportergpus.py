"""The values of single GPUs, from the exporters themselves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from scaler.sources.exposition import INTERVAL, SNAPSHOT_AGE, ExpositionError
from scaler.sources.gpus import GpuAnswer, GpuReadings, GpuSample, read_gpus
from scaler.sources.scraping import Scraper, stale_after_seconds

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from scaler.model import ExporterEndpoint
    from scaler.sources.series import Series


class ExporterGpus:
    """Asks the exporter of each node; use as an async context manager."""

    def __init__(self, scraper: Scraper) -> None:
        self._scraper = scraper
        self._series: dict[str, Mapping[str, Series]] = {}

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
        await self._scraper.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection pool."""
        await self._scraper.__aexit__()

    async def read_gpus(
        self, wanted: Mapping[str, Collection[str]], endpoints: Mapping[str, ExporterEndpoint]
    ) -> GpuAnswer:
        """Return the GPUs of these nodes with these families."""
        async with asyncio.TaskGroup() as group:
            tasks = {
                node: group.create_task(self._read(node, endpoints.get(node), families))
                for node, families in wanted.items()
            }
        for gone in self._series.keys() - endpoints.keys():
            del self._series[gone]
        results = {node: task.result() for node, task in tasks.items()}
        return GpuAnswer(
            readings=[one for one in results.values() if isinstance(one, GpuReadings)],
            failed_nodes={node: one for node, one in results.items() if isinstance(one, str)},
        )

    async def read_past(
        self, family: str, namespaces: Collection[str], *, seconds: float, step_seconds: float
    ) -> Sequence[GpuSample]:
        """Return nothing: exporters keep no past."""
        return ()

    async def _read(
        self, node: str, endpoint: ExporterEndpoint | None, families: Collection[str]
    ) -> GpuReadings | str:
        names = (*sorted(families), SNAPSHOT_AGE, INTERVAL)
        scraped = await self._scraper.scrape(endpoint, names)
        if scraped.problem is not None:
            return f"the exporter of node {node} {scraped.problem}"
        try:
            samples, age, interval, self._series[node] = read_gpus(
                scraped.text,
                node,
                asked_seconds=scraped.asked_seconds,
                known=self._series.get(node, {}),
            )
        except ExpositionError as error:
            return f"the exporter of node {node} failed: {error}"
        limit = stale_after_seconds(interval)
        if age is None:
            return f"the exporter of node {node} has no GPU readings"
        if age + scraped.duration_seconds > limit:
            return f"the exporter of node {node} shows readings {age:.0f} s old"
        return GpuReadings(samples=samples, fresh_for_seconds=limit)
