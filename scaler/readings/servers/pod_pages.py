"""One consumer's view of the pages of pods' model servers: wanted now, read in the background."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, Self

from scaler.readings.exposition import stale_after_seconds
from scaler.readings.servers.address import NoAddressError
from scaler.readings.servers.reader import WHOLE_PAGE, server_target
from scaler.readings.servers.schedule import Polls
from scaler.readings.unexpected import unexpected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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


class PodPages:
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`interval_seconds` is how often `want` is called."""
        self._client = client
        self._reader = reader
        self._demand = store.demand(reader, every_seconds=interval_seconds)
        self.polls = Polls(self._ask, interval_seconds=interval_seconds, clock=clock)
        self._interval_seconds = interval_seconds
        self._clock = clock
        self.stale_seconds = stale_after_seconds(interval_seconds)
        self._known: dict[str, _KnownPod] = {}

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Clear the demand and close the connection pool."""
        self.want(())
        await self._client.__aexit__()

    def want(self, pods: Iterable[tuple[PodState, ServerSettings]]) -> None:
        """Say that the pages of these pods are needed now and after an interval, and no others."""
        self._known = {pod.uid: self._known_target(pod, settings) for pod, settings in pods}
        targets = {
            uid: one.target for uid, one in self._known.items() if not isinstance(one.target, str)
        }
        self._reader.targets = targets
        self._demand.state(dict.fromkeys(targets, WHOLE_PAGE))
        self.polls.want({uid: target.namespace for uid, target in targets.items()})

    def page(self, pod: PodState) -> ServerPage | str:
        """Return the fresh page of a wanted pod, or why there is none; never waits."""
        target = self._known[pod.uid].target
        if isinstance(target, str):
            return target
        page = self._latest(pod.uid)
        if page is None:
            return NOT_ASKED_YET
        age = self._clock() - page.asked_seconds
        if age > self.stale_seconds:
            return f"the pod's model server was last asked {age:.0f} s ago, too long for a decision"
        return page if page.problem is None else page.problem

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
