# SPDX-License-Identifier: Apache-2.0
"""The parts of a running scaler, created and tied together; none runs yet."""

from __future__ import annotations

import logging
import socket
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from scaler.cluster.events import EventRecorder
from scaler.cluster.scale_to_zero_store import ScaleToZeroStore
from scaler.cluster.state import ClusterState
from scaler.controller.leader_election import AlwaysLeader
from scaler.controller.loop import Controller
from scaler.controller.steady_clock import SteadyClock
from scaler.kube.lease import LeaseElection
from scaler.reporting.metrics import ScalerMetrics
from scaler.web.server import LIMITS
from toolkit.web.server import WebServer

if TYPE_CHECKING:
    from scaler.cli.config import ScalerConfig
    from scaler.cluster.kinds import Kinds
    from scaler.kube.client import KubeClient
    from scaler.metricsapi.service import MetricsApi
    from scaler.readings.loop_source import LoopSource

log = logging.getLogger(__name__)


class StartError(RuntimeError):
    """The scaler cannot start; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalerParts:
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


def assemble(
    config: ScalerConfig, client: KubeClient, source: LoopSource, kinds: Kinds
) -> ScalerParts:
    """Return the parts; only connections are opened later."""
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
        wall_clock=SteadyClock(client.clock.seconds).seconds,
    )
    metrics.show_answers(client.answers)
    if config.web_config_file:
        metrics.web_config.set_function(lambda: bool(web.config_is_good))
    metrics.show_lost(
        lambda: [
            (namespace or "", "" if kind is None else kind or "deployments.apps")
            for namespace, kind in (one.part for one in state.lost(time.monotonic()))
        ]
    )
    metrics.show_decisions(lambda: [r.decision for r in controller.status_store.records.values()])
    return ScalerParts(
        state=state,
        source=source,
        events=events,
        election=election,
        controller=controller,
        metrics=metrics,
        web=web,
        identity=identity,
    )
