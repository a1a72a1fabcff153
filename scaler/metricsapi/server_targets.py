# SPDX-License-Identifier: Apache-2.0
"""What model servers of the requested pods say, read in the background."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from scaler.metricsapi.history import TargetSample
from scaler.metricsapi.names import SERVER_FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scaler.cluster.pod_cache import PodCache
    from scaler.metricsapi.history import Target, TargetSeries
    from scaler.metricsapi.pod_settings import PodSettings
    from scaler.readings.servers.pod_pages import PodPages

FIRST_READ_SECONDS = 3.0
"""How long the first request for a pod waits for its server."""
NOT_RUNNING = "the pod does not run"
WRONG_SETTINGS = (
    "the annotations of its Deployment that say where its model server's metrics are, such as"
    " gpu-scaler/metrics-port, are wrong"
)


class ServerTargets:
    """Reads pods' servers while `run` runs."""

    def __init__(self, pages: PodPages, objects: PodCache, settings: PodSettings) -> None:
        self._pages = pages
        self._objects = objects
        self._settings = settings

    async def run(self) -> None:
        """Ask servers until cancelled."""
        await self._pages.polls.run()

    def want(self, targets: Iterable[Target]) -> None:
        """Say that these are needed now and after an interval, and no others."""
        # Several metrics are on one page.
        names = {(target.namespace, target.name) for target in targets}
        self._settings.refresh({namespace for namespace, _ in names})
        pods = (self._objects.pod(*name) for name in names)
        self._pages.want(
            ((pod.state,), settings)
            for pod in pods
            if pod is not None
            and pod.serves
            and (settings := self._settings.of(pod.uid)) is not None
        )

    async def wait_for_all(self) -> None:
        """Wait a moment for servers that were not asked yet."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_READ_SECONDS):
                await self._pages.polls.wait_for_all()

    def record(self, target: Target, history: TargetSeries) -> None:
        """Add the newest value of a wanted target; without a fresh one it has none."""
        sample = self._sample(target)
        history.problem = sample if isinstance(sample, str) else None
        history.record({} if isinstance(sample, str) else {"": sample})

    def _sample(self, target: Target) -> TargetSample | str:
        """Return the newest value of a target, or why there is none."""
        pod = self._objects.pod(target.namespace, target.name)
        if pod is None or not pod.serves:
            return NOT_RUNNING
        if self._settings.of(pod.uid) is None:
            return WRONG_SETTINGS
        page = self._pages.page(pod.state)
        if isinstance(page, str):
            return page
        values = {} if page.values is None else page.values.values
        value = values.get(SERVER_FAMILIES[target.family], f"the page has no {target.family}")
        if isinstance(value, str):
            return value
        return TargetSample(value, page.asked_seconds, self._pages.stale_seconds)
