"""The API over HTTPS: who calls, whether they may, and then what they asked for."""

from __future__ import annotations

import hashlib
import logging
import ssl
import time
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson
from aiohttp import web

from scaler.cluster.errors import ApiError
from scaler.cluster.reviews import Access
from scaler.metricsapi import documents
from scaler.metricsapi.names import GROUP
from scaler.metricsapi.paths import HEALTH_PATHS, GroupsAsked, read_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaler.cluster.reviews import Reviews
    from scaler.metricsapi.answering import Answers
    from scaler.metricsapi.authentication import Authentication
    from scaler.metricsapi.paths import Attributes
    from scaler.metricsapi.telemetry import Telemetry
    from scaler.model import User

    JsonObject: TypeAlias = dict[str, Any]

log = logging.getLogger(__name__)

MASTERS = "system:masters"
MAX_LINE_BYTES = 64 * 1024
"""A selector may be long, and it is in the path's line."""
KEEPALIVE_SECONDS = 150.0
"""Longer than the API server's 90 s, so that none of its requests meets a closed connection."""


class Server:
    """Handles requests; `serve` makes what listens."""

    def __init__(
        self,
        *,
        answers: Answers,
        authentication: Authentication,
        reviews: Reviews,
        telemetry: Telemetry,
        not_ready_because: Callable[[], str | None],
    ) -> None:
        self._answers = answers
        self._authentication = authentication
        self._reviews = reviews
        self._telemetry = telemetry
        self._not_ready_because = not_ready_because

    def runner(self) -> web.ServerRunner:
        """Return what can be set up and be given sites."""
        server = web.Server(
            self.handle,
            access_log=None,
            keepalive_timeout=KEEPALIVE_SECONDS,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
        )
        return web.ServerRunner(server, shutdown_timeout=2.0)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if request.path in HEALTH_PATHS:
            return self._health(request.path)
        started = time.monotonic()
        try:
            response = await self._answer(request)
        except Exception:  # one request's failure is its own
            log.exception("Request failed", extra={"path": request.path})
            response = _json(request, documents.unable_to_fetch())
        self._telemetry.requests.labels(str(response.status)).observe(time.monotonic() - started)
        return response

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        asked, attributes = read_path(request.rel_url.raw_path)
        try:
            user = await self._authentication.user_of(
                _peer_certificate(request), list(request.headers.items())
            )
            if user is None:
                return _json(request, documents.unauthorized())
            refusal = await self._refusal(user, request.method, attributes)
        except ApiError as error:
            log.warning("Caller cannot be reviewed", extra={"error": str(error)})
            return _json(request, documents.unable_to_review())
        if refusal is not None:
            return _json(request, refusal)
        if request.method != "GET":
            return _json(request, documents.method_not_allowed())
        if isinstance(asked, GroupsAsked):
            version = _aggregated_version(request.headers.get("Accept", ""))
            if version is not None:
                return _discovery(request, version)
        return _json(request, await self._answers.answer(asked, request.rel_url.query))

    async def _refusal(self, user: User, method: str, attributes: Attributes) -> JsonObject | None:
        if MASTERS in user.groups:
            return None
        access = Access(
            verb=method.lower(),
            path=attributes.path,
            group=GROUP if attributes.resource else "",
            version=attributes.version,
            namespace=attributes.namespace,
            resource=attributes.resource,
            subresource=attributes.subresource,
            name=attributes.name,
        )
        verdict = await self._reviews.may(user, access)
        if verdict.allowed:
            return None
        return documents.forbidden(user.name, attributes, verdict.reason)

    def _health(self, path: str) -> web.Response:
        problem = self._not_ready_because() if path == "/readyz" else None
        if problem is None:
            return web.Response(text="ok")
        return web.Response(status=503, text=f"{problem}\n")


def _peer_certificate(request: web.BaseRequest) -> bytes | None:
    transport = request.transport
    connection = None if transport is None else transport.get_extra_info("ssl_object")
    if not isinstance(connection, ssl.SSLObject):
        return None
    return connection.getpeercert(binary_form=True)


def _json(request: web.BaseRequest, document: JsonObject) -> web.Response:
    status = document["code"] if document["kind"] == "Status" else 200
    pretty = request.rel_url.query.get("pretty") in ("1", "true")
    return web.Response(
        status=status,
        body=orjson.dumps(document, option=orjson.OPT_INDENT_2 if pretty else None),
        content_type="application/json",
    )


def _aggregated_version(accept: str) -> str | None:
    """The first version of aggregated discovery that is accepted and that there is."""
    for one in accept.split(","):
        parameters = {part.strip() for part in one.split(";")}
        if {"application/json", "g=apidiscovery.k8s.io", "as=APIGroupDiscoveryList"} <= parameters:
            for version in ("v2", "v2beta1"):
                if f"v={version}" in parameters:
                    return version
    return None


def _discovery(request: web.BaseRequest, version: str) -> web.Response:
    body = orjson.dumps(documents.aggregated_discovery(version))
    etag = f'"{hashlib.sha256(body).hexdigest().upper()}"'
    headers = {
        "Content-Type": (
            f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
        ),
        "ETag": etag,
        "Vary": "Accept",
    }
    if request.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, headers=headers)
