# SPDX-License-Identifier: Apache-2.0
"""Reads the requested targets periodically, for as long as clients request them.

Every replica does this for its own requests, whether it is the leader or not. A target is read at
once on its first request; later answers come from memory.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from scaler.metricsapi.grouping import by_target, past_by_target
from scaler.metricsapi.history import SLOT_SECONDS, Target, TargetSample, TargetStore
from scaler.metricsapi.names import SERVER_FAMILIES, WINDOW_SECONDS, Resource
from scaler.metricsapi.server_targets import ServerTargets
from scaler.readings.unexpected import unexpected
from toolkit.log_once import OutageLog

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from scaler.cluster.pod_cache import PodCache
    from scaler.metricsapi.history import TargetSeries
    from scaler.metricsapi.telemetry import Telemetry
    from scaler.model import DeploymentState
    from scaler.readings.gpus import GpuAnswer, GpuSource
    from scaler.readings.servers.pod_pages import PodPages

log = logging.getLogger(__name__)


LOOK_BACK_AGAIN_SECONDS = 15.0
"""Delay before past samples are read again after a failure: the source may be starting."""


class TargetReader:
    """Keeps the series of the requested targets."""

    def __init__(
        self,
        *,
        source: GpuSource,
        objects: PodCache,
        telemetry: Telemetry,
        servers: PodPages | None = None,
        deployments: Callable[[], Iterable[DeploymentState]] = tuple,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without `servers`, pods' model servers are not read.

        `deployments` may say by annotations where those of their pods are.
        """
        self._source = source
        self._objects = objects
        self._telemetry = telemetry
        self._clock = clock
        self._histories = TargetStore()
        self._servers = None if servers is None else ServerTargets(servers, objects, deployments)
        self._reading: dict[Target, asyncio.Task[None]] = {}
        self._outage = OutageLog(
            log,
            "Cannot read any values for the metrics API",
            "Values for the metrics API can be read again",
        )

    async def run(self, *, interval_seconds: float) -> None:
        """Read all recently requested targets every `interval_seconds`, until cancelled."""
        serving = None if self._servers is None else asyncio.create_task(self._servers.run())
        try:
            while True:
                started = self._clock()
                wanted = self._histories.wanted(started)
                self._telemetry.targets.set(len(wanted))
                await self._read_safely(wanted, all_of_them=True)
                await asyncio.sleep(max(0.0, interval_seconds - (self._clock() - started)))
        finally:
            for task in (*set(self._reading.values()), *([serving] if serving else ())):
                task.cancel()

    async def histories(
        self, targets: Collection[Target], *, over_time: bool
    ) -> Mapping[Target, TargetSeries]:
        """Return the series of these targets, after a first read of new ones.

        With `over_time`, past samples of each target are read once as well.
        """
        now = self._clock()
        new = self._histories.ask(targets, now)
        unfilled = [
            target
            for target in targets
            if over_time and self._histories[target].look_back_at_seconds <= now
        ]
        for target in unfilled:
            self._histories[target].look_back_at_seconds = math.inf
        if new or unfilled:
            task = asyncio.create_task(self._read_first(new, unfilled))
            mine = {*new, *unfilled}
            self._reading.update(dict.fromkeys(mine, task))
            task.add_done_callback(lambda done: self._forget(done, mine))
        waited = {self._reading[target] for target in targets if target in self._reading}
        if waited:
            # Not cancelled with this request: others may wait for the same reads.
            await asyncio.wait(waited)
        found = ((target, self._histories.get(target)) for target in targets)
        return {target: history for target, history in found if history is not None}

    def _forget(self, task: asyncio.Task[None], targets: Iterable[Target]) -> None:
        for target in targets:
            if self._reading.get(target) is task:
                del self._reading[target]

    async def _read_first(self, new: Collection[Target], unfilled: Collection[Target]) -> None:
        await self._read_safely(new)
        by_family: defaultdict[str, set[Target]] = defaultdict(set)
        for target in unfilled:
            # Servers store no past.
            if target.family not in SERVER_FAMILIES:
                by_family[target.family].add(target)
        async with asyncio.TaskGroup() as group:
            for family, targets in by_family.items():
                group.create_task(self._fill(family, targets))

    async def _fill(self, family: str, targets: Collection[Target]) -> None:
        nodes = any(target.resource is Resource.NODES for target in targets)
        past = await self._source.read_past(
            family,
            () if nodes else {target.namespace for target in targets},
            seconds=WINDOW_SECONDS,
            step_seconds=SLOT_SECONDS,
        )
        older = past_by_target(family, past or (), targets)
        for target in targets:
            history = self._histories.get(target)
            if history is None:
                continue
            if past is None or history.problem is not None:
                history.look_back_at_seconds = self._clock() + LOOK_BACK_AGAIN_SECONDS
            for uuid, samples in older.get(target, {}).items():
                history.fill(uuid, samples)

    async def _read_safely(self, targets: Collection[Target], *, all_of_them: bool = False) -> None:
        of_servers = {target for target in targets if target.family in SERVER_FAMILIES}
        for failed in await asyncio.gather(
            self._read({*targets} - of_servers, all_of_them=all_of_them),
            self._read_servers(of_servers, is_first=not all_of_them),
            return_exceptions=True,
        ):
            # Later reads must go on.
            if isinstance(failed, Exception):
                unexpected("readings for the metrics API", failed)

    async def _read_servers(self, targets: Collection[Target], *, is_first: bool) -> None:
        if self._servers is None or (is_first and not targets):
            return
        wanted = self._histories.wanted(self._clock())
        self._servers.want(target for target in wanted if target.family in SERVER_FAMILIES)
        if is_first:
            await self._servers.wait_for_all()
        for target in targets:
            history = self._histories.get(target)
            if history is not None:
                self._servers.record(target, history)

    async def _read(self, targets: Collection[Target], *, all_of_them: bool) -> None:
        nodes_of = {target: self._nodes_of(target) for target in targets}
        wanted: defaultdict[str, set[str]] = defaultdict(set)
        by_family: defaultdict[str, set[Target]] = defaultdict(set)
        for target, nodes in nodes_of.items():
            by_family[target.family].add(target)
            for node in nodes:
                wanted[node].add(target.family)
        if all_of_them:
            self._source.need(wanted)
        if not wanted:
            return
        answer = await self._source.read_gpus(wanted)
        found: dict[Target, Mapping[str, TargetSample]] = {}
        for family, some in by_family.items():
            found |= by_target(family, answer.samples.get(family, ()), some)
        for target, nodes in nodes_of.items():
            history = self._histories.get(target)
            if history is None or not nodes:
                continue
            history.problem = _problem(target, nodes, answer)
            # A partial answer gives no mean.
            if history.problem is None:
                history.record(found.get(target, {}))
        self._observe(wanted, answer)

    def _observe(self, wanted: Mapping[str, Collection[str]], answer: GpuAnswer) -> None:
        """Count the reads; log once when all of them fail, and once when they work again."""
        asked = len({family for some in wanted.values() for family in some})
        failed = max(len(answer.failed_nodes) / len(wanted), len(answer.failed_families) / asked)
        self._telemetry.reads.labels("error" if failed else "success").inc()
        if failed >= 1:
            self._outage.failed(
                next(iter((answer.failed_families or answer.failed_nodes).values()))
            )
        else:
            self._outage.worked()

    def _nodes_of(self, target: Target) -> Collection[str]:
        """Return the nodes that have to be read for a target."""
        if target.resource is Resource.NODES:
            return (target.name,)
        if target.resource is Resource.NAMESPACES:
            # Other pods may be on nodes without GPUs, which have no exporter.
            return {
                pod.node_name
                for pod in self._objects.pods(target.namespace)
                if pod.asks_for_devices
            }
        pod = self._objects.pod(target.namespace, target.name)
        return () if pod is None else (pod.node_name,)


def _problem(target: Target, nodes: Iterable[str], answer: GpuAnswer) -> str | None:
    if target.family in answer.failed_families:
        return answer.failed_families[target.family]
    return next((answer.failed_nodes[node] for node in nodes if node in answer.failed_nodes), None)
