# SPDX-License-Identifier: Apache-2.0
"""The exporter put together: thread, tasks and HTTP server, for `__main__` and for embedding."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from prometheus_client import ProcessCollector

from exporter.attribution.snapshots import Snapshots
from exporter.dump import log_state
from exporter.exposition.metrics import families
from exporter.exposition.pages import Exposition
from exporter.health import Counters, Health, Watchdog
from exporter.nvml import Nvml
from exporter.nvml.sampler import Sampler
from exporter.podresources.client import PodResources, PodResourcesClient
from exporter.processes.process_owner import ProcessOwners
from exporter.processes.terminated_pods import FinishedPods
from exporter.web.server import LIMITS, application
from toolkit.web.server import WebServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from types import ModuleType

    from prometheus_client.metrics_core import Metric

    from exporter.attribution.snapshots import Joined
    from exporter.cli.config import ExporterConfig
    from exporter.model import Readings
    from exporter.processes.job_files import JobFiles

log = logging.getLogger(__name__)

T = TypeVar("T")

_WATCHDOG_SECONDS: Final = 1.0
# `--once`: where the driver's buffer is empty because NVML was opened a moment ago, or GPM needs a
# second sample, another cycle follows; NVML may need seconds to wake the GPUs up.
ONCE_INTERVAL_SECONDS: Final = 1.0
_ONCE_TIMEOUT_SECONDS: Final = 30.0
_ONCE_POLL_SECONDS: Final = 0.02


class NvmlRequiredError(Exception):
    """NVML cannot be used although the configuration requires it."""


class RestartNeededError(Exception):
    """NVML cannot be used any more by this process, but by a new one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningExporter:
    """A running exporter; `address` is the (host, port) that it is bound to.

    `release` lets NVML go for the configured time, `resume` takes it back before. `log_state` is
    for whoever looks for a mistake.
    """

    address: tuple[str, int]
    release: Callable[[], None]
    resume: Callable[[], None]
    log_state: Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnceResult:
    """The exposition of one cycle; `problem` says why NVML did not answer."""

    exposition: bytes
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeMetrics:
    """The GPUs' families and the exporter's own; `problem` says why NVML did not answer."""

    metrics: tuple[Metric, ...]
    problem: str | None


class _Lookups:
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


class _ExporterParts:
    """The objects of one exporter, wired; made in the event loop that they will run in."""

    def __init__(self, config: ExporterConfig, binding: ModuleType) -> None:
        loop = asyncio.get_running_loop()
        counters = Counters()
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
            publish=_on_loop(loop, self._on_readings),
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
                ).among,
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
            self.lookups = _Lookups(config, self.snapshots, counters)
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
        snapshot = self.health.fresh_snapshot()
        return None if snapshot is None else snapshot.readings

    def _on_readings(self, readings: Readings) -> None:
        if self.exposition.is_asked:
            self._joined = self.snapshots.join(readings)
            self._has_joined.set()
        else:
            self.snapshots.on_readings(readings)

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
            watchdog.check()
            await asyncio.sleep(_WATCHDOG_SECONDS)

    async def end_without_nvml(self) -> None:
        """Raise NvmlRequiredError or RestartNeededError as soon as there is a reason."""
        raise await self._fatal


@asynccontextmanager
async def running(config: ExporterConfig, binding: ModuleType) -> AsyncIterator[RunningExporter]:
    """Run an exporter over `binding` (nvidia-ml-py) while the context lasts.

    Raises BindError if the address cannot be bound, WebConfigError if the web configuration file
    cannot be used, NvmlRequiredError (also out of the body) if NVML is required and cannot be used,
    RestartNeededError (likewise) if only a new process can use NVML.
    """
    parts = _ExporterParts(config, binding)
    app = application(
        exposition=parts.exposition,
        health=parts.health,
        telemetry_path=config.telemetry_path,
        node_name=config.node_name,
    )
    work = [parts.watch, parts.render_ahead, parts.web.run, parts.end_without_nvml]
    if parts.pod_resources is not None:
        work.append(parts.pod_resources.run)
    if parts.lookups is not None:
        work.append(parts.lookups.run)
    if parts.job_files is not None:
        work.append(parts.job_files.run)
    try:
        async with parts.sampling(), parts.web.opened(app), asyncio.TaskGroup() as tasks:
            background = [tasks.create_task(one()) for one in work]
            try:
                address = parts.web.addresses[0]
                log.info("Listening", extra={"host": address[0], "port": address[1]})
                yield RunningExporter(
                    address=address,
                    release=partial(parts.sampler.release, config.nvml_release_seconds),
                    resume=parts.sampler.resume,
                    log_state=partial(log_state, parts.health),
                )
            finally:
                for task in background:
                    task.cancel()
    except BaseExceptionGroup as group:
        # The caller gets what went wrong, not how the tasks are organised.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


async def once(config: ExporterConfig, binding: ModuleType) -> OnceResult:
    """Read the GPUs and the pods once and render them; says why if NVML does not answer."""
    parts = _ExporterParts(replace(config, nvml_interval_seconds=ONCE_INTERVAL_SECONDS), binding)
    async with parts.sampling():
        problem = await parts.read()
        rendered = parts.exposition.render(parts.health.fresh_snapshot())
    return OnceResult(exposition=rendered.body, problem=problem)


@asynccontextmanager
async def node_metrics(
    config: ExporterConfig, binding: ModuleType
) -> AsyncIterator[Callable[[], Awaitable[NodeMetrics]]]:
    """Yield what reads the GPUs and the pods, as often as it is called while the context lasts."""
    parts = _ExporterParts(config, binding)

    async def read() -> NodeMetrics:
        problem = await parts.read()
        snapshot = parts.health.fresh_snapshot()
        gpus = () if snapshot is None else families(snapshot, node_name=config.node_name)
        return NodeMetrics(metrics=(*gpus, *parts.health.collect()), problem=problem)

    async with parts.sampling():
        yield read


def _on_loop(loop: asyncio.AbstractEventLoop, function: Callable[[T], None]) -> Callable[[T], None]:
    """Return a function that calls `function` on the loop; for use in the NVML thread."""

    def call(argument: T) -> None:
        # A thread that was left behind in a hanging call may come back after the loop's end.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(function, argument)

    return call
