# SPDX-License-Identifier: Apache-2.0
"""A thin REST client of the Kubernetes API: paths in, parsed JSON out.

Uses raw JSON instead of generated models, which decodes a watch of tens of thousands of pods ten
times faster. Every call has a timeout, and the only retry is one with fresh credentials after a
401: callers run in loops and know whether a request may be repeated. Errors are those of
`scaler.kube.errors`; `except ApiError` catches all of them. Every response has a maximum size.
"""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import orjson

from scaler.kube.credentials import ApiAccess, ApiCredentials
from scaler.kube.errors import ResponseTooLarge
from scaler.kube.failures import NETWORK_FAILURES, not_json, refusal, too_large, unreachable
from scaler.kube.retry_after import RetryAfter
from scaler.kube.server_clock import ServerClock
from toolkit.http_body import AnswerTooLargeError, read_body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

JsonObject = dict[str, Any]

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"

DEFAULT_TIMEOUT_SECONDS = 10.0
PAGE_LIMIT = 500
MAX_RESPONSE_BYTES = 16 * 2**20
"""Decompressed. The largest object that etcd takes has 1.5 MB, or 9 MB as JSON if it is all `<`."""
MAX_LISTED = 1_000_000
"""Objects of one list, and its pages; the largest clusters have 150,000 pods."""
MAX_TOKEN_CHARACTERS = 8 * 2**10


class KubeClient:
    """One connection pool to one API server; close it, or use it as an async context manager.

    After a refusal with `Retry-After` (429, 503), calls to the same path raise the same error until
    that time, without a request.
    """

    def __init__(
        self,
        credentials: ApiCredentials | str,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        """`credentials` may be the URL of a server without authentication."""
        if isinstance(credentials, str):
            credentials = ApiCredentials(ApiAccess(server=credentials.rstrip("/")))
        self._credentials = credentials
        self._timeout_seconds = timeout_seconds
        self._session: aiohttp.ClientSession | None = None
        self._retry_after = RetryAfter()
        self.clock = ServerClock()
        self.answers: Counter[tuple[str, int]] = Counter()
        """The number of responses so far, by method and HTTP status."""

    @classmethod
    async def load(cls, kubeconfig: str | None = None, context: str | None = None) -> Self:
        """Use the kubeconfig if one is named, else the service account, else ~/.kube/config.

        Raises ConfigurationError.
        """
        return cls(await ApiCredentials.load(kubeconfig, context))

    @property
    def server(self) -> str:
        """The API server's base URL."""
        return self._credentials.server

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; a request after this opens them again."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def get(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
        max_bytes: int = MAX_RESPONSE_BYTES,
    ) -> JsonObject:
        """GET an object of at most `max_bytes` as parsed JSON; raises ResponseTooLarge."""
        return await self._request(
            "GET", path, params=params, timeout_seconds=timeout_seconds, max_bytes=max_bytes
        )

    async def list_(
        self, path: str, *, params: Mapping[str, str] | None = None, limit: int = PAGE_LIMIT
    ) -> JsonObject:
        """GET a whole collection, page by page; `metadata` is that of the last page."""
        items: list[Any] = []
        page: JsonObject = {}
        async for page in self.pages(path, params=params, limit=limit):
            items.extend(page.get("items") or ())
        return {**page, "items": items}

    async def pages(
        self, path: str, *, params: Mapping[str, str] | None = None, limit: int = PAGE_LIMIT
    ) -> AsyncIterator[JsonObject]:
        """Yield a collection's pages of at most `limit` items; fewer if these are very large.

        Raises Gone if the list takes so long that the server has dropped its snapshot, and
        ResponseTooLarge if the list does not end.
        """
        token: Any = ""
        listed = 0
        while listed < MAX_LISTED:
            query = {**(params or {}), "limit": str(limit)}
            if token:
                query["continue"] = token
            try:
                page = await self.get(path, params=query)
            except ResponseTooLarge:
                if limit <= 1:
                    raise
                # Large objects of one tenant must not keep all others from being listed.
                limit //= 2
                continue
            metadata, items = page.get("metadata") or {}, page.get("items") or []
            if not isinstance(metadata, dict) or not isinstance(items, list):
                raise not_json(f"GET {path}", 200, f"{page!r:.200}")
            yield page
            token = metadata.get("continue") or ""
            if not token:
                return
            if not isinstance(token, str) or len(token) > MAX_TOKEN_CHARACTERS:
                raise not_json(f"GET {path}", 200, f"the continue token {token!r:.200}")
            listed += max(1, len(items))
        raise too_large(f"GET {path}", 200, f"the list has more than {MAX_LISTED} objects")

    async def post(
        self, path: str, body: Mapping[str, Any], *, timeout_seconds: float | None = None
    ) -> JsonObject:
        """POST (create) an object; raises AlreadyExists."""
        return await self._request("POST", path, body=body, timeout_seconds=timeout_seconds)

    async def put(self, path: str, body: Mapping[str, Any]) -> JsonObject:
        """PUT (replace) an object; raises Conflict if its resourceVersion is not the newest."""
        return await self._request("PUT", path, body=body)

    async def patch(
        self,
        path: str,
        body: Any,
        *,
        content_type: str = MERGE_PATCH,
        timeout_seconds: float | None = None,
    ) -> JsonObject:
        """PATCH an object; raises Conflict if the patch names a resourceVersion that is old."""
        return await self._request(
            "PATCH", path, body=body, content_type=content_type, timeout_seconds=timeout_seconds
        )

    async def delete(
        self,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> JsonObject:
        """DELETE an object; `body` is a `metav1.DeleteOptions`, e.g. `gracePeriodSeconds` 0."""
        return await self._request(
            "DELETE", path, params=params, body=body, timeout_seconds=timeout_seconds
        )

    @asynccontextmanager
    async def stream(
        self, path: str, *, params: Mapping[str, str], idle_timeout_seconds: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """GET a streamed response (a watch) as chunks of bytes of any size.

        Raises Unreachable after `idle_timeout_seconds` without a byte, which detects half-open
        connections, or if the connection breaks; raises ApiError like every call.
        """
        timeout = aiohttp.ClientTimeout(
            total=None, connect=self._timeout_seconds, sock_read=idle_timeout_seconds
        )
        try:
            response = await self._send("GET", path, params=params, timeout=timeout)
            try:
                yield response.content.iter_any()
            finally:
                # It is left in the middle: nobody waits until TLS has said goodbye.
                if response.connection is not None and response.connection.transport is not None:
                    response.connection.transport.abort()
                response.close()
        except NETWORK_FAILURES as error:
            raise unreachable(f"GET {path}", error) from error

    async def _request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = JSON,
        timeout_seconds: float | None = None,
        max_bytes: int = MAX_RESPONSE_BYTES,
    ) -> JsonObject:
        request = f"{method} {path}"
        timeout = aiohttp.ClientTimeout(total=timeout_seconds or self._timeout_seconds)
        data = None if body is None else orjson.dumps(body)
        try:
            response = await self._send(
                method, path, params=params, data=data, content_type=content_type, timeout=timeout
            )
            async with response:
                answer = await read_body(response, max_bytes=max_bytes)
        except AnswerTooLargeError as error:
            raise too_large(request, response.status, str(error)) from error
        except NETWORK_FAILURES as error:
            raise unreachable(request, error) from error
        try:
            parsed = orjson.loads(answer) if answer else {}
        except orjson.JSONDecodeError:
            parsed = None
        if not isinstance(parsed, dict):
            raise not_json(request, response.status, answer[:200].decode(errors="replace"))
        return parsed

    async def _send(
        self,
        method: str,
        path: str,
        *,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  (aiohttp enforces it, body included)
        params: Mapping[str, str] | None = None,
        data: bytes | None = None,
        content_type: str = JSON,
    ) -> aiohttp.ClientResponse:
        """Return the response to a request that was not refused."""
        request = f"{method} {path}"
        self._retry_after.check(request, path)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers={"Accept": JSON, "User-Agent": f"gpu-scaler/{version('gpu-scaler')}"}
            )
        for refresh in (False, True):
            access = await self._credentials.access(refresh=refresh)
            headers = {} if data is None else {"Content-Type": content_type}
            if access.authorization:
                headers["Authorization"] = access.authorization
            response = await self._session.request(
                method,
                access.server + path,
                params=params,
                data=data,
                headers=headers,
                timeout=timeout,
                ssl=True if access.tls is None else access.tls,
                server_hostname=access.tls_server_name,
                proxy=access.proxy,
                allow_redirects=False,
            )
            self.answers[method, response.status] += 1
            self.clock.note(response.headers.get("Date"))
            if response.status != 401 or refresh:
                break
            response.release()
        if response.status < 400:
            return response
        async with response:
            error = await refusal(request, response, now_unix_seconds=self.clock.seconds())
        self._retry_after.note(path, error)
        raise error
