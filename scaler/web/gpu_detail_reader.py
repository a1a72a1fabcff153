# SPDX-License-Identifier: Apache-2.0
"""Reads memory, power and temperature of the GPUs that viewers of the map have on screen.

All viewers share one read of a node, and a node is read at most once per `EVERY_SECONDS`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaler.readings.unexpected import unexpected
from scaler.web.gpu_details import FAMILIES, read_details
from scaler.web.gpu_reader import IDLE_SHARE, SLICE_SECONDS, WATCHED_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from scaler.readings.gpus import CurrentGpuSource
    from scaler.web.gpu_details import GpuDetail
    from scaler.web.gpu_reader import GpuReader

EVERY_SECONDS = 5.0
MAX_NODES = 96
"""Nodes of all viewers together; those that were requested last count."""


class GpuDetailReader:
    """Keeps `details` of the nodes that `ask` names; `run` does the reading until cancelled.

    `details` has no entry for a node that has not been read yet.
    """

    def __init__(
        self,
        source: CurrentGpuSource,
        *,
        by_node: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`by_node` says whether each node is read by itself (exporters) or all by queries."""
        self._source = source
        self._by_node = by_node
        self._clock = clock
        self._asked = asyncio.Event()
        self._asked_seconds: dict[str, float] = {}
        self._read_seconds: dict[str, float] = {}
        self._needed: frozenset[str] = frozenset()
        self.details: dict[str, Mapping[str, GpuDetail]] = {}

    def ask(self, nodes: Iterable[str]) -> None:
        """Request these nodes; they are read for `WATCHED_SECONDS` from now on."""
        now = self._clock()
        for node in nodes:
            # The latest requests are last.
            self._asked_seconds.pop(node, None)
            self._asked_seconds[node] = now
            self._asked.set()
        for node in [*self._asked_seconds][:-MAX_NODES]:
            del self._asked_seconds[node]

    async def run(self) -> None:
        """Read while somebody views the map, until cancelled."""
        while True:
            await self._asked.wait()
            started = self._clock()
            self._forget(started)
            due = [
                node
                for node in self._asked_seconds
                if started - self._read_seconds.get(node, float("-inf")) >= EVERY_SECONDS
            ]
            try:
                await self._read(due, started)
            except Exception as error:  # noqa: BLE001  (the map must recover by itself)
                unexpected("details for the GPU map", error)
                self.details |= {node: {} for node in due}
            took = self._clock() - started
            pause = SLICE_SECONDS if self._by_node else IDLE_SHARE * took
            await asyncio.sleep(max(SLICE_SECONDS, pause))

    def _forget(self, now: float) -> None:
        """Forget the nodes that nobody has requested for a while."""
        for node, asked in [*self._asked_seconds.items()]:
            if now - asked > WATCHED_SECONDS:
                del self._asked_seconds[node]
        for node in self._read_seconds.keys() - self._asked_seconds.keys():
            del self._read_seconds[node]
            self.details.pop(node, None)
        if self._asked_seconds.keys() != self._needed:
            # The store then looks at all that anybody needs.
            self._needed = frozenset(self._asked_seconds)
            self._source.need(dict.fromkeys(self._needed, FAMILIES))
        if not self._asked_seconds:
            self._asked.clear()

    async def _read(self, due: list[str], now: float) -> None:
        if not due:
            return
        self._read_seconds |= dict.fromkeys(due, now)
        answer = await self._source.read_gpus(dict.fromkeys(due, FAMILIES))
        found = read_details(answer.samples, now_seconds=self._clock())
        # A node that failed has no details rather than old ones.
        self.details |= {node: found.get(node, {}) for node in due}


@dataclass(frozen=True, slots=True, kw_only=True)
class MapReaders:
    """What reads for the map: duty cycles of all nodes, details of those on screen."""

    gpus: GpuReader
    details: GpuDetailReader
