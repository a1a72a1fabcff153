# SPDX-License-Identifier: Apache-2.0
"""Counts idle GPUs from the readings in memory, while this replica leads.

Duty cycles that the loop or the map reads cost nothing more. The others are read here, slowly: with
`every_gpu` those of all nodes, and from Prometheus one query for all GPUs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from scaler.budgets import IDLE_WORKLOADS
from scaler.model import ObjectRef
from scaler.readings.devices import DUTY_CYCLE
from scaler.readings.unexpected import unexpected
from scaler.reporting.idle_gpus import IdleGpus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from scaler.model import DeploymentState, ExporterEndpoint
    from scaler.readings.gpus import GpuSample, GpuSource

log = logging.getLogger(__name__)

OBSERVE_SECONDS: Final = 10.0
"""As long as an exporter's window, so that no time between two readings is left out."""
QUERY_SECONDS: Final = 30.0
GAP_READS: Final = 2.5
"""Readings further apart than this many times their interval say nothing about the time between."""
OBSERVED_AT_ONCE: Final = 20
"""Nodes in memory, or Deployments, between two chances for the event loop to do other work."""
NODES_AT_ONCE: Final = 100
SLICE_SECONDS: Final = 0.6
"""How long reading so many nodes takes at least: 5,000 nodes take 30 s."""


def read_seconds(*, by_node: bool) -> float:
    """Return how often exporters, or Prometheus, are read for all GPUs."""
    return OBSERVE_SECONDS if by_node else QUERY_SECONDS


class IdleWatch:
    """Fills `idle` while `run` runs."""

    def __init__(  # noqa: PLR0913  (what it reads from)
        self,
        source: GpuSource,
        *,
        known: Callable[[], Iterable[Sequence[GpuSample]]],
        endpoints: Callable[[], Mapping[str, ExporterEndpoint]],
        deployments: Callable[[], Collection[DeploymentState]],
        workload_of: Callable[[ObjectRef], ObjectRef | None],
        leads: Callable[[], bool],
        by_node: bool,
        every_gpu: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`known` returns the duty cycles in memory, those of `source` among them."""
        self._read_seconds = read_seconds(by_node=by_node)
        self.idle = IdleGpus(longest_gap_seconds=GAP_READS * self._read_seconds)
        self._source = source
        self._known = known
        self._endpoints = endpoints
        self._deployments = deployments
        self._workload_of = workload_of
        self._leads = leads
        self._by_node = by_node
        self._every_gpu = every_gpu
        self._clock = clock
        self._is_full = False

    async def run(self) -> None:
        """Read and observe until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat(self.observe, OBSERVE_SECONDS))
            if self._every_gpu or not self._by_node:
                group.create_task(self._repeat(self.read, self._read_seconds))

    async def observe(self) -> None:
        """Take the duty cycles in memory."""
        if not self._leads():
            # The new leader counts from now on.
            self.idle.interrupt()
            return
        workloads: dict[ObjectRef, ObjectRef] = {}
        # In short slices: the loop may be waiting for the event loop.
        for count, one in enumerate(self._deployments(), start=1):
            workloads.update((pod.ref, one.ref) for pod in one.pods)
            if count % OBSERVED_AT_ONCE == 0:
                await asyncio.sleep(0)
        for count, samples in enumerate(self._known(), start=1):
            self.idle.observe(samples, opted_in=workloads.get, other=self._other)
            if count % OBSERVED_AT_ONCE == 0:
                await asyncio.sleep(0)
        self.idle.forget(self._clock())
        if self.idle.is_full and not self._is_full:
            log.warning(
                "Too many workloads hold GPUs; the idle GPUs of the rest are counted together",
                extra={"limit": IDLE_WORKLOADS},
            )
        self._is_full = self.idle.is_full

    async def read(self) -> None:
        """Read what no other consumer reads: it is in memory afterwards."""
        if not self._leads() or not (self._every_gpu or self._deployments()):
            self._source.need({})
        elif not self._by_node:
            await self._source.read_gpus({"": {DUTY_CYCLE}})
        else:
            begun = self._clock()
            nodes = {name: {DUTY_CYCLE} for name in sorted(self._endpoints())}
            self._source.need(nodes)
            names = list(nodes)
            for first in range(0, len(names), NODES_AT_ONCE):
                started = self._clock()
                some = names[first : first + NODES_AT_ONCE]
                await self._source.read_gpus({name: nodes[name] for name in some})
                await asyncio.sleep(max(0.0, SLICE_SECONDS - (self._clock() - started)))
            round_seconds = max(self._read_seconds, self._clock() - begun)
            self.idle.longest_gap_seconds = GAP_READS * round_seconds

    def _other(self, pod: ObjectRef) -> ObjectRef | None:
        """Return the workload of a pod of no opted-in one; None leaves the pod out."""
        if not self._every_gpu:
            return None
        # Pods of other namespaces than --namespaces are not watched.
        return self._workload_of(pod) or ObjectRef(pod.namespace, "", "")

    async def _repeat(self, work: Callable[[], Awaitable[None]], every_seconds: float) -> None:
        while True:
            started = self._clock()
            try:
                await work()
            except Exception as error:  # noqa: BLE001  (it must recover by itself)
                unexpected("idle GPUs", error)
            await asyncio.sleep(max(SLICE_SECONDS, every_seconds - (self._clock() - started)))
