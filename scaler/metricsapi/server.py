# SPDX-License-Identifier: Apache-2.0
"""The metrics API over HTTPS: authenticates, authorizes and answers requests."""

from __future__ import annotations

import hashlib
import logging
import ssl
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson
from aiohttp import web

from scaler.kube.errors import ApiError
from scaler.metricsapi import documents
from scaler.metricsapi.paths import HEALTH_PATHS, GroupListRequest, read_path
from toolkit.listening.limits import Limits
from toolkit.listening.listener import opened
from toolkit.web.server import probe_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from scaler.kube.delegated_auth import AccessRequest, DelegatedAuth
    from scaler.metricsapi.answering import Responder
    from scaler.metricsapi.authentication import Authentication
    from scaler.metricsapi.names import Catalog
    from scaler.metricsapi.telemetry import Telemetry
    from scaler.metricsapi.tls import ServerTls
    from scaler.model import User
    from toolkit.listening.listener import Listener

    JsonObject: TypeAlias = dict[str, Any]

log = logging.getLogger(__name__)

MASTERS = "system:masters"
MAX_PATH_LENGTH = 2048
"""Of the path alone: longer than the longest names, and short enough to be cached."""
MAX_REQUESTS = 512
"""In progress at once, including those whose client has disconnected during a review."""
LIMITS = Limits(
    # An API server keeps 25 that are idle.
    connections=256,
    # Longer than the API server's 90 s, so that none of its requests meets a closed connection.
    idle_seconds=150.0,
    request_bytes=128 * 1024,
    # A selector may be long, and it is in the path's line.
    line_bytes=64 * 1024,
    # Each group of a user is one.
    headers=1000,
)


class Server:
    """Handles requests; `opened` is where they come from."""

    def __init__(
        self,
        *,
        answers: Responder,
        authentication: Authentication,
        reviews: DelegatedAuth,
        telemetry: Telemetry,
        not_ready_because: Callable[[], str | None],
        limits: Limits = LIMITS,
    ) -> None:
        self._answers = answers
        self._authentication = authentication
        self._reviews = reviews
        self._telemetry = telemetry
        self._not_ready_because = not_ready_because
        self._under_way = 0
        self._limits = limits

    def opened(self, tls: ServerTls, host: str, port: int) -> AbstractAsyncContextManager[Listener]:
        """Bind the address while the context lasts: see `toolkit.listening.listener.opened`."""
        return opened(
            web.ServerRunner(web.Server(self.handle), shutdown_timeout=2.0),
            host,
            port,
            self._limits,
            tls=lambda: tls.context,
            on_client_fault=self._telemetry.client_errors.inc,
        )

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if request.path in HEALTH_PATHS:
            # The port itself answers while the process lives.
            return probe_answer(self._not_ready_because() if request.path == "/readyz" else None)
        started = time.monotonic()
        self._under_way += 1
        try:
            response = await self._answer(request)
        except Exception:  # one request's failure is its own
            log.exception("Request failed", extra={"path": request.path})
            response = _json(request, documents.UNABLE_TO_FETCH)
        finally:
            self._under_way -= 1
        self._telemetry.requests.labels(str(response.status)).observe(time.monotonic() - started)
        return response

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if self._under_way > MAX_REQUESTS:
            return _json(request, documents.TOO_MANY_REQUESTS, headers={"Retry-After": "1"})
        asked, access = read_path(request.rel_url.raw_path)
        try:
            user = await self._authentication.user_of(
                _peer_certificate(request), list(request.headers.items())
            )
            if user is None:
                return _json(request, documents.UNAUTHORIZED)
            if len(request.rel_url.raw_path) > MAX_PATH_LENGTH:
                return _json(request, documents.path_too_long(MAX_PATH_LENGTH))
            refusal = await self._refusal(user, replace(access, verb=request.method.lower()))
        except ApiError:
            return _json(request, documents.UNABLE_TO_REVIEW)
        if refusal is not None:
            return _json(request, refusal)
        if request.method != "GET":
            return _json(request, documents.METHOD_NOT_ALLOWED)
        if isinstance(asked, GroupListRequest):
            version = _aggregated_version(request.headers.get("Accept", ""))
            if version is not None:
                return _discovery(request, version, self._answers.catalog)
        return _json(request, await self._answers.answer(asked, request.rel_url.query))

    async def _refusal(self, user: User, access: AccessRequest) -> JsonObject | None:
        if MASTERS in user.groups:
            return None
        verdict = await self._reviews.may(user, access)
        return None if verdict.allowed else documents.forbidden(user.name, access, verdict.reason)


def _peer_certificate(request: web.BaseRequest) -> bytes | None:
    transport = request.transport
    connection = None if transport is None else transport.get_extra_info("ssl_object")
    if not isinstance(connection, ssl.SSLObject):
        return None
    return connection.getpeercert(binary_form=True)


def _json(
    request: web.BaseRequest, document: JsonObject, headers: Mapping[str, str] | None = None
) -> web.Response:
    status = document["code"] if document["kind"] == "Status" else 200
    pretty = request.rel_url.query.get("pretty") in ("1", "true")
    return web.Response(
        status=status,
        body=orjson.dumps(document, option=orjson.OPT_INDENT_2 if pretty else None),
        content_type="application/json",
        headers=headers,
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


def _discovery(request: web.BaseRequest, version: str, catalog: Catalog) -> web.Response:
    body = orjson.dumps(documents.aggregated_discovery(version, catalog))
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
