# SPDX-License-Identifier: Apache-2.0
"""One consumer's view of the pages of pods' model servers: wanted now, read in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scaler.decision.grouping import answering_pods
from scaler.model import PodPhase
from scaler.readings.exposition import stale_after_seconds
from scaler.readings.http import OpensConnections
from scaler.readings.servers.address import NoAddressError
from scaler.readings.servers.reader import WHOLE_PAGE, server_target
from scaler.readings.servers.schedule import Polls
from scaler.readings.unexpected import unexpected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from scaler.model import PodNetwork, PodState, ServerSettings
    from scaler.readings.servers.client import ServerClient
    from scaler.readings.servers.reader import ServerPage, ServerReader, ServerTarget
    from scaler.readings.store import ReadingStore

NOT_ASKED_YET = "the pod's model server was not asked yet"


class _KnownPod(NamedTuple):
    """A pod's target, or why it has none, and what both were computed from."""

    address: str | None
    network: PodNetwork
    settings: ServerSettings
    target: ServerTarget | str


class _Group(NamedTuple):
    """Pods that were named together, and the targets of those that run."""

    pods: Sequence[PodState]
    settings: ServerSettings
    running: Sequence[tuple[PodState, ServerTarget | str]]


class PodPages(OpensConnections):
    """Pages from memory; use as an async context manager, which owns the connections.

    Consumers of one store share the requests. `polls` must be running.
    """

    def __init__(
        self,
        client: ServerClient,
        reader: ServerReader,
        store: ReadingStore[ServerPage],
        *,
        interval_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        """`interval_seconds` is how often `want` is called."""
        super().__init__(client)
        self._reader = reader
        self._demand = store.demand(reader, every_seconds=interval_seconds)
        self.polls = Polls(self._ask, interval_seconds=interval_seconds, clock=clock)
        self._interval_seconds = interval_seconds
        self._clock = clock
        self.stale_seconds = stale_after_seconds(interval_seconds)
        self._known: dict[str, _KnownPod] = {}
        self._groups: dict[tuple[int, int], _Group] = {}
        self._namespaces: dict[str, str] = {}

    async def __aexit__(self, *_: object) -> None:
        """Clear the demand and close the connection pool."""
        self.want(())
        await super().__aexit__()

    def want(self, groups: Iterable[tuple[Sequence[PodState], ServerSettings]]) -> None:
        """Say that the pages of these pods are needed now and after an interval, and no others.

        Only pods that run are asked. What is the same object as in the last call costs nothing.
        """
        before, self._groups = self._groups, {}
        known: dict[str, _KnownPod] = {}
        for pods, settings in groups:
            # The groups of before keep their objects alive, so that no other has the same id.
            key = id(pods), id(settings)
            self._groups[key] = before.get(key) or self._group(pods, settings, known)
        if self._groups.keys() != before.keys():
            self._replace(known)
        self.polls.want(self._namespaces)

    def pages(
        self, pods: Sequence[PodState], settings: ServerSettings
    ) -> Sequence[tuple[PodState, ServerPage | str]]:
        """Return the fresh page of each running pod of a wanted group, or why there is none.

        Both arguments are the objects that were given to `want`. Never waits.
        """
        now, latest = self._clock(), self._demand.latest
        oldest = now - self.stale_seconds
        found: list[tuple[PodState, ServerPage | str]] = []
        for pod, target in self._groups[id(pods), id(settings)].running:
            page = latest(pod.uid)
            if page is None or page.target is not target or page.asked_seconds < oldest:
                found.append((pod, self._page(pod.uid, target, now)))
            else:
                found.append((pod, page if page.problem is None else page.problem))
        return found

    def page(self, pod: PodState) -> ServerPage | str:
        """Return the fresh page of a wanted pod, or why there is none; never waits."""
        return self._page(pod.uid, self._known[pod.uid].target, self._clock())

    def _page(self, uid: str, target: ServerTarget | str, now: float) -> ServerPage | str:
        if isinstance(target, str):
            return target
        page = self._latest(uid)
        if page is None:
            return NOT_ASKED_YET
        age = now - page.asked_seconds
        if age > self.stale_seconds:
            return f"the pod's model server was last asked {age:.0f} s ago, too long for a decision"
        return page if page.problem is None else page.problem

    def _group(
        self, pods: Sequence[PodState], settings: ServerSettings, known: dict[str, _KnownPod]
    ) -> _Group:
        """Return the group of these pods; adds those that run, and may answer, to `known`."""
        running = [
            pod
            for pod in answering_pods(pods)
            if pod.phase is PodPhase.RUNNING and not pod.deleting
        ]
        known |= {pod.uid: self._known_target(pod, settings) for pod in running}
        return _Group(pods, settings, [(pod, known[pod.uid].target) for pod in running])

    def _replace(self, changed: dict[str, _KnownPod]) -> None:
        """Ask the pods of the groups from now on, and no others."""
        before = self._known | changed
        self._known = {
            pod.uid: before[pod.uid] for group in self._groups.values() for pod, _ in group.running
        }
        targets = {
            uid: one.target for uid, one in self._known.items() if not isinstance(one.target, str)
        }
        self._reader.targets = targets
        self._demand.state(dict.fromkeys(targets, WHOLE_PAGE))
        self._namespaces = {uid: target.namespace for uid, target in targets.items()}

    def _latest(self, uid: str) -> ServerPage | None:
        """Return the last page if it was read from the pod's target, whoever read it."""
        page, target = self._demand.latest(uid), self._reader.targets.get(uid)
        if page is None or page.target is None or target is None:
            return None
        return page if page.target.covers(target) else None

    async def _ask(self, uid: str) -> bool:
        page = self._latest(uid)
        # Another consumer may have read it just now.
        if page is None or self._clock() - page.asked_seconds > self._interval_seconds / 2:
            page = await self._demand.page(uid)
        return page.problem is None

    def _known_target(self, pod: PodState, settings: ServerSettings) -> _KnownPod:
        """Return the target, computed only if what it depends on has changed."""
        before = self._known.get(pod.uid)
        if (
            before is not None
            and before.address == pod.address
            and (before.network is pod.network or before.network == pod.network)
            and (before.settings is settings or before.settings == settings)
        ):
            return before
        try:
            target: ServerTarget | str = server_target(pod, settings)
        except NoAddressError as error:
            target = str(error)
        except Exception as error:  # noqa: BLE001  (it affects only this pod)
            target = unexpected("a pod's address", error)
        return _KnownPod(pod.address, pod.network, settings, target)
