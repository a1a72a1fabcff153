# SPDX-License-Identifier: Apache-2.0
"""Runs an exporter until the caller is done with it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from exporter.app.parts import ExporterParts
from exporter.dump import log_state
from exporter.web.server import application

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import ModuleType

    from exporter.cli.config import ExporterConfig

log = logging.getLogger(__name__)


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


@asynccontextmanager
async def running(config: ExporterConfig, binding: ModuleType) -> AsyncIterator[RunningExporter]:
    """Run an exporter over `binding` (nvidia-ml-py) while the context lasts.

    Raises BindError if the address cannot be bound, WebConfigError if the web configuration file
    cannot be used, NvmlRequiredError (also out of the body) if NVML is required and cannot be used,
    RestartNeededError (likewise) if only a new process can use NVML.
    """
    parts = ExporterParts(config, binding)
    app = application(
        exposition=parts.exposition,
        health=parts.health,
        on_scrape=parts.on_scrape,
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
