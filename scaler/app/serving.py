# SPDX-License-Identifier: Apache-2.0
"""What a running scaler serves: the status page with metrics and probes, and the metrics API."""

from __future__ import annotations

import logging
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeVar

from scaler.app.health import not_alive_because, not_ready_because
from scaler.app.parts import ScalerParts, StartError
from scaler.web.idle_gpus import GpuKnowledge
from scaler.web.page import About, StatusPage
from scaler.web.server import StatusServer
from toolkit.cli.addresses import listen_address_text
from toolkit.listening.listener import BindError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager, AsyncExitStack

    from scaler.cli.config import ScalerConfig
    from scaler.cluster.kinds import Kinds
    from scaler.controller.idle_watch import IdleWatch
    from scaler.kube.client import KubeClient
    from scaler.metricsapi.service import MetricsApi
    from scaler.readings.sources import Sources
    from scaler.web.gpu_detail_reader import MapReaders

log = logging.getLogger(__name__)
_T = TypeVar("_T")


async def status_page(
    config: ScalerConfig,
    parts: ScalerParts,
    readers: MapReaders,
    watch: IdleWatch,
    stack: AsyncExitStack,
) -> None:
    """Serve the status page, metrics, probes and decisions while the stack is open."""

    def leader() -> str | None:
        return parts.election.leader() if parts.election else parts.identity

    page = StatusPage(
        controller=parts.controller,
        about=About(
            version=version("gpu-scaler"),
            source=config.source,
            interval_seconds=config.interval_seconds,
            grafana_url=config.grafana_url,
        ),
        identity=parts.identity,
        leader=leader,
        not_ready_because=lambda: not_ready_because(config, parts),
        deployments=parts.state.deployments,
        readers=readers,
        seen=GpuKnowledge(watch.idle.since_seconds, parts.state.workload_of),
    )
    server = StatusServer(
        controller=parts.controller,
        metrics=parts.metrics,
        not_ready_because=lambda: not_ready_because(config, parts),
        not_alive_because=lambda: not_alive_because(config, parts),
        held=lambda: [str(one) for one in parts.state.lost(time.monotonic())],
        page=page,
    )
    address = listen_address_text(config.listen_host, config.listen_port)
    await _bound(stack, "--web.listen-address", address, parts.web.opened(server.application()))
    addresses = [listen_address_text(*one) for one in parts.web.addresses]
    log.info("Listening", extra={"addresses": addresses})


async def metrics_api(
    config: ScalerConfig,
    client: KubeClient,
    parts: ScalerParts,
    sources: Sources,
    kinds: Kinds,
    stack: AsyncExitStack,
) -> MetricsApi:
    """Return the metrics API, which serves while the stack is open."""
    # Imported only with the metrics API: its certificate library takes 10 MB.
    from scaler.metricsapi.service import MetricsApi  # noqa: PLC0415

    assert config.metrics_api is not None
    every = config.metrics_api.interval_seconds
    gpus = sources.gpus(parts.state.exporter_endpoints, every_seconds=every)
    api = MetricsApi(
        client,
        await stack.enter_async_context(gpus),
        config.metrics_api,
        registry=parts.metrics.registry,
        servers=await stack.enter_async_context(sources.servers(every_seconds=every)),
        deployments=parts.state.deployments,
        kinds=kinds,
    )
    address = listen_address_text(config.metrics_api.listen_host, config.metrics_api.listen_port)
    await _bound(stack, "--metrics-api.listen-address", address, api.serving())
    return api


async def _bound(
    stack: AsyncExitStack, flag: str, address: str, serving: AbstractAsyncContextManager[_T]
) -> _T:
    try:
        return await stack.enter_async_context(serving)
    except BindError as error:
        msg = f"{flag}: cannot bind {address}: {error}"
        raise StartError(msg) from error
