# SPDX-License-Identifier: Apache-2.0
"""The values of single GPUs, from the exporters' pages in the store."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from scaler.readings.exporters.reader import ExporterReader
from scaler.readings.gpus import GpuAnswer, GpuSample, node_gpus
from scaler.readings.http import OpensConnections

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from scaler.model import ExporterEndpoint
    from scaler.readings.exporters.reader import Scraper
    from scaler.readings.exposition import NodePage
    from scaler.readings.store import ReadingStore


class ExporterGpus(OpensConnections):
    """One consumer's view; use as an async context manager, which owns its connections.

    It reads nodes about every `every_seconds`, unless another consumer reads them more often.
    """

    def __init__(
        self,
        store: ReadingStore[NodePage],
        scraper: Scraper,
        endpoints: Callable[[], Mapping[str, ExporterEndpoint]],
        *,
        every_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(scraper)
        self._clock = clock
        reader = ExporterReader(scraper, endpoints, clock=clock)
        self._demand = store.demand(reader, every_seconds=every_seconds)

    async def __aexit__(self, *_: object) -> None:
        """Clear the demand and close the connection pool."""
        self._demand.state({})
        await super().__aexit__()

    def need(self, wanted: Mapping[str, Collection[str]]) -> None:
        """Replace the demand: these families of these nodes."""
        self._demand.state(_sorted(wanted))

    async def read_gpus(self, wanted: Mapping[str, Collection[str]]) -> GpuAnswer:
        """Add these families of these nodes to the demand; return their GPUs."""
        self._demand.add(_sorted(wanted))
        async with asyncio.TaskGroup() as group:
            tasks = {node: group.create_task(self._demand.page(node)) for node in wanted}
        samples: defaultdict[str, list[GpuSample]] = defaultdict(list)
        failed: dict[str, str] = {}
        for node, task in tasks.items():
            page = task.result()
            problem = page.stale_problem(self._clock())
            if problem is not None:
                failed[node] = f"the exporter of node {node} {problem}"
                continue
            for family, some in node_gpus(page, node, wanted[node]).items():
                samples[family].extend(some)
        return GpuAnswer(samples=samples, failed_nodes=failed)

    async def read_past(
        self, family: str, namespaces: Collection[str], *, seconds: float, step_seconds: float
    ) -> Sequence[GpuSample]:
        """Return nothing: exporters store no past samples."""
        return ()


def _sorted(wanted: Mapping[str, Collection[str]]) -> Mapping[str, tuple[str, ...]]:
    return {node: tuple(sorted(families)) for node, families in wanted.items()}
