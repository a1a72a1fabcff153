"""The values of single GPUs, from the exporters themselves."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Self

from scaler.readings.exporters.scrape import parsed
from scaler.readings.exposition import INTERVAL, SNAPSHOT_AGE, ExpositionError
from scaler.readings.gpus import GpuAnswer, GpuSample, NodeGpus, read_node
from scaler.readings.unexpected import unexpected

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from scaler.model import ExporterEndpoint
    from scaler.readings.exporters.scrape import Scraper
    from scaler.readings.series import Series


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
        samples: defaultdict[str, list[GpuSample]] = defaultdict(list)
        failed: dict[str, str] = {}
        for node, task in tasks.items():
            found = task.result()
            if isinstance(found, str):
                failed[node] = f"the exporter of node {node} {found}"
                continue
            for family, some in found.samples.items():
                samples[family].extend(some)
        return GpuAnswer(samples=samples, failed_nodes=failed)

    async def read_past(
        self, family: str, namespaces: Collection[str], *, seconds: float, step_seconds: float
    ) -> Sequence[GpuSample]:
        """Return nothing: exporters keep no past."""
        return ()

    async def _read(
        self, node: str, endpoint: ExporterEndpoint | None, families: Collection[str]
    ) -> NodeGpus | str:
        names = (*sorted(families), SNAPSHOT_AGE, INTERVAL)
        scraped = await self._scraper.scrape(endpoint, names)
        if scraped.problem is not None:
            return scraped.problem
        read = partial(
            read_node,
            scraped.text,
            node,
            asked_seconds=scraped.asked_seconds,
            known=self._series.get(node, {}),
        )
        try:
            found = await parsed(read, scraped.text)
        except ExpositionError as error:
            return f"failed: {error}"
        except Exception as error:  # noqa: BLE001  (it is this node's alone)
            return unexpected(f"the exporter of node {node}", error)
        self._series[node] = found.series
        if found.age_seconds is None:
            return "has no GPU readings"
        if found.age_seconds + scraped.duration_seconds > found.fresh_for_seconds:
            return f"shows readings {found.age_seconds:.0f} s old"
        return found
