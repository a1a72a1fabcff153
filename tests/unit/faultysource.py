# SPDX-License-Identifier: Apache-2.0
"""The exporters' source over a faulty world, whose readings may be warned of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaler.model import MetricReading
from scaler.readings.exporters.source import ExporterSource
from scaler.readings.source import SourceAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scaler.model import ExporterEndpoint
    from scaler.readings.source import ReadingRequest
    from tests.unit.faultyworld import World


class WarnedSource:
    """The exporters' source over the world's exporters; a warned Deployment's readings say so."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._source = ExporterSource(clock=world.monotonic, scraper=world)  # type: ignore[arg-type]

    @property
    def answers_queries(self) -> bool:
        return False

    async def read(
        self, requests: Sequence[ReadingRequest], endpoints: Mapping[str, ExporterEndpoint]
    ) -> SourceAnswer:
        self._world.served = {}
        answer = await self._source.read(requests, endpoints)
        warned = {one.ref for one in self._world.workloads.values() if one.warned}
        readings = {
            ref: {
                metric: MetricReading(
                    metric=metric, values=one.values, missing=one.missing, problem="warned"
                )
                if ref in warned
                else one
                for metric, one in by_metric.items()
            }
            for ref, by_metric in answer.readings.items()
        }
        return SourceAnswer(readings=readings)

    def forget(self) -> None:
        self._source.forget()
