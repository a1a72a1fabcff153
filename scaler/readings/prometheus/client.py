# SPDX-License-Identifier: Apache-2.0
"""The HTTP API of Prometheus or a server that speaks it: one request, one checked answer."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import aiohttp

from scaler.budgets import INLINE_CHARACTERS, shown
from scaler.readings.http import HttpClient, computed
from scaler.readings.prometheus.response import PromqlError, read_error, read_result
from toolkit.http_body import AnswerTooLargeError, read_body
from toolkit.http_credentials import AccessError, Credentials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaler.readings.prometheus.response import Result
    from scaler.readings.settings import PrometheusSettings

log = logging.getLogger(__name__)

GET_INSTEAD_STATUSES = (403, 404, 405, 501)
"""Statuses that proxies which allow only GET return for a POST."""
# Thanos: an error instead of a partial answer, and deduplicated replicas.
# VictoriaMetrics: bypass the cache, which lacks the newest samples and shifts times.
PARAMS = {"partial_response": "false", "dedup": "true", "nocache": "1"}
CLIENT_FAULTS = (PromqlError, AccessError, aiohttp.ClientError, OSError, ValueError)
"""What `PrometheusClient.ask` raises besides AnswerTooLargeError and TimeoutError."""


class HttpStatusError(PromqlError):
    """The answer has an HTTP status other than 200; the message has Prometheus' own text."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class PrometheusClient(HttpClient):
    """Sends requests; use as an async context manager, which owns the connections."""

    def __init__(self, settings: PrometheusSettings, *, connections: int) -> None:
        super().__init__(connections=connections, headers={"Accept": "application/json"})
        self._settings = settings
        self._url = settings.url.rstrip("/")
        ours = PARAMS | {"timeout": f"{settings.timeout_seconds:g}"}
        self._given = {name for name, _ in settings.params}
        # A parameter may repeat: VictoriaMetrics' extra_label, Thanos' storeMatch[].
        self._params = [(name, value) for name, value in ours.items() if name not in self._given]
        self._params += [(name, value) for name, value in settings.params if value]
        self._credentials = Credentials(settings.access)
        self._posts = True

    async def ask(
        self,
        path: str,
        params: Sequence[tuple[str, str]],
        *,
        defaults: Sequence[tuple[str, str]] = (),
    ) -> Result:
        """Return the result of a query; `defaults` are sent unless the settings name them.

        Raises:
            PromqlError: the answer is an error, invalid, partial or has too many series; it is an
                HttpStatusError if its status is not 200.
            AnswerTooLargeError: it exceeds the settings' size.
            AccessError, aiohttp.ClientError, OSError, ValueError: there was no answer.
        """
        more = [pair for pair in defaults if pair[0] not in self._given]
        every = [*params, *self._params, *more]
        posts = self._posts
        status, location, body = await self._send(path, every, posts=posts)
        if posts and status in GET_INSTEAD_STATUSES:
            refused = status
            status, location, body = await self._send(path, every, posts=False)
            if self._posts and status not in GET_INSTEAD_STATUSES:
                self._posts = False
                log.info("Prometheus does not accept POST; using GET", extra={"status": refused})
        if status == 200:
            return await computed(
                partial(read_result, body, max_series=self._settings.max_series),
                is_long=len(body) > INLINE_CHARACTERS,
            )
        if location is not None:
            raise HttpStatusError(
                f"HTTP status {status} redirects to {location[:200]!r}: set --prometheus.url to the"
                " final address",
                status,
            )
        text = read_error(body)
        raise HttpStatusError(f"HTTP status {status}" + (f": {text}" if text else ""), status)

    def problem(self, what: object) -> str:
        """Return a sentence that names the server: what went wrong, a text or an exception."""
        if isinstance(what, AnswerTooLargeError):
            text = f"{what} (--prometheus.max-answer-size)"
        elif isinstance(what, TimeoutError):
            text = f"no answer within {self._settings.timeout_seconds:g} s (--prometheus.timeout)"
        elif isinstance(what, Exception):
            text = shown(what) or type(what).__name__
        else:
            text = str(what)
        return f"Prometheus at {self._settings.url}: {text}"

    async def _send(
        self, path: str, params: Sequence[tuple[str, str]], *, posts: bool
    ) -> tuple[int, str | None, bytes]:
        granted = await self._credentials.current()
        async with self._request(
            self._url + path,
            granted,
            method="POST" if posts else "GET",
            data=aiohttp.FormData(params) if posts else None,
            params=None if posts else params,
        ) as response:
            body = await read_body(response, max_bytes=self._settings.max_answer_bytes)
            redirects = 300 <= response.status < 400
            location = response.headers.get("Location") if redirects else None
            return response.status, location, body
