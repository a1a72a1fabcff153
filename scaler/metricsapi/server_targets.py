# SPDX-License-Identifier: Apache-2.0
"""What model servers of the requested pods say, read in the background."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from scaler.metricsapi.history import TargetSample
from scaler.metricsapi.names import SERVER_FAMILIES
from scaler.model import NO_SERVER_SETTINGS
from scaler.policy.server_annotations import pod_server_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

    from scaler.cluster.pod_cache import PodCache
    from scaler.metricsapi.history import Target, TargetSeries
    from scaler.model import DeploymentState, ServerSettings
    from scaler.readings.servers.pod_pages import PodPages

FIRST_READ_SECONDS = 3.0
"""How long the first request for a pod waits for its server."""
NOT_RUNNING = "the pod does not run"
WRONG_SETTINGS = (
    "the annotations of its Deployment that say where its model server's metrics are, such as"
    " gpu-scaler/metrics-port, are wrong"
)


_Parsed: TypeAlias = "tuple[Mapping[str, str], Mapping[str, str] | None, ServerSettings | None]"
"""Annotations, their defaults, and what these say."""


class _PodSettings:
    """Where pods' model servers are, by their Deployments' annotations as of the last `refresh`."""

    def __init__(self, deployments: Callable[[], Iterable[DeploymentState]]) -> None:
        self._deployments = deployments
        self._parsed: dict[str, _Parsed] = {}
        self._by_pod: dict[str, ServerSettings | None] = {}

    def refresh(self, namespaces: Container[str]) -> None:
        """Look at the Deployments of these namespaces; what has not changed is not parsed again."""
        before, self._parsed, self._by_pod = self._parsed, {}, {}
        for one in self._deployments():
            if one.ref.namespace not in namespaces:
                continue
            known = before.get(one.uid)
            if known is None or known[:2] != (one.annotations, one.defaults):
                settings = pod_server_settings(one.annotations, one.defaults)
                known = (one.annotations, one.defaults, settings)
            self._parsed[one.uid] = known
            self._by_pod |= dict.fromkeys((pod.uid for pod in one.pods), known[2])

    def of(self, uid: str) -> ServerSettings | None:
        """Return a pod's settings, None if the annotations of its Deployment are wrong."""
        return self._by_pod.get(uid, NO_SERVER_SETTINGS)


class ServerTargets:
    """Reads pods' servers while `run` runs."""

    def __init__(
        self,
        pages: PodPages,
        objects: PodCache,
        deployments: Callable[[], Iterable[DeploymentState]],
    ) -> None:
        """`deployments` are those with the annotation `gpu-scaler/enabled`, whatever it says."""
        self._pages = pages
        self._objects = objects
        self._settings = _PodSettings(deployments)

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
