# SPDX-License-Identifier: Apache-2.0
"""Reads GPU metrics from one source and `gpu-scaler/query` from another, independently."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from scaler.model import Metric, MetricReading
from scaler.readings.devices import FAMILIES
from scaler.readings.source import SourceAnswer
from scaler.readings.unexpected import unexpected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scaler.model import ExporterEndpoint, ObjectRef
    from scaler.readings.source import ReadingRequest, Source

NO_ANSWER_YET = (
    "Prometheus: no answer to this query yet; decisions on GPU metrics do not wait for it"
)


class GpusAndQueries:
    """Reads both at once; use as an async context manager, which owns the pending queries.

    `read` waits for queries for up to `patience_seconds`, or as long as GPU values take. Slower
    queries continue, and a later `read` returns their answers; until then the last ones count.
    """

    def __init__(self, gpus: Source, queries: Source, *, patience_seconds: float) -> None:
        self._gpus = gpus
        self._queries = queries
        self._patience_seconds = patience_seconds
        self._asking: asyncio.Task[SourceAnswer] | None = None
        # With the query that each reading answers.
        self._answered: Mapping[ObjectRef, tuple[str | None, MetricReading]] = {}

    @property
    def answers_queries(self) -> bool:
        """Whether `gpu-scaler/query` can be answered."""
        return self._queries.answers_queries

    async def __aenter__(self) -> Self:
        """Do nothing: the two sources are open already."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cancel the pending queries."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    async def read(
        self, requests: Sequence[ReadingRequest], endpoints: Mapping[str, ExporterEndpoint]
    ) -> SourceAnswer:
        """Return each Deployment's reading of each metric that it asked for; never raises."""
        clock = asyncio.get_running_loop().time
        until = clock() + self._patience_seconds
        queries = [part for one in requests if (part := one.part({Metric.QUERY}))]
        if self._asking is None and queries:
            self._asking = asyncio.create_task(self._ask(queries, endpoints))
        gpus = [part for one in requests if (part := one.part(FAMILIES))]
        answer = await self._gpus.read(gpus, endpoints)
        totals = None
        if self._asking is not None:
            await asyncio.wait({self._asking}, timeout=max(0.0, until - clock()))
            if self._asking.done():
                totals, self._asking = self._asking.result(), None
        readings = {ref: dict(found) for ref, found in answer.readings.items()}
        for one in queries:
            readings.setdefault(one.deployment, {})[Metric.QUERY] = self._total(one)
        return SourceAnswer(
            readings=readings,
            succeeded=answer.succeeded + (totals.succeeded if totals else 0),
            failed=answer.failed + (totals.failed if totals else 0),
            max_age_seconds=answer.max_age_seconds,
        )

    def forget(self) -> None:
        """Forget everything that was read."""
        self._answered = {}
        self._gpus.forget()
        self._queries.forget()

    async def _ask(
        self, requests: Sequence[ReadingRequest], endpoints: Mapping[str, ExporterEndpoint]
    ) -> SourceAnswer:
        try:
            answer = await self._queries.read(requests, endpoints)
        except Exception as error:  # noqa: BLE001  (GPU values must not be affected)
            problem = f"Prometheus: {unexpected('Prometheus', error)}"
            reading = MetricReading(metric=Metric.QUERY, values={}, problem=problem)
            failed = {one.deployment: {Metric.QUERY: reading} for one in requests}
            answer = SourceAnswer(readings=failed, failed=len(requests))
        self._answered = {
            one.deployment: (one.query, answer.readings[one.deployment][Metric.QUERY])
            for one in requests
        }
        return answer

    def _total(self, request: ReadingRequest) -> MetricReading:
        query, reading = self._answered.get(request.deployment, (None, None))
        if reading is None or query != request.query:
            return MetricReading(metric=Metric.QUERY, values={}, problem=NO_ANSWER_YET)
        return reading
