# SPDX-License-Identifier: Apache-2.0
"""Reads the GPUs of all nodes for the map, slowly, and only while somebody views it.

Nodes that the loop reads come from memory. Other exporters are scraped in batches: in a small
cluster readings are at most two seconds old; 5,000 nodes take 25 s.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from scaler.readings.devices import DUTY_CYCLE
from scaler.readings.http import computed
from scaler.readings.unexpected import unexpected
from scaler.web.gpu_map import Node, read_nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scaler.model import ExporterEndpoint
    from scaler.readings.gpus import GpuAnswer, GpuSource


WATCHED_SECONDS = 20.0
"""How long reading continues after the last request for the map."""
KEPT_SECONDS = 120.0
"""How long readings are kept in memory after the last request."""
NODES_AT_ONCE = 100
SLICE_SECONDS = 0.5
ROUND_SECONDS = 2.0
LONG_SAMPLES = 2_000
"""More are read in a thread; so many take some milliseconds."""
IDLE_SHARE = 9
"""Prometheus answers for all nodes at once: pauses are this many times as long as a query."""


class GpuReader:
    """Keeps `nodes` for as long as `ask` is called; `run` does the reading until cancelled.

    `by_node` says whether the source is read node by node (exporters) or at once (Prometheus).
    """

    def __init__(
        self,
        source: GpuSource,
        endpoints: Callable[[], Mapping[str, ExporterEndpoint]],
        *,
        by_node: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._endpoints = endpoints
        self._by_node = by_node
        self._clock = clock
        self._asked = asyncio.Event()
        self._asked_seconds = 0.0
        self.nodes: dict[str, Node | None] = {}
        self.problem: str | None = None

    def ask(self) -> None:
        """Request the nodes; they are read for `WATCHED_SECONDS` from now on."""
        self._asked_seconds = self._clock()
        self._asked.set()
        if self._by_node:
            for name in self._endpoints():
                self.nodes.setdefault(name, None)

    async def run(self) -> None:
        """Read while somebody views the map, until cancelled."""
        while True:
            try:
                # Not wait_for, which loses a cancellation that comes together with the event.
                async with asyncio.timeout(KEPT_SECONDS):
                    await self._asked.wait()
            except TimeoutError:
                self.nodes = {}
                self.problem = None
                await self._asked.wait()
            started = self._clock()
            try:
                await self._read_all()
            except Exception as error:  # noqa: BLE001  (the map must recover by itself)
                self.problem = f"reading {unexpected('readings for the GPU map', error)}"
            took = self._clock() - started
            pause = ROUND_SECONDS - took if self._by_node else max(ROUND_SECONDS, IDLE_SHARE * took)
            await asyncio.sleep(max(SLICE_SECONDS, pause))
            if self._clock() - self._asked_seconds > WATCHED_SECONDS:
                self._asked.clear()
                self._source.need({})

    async def _read_all(self) -> None:
        if not self._by_node:
            await self._take(await self._source.read_gpus({"": {DUTY_CYCLE}}), ())
            return
        names = sorted(self._endpoints())
        # Nodes without readings come first, so that a new viewer waits least.
        names.sort(key=self._is_known)
        for gone in self.nodes.keys() - names:
            del self.nodes[gone]
        self._source.need({name: {DUTY_CYCLE} for name in names})
        for first in range(0, len(names), NODES_AT_ONCE):
            started = self._clock()
            some = names[first : first + NODES_AT_ONCE]
            wanted = {name: {DUTY_CYCLE} for name in some}
            await self._take(await self._source.read_gpus(wanted), some)
            if first + NODES_AT_ONCE < len(names):
                await asyncio.sleep(max(0.0, SLICE_SECONDS - (self._clock() - started)))

    def _is_known(self, name: str) -> bool:
        node = self.nodes.get(name)
        return node is not None and node.problem is None

    async def _take(self, answer: GpuAnswer, asked: Sequence[str]) -> None:
        now, now_unix = self._clock(), time.time()
        self.problem = next(iter(answer.failed_families.values()), None)
        samples = answer.samples.get(DUTY_CYCLE, ())
        # Prometheus answers for all nodes at once.
        found = await computed(
            partial(read_nodes, samples, now_seconds=now, now_unix_seconds=now_unix),
            is_long=len(samples) > LONG_SAMPLES,
        )
        if not self._by_node:
            if self.problem is None:
                self.nodes = dict(found)
            return
        for name in asked:
            problem = answer.failed_nodes.get(name)
            if problem is None and name not in found:
                problem = f"the exporter of node {name} reports no GPU"
            if problem is not None:
                found[name] = Node(gpus=(), read_unix_seconds=now_unix, problem=problem)
            self.nodes[name] = found[name]
