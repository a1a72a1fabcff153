# SPDX-License-Identifier: Apache-2.0
"""The values of single GPUs, from Prometheus: one query per series for the whole cluster.

In the store, each family is a page.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaler.budgets import INLINE_SAMPLES
from scaler.readings.gpus import GpuAnswer, GpuSample
from scaler.readings.http import OpensConnections, computed
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
    from collections.abc import Callable, Collection, Mapping, Sequence

    from scaler.readings.prometheus.source import PrometheusSource
    from scaler.readings.store import ReadingStore


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyPage:
    """The result of reading a family of all GPUs: samples, or the problem."""

    families: tuple[str, ...]
    asked_seconds: float
    samples: Sequence[GpuSample] = ()
    problem: str | None = None


class FamilyReader:
    """Reads families through one source of queries."""

    def __init__(self, source: PrometheusSource, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._source = source
        self._names = source.settings.names
        self._matchers = source.settings.matchers

    async def fetch(self, key: str, _: tuple[str, ...], __: FamilyPage | None) -> FamilyPage:
        """Return the page of the family `key`."""
        asked = self._clock()
        found = await self.read(key, asked)
        if isinstance(found, str):
            return FamilyPage(families=(key,), asked_seconds=asked, problem=found)
        return FamilyPage(families=(key,), asked_seconds=asked, samples=found)

    async def read(
        self, family: str, asked: float, *, within: str | None = None
    ) -> Sequence[GpuSample] | str:
        """Return the samples of a family, or why it could not be read.

        The matcher `within` selects some of them, which then have their models.
        """
        matchers = self._matchers if within is None else (*self._matchers, within)
        named = self._names.families.get(family)
        if named is None:
            # Not a failure: nothing has a value, as with an exporter that does not publish it.
            return ()
        queries = [
            gpu_query(series, self._names, family, matchers=matchers, with_model=within is not None)
            for series in named.series
        ]
        results = []
        for result in await asyncio.gather(*(self._source.result(query) for query in queries)):
            if isinstance(result, str):
                return result
            results.append(result)

        def samples() -> Sequence[GpuSample]:
            parts = [read_gpu_series(result, self._names) for result in results]
            return gpu_samples(parts, factor=named.factor, asked_seconds=asked, family=family)

        try:
            is_long = sum(len(result.rows) for result in results) > INLINE_SAMPLES
            return await computed(samples, is_long=is_long)
        except PromqlError as error:
            return f"Prometheus: {error}"
        except Exception as error:  # noqa: BLE001  (it affects only this family)
            return f"Prometheus: {unexpected(family, error)}"


class PrometheusGpus(OpensConnections):
    """One consumer's view; use as an async context manager, which owns its connections.

    It reads families about every `every_seconds`, unless another consumer reads them more often.
    """

    def __init__(
        self,
        store: ReadingStore[FamilyPage],
        source: PrometheusSource,
        *,
        every_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._clock = clock
        super().__init__(source)
        self._source = source
        self._names = source.settings.names
        self._matchers = source.settings.matchers
        reader = FamilyReader(source, clock=clock)
        self._demand = store.demand(reader, every_seconds=every_seconds)

    async def __aexit__(self, *_: object) -> None:
        """Clear the demand and close the connection pool."""
        self._demand.state({})
        await super().__aexit__()

    def need(self, wanted: Mapping[str, Collection[str]]) -> None:
        """Replace the demand with these families."""
        self._demand.state(_by_family(wanted))

    async def read_gpus(self, wanted: Mapping[str, Collection[str]]) -> GpuAnswer:
        """Add these families to the demand; return all GPUs that have them."""
        families = _by_family(wanted)
        self._demand.add(families)
        async with asyncio.TaskGroup() as group:
            tasks = {one: group.create_task(self._demand.page(one)) for one in sorted(families)}
        pages = {family: task.result() for family, task in tasks.items()}
        return GpuAnswer(
            samples={family: one.samples for family, one in pages.items() if one.problem is None},
            failed_families={
                family: one.problem for family, one in pages.items() if one.problem is not None
            },
        )

    async def read_past(
        self, family: str, namespaces: Collection[str], *, seconds: float, step_seconds: float
    ) -> Sequence[GpuSample] | None:
        """Return the stored samples of a family for these namespaces; None if that fails."""
        named = self._names.families.get(family)
        if named is None:
            return ()
        asked = self._clock()
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
            # Each series has all samples of the time.
            return await asyncio.to_thread(
                past_samples,
                found,
                self._names,
                factor=named.factor,
                asked_seconds=asked,
                family=family,
            )
        except PromqlError:
            return None
        except Exception as error:  # noqa: BLE001  (it affects only this family)
            unexpected(family, error)
            return None


def _by_family(wanted: Mapping[str, Collection[str]]) -> Mapping[str, tuple[str, ...]]:
    return {family: (family,) for some in wanted.values() for family in some}
