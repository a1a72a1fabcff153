# SPDX-License-Identifier: Apache-2.0
"""The composition of `gpu-scaler run`: create, connect and stop all parts in order."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeVar

from scaler.cluster.events import EventRecorder
from scaler.cluster.kinds import find_kinds
from scaler.cluster.scale_to_zero_store import ScaleToZeroStore
from scaler.cluster.state import ClusterState
from scaler.controller.idle_watch import IdleWatch, read_seconds
from scaler.controller.leader_election import AlwaysLeader
from scaler.controller.loop import Controller
from scaler.controller.loop_health import no_loop_begun_because, no_loop_ended_because
from scaler.decision.model import Outcome
from scaler.kube.client import KubeClient
from scaler.kube.errors import ClusterError
from scaler.kube.lease import LeaseElection
from scaler.kube.service_endpoints import ServiceEndpoints
from scaler.readings.servers.queues import PageQueues
from scaler.readings.sources import Sources
from scaler.reporting.metrics import ScalerMetrics
from scaler.web.gpu_detail_reader import EVERY_SECONDS, GpuDetailReader, MapReaders
from scaler.web.gpu_reader import IDLE_SHARE, ROUND_SECONDS, GpuReader
from scaler.web.idle_gpus import GpuKnowledge
from scaler.web.page import About, StatusPage
from scaler.web.server import LIMITS, StatusServer
from toolkit.cli.addresses import listen_address_text
from toolkit.listening.listener import BindError
from toolkit.web.server import WebServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
    from contextlib import AbstractAsyncContextManager

    from scaler.cli.config import ScalerConfig
    from scaler.cluster.kinds import Kinds
    from scaler.metricsapi.service import MetricsApi
    from scaler.readings.loop_source import LoopSource

log = logging.getLogger(__name__)
_T = TypeVar("_T")

SYNC_TIMEOUT_SECONDS = 30.0
DRAIN_SECONDS = 3.0
"""How long the metrics API keeps serving after SIGTERM, until no client is routed here."""
LAST_LOOP_GRACE_SECONDS = 3.0
"""How long a running loop may still take after SIGTERM before it is cancelled."""
MAX_LOST_NAMED = 3


class StartError(RuntimeError):
    """The scaler cannot start; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _ScalerParts:
    """The parts of a running scaler."""

    state: ClusterState
    source: LoopSource
    events: EventRecorder
    election: LeaseElection | None
    controller: Controller
    metrics: ScalerMetrics
    web: WebServer
    identity: str
    metrics_api: MetricsApi | None = None


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
            servers=config.servers,
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
        parts = _assemble(config, client, source, kinds)
        parts.metrics.show_server_reads(sources.server_reads)
        if config.once:
            try:
                return await _once(parts)
            except ExceptionGroup as group:
                known = group.subgroup((StartError, ClusterError))
                if known is None:
                    raise
                raise known.exceptions[0] from None
        if config.metrics_api is not None:
            api = await _metrics_api(config, client, parts, sources, kinds, stack)
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
        await stack.enter_async_context(
            _listening(config, parts, MapReaders(gpus=gpus, details=details), idle)
        )
        log.info(
            "Scaler started",
            extra={"identity": parts.identity, "server": client.server, "source": config.source},
        )
        await _serve(config, parts, (gpus.run, details.run, idle.run), stop)
        log.info("Scaler stopped", extra={"identity": parts.identity})
    return 0


async def _metrics_api(
    config: ScalerConfig,
    client: KubeClient,
    parts: _ScalerParts,
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


async def _idle_watch(
    config: ScalerConfig, parts: _ScalerParts, sources: Sources, stack: AsyncExitStack
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


def _assemble(
    config: ScalerConfig, client: KubeClient, source: LoopSource, kinds: Kinds
) -> _ScalerParts:
    identity = config.identity or socket.gethostname()
    metrics = ScalerMetrics(version("gpu-scaler"))
    web = WebServer(
        host=config.listen_host,
        port=config.listen_port,
        limits=LIMITS,
        config_file=config.web_config_file,
        on_client_fault=metrics.client_errors.inc,
    )
    state = ClusterState(
        client,
        kinds=kinds,
        namespaces=config.namespaces,
        exporters_namespace=config.exporters_namespace,
        all_gpu_pods=config.idle_all,
    )
    if config.namespaces:
        log.info("Namespace defaults are ignored because --namespaces is set")
    events = EventRecorder(client, host=identity, kinds=kinds)
    election = None
    if config.leader_elect:
        election = LeaseElection(
            client,
            namespace=config.lease_namespace,
            name=config.lease_name,
            identity=identity,
            lease_duration_seconds=config.lease_duration_seconds,
            renew_deadline_seconds=config.renew_deadline_seconds,
            retry_period_seconds=config.retry_period_seconds,
        )
        election.page = lambda: (web.scheme, web.addresses[0][1]) if web.addresses else None
    controller = Controller(
        client=client,
        kinds=kinds,
        state=state,
        source=source,
        events=events,
        leadership=election or AlwaysLeader(),
        metrics=metrics,
        scale_to_zero=ScaleToZeroStore(
            client,
            namespace=config.lease_namespace,
            name=f"{config.lease_name}-zeros",
            kinds=kinds,
        ),
        dry_run=config.dry_run,
        wall_clock=client.clock.seconds,
    )
    metrics.show_answers(client.answers)
    if config.web_config_file:
        metrics.web_config.set_function(lambda: bool(web.config_is_good))
    metrics.show_lost(
        lambda: [
            (one.namespace or "", "" if one.kind is None else one.kind or "deployments.apps")
            for one in state.lost(time.monotonic())
        ]
    )
    metrics.show_decisions(lambda: [r.decision for r in controller.status_store.records.values()])
    return _ScalerParts(
        state=state,
        source=source,
        events=events,
        election=election,
        controller=controller,
        metrics=metrics,
        web=web,
        identity=identity,
    )


@asynccontextmanager
async def _listening(
    config: ScalerConfig, parts: _ScalerParts, readers: MapReaders, watch: IdleWatch
) -> AsyncIterator[None]:
    """Serve the status page, metrics, probes and decisions while the context lasts."""

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
        not_ready_because=lambda: _not_ready_because(config, parts),
        deployments=parts.state.deployments,
        readers=readers,
        seen=GpuKnowledge(watch.idle.since_seconds, parts.state.workload_of),
    )
    server = StatusServer(
        controller=parts.controller,
        metrics=parts.metrics,
        leader=leader,
        identity=parts.identity,
        not_ready_because=lambda: _not_ready_because(config, parts),
        not_alive_because=lambda: _not_alive_because(config, parts),
        held=lambda: [str(one) for one in parts.state.lost(time.monotonic())],
        page=page,
    )
    async with AsyncExitStack() as stack:
        address = listen_address_text(config.listen_host, config.listen_port)
        await _bound(stack, "--web.listen-address", address, parts.web.opened(server.application()))
        addresses = [listen_address_text(*one) for one in parts.web.addresses]
        log.info("Listening", extra={"addresses": addresses})
        yield


async def _bound(
    stack: AsyncExitStack, flag: str, address: str, serving: AbstractAsyncContextManager[_T]
) -> _T:
    try:
        return await stack.enter_async_context(serving)
    except BindError as error:
        msg = f"{flag}: cannot bind {address}: {error}"
        raise StartError(msg) from error


async def _serve(
    config: ScalerConfig,
    parts: _ScalerParts,
    more: Iterable[Callable[[], Coroutine[object, object, None]]],
    stop: asyncio.Event,
) -> None:
    """Run the background tasks until `stop`; then end the loop, release the Lease, end the rest."""
    async with asyncio.TaskGroup() as group:
        work = (parts.state.run, parts.source.run, parts.events.run, parts.web.run, *more)
        background = [group.create_task(one()) for one in work]
        if parts.metrics_api is not None:
            background.append(group.create_task(parts.metrics_api.run()))
        if parts.election is not None:
            background.append(group.create_task(parts.election.run()))
        await _first_of(parts.state.wait_synced(), stop.wait())
        loop = group.create_task(
            parts.controller.run(interval_seconds=config.interval_seconds, stop=stop)
        )
        await stop.wait()
        log.info("Exiting on a signal", extra={"identity": parts.identity})
        await asyncio.wait([loop], timeout=LAST_LOOP_GRACE_SECONDS)
        loop.cancel()
        if parts.election is not None:
            background.pop().cancel()
            await parts.election.release()
        await parts.events.flush(timeout_seconds=0.5)
        if parts.metrics_api is not None:
            await parts.metrics_api.leave(after_seconds=DRAIN_SECONDS)
        for task in background:
            task.cancel()


async def _once(parts: _ScalerParts) -> int:
    """Run one loop as the leader and return the exit status."""
    async with asyncio.TaskGroup() as group:
        work = (parts.state.run, parts.source.run, parts.events.run)
        background = [group.create_task(one()) for one in work]
        try:
            async with asyncio.timeout(SYNC_TIMEOUT_SECONDS):
                await parts.state.wait_synced()
            if parts.election is not None and not await parts.election.try_once():
                msg = (
                    f"{parts.election.leader() or 'another replica'} holds the Lease, and only one"
                    " scaler may act; nothing was changed"
                )
                raise StartError(msg)
            await parts.controller.cycle()
            await parts.events.flush(timeout_seconds=5)
        except TimeoutError:
            msg = f"the watches did not sync within {SYNC_TIMEOUT_SECONDS:g} s"
            raise StartError(msg) from None
        finally:
            if parts.election is not None:
                await parts.election.release()
            for task in background:
                task.cancel()
    failed = any(
        record.decision.outcome is Outcome.FAILED
        for record in parts.controller.status_store.records.values()
    )
    return 1 if failed or parts.state.lost(time.monotonic()) else 0


async def _first_of(*awaitables: Coroutine[object, object, object]) -> None:
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _not_ready_because(config: ScalerConfig, parts: _ScalerParts) -> str | None:
    now = time.monotonic()
    if not parts.state.is_fresh(now):
        lost = "; ".join(str(one) for one in parts.state.lost(now)[:MAX_LOST_NAMED])
        return f"the watches have lost contact with the Kubernetes API: {lost}"
    if parts.metrics_api is not None:
        problem = parts.metrics_api.not_ready_because()
        if problem is not None:
            return problem
    return no_loop_ended_because(
        now,
        leading_since_seconds=parts.controller.leading_since_seconds,
        last_loop_seconds=parts.controller.last_loop_seconds,
        interval_seconds=config.interval_seconds,
        read_seconds=_read_seconds(config),
    )


def _not_alive_because(config: ScalerConfig, parts: _ScalerParts) -> str | None:
    return no_loop_begun_because(
        time.monotonic(),
        last_tick_seconds=parts.controller.last_tick_seconds,
        interval_seconds=config.interval_seconds,
        read_seconds=_read_seconds(config),
    )


def _read_seconds(config: ScalerConfig) -> float:
    """Return the timeout for reading GPU values, in seconds."""
    if config.source == "prometheus" and config.prometheus is not None:
        return config.prometheus.timeout_seconds
    return config.scrape_timeout_seconds
