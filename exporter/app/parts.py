# SPDX-License-Identifier: Apache-2.0
"""The parts of one exporter, wired; and what it can fail with."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from prometheus_client import ProcessCollector

from exporter.attribution.snapshots import Snapshots
from exporter.exposition.pages import Exposition
from exporter.health import Counters, Health, Watchdog
from exporter.nvml import Nvml
from exporter.nvml.sampler import Sampler
from exporter.podresources.client import PodResources, PodResourcesClient
from exporter.processes.process_owner import ProcessOwners
from exporter.processes.terminated_pods import FinishedPods
from exporter.web.server import LIMITS
from toolkit.web.server import WebServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import ModuleType

    from exporter.attribution.snapshots import Joined
    from exporter.cli.config import ExporterConfig
    from exporter.model import Readings
    from exporter.processes.job_files import JobFiles

log = logging.getLogger(__name__)

T = TypeVar("T")

_WATCHDOG_SECONDS: Final = 1.0
# While ready. Readings are published for at least 10 s after the last cycle.
_READY_WATCHDOG_SECONDS: Final = 10.0
_ONCE_TIMEOUT_SECONDS: Final = 30.0
_ONCE_POLL_SECONDS: Final = 0.02


class NvmlRequiredError(Exception):
    """NVML cannot be used although the configuration requires it."""


class RestartNeededError(Exception):
    """NVML cannot be used any more by this process, but by a new one."""


class Lookups:
    """What is asked of the Kubernetes API, and the metrics of it."""

    def __init__(self, config: ExporterConfig, snapshots: Snapshots, counters: Counters) -> None:
        # Those who do without it do without its imports as well.
        from exporter.kubeapi.client import ApiClient  # noqa: PLC0415
        from exporter.kubeapi.devices import ClaimedDevices  # noqa: PLC0415
        from exporter.kubeapi.pod_labels import PodLabels  # noqa: PLC0415

        self._client = ApiClient(config.api_url, Path(config.service_account_folder))
        self.parts: list[ClaimedDevices | PodLabels] = []
        self.collectors: list[PodLabels] = []

        def on_error(resource: str) -> None:
            counters.api_errors.labels(resource).inc()

        if config.dra:
            devices = ClaimedDevices(
                self._client,
                node_name=config.node_name,
                unmatched=snapshots.unmatched_device_ids,
                publish=snapshots.on_claimed_uuids,
                on_error=on_error,
            )
            self.parts.append(devices)
        if config.pod_labels:
            labels = PodLabels(
                self._client,
                allowed=re.compile(config.pod_labels),
                node_name=config.node_name,
                holders=snapshots.holders,
                on_error=on_error,
            )
            self.parts.append(labels)
            self.collectors.append(labels)

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for part in self.parts:
                    tasks.create_task(part.run())
        finally:
            await self._client.close()

    async def refresh(self) -> None:
        """Ask once."""
        for part in self.parts:
            await part.refresh()
        await self._client.close()


class ExporterParts:
    """The objects of one exporter, wired; made in the event loop that they will run in."""

    def __init__(self, config: ExporterConfig, binding: ModuleType) -> None:
        loop = asyncio.get_running_loop()
        counters = Counters()
        self._join_ahead = _on_loop(loop, self._on_readings_to_render)
        self.failure: asyncio.Future[str] = loop.create_future()
        self._fatal: asyncio.Future[Exception] = loop.create_future()
        self._joined: Joined | None = None
        self._has_joined = asyncio.Event()
        self._nvml_required = config.nvml_required
        self.snapshots = Snapshots()
        self.nvml = Nvml(
            binding,
            window_seconds=config.nvml_window_seconds,
            collectors=config.collectors,
            owners=ProcessOwners(proc=Path(config.proc_folder), logs=Path(config.logs_folder)),
            on_error=counters.on_nvml_error,
        )
        self.sampler = Sampler(
            self.nvml,
            interval_seconds=config.nvml_interval_seconds,
            publish=self._on_readings,
            on_failure=_on_loop(loop, self._on_failure),
            on_restart_needed=_on_loop(loop, self._on_restart_needed),
            observe_cycle=counters.cycle_seconds.observe,
        )
        self.pod_resources: PodResources | None = None
        if config.pod_resources_socket:
            self.pod_resources = PodResources(
                PodResourcesClient(
                    config.pod_resources_socket,
                    config.extra_resource_names,
                    node_name=config.node_name,
                ),
                interval_seconds=config.nvml_interval_seconds,
                publish=self.snapshots.on_allocations,
                on_expiry=self.snapshots.on_allocations_expired,
                on_error=lambda code: counters.pod_resources_errors.labels(code).inc(),
                finished=FinishedPods(
                    cgroups=Path(config.cgroup_folder), logs=Path(config.logs_folder)
                ),
            )
        self.web = WebServer(
            host=config.listen_host,
            port=config.listen_port,
            limits=replace(LIMITS, requests=config.max_requests),
            config_file=config.web_config_file,
            on_client_fault=counters.client_errors.inc,
        )
        self.health = Health(
            config,
            nvml=self.nvml,
            sampler=self.sampler,
            snapshots=self.snapshots,
            pod_resources=self.pod_resources,
            web=self.web,
        )
        self.lookups = None
        if config.dra or config.pod_labels:
            self.lookups = Lookups(config, self.snapshots, counters)
        self.job_files: JobFiles | None = None
        if config.job_folder:
            from exporter.processes.job_files import JobFiles  # noqa: PLC0415  (as the look-ups)

            self.job_files = JobFiles(
                Path(config.job_folder), node_name=config.node_name, readings=self._fresh_readings
            )
        self.exposition = Exposition(
            node_name=config.node_name,
            self_metrics=(
                self.health,
                counters.registry,
                *(self.lookups.collectors if self.lookups else ()),
                *((self.job_files,) if self.job_files else ()),
            ),
            # It opens files of /proc, half of the time of a scrape.
            slow_metrics=(ProcessCollector(registry=None),),
        )

    def _fresh_readings(self) -> Readings | None:
        return self.health.fresh_readings()

    def on_scrape(self) -> None:
        """Tell the parts that work more while somebody scrapes."""
        if self.pod_resources is not None:
            self.pod_resources.on_scrape()

    def _on_readings(self, readings: Readings) -> None:
        """Take one cycle's readings over from the NVML thread.

        The event loop sleeps on unless somebody scraped since the last ones: whoever asks later
        finds them.
        """
        take = self._join_ahead if self.exposition.is_asked else self.snapshots.on_readings
        take(readings)

    def _on_readings_to_render(self, readings: Readings) -> None:
        self._joined = self.snapshots.join(readings)
        self._has_joined.set()

    def _on_failure(self, problem: str) -> None:
        if not self.failure.done():
            self.failure.set_result(problem)
        if self._nvml_required:
            self._end(NvmlRequiredError(problem))

    def _on_restart_needed(self, reason: str) -> None:
        self._end(RestartNeededError(reason))

    def _end(self, error: Exception) -> None:
        if not self._fatal.done():
            self._fatal.set_result(error)

    @asynccontextmanager
    async def sampling(self) -> AsyncIterator[None]:
        """Keep the NVML thread running; at the end NVML is shut down, unless a call hangs."""
        self.sampler.start()
        try:
            yield
        finally:
            self.sampler.request_stop()
            await asyncio.to_thread(self.sampler.join)

    async def read(self) -> str | None:
        """Wait for readings and read the pods once; return why NVML does not answer."""
        if self.pod_resources is not None:
            await self.pod_resources.refresh()
        problem = None
        try:
            async with asyncio.timeout(_ONCE_TIMEOUT_SECONDS):
                while not self.snapshots.complete():
                    if self.failure.done():
                        problem = self.failure.result()
                        break
                    await asyncio.sleep(_ONCE_POLL_SECONDS)
        except TimeoutError:
            pass
        problem = problem or self.health.unready_reason()
        if self.lookups is not None:
            await self.lookups.refresh()
        if self.job_files is not None:
            await self.job_files.refresh()
        return problem

    async def render_ahead(self) -> None:
        """Render readings before they are published, with pauses in which scrapes are answered."""
        while True:
            await self._has_joined.wait()
            self._has_joined.clear()
            if (joined := self._joined) is not None:
                try:
                    for _ in self.exposition.prepare(joined.snapshot):
                        await asyncio.sleep(0)
                except Exception:
                    log.exception("Rendering failed unexpectedly; scrapes render for themselves")
                self.snapshots.publish(joined)

    async def watch(self) -> None:
        """Log changes of readiness until cancelled."""
        watchdog = Watchdog(self.health)
        while True:
            is_ready = watchdog.check()
            await asyncio.sleep(_READY_WATCHDOG_SECONDS if is_ready else _WATCHDOG_SECONDS)

    async def end_without_nvml(self) -> None:
        """Raise NvmlRequiredError or RestartNeededError as soon as there is a reason."""
        raise await self._fatal


def _on_loop(loop: asyncio.AbstractEventLoop, function: Callable[[T], None]) -> Callable[[T], None]:
    """Return a function that calls `function` on the loop; for use in the NVML thread."""

    def call(argument: T) -> None:
        # A thread that was left behind in a hanging call may come back after the loop's end.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(function, argument)

    return call
