"""The values of single GPUs, from Prometheus: one query per series for the whole cluster."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Self

from scaler.readings.gpus import GpuAnswer, GpuSample
from scaler.readings.prometheus.gpu_queries import (
    gpu_query,
    gpu_samples,
    past_query,
    past_samples,
    read_gpu_series,
)
from scaler.readings.prometheus.response import PromqlError
from scaler.readings.unexpected import unexpected

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from scaler.model import ExporterEndpoint
    from scaler.readings.prometheus.source import PrometheusSource
    from scaler.readings.settings import PrometheusSettings


class PrometheusGpus:
    """Asks Prometheus through a source of its own; use as an async context manager."""

    def __init__(self, source: PrometheusSource, settings: PrometheusSettings) -> None:
        self._source = source
        self._names = settings.names
        self._matchers = settings.matchers

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
        await self._source.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection pool."""
        await self._source.__aexit__()

    async def read_gpus(
        self, wanted: Mapping[str, Collection[str]], endpoints: Mapping[str, ExporterEndpoint]
    ) -> GpuAnswer:
        """Return all GPUs with these families."""
        families = {family for some in wanted.values() for family in some}
        async with asyncio.TaskGroup() as group:
            tasks = {family: group.create_task(self._read(family)) for family in sorted(families)}
        results = {family: task.result() for family, task in tasks.items()}
        samples = {family: one for family, one in results.items() if not isinstance(one, str)}
        return GpuAnswer(
            samples=samples,
            failed_families={
                family: one for family, one in results.items() if isinstance(one, str)
            },
        )

    async def read_past(
        self, family: str, namespaces: Collection[str], *, seconds: float, step_seconds: float
    ) -> Sequence[GpuSample] | None:
        """Return what is stored of a family for these namespaces; None if that fails."""
        named = self._names.families.get(family)
        if named is None:
            return ()
        asked = time.monotonic()
        queries = [
            past_query(
                series,
                self._names,
                family,
                namespaces=namespaces,
                seconds=seconds,
                step_seconds=step_seconds,
                matchers=self._matchers,
            )
            for series in named.series
        ]
        results = await asyncio.gather(*(self._source.result(query) for query in queries))
        found = [result for result in results if not isinstance(result, str)]
        if len(found) < len(results):
            return None
        try:
            return past_samples(
                found, self._names, factor=named.factor, asked_seconds=asked, family=family
            )
        except PromqlError:
            return None
        except Exception as error:  # noqa: BLE001  (it is this family's alone)
            unexpected(family, error)
            return None

    async def _read(self, family: str) -> Sequence[GpuSample] | str:
        named = self._names.families.get(family)
        if named is None:
            # Not a failure: as with an exporter that does not show it, nothing has a value.
            return ()
        asked = time.monotonic()
        queries = [
            gpu_query(series, self._names, family, matchers=self._matchers)
            for series in named.series
        ]
        parts = []
        for result in await asyncio.gather(*(self._source.result(query) for query in queries)):
            if isinstance(result, str):
                return result
            try:
                parts.append(read_gpu_series(result, self._names))
            except PromqlError as error:
                return f"Prometheus: {error}"
        try:
            return gpu_samples(parts, factor=named.factor, asked_seconds=asked, family=family)
        except Exception as error:  # noqa: BLE001  (it is this family's alone)
            return f"Prometheus: {unexpected(family, error)}"
