# SPDX-License-Identifier: Apache-2.0
"""What went wrong with a request to the Kubernetes API, as an ApiError."""

from __future__ import annotations

import os

import aiohttp
import orjson

from scaler.kube.errors import ApiError, ResponseTooLarge, Unreachable, from_status
from scaler.kube.retry_after import retry_after_seconds
from toolkit.http_body import read_start

NETWORK_FAILURES = (aiohttp.ClientError, TimeoutError, OSError)
MAX_ERROR_BYTES = 64 * 2**10
"""A longer error body counts as text that is not a Status."""


async def refusal(
    request: str, response: aiohttp.ClientResponse, *, now_unix_seconds: float
) -> ApiError:
    """Return the error of a response whose status is one."""
    body_bytes = await read_start(response, max_bytes=MAX_ERROR_BYTES)
    text = body_bytes.decode(errors="replace")
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError:
        body = {}
    status = body if isinstance(body, dict) else {}
    return from_status(
        request=request,
        status=response.status,
        body=status,
        text=text,
        retry_after_seconds=retry_after_seconds(
            response.headers.get("Retry-After"), status, now_unix_seconds=now_unix_seconds
        ),
    )


def unreachable(request: str, error: Exception) -> Unreachable:
    """Return the error of a request that got no whole response."""
    timed_out = isinstance(error, TimeoutError)
    return Unreachable(
        request=request,
        status=None,
        reason="Timeout" if timed_out else type(error).__name__,
        message=connection_problem(error) or ("timed out" if timed_out else "connection failed"),
    )


def connection_problem(error: Exception) -> str:
    """Return the problem with a connection, without the details of asyncio and aiohttp."""
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ServerFingerprintMismatch):
        return str(error)
    if isinstance(error, aiohttp.ClientConnectorError):
        code = error.os_error.errno
        why = os.strerror(code) if code and code > 0 else error.os_error.strerror
        return f"cannot connect to {error.host}:{error.port}: {why or error.os_error}"
    return str(error)


def too_large(request: str, status: int, message: str) -> ResponseTooLarge:
    """Return the error of a response, or a list, beyond its limit."""
    return ResponseTooLarge(
        request=request, status=status, reason="ResponseTooLarge", message=message
    )


def not_json(request: str, status: int, text: str) -> ApiError:
    """Return the error of a response that is not the JSON object that it should be."""
    return ApiError(
        request=request,
        status=status,
        reason="NotJSON",
        message=f"the response is not a JSON object: {text!r}",
    )
