# SPDX-License-Identifier: Apache-2.0
"""The past from Prometheus: `/api/v1/query_range` in chunks, so that memory holds one chunk.

The length of a chunk follows from the number of points in the one before; where Prometheus refuses
a chunk or takes too long, its half is asked for.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from scaler.readings.http import OpensConnections
from scaler.readings.prometheus.client import CLIENT_FAULTS, HttpStatusError, PrometheusClient
from scaler.readings.prometheus.range_chunks import (
    FIRST_CHUNK_STEPS,
    PastRow,
    RangeChunk,
    next_steps,
    read_rows,
)
from scaler.readings.prometheus.response import PromqlError
from toolkit.http_body import AnswerTooLargeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from scaler.readings.prometheus.range_chunks import Span
    from scaler.readings.prometheus.response import Result
    from scaler.readings.settings import PrometheusSettings

PATH = "/api/v1/query_range"
QUERY_PATH = "/api/v1/query"
CONNECTIONS = 4
SMALLER_STATUSES = frozenset({413, 422, 503, 504})
"""Statuses of a chunk that may be too large: too many samples, points or bytes, or no time left."""
PERMISSION_FLAGS = (
    "pass --prometheus.bearer-token-file, --prometheus.username with --prometheus.password-file,"
    " --prometheus.tls-cert-file, or --prometheus.header-file"
)
TRIES = 3
RETRY_SECONDS = 1.0


class PastError(RuntimeError):
    """Prometheus did not answer; the message is for people. `status` is HTTP's, None if none."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class RangeReader(OpensConnections):
    """Reads the past; use as an async context manager, which owns the connections."""

    def __init__(self, settings: PrometheusSettings) -> None:
        self.settings = settings
        self._client = PrometheusClient(settings, connections=CONNECTIONS)
        super().__init__(self._client)

    async def chunks(self, queries: Sequence[str], span: Span) -> AsyncIterator[RangeChunk]:
        """Yield the answers to these queries over all of `span`, chunk by chunk in order of time.

        A step without a value has no point. The server's lookback is as long as `fresh_seconds` at
        most, but not every server knows the parameter: a query of ours drops old samples itself.

        Raises:
            PastError: Prometheus does not answer one of them, not even for a single step.
        """
        done, steps = 0, FIRST_CHUNK_STEPS
        while done < span.steps:
            part = span.part(done, steps)
            try:
                chunk = await self._chunk(queries, part)
            except (AnswerTooLargeError, TimeoutError, PromqlError) as error:
                if part.steps > 1 and _may_be_too_large(error):
                    steps = part.steps // 2
                    continue
                raise self._failed(error) from error
            yield chunk
            done += part.steps
            points = sum(len(row.points) for rows in chunk.rows for row in rows)
            steps = next_steps(part.steps, points=points)

    async def now(self, query: str, *, at_unix_seconds: float) -> Result:
        """Return the result of an instant query at a time; raises PastError."""
        try:
            return await self._answer(
                QUERY_PATH, [("query", query), ("time", f"{at_unix_seconds:.3f}")], lookback="5m"
            )
        except (AnswerTooLargeError, TimeoutError, PromqlError) as error:
            raise self._failed(error) from error

    async def _chunk(self, queries: Sequence[str], part: Span) -> RangeChunk:
        params = [
            ("start", f"{part.begun_unix_seconds:.3f}"),
            ("end", f"{part.ended_unix_seconds:.3f}"),
            ("step", f"{part.step_seconds:g}"),
        ]
        rows: list[tuple[PastRow, ...]] = []
        for query in queries:
            lookback = f"{part.fresh_seconds:g}s"
            result = await self._answer(PATH, [("query", query), *params], lookback=lookback)
            rows.append(await asyncio.to_thread(read_rows, result))
        return RangeChunk(span=part, rows=tuple(rows))

    async def _answer(
        self, path: str, params: Sequence[tuple[str, str]], *, lookback: str
    ) -> Result:
        """Return an answer; only failed connections are tried again."""
        for attempt in range(1, TRIES + 1):
            try:
                async with asyncio.timeout(self.settings.timeout_seconds):
                    return await self._client.ask(
                        path, params, defaults=[("lookback_delta", lookback)]
                    )
            except (AnswerTooLargeError, TimeoutError, PromqlError):
                raise
            except CLIENT_FAULTS as error:
                if attempt == TRIES:
                    raise self._failed(error) from error
                await asyncio.sleep(RETRY_SECONDS * attempt)
        raise AssertionError

    def _failed(self, error: Exception) -> PastError:
        status = error.status if isinstance(error, HttpStatusError) else None
        text = self._client.problem(error)
        if status in (401, 403):
            text += f" ({PERMISSION_FLAGS})"
        if status == 404:
            text += " (--prometheus.url must be the base URL of the HTTP API)"
        return PastError(text, status=status)


def _may_be_too_large(error: Exception) -> bool:
    if isinstance(error, PromqlError):
        return isinstance(error, HttpStatusError) and error.status in SMALLER_STATUSES
    return True
