# SPDX-License-Identifier: Apache-2.0
"""The composition of `gpu-scaler run`: create and connect all parts, then run them."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from scaler.app.lifecycle import run_once, run_until
from scaler.app.parts import ScalerParts, StartError, assemble
from scaler.app.serving import metrics_api, status_page
from scaler.cluster.kinds import find_kinds
from scaler.controller.idle_watch import IdleWatch, read_seconds
from scaler.kube.client import KubeClient
from scaler.kube.errors import ClusterError
from scaler.kube.service_endpoints import ServiceEndpoints
from scaler.readings.servers.address import is_loopback
from scaler.readings.servers.queues import PageQueues
from scaler.readings.sources import Sources
from scaler.web.gpu_detail_reader import EVERY_SECONDS, GpuDetailReader, MapReaders
from scaler.web.gpu_reader import IDLE_SHARE, ROUND_SECONDS, GpuReader

if TYPE_CHECKING:
    from scaler.cli.config import ScalerConfig

log = logging.getLogger(__name__)


async def run(config: ScalerConfig) -> int:
    """Run until SIGTERM or SIGINT (or for one loop with `once`) and return the exit status.

    Raises:
        ClusterError: there are no credentials for a cluster.
        UnknownKind: `--kinds` names a kind that the API server does not serve or cannot scale.
        StartError: the watches did not sync in time (`once` only), or another scaler holds the
            Lease (`once` only).
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            await KubeClient.load(config.kubeconfig, config.context)
        )
        sources = Sources(
            exporters=config.exporters,
            scrape_timeout_seconds=config.scrape_timeout_seconds,
            prometheus=config.prometheus,
            gpus_from_prometheus=config.source == "prometheus",
            # Pods have such addresses only where the API server, too, is on this machine.
            servers=replace(
                config.servers, loopback_pods=is_loopback(urlsplit(client.server).hostname or "")
            ),
        )
        source = await sources.for_loop(
            stack,
            interval_seconds=config.interval_seconds,
            once=config.once,
            queues=lambda pages: PageQueues(
                pages, ServiceEndpoints(client), interval_seconds=config.interval_seconds
            ),
        )
        kinds = await find_kinds(client, config.kinds)
        parts = assemble(config, client, source, kinds)
        parts.metrics.show_server_reads(sources.server_reads)
        if config.once:
            try:
                return await run_once(parts)
            except ExceptionGroup as group:
                known = group.subgroup((StartError, ClusterError))
                if known is None:
                    raise
                raise known.exceptions[0] from None
        if config.metrics_api is not None:
            api = await metrics_api(config, client, parts, sources, kinds, stack)
            parts = replace(parts, metrics_api=api)
        endpoints = parts.state.exporter_endpoints
        every = ROUND_SECONDS if sources.by_node else ROUND_SECONDS * (1 + IDLE_SHARE)
        gpus = GpuReader(
            await stack.enter_async_context(sources.gpus(endpoints, every_seconds=every)),
            endpoints,
            by_node=sources.by_node,
        )
        details = GpuDetailReader(
            await stack.enter_async_context(
                sources.node_gpus(endpoints, every_seconds=EVERY_SECONDS)
            ),
            by_node=sources.by_node,
        )
        idle = await _idle_watch(config, parts, sources, stack)
        await status_page(config, parts, MapReaders(gpus=gpus, details=details), idle, stack)
        log.info(
            "Scaler started",
            extra={"identity": parts.identity, "server": client.server, "source": config.source},
        )
        await run_until(config, parts, (gpus.run, details.run, idle.run), stop)
        log.info("Scaler stopped", extra={"identity": parts.identity})
    return 0


async def _idle_watch(
    config: ScalerConfig, parts: ScalerParts, sources: Sources, stack: AsyncExitStack
) -> IdleWatch:
    """Return what counts idle GPUs; its connections are open while the stack is."""
    endpoints = parts.state.exporter_endpoints
    every = read_seconds(by_node=sources.by_node)
    watch = IdleWatch(
        await stack.enter_async_context(sources.gpus(endpoints, every_seconds=every)),
        known=sources.known_gpus,
        endpoints=endpoints,
        deployments=parts.state.deployments,
        workload_of=parts.state.workload_of,
        leads=lambda: parts.controller.leading_since_seconds is not None,
        by_node=sources.by_node,
        every_gpu=config.idle_all,
    )
    parts.metrics.show_idle(lambda: watch.idle.seconds)
    return watch
