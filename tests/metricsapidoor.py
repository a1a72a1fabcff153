# SPDX-License-Identifier: Apache-2.0
"""The metrics API over real TLS with nothing behind it, before a Kubernetes API that reviews."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry

from scaler.kube.client import KubeClient
from scaler.kube.delegated_auth import DelegatedAuth
from scaler.kube.request_header_auth import RequestHeaderAuth
from scaler.metricsapi.authentication import Authentication
from scaler.metricsapi.certificates import renewed
from scaler.metricsapi.documents import value_list
from scaler.metricsapi.names import Catalog
from scaler.metricsapi.paths import ValueRequest
from scaler.metricsapi.server import LIMITS, Server
from scaler.metricsapi.telemetry import Telemetry
from scaler.metricsapi.tls import ServerTls
from tests.cluster.certificates import Authority
from tests.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.cluster.certificates import Certificate

HOST = "api.ns.svc"
ANY_CIPHER = "DEFAULT:@SECLEVEL=0"
PODS = "/apis/custom.metrics.k8s.io/v1beta1/namespaces/default/pods/*/duty_cycle_current"
HPA = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"
BY_HEADERS = {"X-Remote-User": HPA, "X-Remote-Group": "system:authenticated"}


@dataclass
class KubernetesApi:
    """Reviews tokens and access; `may` names who may do anything at all."""

    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    may: set[str] = field(default_factory=lambda: {HPA, "alice"})
    asked: list[dict[str, Any]] = field(default_factory=list)
    broken: bool = False
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.go_on.set()

    async def handle(self, request: web.Request) -> web.Response:
        if self.broken:
            return web.Response(status=503)
        body = orjson.loads(await request.read())
        self.asked.append(body)
        await self.go_on.wait()
        if body["kind"] == "TokenReview":
            user = self.tokens.get(body["spec"]["token"])
            status = {"authenticated": user is not None} | ({"user": user} if user else {})
        else:
            status = {"allowed": body["spec"]["user"] in self.may}
        return web.json_response(body | {"status": status})

    def kinds(self) -> list[str]:
        return [body["kind"] for body in self.asked]


class AnswersNothing:
    """Has one empty list for every metric."""

    catalog = Catalog()

    async def answer(self, asked, query):
        if isinstance(asked, ValueRequest):
            return value_list(asked, ())
        return {"kind": "APIGroup"}


@dataclass
class Door:
    """The running API and what callers show it."""

    url: str
    kubernetes: KubernetesApi
    authentication: Authentication
    tls: ServerTls
    folder: Path
    bundle: str
    cluster: Authority
    front_proxy: Authority
    stranger: Authority
    clock: SimpleNamespace
    not_ready: list[str]
    registry: CollectorRegistry

    def publish(self, **changes: Any) -> None:
        """Tell the API whom to believe."""
        published = {
            "client_ca_pem": self.cluster.file.read_text(),
            "front_proxy_ca_pem": self.front_proxy.file.read_text(),
            "allowed_names": ("front-proxy-client",),
            "user_headers": ("X-Remote-User",),
            "uid_headers": ("X-Remote-Uid",),
            "group_headers": ("X-Remote-Group",),
            "extra_prefixes": ("X-Remote-Extra-",),
        }
        self.authentication.follow(RequestHeaderAuth(**(published | changes)))

    @asynccontextmanager
    async def session(
        self, certificate: Certificate | None = None
    ) -> AsyncIterator[aiohttp.ClientSession]:
        context = ssl.create_default_context(cadata=self.bundle)
        if certificate is not None:
            context.load_cert_chain(certificate.certificate, certificate.key)
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield session

    async def get(
        self,
        path: str = PODS,
        *,
        certificate: Certificate | None = None,
        headers: Any = None,
        method: str = "GET",
    ) -> tuple[int, dict[str, Any]]:
        async with (
            self.session(certificate) as session,
            session.request(
                method, self.url + path, headers=headers, server_hostname=HOST
            ) as answer,
        ):
            text = await answer.text()
            return answer.status, orjson.loads(text) if text.startswith("{") else {"text": text}


@asynccontextmanager
async def running_door(
    folder: Path, *, bound_to: str = "127.0.0.1", **limits: Any
) -> AsyncIterator[Door]:
    """Serve while the context lasts."""
    kubernetes = KubernetesApi()
    material = renewed(None, hosts=(HOST,), now=datetime.now(UTC))
    clock = SimpleNamespace(seconds=0.0, later=timedelta(0))
    tls = ServerTls()
    tls.use(material.serving.certificate_pem(), material.serving.key_pem())
    not_ready: list[str] = []
    registry = CollectorRegistry()
    async with serving(kubernetes.handle) as kubernetes_url, KubeClient(kubernetes_url) as client:
        reviews = DelegatedAuth(client, clock=lambda: clock.seconds)
        authentication = Authentication(
            tls, reviews, wall_clock=lambda: datetime.now(UTC) + clock.later
        )
        server = Server(
            answers=AnswersNothing(),  # type: ignore[arg-type]
            authentication=authentication,
            reviews=reviews,
            telemetry=Telemetry(registry),
            not_ready_because=lambda: not_ready[0] if not_ready else None,
            limits=replace(LIMITS, **limits),
        )
        async with server.opened(tls, bound_to, 0) as listening:
            _, port = listening.addresses[0]
            running = asyncio.create_task(listening.run())
            made = Door(
                url=f"https://127.0.0.1:{port}",
                kubernetes=kubernetes,
                authentication=authentication,
                tls=tls,
                folder=folder,
                bundle=material.bundle_pem().decode(),
                cluster=Authority(folder, "cluster"),
                front_proxy=Authority(folder, "front-proxy"),
                stranger=Authority(folder, "stranger"),
                clock=clock,
                not_ready=not_ready,
                registry=registry,
            )
            made.publish()
            try:
                yield made
            finally:
                running.cancel()
