# SPDX-License-Identifier: Apache-2.0
"""The source that the loop reads: each metric from its own reader."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from scaler.model import SERVER_METRICS, Metric

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scaler.model import ExporterEndpoint
    from scaler.readings.servers.source import ServersSource
    from scaler.readings.source import ReadingRequest, Source, SourceAnswer

FROM_SERVERS = SERVER_METRICS | {Metric.QUEUE}
FROM_OTHERS = frozenset(Metric) - FROM_SERVERS


class LoopSource:
    """Reads GPU metrics and queries from one source, pods' servers and queues from another."""

    def __init__(self, others: Source, servers: ServersSource) -> None:
        """Both are open already."""
        self._others = others
        self._servers = servers

    @property
    def answers_queries(self) -> bool:
        """Whether `gpu-scaler/query` can be answered."""
        return self._others.answers_queries

    async def run(self) -> None:
        """Ask model servers and queues until cancelled."""
        await self._servers.run()

    async def read(
        self, requests: Sequence[ReadingRequest], endpoints: Mapping[str, ExporterEndpoint]
    ) -> SourceAnswer:
        """Return each Deployment's reading of each metric that it asked for; never raises."""
        own = [part for one in requests if (part := one.part(FROM_SERVERS))]
        rest = [part for one in requests if (part := one.part(FROM_OTHERS))]
        servers = await self._servers.read(own, endpoints)
        # The loop's reads come first: both need the same core.
        with self._servers.paused() if rest else nullcontext():
            others = await self._others.read(rest, endpoints)
        readings = {**others.readings}
        for deployment, found in servers.readings.items():
            readings[deployment] = {**readings.get(deployment, {}), **found}
        ages = [one.max_age_seconds for one in (servers, others) if one.max_age_seconds is not None]
        return replace(others, readings=readings, max_age_seconds=max(ages, default=None))

    def forget(self) -> None:
        """Forget everything that was read, until the next `read`."""
        self._others.forget()
        self._servers.forget()
