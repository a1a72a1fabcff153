# SPDX-License-Identifier: Apache-2.0
"""The metrics API: creates and runs its parts, and maintains its APIServices."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from scaler.cluster.kinds import DEPLOYMENTS, STATEFUL_SETS
from scaler.cluster.pod_cache import PodCache
from scaler.kube.api_services import ApiServices, OwnedByAnother, Registration
from scaler.kube.delegated_auth import DelegatedAuth
from scaler.kube.errors import ApiError
from scaler.kube.request_header_auth import watch_request_header_auth
from scaler.kube.secret import SharedSecret
from scaler.metricsapi.answering import Responder
from scaler.metricsapi.authentication import Authentication
from scaler.metricsapi.names import GROUP, ServedKind, catalog
from scaler.metricsapi.server import Server
from scaler.metricsapi.serving import CertificateError, FileCertificate, SecretCertificate
from scaler.metricsapi.target_reader import TargetReader
from scaler.metricsapi.telemetry import Telemetry
from scaler.metricsapi.tls import ServerTls
from scaler.metricsapi.workloads import WorkloadSelectors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from prometheus_client import CollectorRegistry

    from scaler.cluster.kinds import WorkloadKind
    from scaler.kube.client import KubeClient
    from scaler.metricsapi.serving import ServingCertificate
    from scaler.metricsapi.settings import MetricsApiSettings
    from scaler.model import DeploymentState
    from scaler.readings.gpus import GpuSource
    from scaler.readings.servers.pod_pages import PodPages
    from toolkit.listening.listener import Listener

log = logging.getLogger(__name__)

PRIORITIES = {"v1beta1": 100, "v1beta2": 200}
KEEP_SECONDS = 30.0
RETRY_SECONDS = 5.0
FIRST_LISTS_SECONDS = 10.0
LEAVE_SECONDS = 2.0


class MetricsApi:
    """Listens within the context of `serving`; `run` must run meanwhile."""

    def __init__(
        self,
        client: KubeClient,
        source: GpuSource,
        settings: MetricsApiSettings,
        *,
        registry: CollectorRegistry,
        servers: PodPages | None = None,
        deployments: Callable[[], Iterable[DeploymentState]] = tuple,
        kinds: Iterable[WorkloadKind] = (),
    ) -> None:
        """`servers` are open already; without them pods' model servers are not read.

        `deployments` may say by annotations where the servers of their pods are.
        Deployments and StatefulSets have values besides `kinds`.
        """
        self._settings = settings
        workloads = (DEPLOYMENTS, STATEFUL_SETS, *kinds)
        telemetry = Telemetry(registry)
        reviews = DelegatedAuth(client)
        self._tls = ServerTls()
        self._authentication = Authentication(self._tls, reviews, wall_clock=client.clock.now)
        self._front_proxy = watch_request_header_auth(client, self._authentication.follow)
        self._objects = PodCache(client)
        self._reader = TargetReader(
            source=source,
            objects=self._objects,
            telemetry=telemetry,
            servers=servers,
            deployments=deployments,
        )
        self._server = Server(
            answers=Responder(
                reader=self._reader,
                objects=self._objects,
                workloads=WorkloadSelectors(client, workloads),
                catalog=catalog(
                    {
                        kind.name: ServedKind(kind=kind.kind, api_version=kind.api_version)
                        for kind in workloads
                    },
                    settings.aliases,
                ),
                wall_clock=client.clock.seconds,
            ),
            authentication=self._authentication,
            reviews=reviews,
            telemetry=telemetry,
            not_ready_because=self.not_ready_because,
        )
        self._certificate = _certificate(client, settings, self._tls, telemetry)
        self._api_services = ApiServices(
            client,
            Registration(
                group=GROUP,
                priorities=PRIORITIES,
                service_namespace=settings.service_namespace,
                service_name=settings.service_name,
                service_port=settings.service_port,
                owner_role=settings.service_name,
            ),
        )
        self._listener: Listener | None = None
        self._trouble: str | None = None
        self._leaving = False

    def not_ready_because(self) -> str | None:
        """Return why the API is not ready, None if it is."""
        if not self._tls.has_certificate:
            return f"the metrics API has no certificate: {self._trouble or 'none generated yet'}"
        if not self._front_proxy.synced.is_set():
            why = self._front_proxy.problem or "not read yet"
            return f"the metrics API does not know the API server's CAs: {why}"
        if not self._authentication.knows_front_proxy:
            return "the metrics API finds no front proxy: is the API server's aggregation layer on?"
        if not self._objects.synced:
            return "the metrics API has not listed the pods and nodes yet"
        return None

    async def run(self) -> None:
        """Serve, watch, read and maintain the certificate and the APIServices until cancelled."""
        assert self._listener is not None, "nothing is served outside of `serving`"
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listener.run())
            group.create_task(self._front_proxy.run())
            group.create_task(self._objects.run())
            group.create_task(self._reader.run(interval_seconds=self._settings.interval_seconds))
            group.create_task(self._keep())

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """Listen while the context lasts; yields the port."""
        async with self._server.opened(
            self._tls, self._settings.listen_host, self._settings.listen_port
        ) as self._listener:
            host, port = self._listener.addresses[0]
            log.info("Metrics API listening", extra={"host": host, "port": port})
            yield port

    async def leave(self, *, after_seconds: float) -> None:
        """Serve until no requests arrive any more; the last replica deletes the APIServices.

        An APIService without a ready endpoint blocks the deletion of namespaces. A replica that
        starts later creates them again. Never raises on failed requests.
        """
        self._leaving = True
        await asyncio.sleep(after_seconds)
        if not self._settings.register:
            return
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                if await self._api_services.is_served():
                    return
                if await self._api_services.remove():
                    log.info("APIServices deleted: no other replica is ready")
        except (ApiError, TimeoutError) as error:
            log.warning("Cannot delete the APIServices; they stay", extra={"error": str(error)})

    async def _keep(self) -> None:
        while True:
            trouble = await self._kept()
            if trouble != self._trouble:
                if trouble is not None:
                    log.warning("Metrics API is not ready", extra={"error": trouble})
                else:
                    log.info("Metrics API is ready")
                self._trouble = trouble
            await asyncio.sleep(KEEP_SECONDS if trouble is None else RETRY_SECONDS)

    async def _kept(self) -> str | None:
        """Renew the certificate and update the APIServices; return the problem, if any."""
        try:
            bundle = await self._certificate.refresh()
            await self._first_lists()
            not_ready = self.not_ready_because()
            if not_ready is not None or not self._settings.register or self._leaving:
                return not_ready
            if await self._api_services.ensure(bundle):
                log.info("APIServices registered", extra={"service": self._settings.service_name})
        except OwnedByAnother as other:
            return (
                f"{other}; gpu-scaler leaves it unchanged and HPAs keep using it; delete it so that"
                " gpu-scaler can register"
            )
        except (ApiError, CertificateError) as error:
            return str(error)
        return None

    async def _first_lists(self) -> None:
        """Wait a moment for the watches, so that a normal start is not logged as a problem."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LISTS_SECONDS):
                await self._front_proxy.synced.wait()
                await self._objects.wait_synced()


def _certificate(
    client: KubeClient, settings: MetricsApiSettings, tls: ServerTls, telemetry: Telemetry
) -> ServingCertificate:
    if settings.cert_file is not None and settings.key_file is not None:
        return FileCertificate(
            tls,
            telemetry,
            cert_file=settings.cert_file,
            key_file=settings.key_file,
            ca_file=settings.ca_file,
        )
    secret = SharedSecret(client, namespace=settings.service_namespace, name=settings.secret_name)
    return SecretCertificate(
        secret, tls, telemetry, hosts=settings.hosts(), wall_clock=client.clock.now
    )
